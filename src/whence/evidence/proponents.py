"""Which examples does a method name for a query, and at which rank?

Every count over proponents goes through these functions, so that ties, undefined scores and
scores that say nothing are treated in one way.
"""

from typing import TYPE_CHECKING

from whence.records import Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def proponents(scores: Scores, query: int, *, k: int | None = None) -> "NDArray[np.int64]":
    """Picks the examples with the highest scores.

    Where no score is negative, as with BM25 or n-gram overlap, a score of exactly 0 says that
    nothing is shared; such an example is not a proponent, however few others there are.

    Args:
        scores: One method's scores.
        query: The row of the query in `scores.values`.
        k: How many at most; all by default.

    Returns:
        Rows of examples, best first; ties keep corpus order. Examples without a score are left
        out. May be shorter than `k`, or empty.
    """
    order = scores.ranking(query)
    values = scores.values[query][order]
    if len(order) and values[-1] == 0:
        order = order[values > 0]
    return order[:k]


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
    order = np.argsort(values, kind="stable")
    return order[values[order] < 0][:k]


def ranks(scores: Scores, query: int) -> "NDArray[np.int64]":
    """Ranks every example under one method.

    Args:
        scores: One method's scores.
        query: The row of the query in `scores.values`.

    Returns:
        1 for the highest score; equal scores share the best rank of theirs, as in sports. 0 stands
        for an example without a score, which has no rank.
    """
    import numpy as np

    values = scores.values[query]
    ascending = np.sort(values[~np.isnan(values)])
    num_greater = len(ascending) - np.searchsorted(ascending, values, side="right")
    return np.where(np.isnan(values), 0, num_greater + 1).astype(np.int64)
