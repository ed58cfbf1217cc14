"""Training examples from documents: tokens, truncation or windows, hashes, counts.

The one place where documents are tokenized, cut or windowed, hashed and counted. `text` is always
what the tokens say: of a document that was cut, the part that was kept, so that every method and
every page sees what is attributed and nothing else.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from whence.corpus import tokenization
from whence.corpus.documents import Document
from whence.corpus.tokenization import Tokenized, decoded, tokenize_long, tokenize_texts
from whence.errors import CorpusError
from whence.progress import SILENT, Progress
from whence.settings import CorpusSettings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Int
    from transformers import PreTrainedTokenizerBase

_BATCH_DOCUMENTS = 512
_BATCH_CHARACTERS = 1 << 18
_TABLE_ROWS, _TABLE_TOKENS = 4096, 1 << 21


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


class _Example(NamedTuple):
    id: str
    text: str
    input_ids: "Int[np.ndarray, ' tokens']"
    num_truncated_tokens: int | None


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
        progress: Reports progress.

    Returns:
        One row per example. `hash` is the SHA-256 of its text. An example's
        `num_truncated_tokens` are the tokens of its document that no example holds; null where
        they cannot be counted in bounded memory.

    Raises:
        CorpusError: Two examples have the same id, a token is not in the vocabulary, or there is
            no end-of-text token to append.

    Cost:
        About four seconds per million tokens on one CPU core, nearly all of it the tokenizer;
        memory for the table, one document, and the tokens of a quarter of a million characters.
    """
    if settings.append_eos and tokenizer.eos_token_id is None:
        raise CorpusError(
            "`append_eos` is set, but the tokenizer has no end-of-text token.",
            "Leave it out, or use a tokenizer with an `eos_token`.",
        )
    made = _Tables()
    claim = _Ids(settings)
    num_documents = num_empty = num_tokens = 0
    is_complete = True
    with progress.task("Reading the corpus", total=total, unit="documents") as task:
        for batch in _batches(documents, limit=settings.max_documents):
            cut = _cut(batch, tokenizer, settings=settings, max_length=max_length)
            for document, examples in zip(batch, cut, strict=True):
                num_tokens += sum(len(example.input_ids) for example in examples)
                if settings.max_tokens is not None and num_tokens > settings.max_tokens:
                    is_complete = False
                    break
                made.add(document, claim(examples, row=num_documents))
                num_documents += 1
                num_empty += sum(len(example.input_ids) < 2 for example in examples)
                task.advance()
            if not is_complete:
                break
    is_complete = is_complete and num_documents != settings.max_documents
    return Examples(made.table(), num_documents, num_empty, is_complete)


def _batches(documents: Iterable[Document], *, limit: int | None) -> Iterator[list[Document]]:
    # The cap is on what is read: what stands behind it may be broken, or cost a download.
    batch: list[Document] = []
    size = 0
    for document in islice(documents, limit):
        batch.append(document)
        size += _size(document)
        if len(batch) == _BATCH_DOCUMENTS or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _size(document: Document) -> int:
    return len(document.text or "") if document.tokens is None else len(document.tokens)


def _cut(
    documents: list[Document],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    settings: CorpusSettings,
    max_length: int,
) -> Iterator[list[_Example]]:
    end: list[int] = [tokenizer.eos_token_id] if settings.append_eos else []  # pyright: ignore
    window = settings.long_documents == "window"
    num_kept = None if window else max_length
    for document, tokenized in zip(
        documents, _tokenize(documents, tokenizer, num_kept=num_kept), strict=True
    ):
        ids = _ended(tokenized.ids, end) if window else tokenized.ids
        room = max_length if window else max_length - len(end)
        starts = range(0, max(len(ids), 1), room) if window else range(1)
        if len(starts) > 1 and len(ids) - starts[-1] < 2:
            starts = starts[:-1]
        pieces = [ids[start : start + room] for start in starts]
        whole = len(ids) if window else tokenized.num_tokens
        lost = None if whole is None else whole - sum(map(len, pieces))
        yield [
            _Example(
                id=document.id if len(pieces) == 1 else f"{document.id}#w{number}",
                text=tokenized.text(start, start + len(piece)),
                input_ids=piece if window else _ended(piece, end),
                num_truncated_tokens=lost if number == len(pieces) - 1 else 0,
            )
            for number, (start, piece) in enumerate(zip(starts, pieces, strict=True))
        ]


