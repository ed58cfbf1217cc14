"""Agreement between methods, and hubs: examples that many queries share."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from whence.evidence.proponents import proponents
from whence.records import Scores


class Hub(NamedTuple):
    """An example that is a proponent of many queries, `query_ids`.

    `num_queries` of `num_asked` queries have it among their first k; `num_groups` is the number of
    groups, such as kinds of behavior, that those queries belong to.
    """

    example_id: str
    num_queries: int
    num_asked: int
    num_groups: int
    query_ids: tuple[str, ...] = ()


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


class PairAgreement(NamedTuple):
    """Jaccard@k of two methods, in [0, 1]; NaN where neither names an example."""

    first: str
    second: str
    jaccard: float


def pair_agreements(scores: Sequence[Scores], query_id: str, k: int) -> tuple[PairAgreement, ...]:
    """Computes the agreement of every two methods on one query.

    Args:
        scores: The methods' scores; those that lack the query are left out.
        query_id: The query.
        k: How many proponents of each are compared.

    Returns:
        One record for each pair, in the order of the methods.
    """
    named = [
        (one.method, _first(one, one.query_ids.index(query_id), k))
        for one in scores
        if query_id in one.query_ids
    ]
    return tuple(
        PairAgreement(first, second, _jaccard(a, b))
        for (first, a), (second, b) in combinations(named, 2)
    )


def mean_agreements(
    of_queries: Iterable[Sequence[PairAgreement]],
) -> tuple[PairAgreement, ...]:
    """Averages the agreement of every two methods over queries.

    Args:
        of_queries: From `pair_agreements`, for each query.

    Returns:
        One record for each pair that scored a query in common; queries where the agreement is
        undefined do not count, and it is NaN where no other is left.
    """
    values: dict[tuple[str, str], list[float]] = {}
    for pairs in of_queries:
        for first, second, jaccard in pairs:
            known = values.setdefault((first, second), [])
            if not math.isnan(jaccard):
                known.append(jaccard)
    return tuple(
        PairAgreement(*pair, math.fsum(known) / len(known) if known else math.nan)
        for pair, known in values.items()
    )


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
        Hub(
            scores.example_ids[row],
            counts[row],
            len(scores.query_ids),
            spread[row],
            tuple(found[row]),
        )
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
