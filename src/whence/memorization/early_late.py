"""Early against late: do windows memorized early differ from those memorized late?

Early windows have more copies before their onset, and other content; a raw difference between early
and late ones is a difference between families as much as one of time. Four analyses stand beside
it:

- matched: early and late windows of one family, whose content is the same;
- adjusted: a regression of the outcome on the logarithm of the onset, with the number of copies
  before the onset held constant;
- placebo: the raw difference with onsets shuffled among families;
- left out: the raw difference without each family in turn. If its sign depends on one or two
  families, these carry it.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.statistics import (
    MIN_FAMILIES,
    UNBOUNDED,
    Estimate,
    Spread,
    estimate_of,
    jackknife_variance,
    mean_estimate,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

_NUM_SHUFFLES = 2000
# Before the method whose first examples an outcome is about.
SHARE_OUTCOME = "share of exact copies, "


class EarlyLate(NamedTuple):
    """One outcome of early and of late windows.

    Attributes:
        outcome: What is compared.
        early: Its mean over early windows, with an interval over families.
        late: The same of late windows.
        difference: Early minus late, each family weighing the same; undefined where one side has no
            family.
        matched: Early minus late within families that have both; n counts such families.
        slope: Change of the outcome as the onset doubles, at an equal number of copies before it;
            the interval is that of a jackknife over families.
        placebo_p: How often shuffled onsets give a raw difference at least as large; None with
            fewer than six families.
        left_out: The smallest and the largest raw difference without one family.
        carried_by: How many families, taken out in the most damaging order, turn the sign of the
            raw difference; None where it has none.
        num_families: Families with an early or a late window.
    """

    outcome: str
    early: Estimate
    late: Estimate
    difference: float | None
    matched: Estimate
    slope: Estimate
    placebo_p: float | None
    left_out: tuple[float, float] | None
    carried_by: int | None
    num_families: int

    @property
    def is_told(self) -> bool:
        """Whether slope, placebo and the difference without any one family tell early from late.

        All have one sign: early windows have more where the outcome falls as the onset doubles.
        Matched families have to agree where at least six have both.
        """
        slope, matched = self.slope.interval, self.matched
        if self.placebo_p is None or self.left_out is None or slope is None or not self.difference:
            return False
        sign = math.copysign(1, self.difference)
        same_sign = self.left_out[0] * self.left_out[1] > 0
        # Early minus late is positive where the slope on the onset is negative.
        away = max(sign * slope.low, sign * slope.high) < 0
        agrees = matched.n < MIN_FAMILIES or (
            matched.value is not None and sign * matched.value > 0
        )
        return self.placebo_p <= 0.05 and same_sign and away and agrees


def compare_early_late(
    outcome: str,
    values: "Float[np.ndarray, ' windows']",
    onset_steps: "Int[np.ndarray, ' windows']",
    num_before: "Int[np.ndarray, ' windows']",
    families: Sequence[object],
    *,
    cut: int,
    bounds: tuple[float, float] = UNBOUNDED,
    seed: int = 0,
) -> EarlyLate:
    """Compares an outcome of early and late windows.

    Args:
        outcome: Its name.
        values: The outcome; NaN is left out.
        onset_steps: The step of each onset, positive.
        num_before: Copies before the onset.
        families: What is independent.
        cut: The last step that counts as early.
        bounds: What a mean of the outcome cannot be beyond.
        seed: Of the shuffles.
    """
    known = ~np.isnan(values)
    values, steps, before = values[known], onset_steps[known], num_before[known]
    names = np.array(
        [str(name) for name, k in zip(families, known, strict=True) if k], dtype=object
    )
    is_early = steps <= cut
    difference = _difference(values, is_early, names)
    both = [
        float(
            values[(names == name) & is_early].mean() - values[(names == name) & ~is_early].mean()
        )
        for name in dict.fromkeys(names.tolist())
        if is_early[names == name].any() and (~is_early[names == name]).any()
    ]
    num = len(set(names.tolist()))
    return EarlyLate(
        outcome=outcome,
        early=mean_estimate(
            values[is_early].tolist(), families=names[is_early].tolist(), bounds=bounds
        ),
        late=mean_estimate(
            values[~is_early].tolist(), families=names[~is_early].tolist(), bounds=bounds
        ),
        difference=difference,
        matched=mean_estimate(both),
        slope=_slope(values, steps, before, names),
        placebo_p=_placebo(values, is_early, names, seed) if num >= MIN_FAMILIES else None,
        left_out=_left_out(values, is_early, names),
        carried_by=_carried_by(values, is_early, names),
        num_families=num,
    )


def _difference(
    values: np.ndarray, is_early: "Bool[np.ndarray, ' windows']", names: np.ndarray
) -> float | None:
    """The mean of families' early means minus that of their late means; None without one."""
    _, family = np.unique(names.astype(str), return_inverse=True)
    return _difference_of(values, is_early, family)


