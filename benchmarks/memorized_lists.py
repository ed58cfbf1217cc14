"""Which of the sequences that public models memorized stand in two small corpora of Pile text?

Of the 505 sequences that Pythia-6.9b-deduped memorized and the 442 strings of GPT-Neo-125M, each
against pile-mini and pile-documents: by words (whole, nearly whole, a run of 13 words), and, of
those in Pythia's tokens, by the classes of copies of `whence memorization`. A sequence keeps its
id, its place in the file or the file's own. Nothing here is asserted; tests/memorization assert
what must hold on a part.

    python benchmarks/memorized_lists.py [--limit N] [--out counts.json]
"""

import argparse
import csv
import gzip
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from inputs import test_data
from measure import report

from whence.corpus import load_corpus
from whence.corpus.duplicates import build_suffix_array
from whence.memorization.copies import CLASSES, find_copies
from whence.memorization.sequences import read_sequences
from whence.memorization.text_matches import MATCH_KINDS, match_texts, word_corpus
from whence.memorization.windows import Windows
from whence.settings import CorpusSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CORPORA = {"pile-mini": "pile-mini/train.jsonl.gz", "pile-documents": "pile-documents.jsonl.gz"}
PYTHIA = "memorized/pythia-6.9b-deduped_505x80.npy"
GPT_NEO = "memorized/gpt-neo-125m_strings_with_pile_counts.csv"
CONTEXT = 65_536


class Listed(NamedTuple):
    """A public list: ids, texts, and windows where it is in Pythia's tokens."""

    name: str
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    windows: Windows | None


def main() -> None:
    """Matches every list with every corpus, and writes `results/latest/memorized_lists.json`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=int, help="documents of each corpus")
    parser.add_argument("--out", type=Path, help="where counts of every sequence are written")
    asked = parser.parse_args()
    tokenizer = pythia_tokenizer()
    lists = [pythia_list(tokenizer), gpt_neo_list()]
    rows, every = [], []
    for corpus in CORPORA:
        documents = read_texts(corpus, asked.limit)
        numbers = word_corpus(documents)
        for one in lists:
            started = time.process_time()
            counts = count_by_words(one, numbers)
            if one.windows is not None:
                counts |= count_by_tokens(one.windows, corpus, tokenizer, asked.limit)
            seconds = time.process_time() - started
            rows.append({"list": one.name, "corpus": corpus, **summary(counts)})
            rows[-1]["processor_seconds"] = round(seconds, 1)
            every += [
                {"list": one.name, "corpus": corpus, "id": name}
                | {kind: int(values[place]) for kind, values in counts.items()}
                for place, name in enumerate(one.ids)
            ]
            print_table(rows[-1])
    if asked.out is not None:
        asked.out.write_text("".join(json.dumps(row) + "\n" for row in every))
    if asked.limit is None:
        changed = sum(
            tokenizer.encode(text, add_special_tokens=False) != ids
            for text, ids in zip(lists[0].texts, pythia_tokens(), strict=True)
        )
        print(f"{changed} of {len(lists[0].ids)} of Pythia's do not encode to their own tokens.")
        report("memorized_lists.json", rows, *sys.argv[1:], do_not_encode_to_themselves=changed)


def pythia_tokenizer() -> "PreTrainedTokenizerFast":
    """Pythia's own tokenizer."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_file=str(test_data() / "pythia-tokenizer" / "tokenizer.json"),
        eos_token="<|endoftext|>",
    )


def pythia_tokens() -> list[list[int]]:
    """All 80 tokens of each sequence."""
    return np.load(test_data() / PYTHIA).tolist()


def pythia_list(tokenizer: "PreTrainedTokenizerFast") -> Listed:
    """The sequences of Pythia-6.9b-deduped: 32 prompt tokens, 48 of continuation."""
    found = read_sequences(
        str(test_data() / PYTHIA), num_completion_tokens=48, vocabulary_size=len(tokenizer)
    )
    texts = [
        str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))
        for ids in found.windows.tokens.tolist()
    ]
    return Listed("Pythia-6.9b-deduped", found.windows.ids, tuple(texts), found.windows)


def gpt_neo_list() -> Listed:
    """The strings of GPT-Neo-125M; their tokens are another tokenizer's."""
    with (test_data() / GPT_NEO).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return Listed(
        "GPT-Neo-125M",
        tuple(row["id"] for row in rows),
        tuple(row["paragraph"] for row in rows),
        None,
    )


def read_texts(corpus: str, limit: int | None) -> list[str]:
    """The documents of a corpus, whole."""
    with gzip.open(test_data() / CORPORA[corpus], "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines][:limit]


def count_by_words(one: Listed, numbers: Any) -> dict[str, np.ndarray]:
    """By sequence, the documents that hold its words."""
    found = match_texts(one.texts, numbers)
    counts = {f"words, {kind}": found.count(kind) for kind in MATCH_KINDS}
    return counts | {"num_words": found.num_words}


def count_by_tokens(
    windows: Windows, corpus: str, tokenizer: "PreTrainedTokenizerFast", limit: int | None
) -> dict[str, np.ndarray]:
    """By sequence, the documents that copy its tokens, of each class."""
    settings = CorpusSettings(source=str(test_data() / CORPORA[corpus]), max_documents=limit)
    examples = load_corpus(settings, tokenizer, context_length=CONTEXT)
    found = find_copies(windows, examples, build_suffix_array(examples), tokenizer)
    # None of the sequences was read from these corpora.
    return {f"tokens, {name}": found.count([name]) for name in CLASSES if name != "self"}


def summary(counts: dict[str, np.ndarray]) -> dict[str, Any]:
    """How many sequences have a document of each kind, and how many such documents."""
    held = {kind: values for kind, values in counts.items() if kind != "num_words"}
    return {
        "sequences": len(counts["num_words"]),
        "shorter_than_13_words": int((counts["num_words"] < 13).sum()),
        "found": {kind: int((values > 0).sum()) for kind, values in held.items()},
        "documents": {kind: int(values.sum()) for kind, values in held.items()},
        "most_documents": {kind: int(values.max()) for kind, values in held.items()},
    }


def print_table(row: dict[str, Any]) -> None:
    """Prints one list in one corpus."""
    print(
        f"\n{row['list']} in {row['corpus']}: {row['sequences']} sequences, of which "
        f"{row['shorter_than_13_words']} have fewer than 13 words"
    )
    print(f"  {'':<24}{'sequences':>10}{'documents':>11}{'at most':>9}")
    for kind, number in row["found"].items():
        documents, most = row["documents"][kind], row["most_documents"][kind]
        print(f"  {kind:<24}{number:>10,}{documents:>11,}{most:>9,}", flush=True)


if __name__ == "__main__":
    main()
