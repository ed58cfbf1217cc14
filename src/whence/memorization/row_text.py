"""What a row of a memory map holds: its tokens, its documents, and a sequence that it should hold.

The preshuffled data of Pythia packs documents one behind the other, so that a row begins and ends
in the middle of one; its neighbors in the file are unrelated to it. An end-of-text token (id 0)
stands between documents in the standard data. In that of the deduplicated Pile it is absent, so
that no document's bounds are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whence.corpus import mmap
from whence.corpus.paths import find_place, shown
from whence.errors import CorpusError
from whence.remote import is_repository_id
from whence.settings import CorpusSettings

END_OF_TEXT = 0


@dataclass(frozen=True)
class Piece:
    """What a row holds of one document: tokens `start` to `end` (exclusive) of the row.

    Attributes:
        start: Its first token; the end-of-text token before it is not part of it.
        end: One past its last.
        is_cut_before: Whether the document may begin in another row, as the row's first one does.
        is_cut_after: Whether it may end in another row.
        holds_sequence: Whether some of the sequence's tokens lie in it.
    """

    start: int
    end: int
    is_cut_before: bool
    is_cut_after: bool
    holds_sequence: bool


@dataclass(frozen=True)
class RowText:
    """A row that was read.

    Attributes:
        where: The map.
        num_rows: Its rows, or those of the shards that are there.
        tokens: The row's.
        offset: Where the sequence stands in it; None where it was not found, or none was given.
        pieces: Of the documents, in order.
        has_ends: Whether an end-of-text token stands in the row; without one its piece may be of
            several documents.
    """

    where: str
    num_rows: int
    tokens: tuple[int, ...]
    offset: int | None
    pieces: tuple[Piece, ...]
    has_ends: bool


def open_rows(source: str, *, revision: str | None = None) -> mmap.MemoryMap:
    """Opens a memory map here or on the Hub, of which only the rows that are read are fetched.

    Args:
        source: A `.bin` file, a folder of shards, or a Hub dataset such as
            `EleutherAI/pile-standard-pythia-preshuffled`.
        revision: Of a Hub dataset.

    Raises:
        CorpusError: There is no such map, or it is not whole.
    """
    settings = CorpusSettings(source=source, format="mmap", revision=revision)
    path = Path(source).expanduser()
    if find_place(path) is not None:
        parts, index = mmap.local_parts(path), mmap.index_file(path)
        return mmap.open_map(parts, settings, where=shown(path.name), index=index)
    if is_repository_id(source) and not source.endswith(".bin"):
        return mmap.open_map(mmap.hub_parts(source, revision=revision), settings, where=source)
    raise CorpusError(
        f"There is no file or folder {shown(source)!r}.",
        "Check the path; Pythia's data is `EleutherAI/pile-standard-pythia-preshuffled`.",
    )


def read_row(
    rows: mmap.MemoryMap,
    row: int,
    *,
    sequence: Sequence[int] | None = None,
    end_of_text: int = END_OF_TEXT,
) -> RowText:
    """Reads a row, and looks for a sequence in it.

    Args:
        rows: The map.
        row: Which row, counted from 0.
        sequence: What should stand in it: the published sequences are its first 64 tokens.
        end_of_text: Stands between documents.

    Raises:
        CorpusError: The map, or its part that is here, has no such row, or cannot be read.
    """
    if not 0 <= row < rows.num_rows:
        part = "map" if rows.is_whole else "part of the map that is here"
        raise CorpusError(
            f"Row {row:,} is not in {rows.where}: the {part} has {rows.num_rows:,} rows.",
            "Name the map that the index counts the rows of, with all of its shards.",
        )
    (found,) = mmap.read_map(rows, rows=range(row, row + 1))
    tokens = np.asarray(found["text"]).astype(np.int64)
    offset = None if sequence is None else _find(np.asarray(sequence), tokens)
    span = None if offset is None else (offset, offset + len(sequence or ()))
    ends = np.flatnonzero(tokens == end_of_text).tolist()
    return RowText(
        where=rows.where,
        num_rows=rows.num_rows,
        tokens=tuple(tokens.tolist()),
        offset=offset,
        pieces=_pieces(len(tokens), ends, span),
        has_ends=bool(ends),
    )


def _find(sequence: np.ndarray, tokens: np.ndarray) -> int | None:
    """The first place of a sequence."""
    if not len(sequence) or len(sequence) > len(tokens):
        return None
    windows = np.lib.stride_tricks.sliding_window_view(tokens, len(sequence))
    places = np.flatnonzero((windows == sequence).all(axis=1))
    return int(places[0]) if len(places) else None


def _pieces(length: int, ends: Sequence[int], span: tuple[int, int] | None) -> tuple[Piece, ...]:
    starts = [0, *(end + 1 for end in ends)]
    stops = [*ends, length]
    first, last = span or (0, 0)
    return tuple(
        Piece(
            start,
            stop,
            is_cut_before=start == 0,
            is_cut_after=stop == length,
            holds_sequence=start < last and first < stop,
        )
        for start, stop in zip(starts, stops, strict=True)
        if start < stop
    )