def _difference_of(
    values: np.ndarray, is_early: np.ndarray, family: "Int[np.ndarray, ' windows']"
) -> float | None:
    """The same, with families numbered."""
    sides = []
    for side in (is_early, ~is_early):
        sizes = np.bincount(family[side])
        if not len(sizes):
            return None
        sums = np.bincount(family[side], weights=values[side])
        sides.append(float((sums[sizes > 0] / sizes[sizes > 0]).mean()))
    return sides[0] - sides[1]


def _slope(
    values: np.ndarray, steps: np.ndarray, before: np.ndarray, names: np.ndarray
) -> Estimate:
    """Least squares on log2 of the onset and log2 of one plus copies, with jackknife errors.

    Each family is left out in turn; undefined where one of them alone tells onsets from copies.

    Source: the cluster jackknife of MacKinnon, Nielsen and Webb, Journal of Applied Econometrics
    2023. With 6 to 15 families of equal and unequal size the interval held the slope in 93 to 96 %
    of 1,000 simulations, that of plain clustered errors in 71 to 92 %.
    """
    groups = list(dict.fromkeys(names.tolist()))
    columns = [np.ones(len(values)), np.log2(np.maximum(steps, 1)), np.log2(1 + before)]
    design = np.stack(columns, axis=1)
    center = _onset_coefficient(design, values) if len(values) > 3 else None
    if center is None:
        return Estimate(None, None, len(values))
    without = [_onset_coefficient(design[names != g], values[names != g]) for g in groups]
    changes = [one - center for one in without if one is not None]
    if len(groups) < MIN_FAMILIES or len(changes) < len(groups):
        return Estimate(center, None, len(values))
    error = math.sqrt(jackknife_variance(np.array(changes)))
    return estimate_of(Spread(center, error, len(groups) - 1.0, len(values), len(groups)))


def _onset_coefficient(design: np.ndarray, values: np.ndarray) -> float | None:
    """The second coefficient of a least-squares fit; None where it is not determined."""
    found, _, rank, _ = np.linalg.lstsq(design, values)
    return float(found[1]) if rank == design.shape[1] else None


def _placebo(
    values: np.ndarray, is_early: np.ndarray, names: np.ndarray, seed: int
) -> float | None:
    """Deals families' shares of early windows to other families, and counts as large differences.

    Each family keeps its windows together, and has as large a share of early ones as another
    family, rounded to its size.
    """
    _, family = np.unique(names.astype(str), return_inverse=True)
    observed = _difference_of(values, is_early, family)
    if observed is None:
        return None
    rng = np.random.default_rng(seed)
    groups = list(dict.fromkeys(names.tolist()))
    rows = [np.flatnonzero(names == name) for name in groups]
    early = [float(is_early[own].mean()) for own in rows]
    hits = trials = 0
    for _ in range(_NUM_SHUFFLES):
        dealt = np.zeros(len(values), dtype=bool)
        for own, other in zip(rows, rng.permutation(len(rows)).tolist(), strict=True):
            num_early = round(early[other] * len(own))
            dealt[rng.permutation(own)[:num_early]] = True
        found = _difference_of(values, dealt, family)
        if found is not None:
            trials += 1
            hits += abs(found) >= abs(observed) - 1e-12
    return (1 + hits) / (1 + trials)


def _left_out(
    values: np.ndarray, is_early: np.ndarray, names: np.ndarray
) -> tuple[float, float] | None:
    """The smallest and largest difference without one family; None where one is undefined."""
    found = []
    for name in dict.fromkeys(names.tolist()):
        kept = names != name
        one = _difference(values[kept], is_early[kept], names[kept])
        if one is None:
            return None
        found.append(one)
    return (min(found), max(found)) if found else None


def _carried_by(values: np.ndarray, is_early: np.ndarray, names: np.ndarray) -> int | None:
    """Counts the families without which the difference has another sign, taken greedily."""
    start = _difference(values, is_early, names)
    if start is None or start == 0:
        return None
    kept = np.ones(len(values), dtype=bool)
    groups = list(dict.fromkeys(names.tolist()))
    for taken in range(1, len(groups)):
        left = {}
        for name in dict.fromkeys(names[kept].tolist()):
            rest = kept & (names != name)
            one = _difference(values[rest], is_early[rest], names[rest])
            left[name] = 0.0 if one is None else one * math.copysign(1, start)
        worst = min(left, key=lambda name: left[name])
        if left[worst] <= 0:
            return taken
        kept &= names != worst
    return len(groups)
