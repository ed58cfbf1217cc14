"""Retrieval of planted examples: average precision, recall, and gold above what looks like it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from whence.evidence.planted import gold_places
from whence.records import Scores
from whence.statistics import probability_above

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Retrieval(NamedTuple):
    """What a method's ranking of all examples is worth for one query; None is undefined.

    `average_precision`, `reciprocal_rank` (0 where no gold is named) and `recall` (the share of all
    gold among the first k) lie in [0, 1]; `is_found` says that some gold is among the first k.
    `chance` is the average precision that a random order has on average. `over_decoys` and
    `over_inert` are the probability that a gold example stands above a decoy, or above one that
    was trained on with weight zero; a tie counts one half, so that 0.5 is chance.
    `inert_above_rest` is the probability that an inert example stands above one that is neither
    gold nor decoy: near 1, the method mistakes similarity for influence. It needs no gold.
    """

    query_id: str
    num_gold: int
    average_precision: float | None
    reciprocal_rank: float | None
    recall: float | None
    is_found: bool | None
    chance: float | None
    over_decoys: float | None
    over_inert: float | None
    inert_above_rest: float | None


def retrieval(
    scores: Scores,
    gold: Mapping[str, frozenset[str]],
    *,
    decoys: Mapping[str, frozenset[str]] | None = None,
    inert: Mapping[str, frozenset[str]] | None = None,
    k: int = 10,
) -> tuple[Retrieval, ...]:
    """Measures, for each query, how well a method retrieves its gold.

    Retrieval is necessary and not sufficient: an untrained model's gradients find copies too.

    Args:
        scores: One method's scores.
        gold: From query id to the ids of the examples planted for it.
        decoys: Examples that share words with the query and do not support it.
        inert: Examples that look like support and had training weight zero.
        k: How many first proponents `recall` and `is_found` count.

    Returns:
        One record per query, in the scores' order; figures about gold are None where the corpus
        holds none of the query.

    Source:
        Average precision: Manning, Raghavan and Schütze, "Introduction to Information Retrieval",
        2008, section 8.4, over all gold; what is not named counts 0. The mean for a random order,
        of R gold among N: (R - 1) / (N - 1) + (1 - (R - 1) / (N - 1)) H_N / N, from the chance
        (p - 1) (R - 1) / (N - 1) of further gold before place p.
    """
    rows = {example_id: row for row, example_id in enumerate(scores.example_ids)}
    return tuple(
        _one(
            scores,
            query,
            gold=_rows(gold.get(query_id, frozenset()), rows),
            decoys=_rows((decoys or {}).get(query_id, frozenset()), rows),
            inert=_rows((inert or {}).get(query_id, frozenset()), rows),
            k=k,
        )
        for query, query_id in enumerate(scores.query_ids)
    )


def chance_precision(num_gold: int, num_examples: int) -> float:
    """Computes the average precision that random orders have on average; see `retrieval`."""
    if num_examples == 1:
        return 1.0
    harmonic = sum(1 / place for place in range(1, num_examples + 1))
    others = (num_gold - 1) / (num_examples - 1)
    return others + (1 - others) * harmonic / num_examples


def _one(
    scores: Scores,
    query: int,
    *,
    gold: "NDArray[np.int64]",
    decoys: "NDArray[np.int64]",
    inert: "NDArray[np.int64]",
    k: int,
) -> Retrieval:
    import numpy as np

    query_id, num_gold = scores.query_ids[query], len(gold)
    values = scores.values[query]
    rest = np.delete(values, np.concatenate([gold, decoys, inert]))
    above_rest = probability_above(values[inert].tolist(), rest.tolist())
    if not num_gold:
        return Retrieval(query_id, 0, None, None, None, None, None, None, None, above_rest)
    places = np.sort(gold_places(scores, query, gold))
    ranked = places[places > 0]
    return Retrieval(
        query_id=query_id,
        num_gold=num_gold,
        average_precision=float((np.arange(1, len(ranked) + 1) / ranked).sum() / num_gold),
        reciprocal_rank=float(1 / ranked[0]) if len(ranked) else 0.0,
        recall=float((ranked <= k).sum() / num_gold),
        is_found=bool((ranked <= k).any()),
        chance=chance_precision(num_gold, len(scores.example_ids)),
        over_decoys=probability_above(values[gold].tolist(), values[decoys].tolist()),
        over_inert=probability_above(values[gold].tolist(), values[inert].tolist()),
        inert_above_rest=above_rest,
    )


def _rows(ids: frozenset[str], rows: Mapping[str, int]) -> "NDArray[np.int64]":
    import numpy as np

    return np.array(sorted(rows[i] for i in ids if i in rows), dtype=np.int64)
