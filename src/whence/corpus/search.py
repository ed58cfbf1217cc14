"""Where token sequences occur in a corpus: how often, in which documents, subsets and steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from whence.corpus.duplicates.suffix_array import Match, Places
from whence.errors import SettingsError
from whence.records import Corpus
from whence.settings import MOST

if TYPE_CHECKING:
    import pyarrow as pa


class TokenSearch(Protocol):
    """What finds token sequences in a corpus: a suffix array in memory, or an index on disk."""

    def count(self, tokens: Sequence[int]) -> int:
        """Counts the occurrences of a sequence."""
        ...

    def places(self, tokens: Sequence[int]) -> Places:
        """Finds all occurrences of a sequence, sorted by row, then offset."""
        ...

    def longest_match(self, tokens: Sequence[int]) -> list[Match]:
        """Finds, from each position of a query, the longest run that occurs in the corpus."""
        ...


class Pattern(NamedTuple):
    """A sequence of tokens to search, and which form of the text it is, such as `as given`."""

    form: str
    tokens: tuple[int, ...]


class Counts(NamedTuple):
    """Occurrences, and the documents that hold them."""

    num_occurrences: int
    num_documents: int


class Place(NamedTuple):
    """One occurrence: its document, and the offset and number of its tokens there."""

    id: str
    row: int
    offset: int
    num_tokens: int
    subset: str | None
    position: int | None
    step: int | None


class LongestRun(NamedTuple):
    """The longest part of a pattern that occurs, where the whole pattern does not."""

    tokens: tuple[int, ...]
    counts: Counts


@dataclass(frozen=True)
class Finding:
    """What a search found.

    Attributes:
        forms: Each pattern with its counts. An occurrence that two forms share counts in both.
        counts: The occurrences of any form, each once.
        subsets: Counts by subset, the most frequent first; the subset None is that of documents
            without one.
        first_step: The first step of training on a document that holds an occurrence; None where
            no such document has a step.
        last_step: The last one.
        num_without_step: Documents that hold an occurrence and have no step.
        before: The occurrences in documents of earlier steps than `before_step`; None without one.
        before_step: The step that was given.
        places: The first occurrences, by row.
        longest: The longest part that occurs, where nothing was found; None where no token occurs.
        num_documents: Documents that were searched.
        num_tokens: Tokens that were searched.
    """

    forms: tuple[tuple[Pattern, Counts], ...]
    counts: Counts
    subsets: tuple[tuple[str | None, Counts], ...]
    first_step: int | None
    last_step: int | None
    num_without_step: int
    before: Counts | None
    before_step: int | None
    places: tuple[Place, ...]
    longest: LongestRun | None
    num_documents: int
    num_tokens: int


def check_numbers(limit: int, before_step: int | None) -> None:
    """Refuses numbers that no search can use.

    Raises:
        SettingsError: One is below 0, or larger than any setting.
    """
    if not 0 <= limit <= MOST:
        raise SettingsError(f"{limit} is no number of occurrences.", "Give at least 0.")
    if before_step is not None and not 0 <= before_step <= MOST:
        raise SettingsError(f"{before_step} is no step of a training.", "Give at least 0.")


def search_corpus(
    corpus: Corpus,
    search: TokenSearch,
    patterns: Sequence[Pattern],
    *,
    limit: int = 10,
    before_step: int | None = None,
) -> Finding:
    """Finds where any of some token sequences occurs in a corpus.

    Args:
        corpus: The corpus.
        search: Searches its tokens.
        patterns: Forms of one text, at least one. Forms that end at the same token are the same
            occurrence.
        limit: List so many occurrences at most.
        before_step: Count occurrences in documents of earlier steps apart.

    Raises:
        SettingsError: `limit` or `before_step` is below 0 or too large, or a pattern is empty.

    Cost:
        Some 0.1 ms, and 1 µs for each document found.
    """
    check_numbers(limit, before_step)
    found = [search.places(pattern.tokens) for pattern in patterns]
    forms = tuple(
        (pattern, _counts(places.rows)) for pattern, places in zip(patterns, found, strict=True)
    )
    rows, offsets, sizes = _distinct(found, [len(pattern.tokens) for pattern in patterns])
    firsts = np.flatnonzero(np.diff(rows, prepend=-1))
    held, num_each = rows[firsts], np.diff(firsts, append=len(rows))
    table = corpus.table.select(["id", "subset", "position", "step"])
    steps, has_step = _steps(table.column("step").take(held))
    known, is_before = steps[has_step], has_step & (steps < (before_step or 0))
    listed = table.take(rows[:limit]).to_pylist()
    first = zip(
        rows[:limit].tolist(), offsets[:limit].tolist(), sizes[:limit].tolist(), strict=True
    )
    return Finding(
        forms=forms,
        counts=Counts(len(rows), len(held)),
        subsets=_by_subset(table.column("subset").take(held), num_each),
        first_step=int(known.min()) if len(known) else None,
        last_step=int(known.max()) if len(known) else None,
        num_without_step=len(steps) - len(known),
        before=None
        if before_step is None
        else Counts(int(num_each[is_before].sum()), int(is_before.sum())),
        before_step=before_step,
        places=tuple(
            Place(row=row, offset=offset, num_tokens=size, **record)
            for (row, offset, size), record in zip(first, listed, strict=True)
        ),
        longest=None if len(rows) else _longest_run(search, patterns),
        num_documents=len(corpus),
        num_tokens=int(corpus.lengths.sum()),
    )


def _counts(rows: NDArray[np.int64]) -> Counts:
    """Counts sorted rows, and different ones among them."""
    return Counts(len(rows), int(np.count_nonzero(np.diff(rows, prepend=-1))))


def _distinct(
    found: Sequence[Places], sizes: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, offset and length of each occurrence; of those with one end, the longest."""
    forms = sorted(zip(sizes, found, strict=True), key=lambda form: -form[0])
    rows = np.concatenate([places.rows for _, places in forms])
    offsets = np.concatenate([places.offsets for _, places in forms])
    lengths = np.repeat([size for size, _ in forms], [len(places.rows) for _, places in forms])
    keys = rows << 32 | offsets + lengths
    # Longer forms stand first and each is sorted, so that a stable sort merges them.
    order = np.argsort(keys, kind="stable")
    order = order[np.diff(keys[order], prepend=-1) != 0]
    return rows[order], offsets[order], lengths[order]


