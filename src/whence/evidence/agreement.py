"""Do methods name the same examples, and do queries?"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from whence.evidence.proponents import proponents
from whence.records import Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Hub(NamedTuple):
    """An example that is a proponent of many queries.

    `num_queries` of `num_asked` queries have it among their first k; `num_groups` is the number of
    groups, such as kinds of behavior, that those queries belong to.
    """

    example_id: str
    num_queries: int
    num_asked: int
    num_groups: int


def jaccard_at_k(a: Scores, b: Scores, *, query: int, k: int) -> float:
    """Computes how far two methods agree on the first k proponents of a query.

    Args:
        a: One method's scores.
        b: Another's; its queries stand in the same order.
        query: The row of the query in both.
        k: How many proponents of each are compared.

    Returns:
        Shared examples over all examples that either names, in [0, 1]; 1 is full agreement. NaN
        where neither names any.
    """
    return _jaccard(_first(a, query, k), _first(b, query, k))


def overlap_matrix(scores: Sequence[Scores], query: int, k: int) -> "NDArray[np.float64]":
    """Computes the agreement of every pair of methods on one query.

    Args:
        scores: The methods' scores; their queries stand in the same order.
        query: The row of the query in all of them.
        k: How many proponents of each are compared.

    Returns:
        Jaccard@k, methods by methods, symmetric; NaN where neither method names an example.
    """
    import numpy as np

    named = [_first(method, query, k) for method in scores]
    return np.array([[_jaccard(a, b) for b in named] for a in named], dtype=np.float64)


def hubs(
    scores: Scores,
    k: int,
    *,
    groups: Mapping[str, str] | None = None,
    at_least: int = 2,
) -> tuple[Hub, ...]:
    """Finds the examples that are among the first k proponents of several queries.

    Args:
        scores: One method's scores.
        k: How many proponents of each query count.
        groups: From query id to the group it belongs to; each query is its own group by default.
        at_least: The smallest number of queries that makes an example a hub.

    Returns:
        Hubs, the one with most queries first; ties by number of groups, then corpus order.
    """
    found: dict[int, list[str]] = {}
    for query, query_id in enumerate(scores.query_ids):
        for row in proponents(scores, query, k=k).tolist():
            found.setdefault(row, []).append(query_id)
    counts = {row: len(ids) for row, ids in found.items() if len(ids) >= at_least}
    spread = {row: len({(groups or {}).get(i, i) for i in found[row]}) for row in counts}
    order = sorted(counts, key=lambda row: (-counts[row], -spread[row], row))
    return tuple(
        Hub(scores.example_ids[row], counts[row], len(scores.query_ids), spread[row])
        for row in order
    )


def _first(scores: Scores, query: int, k: int) -> set[str]:
    return {scores.example_ids[row] for row in proponents(scores, query, k=k)}


def _jaccard(a: set[str], b: set[str]) -> float:
    union = len(a | b)
    return len(a & b) / union if union else float("nan")
