"""Shares: what kinds of examples a method ranks first for memorized windows, and for controls.

The share of a class among the first ten says by itself nothing of causes: an untrained model and a
text search rank copies first as well, and they do so for windows that are not memorized. Only the
differences count: memorized windows minus controls, and a trained model minus an untrained one.

A window's own example is not among the first ten; its rank stands apart. Shares are of the corpus:
an example of the pool counts by its weight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from whence.memorization.attribution import Named, PoolScores
from whence.memorization.copies import CLASSES
from whence.memorization.pool import NO_COPY, Pool
from whence.memorization.targets import GROUPS, Group, Targets
from whence.statistics import Estimate, estimate_of, mean_estimate, paired_spread

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

ShareClass = Literal["exact", "continuation", "near", "weak-near", "related", "rest"]
SHARE_CLASSES: tuple[ShareClass, ...] = get_args(ShareClass)
Unit = Literal["examples", "clusters", "mass"]
UNITS: tuple[Unit, ...] = get_args(Unit)
# Positive scores of what is no copy are many and small; only those above this quantile of them
# count as mass, and of those what is above it.
MASS_QUANTILE = 0.99
_SELF = CLASSES.index("self")


class Share(NamedTuple):
    """The mean share of a class for a group of targets, over families."""

    method: Named
    group: Group
    unit: Unit
    share_class: ShareClass
    share: Estimate


class Difference(NamedTuple):
    """The mean difference of a class's share, paired within families.

    `minus` is what is subtracted: a group of controls under the same method, or another method for
    the same memorized windows.
    """

    method: Named
    minus: str
    unit: Unit
    share_class: ShareClass
    difference: Estimate


class OwnRank(NamedTuple):
    """The rank of memorized windows' own examples, over the whole corpus, from 1."""

    method: Named
    median: float
    worst: float
    n: int


@dataclass(frozen=True)
class Ranking:
    """Everything that shares are computed from.

    Attributes:
        scores: Of all methods.
        classes: Of each pair, a place in `CLASSES` or -1.
        is_related: Of each pair that is no copy, whether topic, template or format tie it; only
            looked up for what stands among the first ten.
        pool: The examples.
        clusters: By example of the pool, its cluster of near copies.
        targets: What is attributed.
    """

    scores: PoolScores
    classes: "Int[np.ndarray, 'targets pool']"
    is_related: "Bool[np.ndarray, 'targets pool']"
    pool: Pool
    clusters: "Int[np.ndarray, ' pool']"
    targets: Targets


def first_rows(
    values: "Float[np.ndarray, ' pool']", classes: "Int[np.ndarray, ' pool']"
) -> "Int[np.ndarray, ' first']":
    """Lists the examples of the pool with positive scores, best first, without the own one."""
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")
    return order[(values[order] > 0) & (classes[order] != _SELF)]


def shares_of(
    ranking: Ranking, method: Named, target: int, unit: Unit, *, k: int
) -> "Float[np.ndarray, ' classes']":
    """Computes the share of each class for one target; NaN where nothing counts.

    Args:
        ranking: Scores and classes.
        method: The method.
        target: The target.
        unit: Of the first k examples, of the first k clusters (each by its first example), or of
            the positive score mass.
        k: How many.
    """
    values = ranking.scores.values[method][target]
    rows = first_rows(values, ranking.classes[target])
    own = share_places(ranking, target)
    if unit == "mass":
        return _mass(values, rows, own, ranking)
    if unit == "clusters":
        _, first = np.unique(ranking.clusters[rows], return_index=True)
        rows = rows[np.sort(first)]
    weights = ranking.pool.weights[rows]
    before = np.concatenate([[0.0], np.cumsum(weights)[:-1]]) if len(rows) else weights
    counted = np.clip(k - before, 0, weights)
    found = np.bincount(own[rows], weights=counted, minlength=len(SHARE_CLASSES))
    total = found.sum()
    return found / total if total > 0 else np.full(len(SHARE_CLASSES), np.nan)


def share_places(ranking: Ranking, target: int) -> "Int[np.ndarray, ' pool']":
    """The class of each example for one target, as a place in `SHARE_CLASSES`; own ones as rest."""
    places = {CLASSES.index(name): SHARE_CLASSES.index(name) for name in SHARE_CLASSES[:4]}
    rest = SHARE_CLASSES.index("rest")
    found = np.full(len(ranking.pool), rest)
    for copied, place in places.items():
        found[ranking.classes[target] == copied] = place
    is_free = ranking.classes[target] == NO_COPY
    found[is_free & ranking.is_related[target]] = SHARE_CLASSES.index("related")
    return found