def _steps(column: "pa.ChunkedArray") -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Steps of some documents, and whether each has one."""
    return column.fill_null(0).to_numpy(), column.is_valid().to_numpy()


def _by_subset(
    column: "pa.ChunkedArray", num_each: NDArray[np.int64]
) -> tuple[tuple[str | None, Counts], ...]:
    """Counts by subset, of documents with so many occurrences each; the most frequent first."""
    encoded = column.combine_chunks().dictionary_encode()
    numbers = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()
    names = [*encoded.dictionary.to_pylist(), None]
    documents = np.bincount(numbers, minlength=len(names)).tolist()
    occurrences = np.bincount(numbers, weights=num_each, minlength=len(names)).tolist()
    counts = [
        (name, Counts(int(some), of))
        for name, some, of in zip(names, occurrences, documents, strict=True)
        if of
    ]
    return tuple(sorted(counts, key=lambda item: (-item[1].num_occurrences, str(item[0]))))


def _longest_run(search: TokenSearch, patterns: Sequence[Pattern]) -> LongestRun | None:
    """The longest run of any form; of equally long ones the most frequent."""
    runs = [
        (match, pattern.tokens[start : start + match.length])
        for pattern in patterns
        for start, match in enumerate(search.longest_match(pattern.tokens))
    ]
    match, run = max(runs, key=lambda item: item[0])
    return LongestRun(run, _counts(search.places(run).rows)) if match.length else None
