"""Families: windows of one memorized content, the independent units of every statistic here.

A licence header that stands in a hundred files is one content, however many windows the scan finds
in it. How many families there are is the definition's choice, so that intervals are given for a
coarse, a middle and a fine one.
"""

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from whence.corpus.duplicates.clusters import clusters, linked
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
    return clusters(_similar(windows, int(rule.removeprefix("jaccard-")) / 100), len(windows))


def _similar(windows: Windows, threshold: float) -> "Int[np.ndarray, 'pairs 2']":
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
    return np.stack([shared.row[is_near], shared.col[is_near]], axis=1)
