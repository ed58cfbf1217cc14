"""What methods give exact and near copies of memorized windows, to be held against removal.

Shares of the first ten examples cannot be compared with what training without copies does. Two
other figures can: which part of the scores of all copies exact ones have, and how many exact copies
one near copy is worth. `twin_effects` has both from training; BM25, a random order and an untrained
model show what they are where nothing was learned.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.memorization.attribution import Named
from whence.memorization.copies import CLASSES, CopyClass
from whence.memorization.twin_design import TwinSettings
from whence.statistics import Estimate, ratio_estimate

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

    from whence.memorization.shares import Ranking


class TargetCopies(NamedTuple):
    """The scores of one window's copies.

    Attributes:
        window: The row of its example in the corpus; -1 where it has none.
        num_exact: Exact copies, its own example among them, as in `TwinSettings`.
        num_near: Near copies.
        exact_sum: The sum of the scores of exact copies.
        near_sum: Of near copies.
    """

    window: int
    num_exact: int
    num_near: int
    exact_sum: float
    near_sum: float


class CopyScores(NamedTuple):
    """What one method gives exact and near copies, for windows that have both.

    Attributes:
        method: The method.
        exact_share: The exact copies' part of the scores of both: the mean over families of the one
            over the mean of the other, with Fieller's interval.
        near_in_exact: The mean score of a near copy over that of an exact one, likewise.
        targets: The windows.
    """

    method: Named
    exact_share: Estimate
    near_in_exact: Estimate
    targets: tuple[TargetCopies, ...]


def copy_scores(
    ranking: "Ranking", families: Sequence[str], rows: "Int[np.ndarray, ' targets']"
) -> tuple[CopyScores, ...]:
    """Sums the scores of exact and of near copies of memorized windows.

    Args:
        ranking: Scores and classes; every copy is in the pool.
        families: Of each target: the unit of the intervals.
        rows: Of each target, the row of its example; -1 where it has none.

    Returns:
        One record for each method, over memorized windows with at least one exact copy and one near
        copy whose scores are defined; the sums are signed.
    """
    settings = TwinSettings()
    classes = [_of(ranking, names) for names in (settings.exact_classes, settings.near_classes)]
    memorized = ranking.targets.numbers("memorized")
    found = []
    for method, values in ranking.scores.values.items():
        exact, near = (of_class & np.isfinite(values) for of_class in classes)
        numbers = [n for n in memorized if exact[n].any() and near[n].any()]
        targets = tuple(
            TargetCopies(
                int(rows[n]),
                int(exact[n].sum()),
                int(near[n].sum()),
                float(values[n][exact[n]].sum()),
                float(values[n][near[n]].sum()),
            )
            for n in numbers
        )
        names = [families[n] for n in numbers]
        found.append(
            CopyScores(method, _exact_share(targets, names), _worth(targets, names), targets)
        )
    return tuple(found)


def _exact_share(targets: Sequence[TargetCopies], families: Sequence[str]) -> Estimate:
    """The exact copies' part of the scores of all copies, over families."""
    return _ratio(
        [one.exact_sum for one in targets],
        [one.exact_sum + one.near_sum for one in targets],
        families,
    )


def _worth(targets: Sequence[TargetCopies], families: Sequence[str]) -> Estimate:
    return _ratio(
        [one.near_sum / one.num_near for one in targets],
        [one.exact_sum / one.num_exact for one in targets],
        families,
    )


def _ratio(
    numerators: Sequence[float], denominators: Sequence[float], families: Sequence[str]
) -> Estimate:
    """A ratio of means over families, each the mean of its windows."""
    by_family: dict[str, list[int]] = {}
    for place, name in enumerate(families):
        by_family.setdefault(name, []).append(place)
    return ratio_estimate(
        *(
            [float(np.mean([values[place] for place in own])) for own in by_family.values()]
            for values in (numerators, denominators)
        )
    )


def _of(ranking: "Ranking", names: Sequence[CopyClass]) -> "Bool[np.ndarray, 'targets pool']":
    return np.isin(ranking.classes, [CLASSES.index(name) for name in names])
