"""A tokenizer whose tokens are bytes, so that the right answer can be said without it."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from whence.corpus import load_corpus
from whence.records import Corpus
from whence.settings import CorpusSettings


def make_byte_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    vocabulary = {char: byte for byte, char in bytes_to_unicode().items()} | {"<end>": 256}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(  # pyright: ignore
        add_prefix_space=False, use_regex=False
    )
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return make_byte_tokenizer()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows as JSON lines."""

    def write_lines(rows: Iterable[dict[str, Any]], name: str = "corpus.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write_lines


@pytest.fixture
def load(tokenizer: Any) -> Callable[..., Corpus]:
    """Loads a source with the byte tokenizer and a context of 16."""

    def load_source(source: Path | str, *, context_length: int = 16, **settings: Any) -> Corpus:
        chosen = CorpusSettings(source=str(source), **settings)
        return load_corpus(chosen, tokenizer, context_length=context_length)

    return load_source
