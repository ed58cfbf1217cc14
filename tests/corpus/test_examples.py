"""Every token of a document is in exactly one example or is counted as truncated."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whence.corpus import Document, examples, make_examples
from whence.errors import CorpusError
from whence.records import Corpus
from whence.settings import CorpusSettings

Load = Callable[..., Corpus]
Write = Callable[..., Path]
TEXTS = ["", "a", "short", "x" * 16, "y" * 17, "z" * 33, "Zoë naïve ☃☃☃☃☃ 🙂🙂🙂🙂🙂 end", " \n "]
ROWS = [{"id": f"d{i}", "text": text} for i, text in enumerate(TEXTS)]


def test_truncation_keeps_the_first_tokens(write: Write, load: Load) -> None:
    corpus = load(write(ROWS))
    for row, text in enumerate(TEXTS):
        tokens = list(text.encode())
        assert corpus.input_ids(row) == tokens[:16]
        assert corpus.table["num_truncated_tokens"][row].as_py() == max(0, len(tokens) - 16)
    assert corpus.num_truncated_tokens == sum(max(0, len(t.encode()) - 16) for t in TEXTS)
    assert corpus.num_empty == 2


def test_text_is_what_the_tokens_say(write: Write, load: Load) -> None:
    corpus = load(write(ROWS))
    for row, text in enumerate(corpus.texts()):
        assert TEXTS[row].startswith(text)
        # A character of which only some bytes were kept is shown whole.
        assert 0 <= len(text.encode()) - len(corpus.input_ids(row)) < 4
        assert corpus.table["hash"][row].as_py() == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("max_length", [2, 3, 5, 16, 100])
@pytest.mark.parametrize("append_eos", [False, True])
def test_windows_partition_tokens_and_text(
    write: Write, load: Load, max_length: int, append_eos: bool
) -> None:
    corpus = load(
        write(ROWS),
        context_length=100,
        long_documents="window",
        max_length=max_length,
        append_eos=append_eos,
        position_column="",
    )
    rows = corpus.table.to_pylist()
    for position, text in enumerate(TEXTS):
        mine = [row for row in rows if row["position"] == position]
        tokens = list(text.encode()) + [256] * append_eos
        joined = [token for row in mine for token in row["input_ids"]]
        lost = sum(row["num_truncated_tokens"] for row in mine)
        assert joined == tokens[: len(tokens) - lost]
        assert lost == (1 if len(tokens) > max_length and len(tokens) % max_length == 1 else 0)
        expected_text = text[:-1] if lost and not append_eos else text
        assert "".join(row["text"] for row in mine) == expected_text
        numbered = [f"d{position}#w{i}" for i in range(len(mine))]
        assert [row["id"] for row in mine] == (numbered if len(mine) > 1 else [f"d{position}"])
        assert all(2 <= len(row["input_ids"]) <= max_length for row in mine) or len(tokens) < 2


def test_windows_keep_position_step_subset_and_labels(write: Write, load: Load) -> None:
    row = {"id": 7, "text": "q" * 40, "subset": "s", "step": 3, "position": 9, "labels": ["gold"]}
    corpus = load(write([row]), long_documents="window")
    assert [record["id"] for record in corpus.records(range(3))] == ["7#w0", "7#w1", "7#w2"]
    for record in corpus.records(range(3)):
        assert (record["subset"], record["step"], record["position"]) == ("s", 3, 9)
        assert record["labels"] == ["gold"]


def test_every_document_ends_with_eos_cut_or_not(write: Write, load: Load) -> None:
    corpus = load(write(ROWS), append_eos=True)
    for row, text in enumerate(TEXTS):
        assert corpus.input_ids(row) == [*text.encode()[:15], 256]
    assert max(corpus.lengths) == 16
    assert corpus.num_empty == 1  # the empty text; "a" now has a target


def test_append_eos_needs_an_end_of_text_token(
    write: Write, tokenizer: Any, tmp_path: Path
) -> None:
    from transformers import PreTrainedTokenizerFast

    from whence.corpus import load_corpus

    without = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    settings = CorpusSettings(source=str(write(ROWS)), append_eos=True)
    with pytest.raises(CorpusError, match="no end-of-text token"):
        load_corpus(settings, without, context_length=16)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("settings", [{}, {"max_tokens": 40}, {"max_documents": 5}])
def test_batches_do_not_show(
    write: Write, load: Load, monkeypatch: pytest.MonkeyPatch, size: int, settings: dict[str, int]
) -> None:
    expected = load(write(ROWS), long_documents="window", **settings)
    monkeypatch.setattr(examples, "_BATCH_DOCUMENTS", size)
    batched = load(write(ROWS), long_documents="window", **settings)
    assert batched.table.equals(expected.table)
    assert batched.fingerprint == expected.fingerprint
    assert (batched.num_empty, batched.description) == (expected.num_empty, expected.description)


def test_max_documents_reads_no_further(write: Write, load: Load) -> None:
    path = write(ROWS)
    path.write_text(path.read_text() + "this line is broken\n")
    corpus = load(path, max_documents=len(ROWS))
    assert len(corpus) == len(ROWS)
    assert corpus.description.startswith(f"the first {len(ROWS)} documents of corpus.jsonl")
    with pytest.raises(CorpusError, match=f"Line {len(ROWS) + 1}"):
        load(path)


@pytest.mark.parametrize("cap", [6, 21, 22, 23, 38, 10_000])
def test_max_tokens_keeps_the_longest_beginning_that_fits(
    write: Write, load: Load, cap: int
) -> None:
    lengths = [min(16, len(text.encode())) for text in TEXTS]
    fit = max(n for n in range(len(TEXTS) + 1) if sum(lengths[:n]) <= cap)
    corpus = load(write(ROWS), max_tokens=cap)
    assert corpus.ids == tuple(f"d{i}" for i in range(fit))
    assert corpus.description.startswith("all") == (fit == len(TEXTS))


def test_max_length_beyond_the_context(write: Write, load: Load) -> None:
    with pytest.raises(CorpusError, match="`max_length` is 17, but the model reads 16 tokens"):
        load(write(ROWS), max_length=17)


def test_max_tokens_below_the_first_document(write: Write, load: Load) -> None:
    with pytest.raises(CorpusError, match="more than the 3 tokens"):
        load(write([{"text": "long enough"}]), max_tokens=3)


def test_over_long_documents_are_cut_and_counted(write: Write, load: Load) -> None:
    corpus = load(write([{"text": "w" * 200_000}]))
    assert len(corpus.input_ids(0)) == 16
    assert corpus.num_truncated_tokens == 200_000 - 16


def test_refuses_duplicate_ids(write: Write, load: Load) -> None:
    with pytest.raises(CorpusError, match="'a' occurs twice: in document 0 and in document 2"):
        load(write([{"id": i, "text": "text"} for i in "aba"]))


def test_a_windows_id_may_not_collide_either(write: Write, load: Load) -> None:
    rows = [{"id": "a", "text": "q" * 20}, {"id": "a#w1", "text": "text"}]
    assert len(load(write(rows))) == 2
    with pytest.raises(CorpusError, match="'a#w1' occurs twice"):
        load(write(rows), long_documents="window")


@pytest.mark.parametrize("rows", [[], [{"text": ""}, {"text": "a"}, {"text": None}]])
def test_refuses_a_corpus_without_anything_to_learn(
    write: Write, load: Load, rows: list[dict[str, Any]]
) -> None:
    message = "None of the 3 documents" if rows else "holds no documents"
    with pytest.raises(CorpusError, match=message):
        load(write(rows))


def test_half_a_surrogate_pair_is_no_obstacle(tmp_path: Path, load: Load) -> None:
    (tmp_path / "odd.jsonl").write_text(json.dumps({"text": "a\ud800b"}) + "\n")
    assert load(tmp_path / "odd.jsonl").texts() == ["a?b"]


def test_token_lists_are_taken_as_they_are(write: Write, load: Load) -> None:
    corpus = load(write([{"tokens": [104, 105, 256, 33]}]), text_column="tokens")
    assert corpus.input_ids(0) == [104, 105, 256, 33]
    assert corpus.texts() == ["hi<end>!"]
    with pytest.raises(CorpusError, match=r"token id 257, but the tokenizer has ids 0 to 256"):
        load(write([{"tokens": [1, 257]}]), text_column="tokens")


def test_a_tokenizer_without_offsets_decodes(tokenizer: Any) -> None:
    class Slow:
        eos_token_id = 256

        def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
            return {"input_ids": [list(text.encode()) for text in texts]}

        def __len__(self) -> int:
            return 257

        def decode(self, ids: list[int]) -> str:
            return bytes(ids).decode(errors="replace")

    documents = [Document("a", "abcdef"), Document("b", "xy")]
    settings = CorpusSettings(source="", long_documents="window")
    slow = make_examples(documents, Slow(), settings=settings, max_length=4)  # pyright: ignore
    fast = make_examples(documents, tokenizer, settings=settings, max_length=4)
    assert slow.table.equals(fast.table)


def test_progress_is_told_of_every_document(write: Write, tokenizer: Any) -> None:
    from contextlib import contextmanager

    from whence.corpus import load_corpus

    told: list[Any] = []

    class Listener:
        @contextmanager
        def task(self, name: str, *, total: float | None, unit: str) -> Any:
            told.append((total, unit))
            yield self

        def advance(self, amount: float = 1.0) -> None:
            told.append(amount)

        def note(self, message: str) -> None: ...

    settings = CorpusSettings(source=str(write(ROWS)), max_documents=4)
    load_corpus(settings, tokenizer, context_length=16, progress=Listener())  # pyright: ignore
    assert told[0] == (4, "documents")
    assert sum(told[1:]) == 4
