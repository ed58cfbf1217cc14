"""What does the model read of each document?

The one place where documents are tokenized, cut or windowed, hashed and counted. `text` is always
what the tokens say: of a document that was cut, the part that was kept, so that every method and
every page sees what is attributed and nothing else.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import accumulate, islice
from typing import TYPE_CHECKING, NamedTuple

from whence.corpus.documents import Document
from whence.errors import CorpusError
from whence.progress import SILENT, Progress
from whence.settings import CorpusSettings

if TYPE_CHECKING:
    import pyarrow as pa
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

_BATCH_DOCUMENTS = 512


class Examples(NamedTuple):
    """A corpus's table and what was counted while it was made.

    `num_empty` counts examples of fewer than two tokens, which have no loss and no gradient; they
    keep their row, so that rows stay aligned. `is_complete` is False where a cap stopped reading,
    even if nothing would have followed.
    """

    table: "pa.Table"
    num_documents: int
    num_empty: int
    is_complete: bool


class _Tokenized(NamedTuple):
    """A document's tokens, and the part of its text that tokens `start` to `stop` stand for."""

    ids: list[int]
    text: Callable[[int, int], str]


class _Example(NamedTuple):
    id: str
    text: str
    input_ids: list[int]
    num_truncated_tokens: int


def schema() -> "pa.Schema":
    """Returns the columns of `Corpus.table`."""
    import pyarrow as pa

    return pa.schema(
        [
            ("id", pa.string()),
            ("text", pa.string()),
            ("hash", pa.string()),
            ("subset", pa.string()),
            ("source", pa.string()),
            ("position", pa.int64()),
            ("step", pa.int64()),
            ("input_ids", pa.list_(pa.int32())),
            ("num_truncated_tokens", pa.int32()),
            ("labels", pa.list_(pa.string())),
        ]
    )


def make_examples(
    documents: Iterable[Document],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    settings: CorpusSettings,
    max_length: int,
    total: int | None = None,
    progress: Progress = SILENT,
) -> Examples:
    """Tokenizes documents and cuts them to what the model reads.

    Special tokens are added as the tokenizer does by itself (Llama's begins with one, Pythia's
    adds none). With `append_eos` every document, cut or not, ends with the end-of-text token. With
    windows, a document longer than `max_length` becomes the examples `id#w0`, `id#w1` …, which do
    not overlap; a last window of one token has no loss, is left out, and is counted as truncated.

    Args:
        documents: In training order where one is known.
        tokenizer: The model's.
        settings: `long_documents`, `append_eos`, `max_documents` and `max_tokens` are used. A
            document that would exceed `max_tokens` is the first one left out.
        max_length: Tokens of the longest example, the end-of-text token included.
        total: Documents expected, for the progress shown; None if unknown.
        progress: Told about every document.

    Returns:
        One row per example. `hash` is the SHA-256 of its text. An example's
        `num_truncated_tokens` are the tokens of its document that no example holds.

    Raises:
        CorpusError: Two examples have the same id, a token is not in the vocabulary, or there is
            no end-of-text token to append.

    Cost:
        About four seconds per million tokens on one CPU core, nearly all of it the tokenizer;
        memory for the table and one batch of 512 documents.
    """
    import pyarrow as pa

    if settings.append_eos and tokenizer.eos_token_id is None:
        raise CorpusError(
            "`append_eos` is set, but the tokenizer has no end-of-text token.",
            "Leave it out, or use a tokenizer with an `eos_token`.",
        )
    tables, rows_by_id, num_documents, num_empty = [], {}, 0, 0
    num_tokens = 0
    is_complete = True
    with progress.task("Reading the corpus", total=total, unit="documents") as task:
        for batch in _batches(documents, limit=settings.max_documents):
            kept: list[tuple[Document, list[_Example]]] = []
            for document, examples in zip(
                batch,
                _cut(batch, tokenizer, settings=settings, max_length=max_length),
                strict=True,
            ):
                num_tokens += sum(len(example.input_ids) for example in examples)
                if settings.max_tokens is not None and num_tokens > settings.max_tokens:
                    is_complete = False
                    break
                _claim_ids(rows_by_id, examples, row=num_documents)
                kept.append((document, examples))
                num_documents += 1
                num_empty += sum(len(example.input_ids) < 2 for example in examples)
                task.advance()
            tables.append(_table(kept))
            if not is_complete:
                break
    is_complete = is_complete and num_documents != settings.max_documents
    table = pa.concat_tables(tables) if tables else schema().empty_table()
    return Examples(table, num_documents, num_empty, is_complete)


def _batches(documents: Iterable[Document], *, limit: int | None) -> Iterator[list[Document]]:
    # The cap is on what is read: what stands behind it may be broken, or cost a download.
    iterator = islice(documents, limit)
    while batch := list(islice(iterator, _BATCH_DOCUMENTS)):
        yield batch


