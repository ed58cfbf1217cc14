"""Which examples does a method name for a query, and at which rank?

Every count over proponents goes through these functions, so that ties, undefined scores and
scores that say nothing are treated in one way.
"""

from typing import TYPE_CHECKING

from whence.records import Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def says_something(scores: Scores, query: int) -> "NDArray[np.bool_]":
    """Tells which examples a method's scores order at all.

    Args:
        scores: One method's scores.
        query: The row of the query in `scores.values`.

    Returns:
        False where a score is undefined, and where it is exactly 0 and no score of the query is
        negative: BM25 and n-gram overlap say with it that nothing is shared, so that the order
        among such examples is none.
    """
    import numpy as np

    values = scores.values[query]
    defined = ~np.isnan(values)
    if not (values[defined] < 0).any():
        defined &= values != 0
    return defined


def proponents(scores: Scores, query: int, *, k: int | None = None) -> "NDArray[np.int64]":
    """Picks the examples with the highest scores.

    Args:
        scores: One method's scores.
        query: The row of the query in `scores.values`.
        k: How many at most; all by default.

    Returns:
        Rows of examples, best first; ties keep corpus order. Examples whose score says
        nothing are left out. May be shorter than `k`, or empty.
    """
    import numpy as np

    rows = np.flatnonzero(says_something(scores, query))
    return _largest(scores.values[query], rows, k)


def opponents(scores: Scores, query: int, *, k: int | None = None) -> "NDArray[np.int64]":
    """Picks the examples with the most negative scores.

    Args:
        scores: One method's scores.
        query: The row of the query in `scores.values`.
        k: How many at most; all by default.

    Returns:
        Rows of examples, most negative first; ties keep corpus order. Empty where no score is
        negative: a method without signs names no opponents.
    """
    import numpy as np

    values = scores.values[query]
    return _largest(-values, np.flatnonzero(values < 0), k)


def ranks(
    scores: Scores, query: int, *, rows: "NDArray[np.int64] | None" = None
) -> "NDArray[np.int64]":
    """Ranks examples under one method.

    Args:
        scores: One method's scores.
        query: The row of the query in `scores.values`.
        rows: Which examples to rank, among all; by default each.

    Returns:
        1 for the highest score; equal scores share the best rank of theirs, as in sports. 0 stands
        for an example whose score says nothing, which has no rank.
    """
    import numpy as np

    values = scores.values[query]
    chosen = slice(None) if rows is None else rows
    ascending = np.sort(values[~np.isnan(values)])
    num_greater = len(ascending) - np.searchsorted(ascending, values[chosen], side="right")
    says = says_something(scores, query)[chosen]
    return np.where(says, num_greater + 1, 0).astype(np.int64)


def _largest(
    values: "NDArray[np.float32]", rows: "NDArray[np.int64]", k: int | None
) -> "NDArray[np.int64]":
    """Picks the k of some rows with the largest values; sorts only those that may be among them."""
    import numpy as np

    if k is not None and k < len(rows):
        if k == 0:
            return rows[:0]
        among = values[rows]
        rows = rows[among >= np.partition(among, len(rows) - k)[len(rows) - k]]
    return rows[np.argsort(-values[rows], kind="stable")][:k]
