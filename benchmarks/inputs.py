"""What do the benchmarks index: which model, which documents, which queries?

Models have Pythia's shapes and random weights, which is fine for speed; documents are the Pile's,
tokenized once for all who build.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

CONTEXT = 2048
SHAPES = {"14m": (128, 6, 4), "160m": (768, 12, 12)}
NUM_QUERIES, QUERY_TOKENS, PROMPT_TOKENS = 20, 64, 48


class Documents(NamedTuple):
    """The same documents as our corpus and as Bergson's data set."""

    corpus: Path
    tokens: Path
    num_tokens: int


def test_data() -> Path:
    """The folder of test data."""
    if "WHENCE_DATA" not in os.environ:
        sys.exit("WHENCE_DATA does not name the folder of test data, so there is nothing to index.")
    return Path(os.environ["WHENCE_DATA"])


def make_model(shape: str, place: Path) -> Path:
    """Writes a random model of one of Pythia's shapes, with Pythia's tokenizer."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    path = place / f"model-{shape}"
    if path.is_dir():
        return path
    hidden, layers, heads = SHAPES[shape]
    torch.manual_seed(0)
    GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=50304,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * hidden,
            max_position_embeddings=CONTEXT,
        )
    ).save_pretrained(path)
    data = test_data() / "pythia-tokenizer" / "tokenizer.json"
    PreTrainedTokenizerFast(
        tokenizer_file=str(data), eos_token="<|endoftext|>", model_max_length=CONTEXT
    ).save_pretrained(path)
    return path


def make_documents(
    model: Path, place: Path, docs: int, *, max_length: int = CONTEXT, in_windows: bool = False
) -> Documents:
    """Tokenizes the first documents, each cut at `max_length` tokens.

    With `in_windows` documents are cut into pieces of so many tokens, and each piece counts as one.
    """
    from datasets import Dataset

    from whence.corpus import load_corpus, read_corpus, save_corpus
    from whence.models import load_model
    from whence.settings import CorpusSettings, ModelSettings

    path, tokens = (place / f"{kind}-{docs}-{max_length}" for kind in ("corpus", "tokens"))
    if not path.is_dir():
        loaded = load_model(ModelSettings(name=str(model)))
        settings = CorpusSettings(
            source=str(test_data() / "pile-documents.jsonl.gz"),
            max_documents=docs,
            max_length=max_length,
            long_documents="window" if in_windows else "truncate",
        )
        corpus = load_corpus(settings, loaded.tokenizer, context_length=CONTEXT)
        if len(corpus) < docs:
            sys.exit(f"There are {len(corpus):,} documents, and {docs:,} were asked for.")
        corpus = replace(corpus, table=corpus.table.slice(0, docs))
        path.mkdir()
        save_corpus(corpus, path)
        ids = corpus.table.column("input_ids").to_pylist()
        columns = {"input_ids": ids, "labels": ids, "length": [len(row) for row in ids]}
        Dataset.from_dict(columns).save_to_disk(str(tokens))
    return Documents(path, tokens, int(read_corpus(path).lengths.sum()))


def make_queries(model: Path, place: Path) -> Path:
    """Takes the openings of the last documents as queries: a prompt, and the words that follow.

    Returns:
        A folder with `queries.json` (the tokens, `PROMPT_TOKENS` of which are the prompt) and
        Bergson's data set `tokens`, where the prompt's labels are masked.
    """
    from datasets import Dataset

    from whence.corpus import load_corpus
    from whence.models import load_model
    from whence.settings import CorpusSettings, ModelSettings

    path = place / "queries"
    if path.is_dir():
        return path
    loaded = load_model(ModelSettings(name=str(model)))
    settings = CorpusSettings(
        source=str(test_data() / "pile-documents.jsonl.gz"), max_length=QUERY_TOKENS
    )
    corpus = load_corpus(settings, loaded.tokenizer, context_length=CONTEXT)
    long = [row for row in range(len(corpus)) if corpus.lengths[row] == QUERY_TOKENS]
    ids = [corpus.input_ids(row) for row in long[-NUM_QUERIES:]]
    path.mkdir()
    (path / "queries.json").write_text(json.dumps(ids))
    labels = [[-100] * PROMPT_TOKENS + row[PROMPT_TOKENS:] for row in ids]
    columns = {"input_ids": ids, "labels": labels, "length": [QUERY_TOKENS] * len(ids)}
    Dataset.from_dict(columns).save_to_disk(str(path / "tokens"))
    return path
