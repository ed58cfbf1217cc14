"""Tokens of a document of any length, in bounded memory.

A fast tokenizer holds about 50 bytes for each byte of a text, and a byte tokenizer 370, so that a
book would take gigabytes. Long documents are therefore tokenized in windows that overlap. What a
token is depends on its surroundings only near by, so that inside the overlap both windows agree
once the effect of their cut ends has died out; there they are joined. Where they do not agree, as
may happen in a run of a million equal letters, nothing is guessed: what follows is not counted.
"""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

# Characters of a document that is tokenized at once, of two windows' overlap, and the share of the
# overlap at each of its ends that is not compared, because a cut is near.
WINDOW, OVERLAP = 1 << 18, 1 << 13
_NEAR_CUT = 4
# So many tokens have to agree. Fewer could by chance.
_AGREEING = 16


class Tokenized(NamedTuple):
    """A document's tokens, and the part of its text that tokens `start` to `stop` stand for.

    `num_tokens` counts all tokens of the document, of which `ids` may hold only the first; None
    where they cannot be counted.
    """

    ids: "Int[np.ndarray, ' tokens']"
    text: Callable[[int, int], str]
    num_tokens: int | None


def tokenize_texts(texts: list[str], tokenizer: "PreTrainedTokenizerBase") -> Iterator[Tokenized]:
    """Tokenizes some short texts at once, special tokens included."""
    import numpy as np

    if not texts:
        return
    encoded = tokenizer(texts, return_attention_mask=False, verbose=False)
    encodings = getattr(encoded, "encodings", None) or [None] * len(texts)
    for text, row, encoding in zip(texts, encoded["input_ids"], encodings, strict=True):
        ids = np.asarray(row, dtype=np.int32)
        slicer = (
            _decoder(ids, tokenizer, whole=text) if encoding is None else _slicer(text, encoding)
        )
        yield Tokenized(ids, slicer, len(ids))


def tokenize_long(
    text: str, tokenizer: "PreTrainedTokenizerBase", *, num_kept: int | None
) -> Tokenized:
    """Tokenizes a long text window by window.

    Args:
        text: The text.
        tokenizer: The model's.
        num_kept: How many tokens are needed, from the first; None needs all.

    Returns:
        The same tokens that the tokenizer would give for the whole text.

    Cost:
        Memory for one window, and for the tokens that are kept.
    """
    found = None
    if getattr(tokenizer, "is_fast", False) and (special := _special_tokens(tokenizer)) is not None:
        found = _Joined(text, tokenizer, special, num_kept).result()
    if found is None and num_kept is not None:
        found = _beginning(text, tokenizer, num_kept)
    return found or next(tokenize_texts([text], tokenizer))


def decoded(ids: "Int[np.ndarray, ' tokens']", tokenizer: "PreTrainedTokenizerBase") -> Tokenized:
    """Makes a document of tokens that were given as such."""
    return Tokenized(ids, _decoder(ids, tokenizer), len(ids))


class _Window(NamedTuple):
    """Tokens of a part of the text; offsets are of the whole text, in characters."""

    ids: "Int[np.ndarray, ' tokens']"
    starts: "Int[np.ndarray, ' tokens']"
    stops: "Int[np.ndarray, ' tokens']"