def _cut(
    documents: list[Document],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    settings: CorpusSettings,
    max_length: int,
) -> Iterator[list[_Example]]:
    end: list[int] = [tokenizer.eos_token_id] if settings.append_eos else []  # pyright: ignore
    window = settings.long_documents == "window"
    for document, tokenized in zip(documents, _tokenize(documents, tokenizer), strict=True):
        ids = tokenized.ids + end if window else tokenized.ids
        room = max_length if window else max_length - len(end)
        starts = range(0, max(len(ids), 1), room) if window else range(1)
        if len(starts) > 1 and len(ids) - starts[-1] < 2:
            starts = starts[:-1]
        pieces = [ids[start : start + room] for start in starts]
        lost = len(ids) - sum(map(len, pieces))
        yield [
            _Example(
                id=document.id if len(pieces) == 1 else f"{document.id}#w{number}",
                text=tokenized.text(start, start + len(piece)),
                input_ids=piece if window else piece + end,
                num_truncated_tokens=lost if number == len(pieces) - 1 else 0,
            )
            for number, (start, piece) in enumerate(zip(starts, pieces, strict=True))
        ]


def _tokenize(
    documents: list[Document], tokenizer: "PreTrainedTokenizerBase"
) -> Iterator[_Tokenized]:
    texts = [_encodable(document.text) for document in documents if document.text is not None]
    encoded = tokenizer(texts, return_attention_mask=False, verbose=False) if texts else {}
    every_ids = iter(encoded["input_ids"] if texts else [])
    encodings = iter(getattr(encoded, "encodings", None) or [None] * len(texts))
    clean, num_ids = iter(texts), 0
    for document in documents:
        if document.tokens is not None:
            num_ids = num_ids or max(tokenizer.get_vocab().values()) + 1
            ids = _known(document, num_ids=num_ids)
            yield _Tokenized(ids, _decoder(ids, tokenizer))
            continue
        ids, encoding, text = next(every_ids), next(encodings), next(clean)
        if encoding is None:
            yield _Tokenized(ids, _decoder(ids, tokenizer, whole=text))
        else:
            yield _Tokenized(ids, _slicer(text, encoding))


def _slicer(text: str, encoding: "Encoding") -> Callable[[int, int], str]:
    # Pieces are cut where a token ends, so that the windows of a text join to the text again, even
    # where a character is spread over tokens of two windows. Most texts are never cut, and offsets
    # are costly to convert, so they wait until the first cut.
    @cache
    def ends() -> list[int]:
        return [0, *accumulate((stop for _, stop in encoding.offsets), max)]

    def piece(start: int, stop: int) -> str:
        is_end = stop >= len(encoding)
        return text[ends()[start] if start else 0 : None if is_end else ends()[stop]]

    return piece


def _decoder(
    ids: list[int], tokenizer: "PreTrainedTokenizerBase", *, whole: str | None = None
) -> Callable[[int, int], str]:
    def piece(start: int, stop: int) -> str:
        if whole is not None and start == 0 and stop >= len(ids):
            return whole
        return str(tokenizer.decode(ids[start:stop]))

    return piece


def _known(document: Document, *, num_ids: int) -> list[int]:
    tokens = document.tokens or ()
    odd = next((token for token in tokens if not 0 <= token < num_ids), None)
    if odd is not None:
        raise CorpusError(
            f"The document {document.id!r} of {document.source} holds the token id {odd}, but the "
            f"tokenizer has ids 0 to {num_ids - 1}.",
            "Use the tokenizer that the tokens were made with.",
        )
    return list(tokens)


def _encodable(text: str) -> str:
    # JSON can spell half a surrogate pair, which is no character and has no UTF-8.
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _claim_ids(rows_by_id: dict[str, int], examples: list[_Example], *, row: int) -> None:
    for example in examples:
        if example.id in rows_by_id:
            raise CorpusError(
                f"The id {example.id!r} occurs twice: in document {rows_by_id[example.id]} and "
                f"in document {row}, counted from 0.",
                "Make the ids unique, or choose another id column.",
            )
        rows_by_id[example.id] = row


def _table(kept: list[tuple[Document, list[_Example]]]) -> "pa.Table":
    import pyarrow as pa

    rows = [(document, example) for document, examples in kept for example in examples]
    texts = [_encodable(example.text) for _, example in rows]
    columns = {
        "id": [_encodable(example.id) for _, example in rows],
        "text": texts,
        "hash": [hashlib.sha256(text.encode()).hexdigest() for text in texts],
        "subset": [document.subset for document, _ in rows],
        "source": [document.source for document, _ in rows],
        "position": [document.position for document, _ in rows],
        "step": [document.step for document, _ in rows],
        "input_ids": [example.input_ids for _, example in rows],
        "num_truncated_tokens": [example.num_truncated_tokens for _, example in rows],
        "labels": [document.labels for document, _ in rows],
    }
    return pa.table(columns, schema=schema())
