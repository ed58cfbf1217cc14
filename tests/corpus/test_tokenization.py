"""A long document has the tokens that its tokenizer gives for the whole of it."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whence.corpus import Document, make_examples, tokenization
from whence.corpus.tokenization import tokenize_long
from whence.settings import CorpusSettings


def prose(generator: random.Random, size: int) -> str:
    pieces = (
        "the herons walked along the canal ",
        "12345678 ",
        "naïve café — 首都是巴黎。🙂🙂 ",
        "\n\n\n    def f(x):\n        return x\n",
        "don't, can't; they're ",
        "Kanalschifffahrtsgesellschaft ",
        "      ",
        "!!!...---",
        "\t\t",
        "ก็ปารีส",
    )
    text = ""
    while len(text) < size:
        text += generator.choice(pieces)
    return text[:size]


def texts() -> list[str]:
    generator = random.Random(3)
    return [
        *(prose(generator, size) for size in (401, 1000, 2500, 6000)),
        "w" * 3000,
        " " * 3000,
        "word" * 900,
        "0123456789" * 400,
        "".join(generator.choices("ab cdé\n🙂", k=4000)),
        "🙂" * 1500,
        "x" * 1000 + prose(generator, 1500) + "\n" * 1200,
    ]


@pytest.fixture(params=["bytes", "pythia", "stories"])
def any_tokenizer(request: pytest.FixtureRequest, tokenizer: Any) -> Any:
    from transformers import AutoTokenizer

    if request.param == "bytes":
        return tokenizer
    data: Path = request.getfixturevalue("data")
    return AutoTokenizer.from_pretrained(
        data / {"pythia": "pythia-tokenizer", "stories": "stories260k"}[request.param]
    )


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenization, "WINDOW", 400)
    monkeypatch.setattr(tokenization, "OVERLAP", 160)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("num_kept", [None, 1, 5, 64, 300])
def test_windows_do_not_show(any_tokenizer: Any, num_kept: int | None) -> None:
    for text in texts():
        whole = any_tokenizer([text], verbose=False)
        expected = whole["input_ids"][0]
        found = tokenize_long(text, any_tokenizer, num_kept=num_kept)
        assert found.num_tokens in (len(expected), None)
        wanted = len(expected) if num_kept is None else min(num_kept, len(expected))
        assert found.ids[:wanted].tolist() == expected[:wanted]
        stops = [0, *np.maximum.accumulate([stop for _, stop in whole.encodings[0].offsets])]
        for stop in {1, wanted // 2, wanted}:
            is_end = stop == len(expected) and found.num_tokens is not None
            assert found.text(0, stop) == (text if is_end else text[: stops[stop]])


@pytest.mark.usefixtures("small_windows")
def test_ordinary_text_is_counted(any_tokenizer: Any) -> None:
    generator = random.Random(8)
    for _ in range(20):
        words = ["the", "a", "heron", "canal", "saw", "12", "walked,", "stopped.", "again"]
        text = " ".join(generator.choices(words, k=600))
        found = tokenize_long(text, any_tokenizer, num_kept=16)
        assert found.num_tokens == len(any_tokenizer(text, verbose=False)["input_ids"])
        assert len(found.ids) < (found.num_tokens or 0)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("long_documents", ["truncate", "window"])
@pytest.mark.parametrize("append_eos", [False, True])
def test_examples_are_those_of_whole_documents(
    any_tokenizer: Any, monkeypatch: pytest.MonkeyPatch, long_documents: Any, append_eos: bool
) -> None:
    if any_tokenizer.eos_token_id is None:
        any_tokenizer.eos_token = "<|endoftext|>"
    documents = [Document(str(i), text) for i, text in enumerate([*texts(), "short", ""])]
    settings = CorpusSettings(source="", long_documents=long_documents, append_eos=append_eos)
    in_windows = make_examples(documents, any_tokenizer, settings=settings, max_length=50).table
    monkeypatch.setattr(tokenization, "WINDOW", 1 << 18)
    whole = make_examples(documents, any_tokenizer, settings=settings, max_length=50).table
    lost = "num_truncated_tokens"
    assert in_windows.drop_columns([lost]).equals(whole.drop_columns([lost]))
    for mine, right in zip(in_windows[lost].to_pylist(), whole[lost].to_pylist(), strict=True):
        assert mine in (right, None)
    if long_documents == "window":
        assert None not in in_windows[lost].to_pylist()