class _Joined:
    """The tokens of the windows of one text, joined one by one."""

    def __init__(
        self,
        text: str,
        tokenizer: "PreTrainedTokenizerBase",
        special: tuple[list[int], list[int]],
        num_kept: int | None,
    ) -> None:
        self._text, self._tokenizer = text, tokenizer
        self._special, self._num_kept = special, num_kept

    def result(self) -> Tokenized | None:
        """The tokens that are needed, at least; None where windows do not join before."""
        import numpy as np

        before, after = self._special
        kept: list[_Window] = []
        count = num_kept = 0
        for piece in self._pieces():
            if piece is None:
                return None
            count += len(piece.ids)
            if self._num_kept is None or num_kept < self._num_kept:
                kept.append(piece)
                num_kept += len(piece.ids)
        ids = np.concatenate([np.asarray(before), *(p.ids for p in kept), np.asarray(after)])
        stops = np.concatenate([*(p.stops for p in kept)])
        ends = np.concatenate(
            [
                np.zeros(1 + len(before), dtype=np.int64),
                np.maximum.accumulate(stops),
                np.full(len(after), len(self._text)),
            ]
        )
        total = len(before) + count + len(after)
        if num_kept < count:
            # The last window that is kept does not end the text, and no special token follows.
            ids, ends = (part[: len(part) - len(after)] for part in (ids, ends))
        return Tokenized(ids.astype(np.int32), self._cutter(ends, len(ids), total), total)

    def _cutter(self, ends: "np.ndarray", num_ids: int, total: int) -> Callable[[int, int], str]:
        text = self._text

        def piece(start: int, stop: int) -> str:
            is_end = stop >= num_ids and total == num_ids
            return text[int(ends[start]) if start else 0 : None if is_end else int(ends[stop])]

        return piece

    def _pieces(self) -> Iterator[_Window | None]:
        """Yields the parts of the windows that follow each other; None where two do not join."""
        text = self._text
        last = self._window(0, min(WINDOW, len(text)))
        begin, stop = 0, min(WINDOW, len(text))
        while stop < len(text):
            start = stop - OVERLAP
            stop = min(start + WINDOW, len(text))
            following = self._window(start, stop)
            joint = _joint(last, following, start, start + OVERLAP)
            if joint is None:
                yield None
                return
            left, right = joint
            yield _Window(*(part[begin:left] for part in last))
            last, begin = following, right
        yield _Window(*(part[begin:] for part in last))

    def _window(self, start: int, stop: int) -> _Window:
        import numpy as np

        encoded: Any = self._tokenizer(
            [self._text[start:stop]],
            add_special_tokens=False,
            return_attention_mask=False,
            verbose=False,
        )
        ids = np.asarray(encoded["input_ids"][0], dtype=np.int32)
        offsets = np.asarray(encoded.encodings[0].offsets, dtype=np.int64).reshape(-1, 2) + start
        return _Window(ids, offsets[:, 0], offsets[:, 1])


def _beginning(text: str, tokenizer: "PreTrainedTokenizerBase", num_kept: int) -> Tokenized | None:
    """Tokenizes as much of a text as holds the tokens that are needed, without counting the rest.

    The beginning is tokenized twice, cut at two places; None where they disagree or are too short.
    """
    size = max(WINDOW, 2 * OVERLAP)
    longer, shorter = tokenize_texts([text[:size], text[: size - OVERLAP]], tokenizer)
    if min(len(longer.ids), len(shorter.ids)) <= num_kept + _AGREEING:
        return None
    ids = longer.ids[:num_kept]
    if (ids != shorter.ids[:num_kept]).any():
        return None
    return Tokenized(ids, longer.text, None)


def _joint(left: _Window, right: _Window, start: int, stop: int) -> tuple[int, int] | None:
    """Finds where two windows may be joined: how many tokens of the left, and from which on.

    Only tokens well inside the overlap are compared; all of them have to agree, in id and place.
    """
    import numpy as np

    margin = (stop - start) // _NEAR_CUT
    ranges = []
    for window in (left, right):
        inside = (window.starts >= start + margin) & (window.stops <= stop - margin)
        places = np.flatnonzero(inside)
        if len(places) < _AGREEING or places[-1] - places[0] + 1 != len(places):
            return None
        ranges.append(slice(int(places[0]), int(places[-1]) + 1))
    mine, theirs = ranges
    if any(not np.array_equal(a[mine], b[theirs]) for a, b in zip(left, right, strict=True)):
        return None
    half = (mine.stop - mine.start) // 2
    return mine.start + half, theirs.start + half


def _special_tokens(tokenizer: "PreTrainedTokenizerBase") -> tuple[list[int], list[int]] | None:
    """Finds what the tokenizer adds before and after every text; None where that is not so."""
    bare = list(tokenizer("a b", add_special_tokens=False, verbose=False)["input_ids"])  # pyright: ignore
    full = list(tokenizer("a b", verbose=False)["input_ids"])  # pyright: ignore
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start], full[start + len(bare) :]
    return None


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
    ids: "np.ndarray", tokenizer: "PreTrainedTokenizerBase", *, whole: str | None = None
) -> Callable[[int, int], str]:
    def piece(start: int, stop: int) -> str:
        if whole is not None and start == 0 and stop >= len(ids):
            return whole
        return str(tokenizer.decode(ids[start:stop].tolist()))

    return piece
