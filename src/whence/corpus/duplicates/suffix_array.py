"""A suffix array of a corpus's tokens: where, and how often, does any sequence of tokens occur?

All positions of the corpus are sorted by the tokens that follow them, so that the occurrences of a
sequence are neighbors and two binary searches find them. The tokens are stored big-endian, raised
by one: then the order of bytes is the order of tokens, and 0 is free to stand after every document.
No query holds the 0, so that no match joins two documents, whatever tokens the documents end with.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from whence.errors import SettingsError

# The files of `SuffixArray.save`, in the order of its arguments.
FILES = ("text", "order", "common", "starts")


class Occurrence(NamedTuple):
    """A place in the corpus: the row of a document, and the offset of a token in it, from 0."""

    row: int
    offset: int


class Places(NamedTuple):
    """Occurrences as arrays: the row of each one's document, and its offset in it, in tokens."""

    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]


class Match(NamedTuple):
    """The longest run of a query from one position that occurs in the corpus.

    `length` is in tokens, 0 where not even the first token occurs; `num_occurrences`
    counts the run itself.
    """

    length: int
    num_occurrences: int


class Incidence(NamedTuple):
    """Which document holds which n-gram, each pair once; sorted by n-gram, then by row.

    Equal n-grams have equal numbers, from 0 to `num_ngrams` - 1, without collisions.
    """

    ngrams: NDArray[np.int64]
    rows: NDArray[np.int32]
    num_ngrams: int

    @property
    def num_documents(self) -> NDArray[np.int64]:
        """By n-gram, how many documents hold it."""
        return np.bincount(self.ngrams, minlength=self.num_ngrams)


class TokenSearch(ABC):
    """A corpus in which any sequence of tokens can be found."""

    @abstractmethod
    def places(self, tokens: Sequence[int]) -> Places:
        """Finds every occurrence of a sequence, by row, then offset.

        Raises:
            SettingsError: The sequence is empty.
        """

    def count_documents(self, tokens: Sequence[int]) -> int:
        """Counts the documents that hold a sequence; costs as much as `places`."""
        return len(np.unique(self.places(tokens).rows))

    def occurrences(self, tokens: Sequence[int], limit: int) -> list[Occurrence]:
        """Lists the first occurrences of a sequence in the corpus, by row, then offset.

        Args:
            tokens: At least one token id.
            limit: List at most so many.

        Raises:
            SettingsError: The sequence is empty, or `limit` is below 0.
        """
        if limit < 0:
            raise SettingsError(f"{limit} is no number of occurrences.", "Give at least 0.")
        rows, offsets = self.places(tokens)
        pairs = zip(rows[:limit].tolist(), offsets[:limit].tolist(), strict=True)
        return [Occurrence(row, offset) for row, offset in pairs]


