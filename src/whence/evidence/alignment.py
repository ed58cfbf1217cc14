"""Token-level overlap of a query with one example: best window, edit similarity, longest run.

A query is short and an example may be long, so that a copy of the query is a window of the example;
every measure but `containment` and the runs is of the best-aligned window alone. Tokens are
compared by their ids.

Source:
    Edit similarity and 5-gram Jaccard as in Lee et al., "Deduplicating Training Data Makes Language
    Models Better", ACL 2022; containment is that of Broder, 1997.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

N = 5
# Pairs with a shorter run in common are not aligned: the edit similarity of such a window is no
# more than chance gives, and most pairs are of that kind.
MIN_RUN = 3
# Beside one for all tokens that the query lacks.
_MOST_SYMBOLS = 255


class Overlap(NamedTuple):
    """What a query and an example have in common, in tokens.

    Attributes:
        longest_run: The longest contiguous run of the query's tokens in the example.
        has_completion: The whole completion occurs contiguously.
        has_query: Prompt and completion occur contiguously.
        containment: The share of the query's distinct 5-grams that occur in the example, in [0, 1];
            of n-grams as long as the query where it has fewer than five tokens.
        window: Start and end (exclusive) of the best-aligned window; None where fewer than three
            tokens in a row are shared: such pairs are not aligned, and have neither of these:
        edit_similarity: 1 - edit distance / length of the longer one, of query and window, in
            [0, 1].
        jaccard: Of the distinct 5-grams of query and window, in [0, 1].
    """

    longest_run: int
    has_completion: bool
    has_query: bool
    containment: float
    window: tuple[int, int] | None
    edit_similarity: float | None
    jaccard: float | None


@dataclass(frozen=True)
class AlignedQuery:
    """A query's tokens, prepared for the comparison with many examples.

    Attributes:
        prompt_ids: What the model was given; may be empty.
        completion_ids: What it continued with; at least one token.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """Prompt and completion."""
        return (*self.prompt_ids, *self.completion_ids)

    @cached_property
    def _n(self) -> int:
        return min(N, len(self.ids))

    @cached_property
    def _grams(self) -> frozenset[tuple[int, ...]]:
        return n_grams(self.ids, self._n)

    @cached_property
    def _matcher(self) -> "SequenceMatcher[int]":
        # What is known of the second sequence is kept for every first one.
        return SequenceMatcher(None, (), self.ids, autojunk=False)

    def overlap(self, example_ids: Sequence[int]) -> Overlap:
        """Measures what an example has in common with the query.

        Args:
            example_ids: The example's tokens; may be empty.
        """
        grams = n_grams(example_ids, self._n)
        containment = len(self._grams & grams) / len(self._grams)
        self._matcher.set_seq1(example_ids)
        run = self._matcher.find_longest_match().size
        if run < min(MIN_RUN, len(self.ids)):
            has_completion = run >= len(self.completion_ids) and occurs(
                self.completion_ids, example_ids
            )
            return Overlap(run, has_completion, False, containment, None, None, None)
        start, end = best_window(self.ids, example_ids)
        window = example_ids[start:end]
        inside = n_grams(window, self._n)
        return Overlap(
            longest_run=run,
            has_completion=occurs(self.completion_ids, example_ids),
            has_query=run == len(self.ids),
            containment=containment,
            window=(start, end),
            edit_similarity=edit_similarity(self.ids, window),
            jaccard=len(self._grams & inside) / len(self._grams | inside),
        )


def best_window(query: Sequence[int], example: Sequence[int]) -> tuple[int, int]:
    """Finds the window of the example with the least edit distance to the query.

    Args:
        query: What is looked for, m tokens.
        example: Where, n tokens.

    Returns:
        Start and end (exclusive): of several the one that ends first, and of these the longest.

    Source:
        Sellers, "The Theory and Computation of Evolutionary Distances", J. Algorithms 1980; in bits
        of a word by Myers, "A Fast Bit-Vector Algorithm for Approximate String Matching", J. ACM
        1999, as edlib computes it.

    Cost:
        m n / 64 operations; of a query with more than 255 distinct tokens, for which edlib has no
        symbols, m vector operations of length n.
    """
    # What the query lacks matches nothing, whatever it is.
    symbols = {token: symbol for symbol, token in enumerate(dict.fromkeys(query))}
    other = len(symbols)
    if not example or not 0 < other <= _MOST_SYMBOLS:
        return _best_window(query, example)
    import edlib

    found = edlib.align(
        bytes([symbols[token] for token in query]),
        bytes([symbols.get(token, other) for token in example]),
        mode="HW",
        task="locations",
    )
    start, last = found["locations"][0]
    return start, last + 1


def _best_window(query: Sequence[int], example: Sequence[int]) -> tuple[int, int]:
    """Finds the same as `best_window`, for any number of distinct tokens."""
    import numpy as np

    wanted, tokens = np.asarray(query), np.asarray(example)
    end = int(_distances(wanted, tokens, is_anchored=False).argmin())
    # No window of least distance is longer than this: each token more costs one insertion.
    before = tokens[max(0, end - 2 * len(wanted)) : end][::-1]
    distances = _distances(wanted[::-1], before, is_anchored=True)
    length = len(distances) - 1 - int(distances[::-1].argmin())
    return end - length, end


def _distances(
    query: "NDArray[np.int64]", tokens: "NDArray[np.int64]", *, is_anchored: bool
) -> "NDArray[np.int32]":
    """Computes the edit distance of the query to windows of the tokens, for each of their ends.

    A window starts at the first token if `is_anchored`, and otherwise anywhere.
    """
    import numpy as np

    places = np.arange(len(tokens) + 1, dtype=np.int32)
    distances = places.copy() if is_anchored else np.zeros_like(places)
    nearest, inserted = np.empty_like(distances), np.empty_like(distances)
    for count, token in enumerate(query.tolist(), start=1):
        nearest[0] = count
        np.add(distances[:-1], tokens != token, out=nearest[1:])
        np.add(distances, 1, out=inserted)
        np.minimum(nearest[1:], inserted[1:], out=nearest[1:])
        # A window may also be that of an end before it, with the tokens since then inserted.
        np.subtract(nearest, places, out=nearest)
        np.minimum.accumulate(nearest, out=nearest)
        np.add(nearest, places, out=distances)
    return distances


def edit_similarity(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """Computes 1 - Levenshtein distance / length of the longer sequence, in [0, 1].

    Returns:
        1 for equal sequences, two empty ones included.
    """
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.normalized_similarity(a, b)


def n_grams(ids: Sequence[int], n: int) -> frozenset[tuple[int, ...]]:
    """Lists the distinct runs of `n` tokens; none where there are fewer tokens."""
    return frozenset(zip(*(ids[start:] for start in range(n)), strict=False))


def occurs(part: Sequence[int], whole: Sequence[int]) -> bool:
    """Whether a sequence of tokens occurs contiguously in another one."""
    from array import array

    needle, haystack = array("q", part).tobytes(), array("q", whole).tobytes()
    place = haystack.find(needle)
    while place >= 0 and place % 8:
        place = haystack.find(needle, place + 1)
    return place >= 0