def _ended(ids: "np.ndarray", end: list[int]) -> "np.ndarray":
    import numpy as np

    return np.append(ids, end).astype(ids.dtype) if end else ids


def _tokenize(
    documents: list[Document], tokenizer: "PreTrainedTokenizerBase", *, num_kept: int | None
) -> Iterator[Tokenized]:
    texts = [document.text and _encodable(document.text) for document in documents]
    is_short = [text is not None and len(text) <= tokenization.WINDOW for text in texts]
    short = [text for text, fits in zip(texts, is_short, strict=True) if fits and text is not None]
    at_once = iter(list(tokenize_texts(short, tokenizer)))
    num_ids = 0
    for document, text, fits in zip(documents, texts, is_short, strict=True):
        if document.tokens is not None:
            num_ids = num_ids or max(tokenizer.get_vocab().values()) + 1
            yield decoded(_known(document, num_ids=num_ids), tokenizer)
        elif fits:
            yield next(at_once)
        else:
            yield tokenize_long(text or "", tokenizer, num_kept=num_kept)


def _known(document: Document, *, num_ids: int) -> "np.ndarray":
    import numpy as np

    tokens = document.tokens if document.tokens is not None else ()
    try:
        ids = np.asarray(tokens, dtype=np.int64)
        odd = ids[(ids < 0) | (ids >= num_ids)]
    except OverflowError:
        odd = [token for token in tokens if not 0 <= token < num_ids]
        ids = np.zeros(0)
    if len(odd):
        raise CorpusError(
            f"The document {document.id!r} of {document.source} holds the token id {odd[0]}, but "
            f"the tokenizer has ids 0 to {num_ids - 1}.",
            "Use the tokenizer that the tokens were made with.",
        )
    return ids.astype(np.int32)


def _encodable(text: str) -> str:
    # JSON can spell half a surrogate pair, which is no character and has no UTF-8.
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


class _Ids:
    """The ids in use; the settings decide whether one that occurs again is an error."""

    def __init__(self, settings: CorpusSettings) -> None:
        self._numbers = settings.duplicate_ids == "number"
        self._rows: dict[str, int] = {}
        self._copies: dict[str, int] = {}

    def __call__(self, examples: list[_Example], *, row: int) -> list[_Example]:
        """Takes the ids of a document's examples.

        Raises:
            CorpusError: One is in use, and may not be numbered.
        """
        suffix = ""
        while self._numbers and any(example.id + suffix in self._rows for example in examples):
            first = examples[0].id
            self._copies[first] = self._copies.get(first, 1) + 1
            suffix = f"#{self._copies[first]}"
        named = [example._replace(id=example.id + suffix) for example in examples]
        for example in named:
            if example.id in self._rows:
                raise CorpusError(
                    f"The id {example.id!r} occurs twice: in document {self._rows[example.id]} and "
                    f"in document {row}, counted from 0.",
                    'Make the ids unique, choose another `id_column`, set `id_column = ""` to '
                    'number the rows, or `duplicate_ids = "number"` to number the copies.',
                )
            self._rows[example.id] = row
        return named


class _Tables:
    """The rows of the table so far, in pieces of moderate size."""

    def __init__(self) -> None:
        self._tables: list[pa.Table] = []
        self._kept: list[tuple[Document, _Example]] = []
        self._num_tokens = 0

    def add(self, document: Document, examples: list[_Example]) -> None:
        """Adds a document's examples."""
        # Texts of whole documents are not held until the table is made.
        light = replace(document, text=None, tokens=None)
        for example in examples:
            self._kept.append((light, example))
            self._num_tokens += len(example.input_ids)
        if len(self._kept) >= _TABLE_ROWS or self._num_tokens >= _TABLE_TOKENS:
            self._flush()

    def table(self) -> "pa.Table":
        """The whole table."""
        import pyarrow as pa

        self._flush()
        if not self._tables:
            return schema().empty_table()
        return pa.concat_tables(self._tables)

    def _flush(self) -> None:
        if self._kept:
            self._tables.append(_table(self._kept))
        self._kept, self._num_tokens = [], 0


def _table(rows: list[tuple[Document, _Example]]) -> "pa.Table":
    import pyarrow as pa

    texts = [_encodable(example.text) for _, example in rows]
    columns = {
        "id": [example.id for _, example in rows],
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