class SuffixArray(TokenSearch):
    """Finds token sequences in a corpus by binary search; make one with `build_suffix_array`.

    Args:
        text: The tokens raised by one, big-endian, with 0 after every document.
        order: Positions in `text` of all tokens, sorted by what follows them.
        common: How many entries of `text` each of those shares with the next in the order.
        starts: Where each document starts in `text`; at last the length of `text`.
    """

    def __init__(
        self,
        text: NDArray[np.unsignedinteger],
        order: NDArray[np.signedinteger],
        common: NDArray[np.int32],
        starts: NDArray[np.int64],
    ) -> None:
        self._text, self._order, self._common, self._starts = text, order, common, starts
        self._bytes = text.view(np.uint8).data
        self._width = text.dtype.itemsize

    @property
    def num_documents(self) -> int:
        """Documents of the corpus, empty ones among them."""
        return len(self._starts) - 1

    @property
    def num_tokens(self) -> int:
        """Tokens of the corpus."""
        return len(self._order)

    def document(self, row: int) -> NDArray[np.int64]:
        """The tokens of a document."""
        part = self._text[self._starts[row] : self._starts[row + 1] - 1]
        return part.astype(np.int64) - 1

    def count(self, tokens: Sequence[int]) -> int:
        """Counts the occurrences of a sequence, overlapping ones each.

        Args:
            tokens: At least one token id; an id that the corpus does not hold occurs nowhere.

        Raises:
            SettingsError: The sequence is empty.

        Cost:
            Two binary searches, some 10 µs.
        """
        first, last = self._range(tokens)
        return last - first

    def places(self, tokens: Sequence[int]) -> Places:
        """Finds all occurrences of a sequence, sorted by row, then offset.

        Raises:
            SettingsError: The sequence is empty.

        Cost:
            The search, and some 0.1 µs per occurrence.
        """
        first, last = self._range(tokens)
        found = np.sort(self._order[first:last])
        rows = np.searchsorted(self._starts, found, side="right") - 1
        return Places(rows, found - self._starts[rows])

    def longest_match(self, tokens: Sequence[int]) -> list[Match]:
        """Finds, from each position of a query, the longest run that occurs in the corpus.

        Args:
            tokens: Any token ids, also none.

        Returns:
            One match per position. Position i's run is `tokens[i : i + length]`.

        Cost:
            Three binary searches a position.
        """
        values = np.asarray(tokens, dtype=np.int64)
        is_known = self._is_known(values)
        unknown = np.append(np.flatnonzero(~is_known), len(values))
        pattern = self._encode(np.where(is_known, values, 0))
        matches = []
        for start in range(len(values)):
            end = unknown[np.searchsorted(unknown, start)]
            matches.append(self._longest(pattern[start * self._width : end * self._width]))
        return matches

    def incidence(self, n: int, *, end_of_text: int | None = None) -> Incidence:
        """Finds which documents hold which n-grams.

        Args:
            n: Length of an n-gram in tokens, at least 1.
            end_of_text: Leave out n-grams that hold this token, which stands between two documents
                where a row packs several.

        Raises:
            SettingsError: `n` is below 1.

        Cost:
            A sort of all tokens; about 40 bytes a token.
        """
        if n < 1:
            raise SettingsError(f"An n-gram of {n} tokens does not exist.", "Give at least 1.")
        allowed = self._fits(n, end_of_text)[self._order]
        is_new = np.ones(self.num_tokens, dtype=bool)
        is_new[1:] = self._common[:-1] < n
        # Neighbors in the order share their first n entries, or a new n-gram starts.
        numbers = np.cumsum(is_new, dtype=np.int64)[allowed]
        rows = self._row_of_places()[self._order][allowed]
        keys = np.sort(numbers << 32 | rows)
        keys = keys[np.diff(keys, prepend=-1) != 0]
        numbers, rows = keys >> 32, (keys & 0xFFFFFFFF).astype(np.int32)
        numbers = np.cumsum(np.diff(numbers, prepend=-1) != 0) - 1
        return Incidence(numbers, rows, int(numbers[-1]) + 1 if len(numbers) else 0)

    def save(self, directory: Path) -> None:
        """Writes four `.npy` files into a directory that exists."""
        arrays = (self._text, self._order, self._common, self._starts)
        for name, values in zip(FILES, arrays, strict=True):
            np.save(directory / f"{name}.npy", values, allow_pickle=False)

    def _fits(self, n: int, end_of_text: int | None) -> NDArray[np.bool_]:
        """By place in the text, whether an n-gram starts there that ends in the same document."""
        stops = self._text == 0
        if end_of_text is not None:
            stops |= self._text == end_of_text + 1
        places = np.where(stops, np.arange(len(stops)), len(stops))
        next_stop = np.minimum.accumulate(places[::-1])[::-1]
        return next_stop - np.arange(len(stops)) >= n

    def _row_of_places(self) -> NDArray[np.int32]:
        rows = np.arange(self.num_documents, dtype=np.int32)
        return np.repeat(rows, np.diff(self._starts))

    def _range(self, tokens: Sequence[int]) -> tuple[int, int]:
        """The part of the order whose entries start with some tokens."""
        values = np.asarray(tokens, dtype=np.int64)
        if not len(values):
            raise SettingsError(
                "A sequence without tokens occurs everywhere.", "Give at least one token."
            )
        return self._search(self._encode(values)) if self._is_known(values).all() else (0, 0)

    def _is_known(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the text has room for each token; others occur nowhere."""
        return (tokens >= 0) & (tokens < np.iinfo(self._text.dtype).max)

    def _encode(self, tokens: NDArray[np.int64]) -> bytes:
        """Writes tokens as they stand in the text."""
        return (tokens + 1).astype(self._text.dtype).tobytes()

    def _search(self, pattern: bytes) -> tuple[int, int]:
        start = self._start(len(pattern))
        first = bisect_left(self._order, pattern, key=start)
        return first, bisect_right(self._order, pattern, lo=first, key=start)

    def _start(self, size: int) -> Callable[[np.signedinteger], bytes]:
        text, width = self._bytes, self._width

        def start(place: np.signedinteger) -> bytes:
            """The first bytes of what follows a place."""
            at = int(place) * width
            return bytes(text[at : at + size])

        return start

    def _longest(self, pattern: bytes) -> Match:
        place = bisect_left(self._order, pattern, key=self._start(len(pattern)))
        # The longest common start is with a neighbor of where the query would stand.
        around = self._order[max(0, place - 1) : place + 1]
        length = max((self._num_shared(pattern, int(at)) for at in around), default=0)
        if not length:
            return Match(0, 0)
        first, last = self._search(pattern[: length * self._width])
        return Match(length, last - first)

    def _num_shared(self, pattern: bytes, place: int) -> int:
        """How many tokens a pattern has in common with what follows a place."""
        here = bytes(self._bytes[place * self._width :][: len(pattern)])
        theirs = np.frombuffer(here, dtype=self._text.dtype)
        differ = np.frombuffer(pattern, dtype=self._text.dtype)[: len(theirs)] != theirs
        return int(differ.argmax()) if differ.any() else len(theirs)