def _mass(
    values: "Float[np.ndarray, ' pool']",
    rows: "Int[np.ndarray, ' first']",
    own: "Int[np.ndarray, ' pool']",
    ranking: Ranking,
) -> "Float[np.ndarray, ' classes']":
    rest = rows[own[rows] == SHARE_CLASSES.index("rest")]
    threshold = _weighted_quantile(values[rest], ranking.pool.weights[rest], MASS_QUANTILE)
    above = np.clip(values[rows] - threshold, 0, None) * ranking.pool.weights[rows]
    found = np.bincount(own[rows], weights=above, minlength=len(SHARE_CLASSES))
    total = found.sum()
    return found / total if total > 0 else np.full(len(SHARE_CLASSES), np.nan)


def _weighted_quantile(
    values: "Float[np.ndarray, ' some']", weights: "Float[np.ndarray, ' some']", share: float
) -> float:
    if not len(values):
        return 0.0
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) >= share * weights.sum()
    return float(values[order][int(reached.argmax())])


def all_shares(
    ranking: Ranking, *, k: int
) -> "dict[tuple[Named, Unit], Float[np.ndarray, 'targets classes']]":
    """Computes the shares of every method, unit and target."""
    return {
        (method, unit): np.stack(
            [
                shares_of(ranking, method, target, unit, k=k)
                for target in range(len(ranking.targets))
            ]
        )
        for method in ranking.scores.values
        for unit in UNITS
    }


def mean_shares(
    found: "Mapping[tuple[Named, Unit], Float[np.ndarray, 'targets classes']]",
    targets: Targets,
    families: Sequence[str],
) -> tuple[Share, ...]:
    """Averages shares by group, with 95 % intervals over families.

    Args:
        found: Shares of each target.
        targets: What they are.
        families: The family of each target, by some definition; a control has its target's.
    """
    rows = []
    for (method, unit), values in found.items():
        for group in GROUPS:
            numbers = targets.numbers(group)
            for place, name in enumerate(SHARE_CLASSES):
                estimate = mean_estimate(
                    values[numbers, place].tolist(),
                    families=[families[number] for number in numbers],
                    bounds=(0.0, 1.0),
                )
                rows.append(Share(method, group, unit, name, estimate))
    return tuple(rows)


def differences(
    found: "Mapping[tuple[Named, Unit], Float[np.ndarray, 'targets classes']]",
    targets: Targets,
    families: Sequence[str],
    *,
    untrained: Mapping[str, Named],
) -> tuple[Difference, ...]:
    """Subtracts controls, and the untrained model, from memorized windows, target by target.

    Args:
        found: Shares of each target.
        targets: What they are.
        families: The family of each target.
        untrained: For a method's name, the method on untrained weights.
    """
    rows = []
    memorized = targets.numbers("memorized")
    for (method, unit), values in found.items():
        for group in GROUPS[1:]:
            numbers = targets.numbers(group)
            pairs = [(int(targets.of[number]), number) for number in numbers]
            rows += _paired(method, group, unit, values, values, pairs, families)
        base = untrained.get(method.method)
        if base is not None and base != method:
            pairs = [(number, number) for number in memorized]
            other = found[base, unit]
            rows += _paired(method, base.label, unit, values, other, pairs, families)
    return tuple(rows)


def _paired(
    method: Named,
    minus: str,
    unit: Unit,
    values: "Float[np.ndarray, 'targets classes']",
    others: "Float[np.ndarray, 'targets classes']",
    pairs: Sequence[tuple[int, int]],
    families: Sequence[str],
) -> list[Difference]:
    return [
        Difference(
            method,
            minus,
            unit,
            name,
            estimate_of(
                paired_spread(
                    [float(values[one, place]) for one, _ in pairs],
                    [float(others[other, place]) for _, other in pairs],
                    families=[families[one] for one, _ in pairs],
                ),
                bounds=(-1.0, 1.0),
            ),
        )
        for place, name in enumerate(SHARE_CLASSES)
    ]


def own_ranks(ranking: Ranking) -> tuple[OwnRank, ...]:
    """Ranks each memorized window's own example, by every method.

    Returns:
        One record per method with at least one such example in the pool. An example without a score
        has no rank, and counts as last.
    """
    rows = []
    for method, values in ranking.scores.values.items():
        found = []
        for target in ranking.targets.numbers("memorized"):
            own = np.flatnonzero(ranking.classes[target] == _SELF)
            if len(own):
                score = values[target, own[0]]
                above = (
                    values[target] > score if np.isfinite(score) else np.ones(len(values[0]), bool)
                )
                found.append(1 + float(ranking.pool.weights[above].sum()))
        if found:
            rows.append(OwnRank(method, float(np.median(found)), max(found), len(found)))
    return tuple(rows)


def base_rates(ranking: Ranking) -> "Float[np.ndarray, 'targets classes']":
    """The share of each class in the whole corpus, by target; `related` counts as rest."""
    rows = []
    for target in range(len(ranking.targets)):
        own = share_places(ranking, target)
        own[own == SHARE_CLASSES.index("related")] = SHARE_CLASSES.index("rest")
        total = np.bincount(own, weights=ranking.pool.weights, minlength=len(SHARE_CLASSES))
        rows.append(total / ranking.pool.weights.sum())
    return np.stack(rows)
