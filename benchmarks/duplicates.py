"""What do the duplicates of a corpus cost, and are they right?

Two corpora of real text, each in a process of its own: pile-mini (20,233 passages, full of copies)
and pile-documents (3,000 whole documents of deduplicated text, with no near duplicate). For each:
seconds from the tokens to all clusters, and the process's peak of memory; recall of similar pairs
against a comparison of 600 documents with all; counts of 1,000 spans against a plain scan; the time
of a count and of a whole search, once the corpus is sorted. `make bench` runs it; nothing here is
asserted.

    python benchmarks/duplicates.py [--documents 600] [--spans 1000]
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inputs import test_data
from measure import finish, report, run_alone

if TYPE_CHECKING:
    from whence.corpus.duplicates import Duplicates, SuffixArray
    from whence.records import Corpus


class Case(NamedTuple):
    """A corpus in the tokens of some tokenizer."""

    file: str
    tokenizer: str
    context_length: int
    append_eos: bool


OWN, PYTHIA = "pile-mini/checkpoints/step2530", "pythia-tokenizer"
CASES = {
    "pile-mini, its own tokens": Case("pile-mini/train.jsonl.gz", OWN, 256, True),
    "pile-mini, Pythia's tokens": Case("pile-mini/train.jsonl.gz", PYTHIA, 2048, False),
    "pile-documents, Pythia's tokens": Case("pile-documents.jsonl.gz", PYTHIA, 65_536, False),
}


def main() -> None:
    """Measures every case, and writes `results/latest/duplicates.json`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=600)
    parser.add_argument("--spans", type=int, default=1000)
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for name, case in CASES.items():
            folder = Path(place) / name
            read(case, folder)
            cost = run_alone(__file__, "cost", folder)
            checks = run_alone(__file__, "check", folder, asked.documents, asked.spans)
            rows.append(
                {
                    "case": name,
                    **cost.said,
                    "process_seconds": round(cost.seconds, 3),
                    "process_processor_seconds": round(cost.processor_seconds, 3),
                    "peak_bytes": cost.peak_bytes,
                    **checks.said,
                }
            )
            print(json.dumps(rows[-1], indent=2), flush=True)
    report("duplicates.json", rows, *sys.argv[1:])


def read(case: Case, place: Path) -> None:
    """Tokenizes a corpus once, outside of what is measured."""
    from transformers import PreTrainedTokenizerFast

    from whence.corpus import load_corpus, save_corpus
    from whence.settings import CorpusSettings

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(test_data() / case.tokenizer / "tokenizer.json"),
        eos_token="<|endoftext|>",
    )
    settings = CorpusSettings(source=str(test_data() / case.file), append_eos=case.append_eos)
    save_corpus(load_corpus(settings, tokenizer, context_length=case.context_length), place)


def cost(place: Path) -> None:
    """Measures the stages, each with its processor time, in a process that does nothing else."""
    from whence.corpus import read_corpus
    from whence.corpus.duplicates import build_suffix_array, find_duplicates

    corpus = read_corpus(place)
    array, sorting = timed(lambda: build_suffix_array(corpus))
    found, finding = timed(lambda: find_duplicates(corpus, suffix_array=array))
    finish(
        documents=len(corpus),
        tokens=array.num_tokens,
        seconds={"sort": sorting[0], "duplicates": finding[0]},
        processor_seconds={"sort": sorting[1], "duplicates": finding[1]},
        found=found.to_json(),
        sentence=found.summary(),
    )


def check(place: Path, num_documents: int, num_spans: int) -> None:
    """Compares with brute force, and times searches."""
    from whence.corpus import read_corpus
    from whence.corpus.duplicates import build_suffix_array, find_duplicates

    corpus = read_corpus(place)
    array = build_suffix_array(corpus)
    found = find_duplicates(corpus, suffix_array=array)
    proposed = find_duplicates(corpus, suffix_array=array, exact=False)
    compared = random.Random(0).sample(range(len(corpus)), num_documents)
    truth = brute_force(corpus, compared)
    clusters_equal = (proposed.cluster_50 == found.cluster_50).mean()
    finish(
        brute_force={
            "documents": num_documents,
            "pairs_50": len(truth),
            "pairs_80": sum(value >= 0.8 for value in truth.values()),
            "recall": recall(found, truth),
            "wrong": wrong(found, compared, truth),
            "minhash_recall": recall(proposed, truth),
            "minhash_wrong": wrong(proposed, compared, truth),
            "minhash_same_cluster": float(clusters_equal),
        },
        counts=check_counts(corpus, array, num_spans),
        search=time_searches(corpus, array),
    )


