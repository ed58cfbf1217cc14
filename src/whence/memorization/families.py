"""Families: windows of one memorized content, the independent units of every statistic here.

A licence header that stands in a hundred files is one content, however many windows the scan finds
in it. How many families there are is the definition's choice, so that intervals are given for a
coarse, a middle and a fine one.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from whence.evidence.alignment import n_grams
from whence.memorization.windows import Windows

if TYPE_CHECKING:
    from jaxtyping import Int

FamilyRule = Literal["window-13", "jaccard-30", "continuation-13", "jaccard-50", "jaccard-80"]
FAMILY_RULES: tuple[FamilyRule, ...] = get_args(FamilyRule)
RULES: dict[FamilyRule, str] = {
    "window-13": "a run of 13 tokens in common",
    "jaccard-30": "5-gram Jaccard of .3 or more",
    "continuation-13": "a run of 13 tokens of the continuations in common",
    "jaccard-50": "5-gram Jaccard of .5 or more",
    "jaccard-80": "5-gram Jaccard of .8 or more",
}
_RUN, _SHINGLE = 13, 5


def families(windows: Windows, rule: FamilyRule) -> "Int[np.ndarray, ' windows']":
    """Groups windows by single linkage.

    Args:
        windows: What to group.
        rule: What links two windows; see `RULES`.

    Returns:
        For each window, the place of the first one of its family.

    Cost:
        Linear in the shared n-grams; for Jaccard, in the pairs that share a 5-gram.
    """
    if rule == "window-13":
        keys = [n_grams(ids, min(_RUN, len(ids))) for ids in windows.tokens.tolist()]
        return linked(keys)
    if rule == "continuation-13":
        keys = [n_grams(ids, min(_RUN, len(ids))) for ids in windows.continuations.tolist()]
        return linked(keys)
    return joined(len(windows), _similar(windows, int(rule.removeprefix("jaccard-")) / 100))


def linked(keys: Sequence[Iterable[Hashable]]) -> "Int[np.ndarray, ' things']":
    """Groups things that share a key, directly or through others."""
    first: dict[Hashable, int] = {}
    pairs = [
        (owner, place)
        for place, own in enumerate(keys)
        for key in own
        if (owner := first.setdefault(key, place)) != place
    ]
    return joined(len(keys), pairs)


def joined(num: int, pairs: Iterable[tuple[int, int]]) -> "Int[np.ndarray, ' things']":
    """Groups things by pairs; a group is named by its first member."""
    parent = list(range(num))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return np.array([root(place) for place in range(num)], dtype=np.int64)


def _similar(windows: Windows, threshold: float) -> list[tuple[int, int]]:
    """Lists the pairs whose sets of 5-grams have at least a Jaccard similarity."""
    import scipy.sparse as sp

    grams = [n_grams(ids, min(_SHINGLE, len(ids))) for ids in windows.tokens.tolist()]
    numbers = {gram: place for place, gram in enumerate(dict.fromkeys(g for s in grams for g in s))}
    columns = [numbers[gram] for own in grams for gram in own]
    sizes = np.array([len(own) for own in grams])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    incidence = sp.csr_matrix(
        (np.ones(len(columns), dtype=np.int32), columns, starts), shape=(len(grams), len(numbers))
    )
    shared = sp.triu(incidence @ incidence.T, k=1).tocoo()
    union = sizes[shared.row] + sizes[shared.col] - shared.data
    is_near = shared.data >= threshold * union - 1e-9
    return list(zip(shared.row[is_near].tolist(), shared.col[is_near].tolist(), strict=True))
