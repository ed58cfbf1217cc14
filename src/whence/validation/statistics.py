"""How far may a figure be trusted that rests on shared queries and shared retrained models?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from whence.behaviors.intervals import bootstrap_mean
from whence.errors import SettingsError
from whence.records import Interval

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

NUM_RESAMPLES = 2_000
CONFIDENCE = 0.95
# What is left of a constant after subtracting its mean; such a row has no order.
_ROUNDING = 1e-9


class Estimate(NamedTuple):
    """A mean over `n` independent units with its 95 % interval; None is undefined, never zero.

    The interval is None where there are fewer than three units.
    """

    value: float | None
    interval: Interval | None
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        """The same as plain values, for a JSON file."""
        low, high = self.interval[:2] if self.interval else (None, None)
        return {"value": self.value, "low": low, "high": high, "n": self.n}


class TwoWay(NamedTuple):
    """Rank correlations of queries over subsets, and over subsets drawn anew.

    NaN where a row does not vary. Resamples depend only on the seed and the number of subsets, so
    that those of two methods on the same bank are paired.
    """

    per_query: "Float[np.ndarray, ' queries']"
    resampled: "Float[np.ndarray, 'queries resamples']"


def mean_estimate(values: Sequence[float], *, seed: int = 0) -> Estimate:
    """Computes the mean of one value per independent unit; NaN values are left out.

    Args:
        values: In any unit.
        seed: Of the resampling.

    Returns:
        The mean with a percentile bootstrap interval, in the unit of the values.
    """
    import math

    kept = [float(value) for value in values if not math.isnan(value)]
    if not kept:
        return Estimate(None, None, 0)
    interval = bootstrap_mean(kept, confidence=CONFIDENCE, seed=seed)
    return Estimate(math.fsum(kept) / len(kept), interval, len(kept))


def paired_estimate(
    values: Sequence[float], reference: Sequence[float], *, seed: int = 0
) -> Estimate:
    """Computes the mean difference of two values that each unit has; pairs with a NaN are left out.

    Returns:
        Value minus reference: positive where `values` are larger.
    """
    return mean_estimate([a - b for a, b in zip(values, reference, strict=True)], seed=seed)


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Computes Spearman's rank correlation; ties share their mean rank.

    Returns:
        In [-1, 1]; NaN where one of the two does not vary, or with fewer than two values.

    Source:
        Spearman, "The Proof and Measurement of Association between Two Things", 1904.

    Example:
        >>> spearman([1, 2, 3], [10, 20, 40])
        1.0
    """
    import numpy as np

    pair = np.asarray([x, y], dtype=np.float64)
    return float(_correlations(pair[:1], pair[1:], np.ones((1, pair.shape[1])))[0, 0])


def two_way_spearman(
    predicted: "Float[np.ndarray, 'queries subsets']",
    measured: "Float[np.ndarray, 'queries subsets']",
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> TwoWay:
    """Correlates prediction and measurement over subsets, for each query, and resamples subsets.

    `two_way_estimate` resamples the queries, too. All queries are measured on the same retrained
    models, so that they err together: resampling queries alone would promise too much.

    Args:
        predicted: One number per query and subset; only their order counts.
        measured: What retraining gave, higher where the prediction should be higher.
        seed: Of the resampling.
        num_resamples: How often the subsets are drawn anew, with replacement.

    Returns:
        One correlation per query, and one per query and resample.

    Raises:
        SettingsError: The two do not have the same shape, or there is no query or subset.

    Source:
        The pigeonhole bootstrap: Owen, "The pigeonhole bootstrap", Annals of Applied Statistics
        2007. Ranks are taken anew in every resample.
    """
    import numpy as np

    if predicted.shape != measured.shape or 0 in predicted.shape:
        raise SettingsError(
            f"There are {predicted.shape} predictions for {measured.shape} measurements.",
            "Give one of each per query and subset, and at least one.",
        )
    num_subsets = predicted.shape[1]
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(num_subsets, [1 / num_subsets] * num_subsets, size=num_resamples)
    return TwoWay(
        _correlations(predicted, measured, np.ones((1, num_subsets)))[:, 0],
        _correlations(predicted, measured, counts.astype(np.float64)),
    )


def two_way_estimate(
    found: TwoWay,
    reference: TwoWay | None = None,
    *,
    rows: Sequence[int] | None = None,
    seed: int = 0,
) -> Estimate:
    """Summarizes correlations, or with a reference by how much their mean is larger.

    Args:
        found: Of one method.
        reference: Of another one, on the same queries and subsets and with the same seed.
        rows: Which queries; all by default.
        seed: Of the resampling of queries.

    Returns:
        The mean over the queries that have a correlation (in both), with a two-way interval.
    """
    import numpy as np

    chosen = slice(None) if rows is None else list(rows)
    values, resampled = found.per_query[chosen], found.resampled[chosen]
    if reference is not None:
        values = values - reference.per_query[chosen]
        resampled = resampled - reference.resampled[chosen]
    defined = ~np.isnan(values)
    values, resampled = values[defined], resampled[defined]
    n = len(values)
    if not n:
        return Estimate(None, None, 0)
    counts = np.random.default_rng(seed).multinomial(n, [1 / n] * n, size=resampled.shape[1]).T
    weights = np.where(np.isnan(resampled), 0.0, counts)
    total = weights.sum(axis=0)
    means = (np.nan_to_num(resampled) * weights).sum(axis=0)[total > 0] / total[total > 0]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(values.mean()), Interval(float(low), float(high), n), n)


def residuals(
    values: "Float[np.ndarray, ' subsets']", explained_by: "Float[np.ndarray, 'subsets regressors']"
) -> "Float[np.ndarray, ' subsets']":
    """Subtracts from values what a least-squares fit on some regressors and a constant explains.

    Returns:
        What is left, in the unit of the values; all 0 where that is only rounding.
    """
    import numpy as np

    design = np.column_stack([np.ones(len(values)), explained_by])
    left = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    scale = np.abs(values).max(initial=0.0)
    return np.zeros_like(left) if np.abs(left).max(initial=0.0) <= _ROUNDING * scale else left


def _correlations(
    x: "Float[np.ndarray, 'queries subsets']",
    y: "Float[np.ndarray, 'queries subsets']",
    counts: "Float[np.ndarray, 'resamples subsets']",
) -> "Float[np.ndarray, 'queries resamples']":
    """Spearman's correlation of each query in each resample, which repeats subset i counts_i times.

    The number of smaller values minus that of larger ones is twice the mean rank, centered; ties
    and repetitions are right by construction.
    """
    import numpy as np

    found = np.empty((len(x), len(counts)))
    for query in range(len(x)):
        a, b = (_order(row) @ counts.T for row in (x[query], y[query]))
        weights = counts.T
        scale = np.sqrt((weights * a * a).sum(axis=0) * (weights * b * b).sum(axis=0))
        with np.errstate(invalid="ignore", divide="ignore"):
            found[query] = np.where(scale > 0, (weights * a * b).sum(axis=0) / scale, np.nan)
    return np.clip(found, -1, 1)


def _order(
    values: "Float[np.ndarray, ' subsets']",
) -> "Float[np.ndarray, 'subsets subsets']":
    import numpy as np

    return np.sign(values[:, None] - values[None, :])