def brute_force(corpus: "Corpus", rows: list[int]) -> dict[tuple[int, int], float]:
    """Compares some documents with all, by looking up every 5-gram of every document."""
    import numpy as np

    numbers: dict[int, int] = {}
    sets = []
    for tokens in corpus.table.column("input_ids").to_pylist():
        grams = set(map(hash, zip(*(tokens[i:] for i in range(5)), strict=False)))
        sets.append([numbers.setdefault(gram, len(numbers)) for gram in grams])
    sizes = np.array(list(map(len, sets)))
    flat = np.array([number for one in sets for number in one])
    ends = np.cumsum(sizes)
    found = {}
    for row in rows:
        is_held = np.zeros(len(numbers), dtype=bool)
        is_held[sets[row]] = True
        held = np.concatenate(([0], np.cumsum(is_held[flat])))
        both = held[ends] - held[ends - sizes]
        for other in np.flatnonzero(3 * both >= sizes + sizes[row]).tolist():
            if other != row and both[other]:
                union = sizes[other] + sizes[row] - both[other]
                found[min(row, other), max(row, other)] = float(both[other] / union)
    return found


def recall(found: "Duplicates", truth: dict[tuple[int, int], float]) -> float | None:
    """The share of true pairs that were found, with the right similarity; None without one."""
    near = {row: dict(found.neighbors(row)) for row, _ in truth}
    right = sum(near[row].get(other) == value for (row, other), value in truth.items())
    return right / len(truth) if truth else None


def wrong(found: "Duplicates", rows: list[int], truth: dict[tuple[int, int], float]) -> int:
    """Pairs of the compared documents that were found and are none."""
    pairs = {
        (min(row, other), max(row, other)) for row in rows for other, _ in found.neighbors(row)
    }
    return len(pairs - set(truth))


def check_counts(corpus: "Corpus", array: "SuffixArray", num_spans: int) -> dict[str, Any]:
    """Counts spans of 1 to 64 tokens, half of them with one token changed, by two ways."""
    import numpy as np

    rng = random.Random(1)
    documents = [np.asarray(ids) for ids in corpus.table.column("input_ids").to_pylist()]
    separated = [part for ids in documents for part in (ids, np.array([-1]))]
    flat = np.concatenate(separated)
    long = [row for row, ids in enumerate(documents) if len(ids) > 64]
    right = right_documents = absent = 0
    seconds = []
    owner = np.repeat(np.arange(len(documents)), [len(ids) + 1 for ids in documents])
    for number in range(num_spans):
        ids = documents[rng.choice(long)]
        length = rng.randint(1, 64)
        start = rng.randrange(len(ids) - length)
        span = ids[start : start + length].tolist()
        if number % 2:
            span[rng.randrange(length)] = int(rng.choice(documents[rng.choice(long)]))
        places = scan(flat, span)
        started = time.perf_counter()
        count = array.count(span)
        seconds.append(time.perf_counter() - started)
        right += count == len(places)
        right_documents += array.count_documents(span) == len(set(owner[places].tolist()))
        absent += not len(places)
    return {
        "spans": num_spans,
        "right": right,
        "right_documents": right_documents,
        "absent": absent,
        "median_milliseconds": round(1e3 * statistics.median(seconds), 4),
        "longest_milliseconds": round(1e3 * max(seconds), 4),
    }


def scan(flat: Any, span: list[int]) -> Any:
    """Every place where a span stands, by comparing token after token."""
    import numpy as np

    places = np.flatnonzero(flat == span[0])
    for offset, token in enumerate(span[1:], start=1):
        places = places[places + offset < len(flat)]
        places = places[flat[places + offset] == token]
    return places


def time_searches(corpus: "Corpus", array: "SuffixArray") -> dict[str, float]:
    """Times whole searches, as `whence find` makes them once the corpus is open."""
    import numpy as np

    from whence.corpus.search import Pattern, search_corpus

    rng = random.Random(2)
    seconds: dict[str, list[float]] = {"found": [], "absent": [], "most_frequent_token": []}
    for number in range(200):
        ids = corpus.input_ids(rng.randrange(len(corpus)))
        span = ids[: rng.randint(2, 20)]
        if number % 2:
            span = [*span, ids[-1], ids[0]]
        started = time.perf_counter()
        found = search_corpus(corpus, array, [Pattern("token ids", tuple(span))], before_step=100)
        kind = "found" if found.counts.num_occurrences else "absent"
        seconds[kind].append(time.perf_counter() - started)
    tokens = np.concatenate([array.document(row) for row in range(len(corpus))])
    common = int(np.bincount(tokens).argmax())
    for _ in range(9):
        started = time.perf_counter()
        search_corpus(corpus, array, [Pattern("token ids", (common,))], before_step=100)
        seconds["most_frequent_token"].append(time.perf_counter() - started)
    return {
        f"{name}_{kind}_milliseconds": round(1e3 * of(values), 3)
        for kind, values in seconds.items()
        for name, of in (("median", statistics.median), ("longest", max))
        if values
    }


def timed(work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """Runs something; gives its result, and the seconds on the clock and of the processor."""
    started, before = time.perf_counter(), time.process_time()
    result = work()
    spent = time.process_time() - before
    return result, (round(time.perf_counter() - started, 3), round(spent, 3))


if __name__ == "__main__":
    if sys.argv[1:3] == ["worker", "cost"]:
        cost(Path(sys.argv[3]))
    elif sys.argv[1:3] == ["worker", "check"]:
        check(Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
