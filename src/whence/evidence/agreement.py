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


class Hubness(NamedTuple):
    """How far a method names the same examples for every query.

    Among the first `k` proponents of `num_queries` queries: `largest_share` is the share of queries
    that have the most frequent example, `distinct_share` the number of different examples over the
    number of places, and `skewness` that of the number of queries over all examples. None where no
    query has a proponent.
    """

    k: int
    num_queries: int
    largest_share: float | None
    distinct_share: float | None
    skewness: float | None


def hubness(scores: Scores, k: int) -> Hubness:
    """Measures hubs; a method that knows nothing of the query has a largest share of 1.

    Args:
        scores: One method's scores.
        k: How many proponents of each query count.

    Source:
        The skewness of k-occurrences is that of Radovanović et al., "Hubs in Space", JMLR 2010.
    """
    import numpy as np

    named = [proponents(scores, query, k=k) for query in range(len(scores.query_ids))]
    places = sum(len(rows) for rows in named)
    if not places:
        return Hubness(k, len(named), None, None, None)
    counts = np.bincount(np.concatenate(named), minlength=len(scores.example_ids))
    deviation = counts.std()
    skewness = float(((counts - counts.mean()) ** 3).mean() / deviation**3) if deviation else None
    return Hubness(
        k=k,
        num_queries=len(named),
        largest_share=float(counts.max() / len(named)),
        distinct_share=float((counts > 0).sum() / places),
        skewness=skewness,
    )


def _first(scores: Scores, query: int, k: int) -> set[str]:
    return {scores.example_ids[row] for row in proponents(scores, query, k=k)}


def _jaccard(a: set[str], b: set[str]) -> float:
    union = len(a | b)
    return len(a & b) / union if union else float("nan")
