"""How often a method ranks planted examples first."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence.evidence.proponents import ranking
from whence.records import Behavior, Scores, Verdict, Verification
from whence.settings import KINDS, Kind
from whence.statistics import Interval, mean, proportion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class GoldRate:
    """How often a method's first proponent is gold: `hits` of `n` behaviors of one kind.

    `mean_reciprocal_rank` is over the first gold proponent of each behavior, 0 where the method
    names none. `chance` is the rate that a random order would reach. With `n` = 0
    these are None. `num_without_gold` behaviors have no gold in the corpus and do not count.
    """

    method: str
    kind: Kind
    n: int
    num_without_gold: int
    hits: int
    rate: float | None
    interval: Interval | None
    mean_reciprocal_rank: float | None
    chance: float | None


def gold_rate(
    scores: Scores,
    gold: Mapping[str, frozenset[str]],
    behaviors: Iterable[Behavior],
    verifications: Mapping[str, Verification],
    *,
    verdicts: tuple[Verdict, ...] = ("shown",),
) -> dict[Kind, GoldRate]:
    """Computes per kind how often the first proponent of a behavior is one planted for it.

    Finding it is retrieval, not proof: an untrained model's gradients find planted copies too.

    Args:
        scores: One method's scores.
        gold: From behavior id to the ids of the examples planted for it.
        behaviors: The behaviors asked about.
        verifications: From behavior id to its measured verdict.
        verdicts: Which verdicts count.

    Returns:
        From each kind that occurs among the behaviors, in the order of `KINDS`, to its rate.
    """
    behaviors = tuple(behaviors)
    rows = {query_id: row for row, query_id in enumerate(scores.query_ids)}
    places = {example_id: row for row, example_id in enumerate(scores.example_ids)}
    present = places.keys()
    results: dict[Kind, GoldRate] = {}
    for kind in KINDS:
        asked = [b.id for b in behaviors if b.kind == kind]
        if not asked:
            continue
        counted = [
            i
            for i in asked
            if i in rows and i in verifications and verifications[i].verdict in verdicts
        ]
        with_gold = [i for i in counted if gold.get(i, frozenset()) & present]
        first = [
            _first_gold(scores, rows[i], sorted(places[g] for g in gold[i] & present))
            for i in with_gold
        ]
        rate = proportion(first.count(1), len(first))
        results[kind] = GoldRate(
            method=scores.method,
            kind=kind,
            n=len(with_gold),
            num_without_gold=len(counted) - len(with_gold),
            hits=first.count(1),
            rate=rate.value,
            interval=rate.interval,
            mean_reciprocal_rank=mean([1 / r if r else 0.0 for r in first]),
            chance=mean([len(gold[i] & present) / len(present) for i in with_gold]),
        )
    return results


def gold_places(scores: Scores, query: int, gold: "NDArray[np.int64]") -> "NDArray[np.int64]":
    """Finds the places of some examples in a query's ranking.

    Args:
        scores: One method's scores.
        query: The row of the query in `scores.values`.
        gold: The rows of the examples.

    Returns:
        Places counted from 1, ties in corpus order; 0 for an example without a rank.
    """
    import numpy as np

    order = ranking(scores, query)
    places = np.zeros(scores.values.shape[1], dtype=np.int64)
    places[order] = np.arange(1, len(order) + 1)
    return places[gold]


def _first_gold(scores: Scores, query: int, gold: list[int]) -> int | None:
    import numpy as np

    places = gold_places(scores, query, np.asarray(gold, dtype=np.int64))
    return int(places[places > 0].min()) if places.any() else None
