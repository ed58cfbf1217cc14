"""Dose and response: copies and memorization, near copies in exact ones, placement, forgetting.

Everything here is computed from arrays with one value per sequence: how many copies it has, its
log-probability or whether it is extractible. Sequences of one family vary together, so intervals
are over families. Where copies were not planted, a curve is a description: sequences with many
copies differ in other ways, too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from whence.statistics import (
    MIN_UNITS,
    Estimate,
    Interval,
    Spread,
    estimate_of,
    mean_estimate,
    mean_spread,
    proportion,
)

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float, Int
    from numpy.random import Generator

_CONFIDENCE = 0.95
_RESAMPLES = 2_000


@dataclass(frozen=True)
class DoseCurve:
    """A curve that never falls with the number of copies.

    Attributes:
        copies: Doses, ascending.
        values: The fitted response at each, such as nats per token; higher is better remembered.
    """

    copies: "Float[np.ndarray, ' doses']"
    values: "Float[np.ndarray, ' doses']"

    def at(self, copies: float) -> float:
        """Computes the response to a dose: straight in log(1 + copies) between two doses.

        Returns:
            NaN outside of the doses of the curve.
        """
        import numpy as np

        if not self.copies[0] <= copies <= self.copies[-1]:
            return math.nan
        return float(np.interp(math.log1p(copies), np.log1p(self.copies), self.values))

    def copies_for(self, value: float) -> float:
        """Computes how many copies give a response: the curve read the other way.

        Returns:
            Copies. Where the curve is level, the middle of the level part in log(1 + copies); the
            smallest dose for a value below the curve; infinity for one above it.
        """
        import numpy as np

        if value > self.values[-1]:
            return math.inf
        if value < self.values[0]:
            return float(self.copies[0])
        logs = np.log1p(self.copies)
        level = np.flatnonzero(self.values == value)
        if len(level):
            return math.expm1((logs[level[0]] + logs[level[-1]]) / 2)
        after = int(np.searchsorted(self.values, value))
        low, high = self.values[after - 1], self.values[after]
        share = (value - low) / (high - low)
        return math.expm1(logs[after - 1] + share * (logs[after] - logs[after - 1]))


def dose_curve(
    copies: "Int[np.ndarray, ' sequences']", values: "Float[np.ndarray, ' sequences']"
) -> DoseCurve:
    """Fits the least-squares curve that never falls with the number of copies.

    Args:
        copies: Copies of each sequence; 0 is one that was never seen.
        values: Its response: nats per token, or 1 where it is extractible and 0 where not. NaN is
            left out.

    Returns:
        The curve at every dose that occurs.

    Raises:
        ValueError: No value is known.

    Source:
        Barlow et al., "Statistical Inference under Order Restrictions", 1972.
    """
    import numpy as np
    from scipy.optimize import isotonic_regression

    known = ~np.isnan(values)
    if not known.any():
        raise ValueError("a dose curve of no values")
    doses, places = np.unique(np.asarray(copies)[known], return_inverse=True)
    counts = np.bincount(places)
    means = np.bincount(places, weights=np.asarray(values, dtype=np.float64)[known]) / counts
    fitted = isotonic_regression(means, weights=counts).x
    return DoseCurve(doses.astype(np.float64), np.asarray(fitted, dtype=np.float64))


class Equivalent(NamedTuple):
    """What a near copy is worth in exact ones.

    `rho` is exact copies per near copy, 0 where near copies leave a sequence as if it had none, and
    undefined where the response is above that of the largest dose. `share_above` of the resamples
    were above it, and count as its end in the interval.
    """

    rho: Estimate
    share_above: float


def exact_equivalent(
    copies: "Int[np.ndarray, ' sequences']",
    values: "Float[np.ndarray, ' sequences']",
    *,
    families: Sequence[str],
    near_values: "Float[np.ndarray, ' near']",
    near_families: Sequence[str],
    num_near_copies: int,
    generator: "Generator",
) -> Equivalent:
    """Computes how many exact copies give the response of near copies, per near copy.

    The mean response of sequences that have near copies only is looked up on the curve of sequences
    that have exact copies only.

    Args:
        copies: Exact copies of each sequence of the curve.
        values: Their responses, in nats per token.
        families: Their families.
        near_values: Responses of the sequences with near copies.
        near_families: Their families.
        num_near_copies: How many near copies each of them has.
        generator: Draws the resamples.

    Returns:
        Exact copies per near copy, with a 95 % percentile interval of a bootstrap over the families
        of the curve and those of the near copies; `n` counts the latter.

    Source:
        Shilov et al., "The Mosaic Memory of Large Language Models", arXiv 2405.15523, who measure
        the response by membership inference; here it is any, and the curve is isotonic.

    Cost:
        2,000 isotonic regressions: about a second.
    """
    import numpy as np

    def ratio(near: "Float[np.ndarray, ' near']", curve: DoseCurve) -> float:
        return curve.copies_for(float(np.mean(near))) / num_near_copies

    value = ratio(near_values, dose_curve(copies, values))
    num = len(set(near_families))
    if num < MIN_UNITS:
        return Equivalent(Estimate(value if math.isfinite(value) else None, None, num), math.nan)
    members, near_members = _rows(families), _rows(near_families)
    drawn = []
    for _ in range(_RESAMPLES):
        rows = _resample(members, generator)
        curve = dose_curve(copies[rows], values[rows])
        found = ratio(near_values[_resample(near_members, generator)], curve)
        drawn.append(found)
    above = np.isinf(drawn)
    largest = float(np.max(copies)) / num_near_copies
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(np.where(above, largest, drawn), [tail, 1 - tail])
    interval = Interval(float(low), float(high), num)
    estimate = Estimate(value if math.isfinite(value) else None, interval, num)
    return Equivalent(estimate, float(above.mean()))


def _rows(families: Sequence[str]) -> "list[Int[np.ndarray, ' rows']]":
    import numpy as np

    names = np.asarray(families)
    return [np.flatnonzero(names == name) for name in dict.fromkeys(families)]


def _resample(
    members: "list[Int[np.ndarray, ' rows']]", generator: "Generator"
) -> "Int[np.ndarray, ' rows']":
    import numpy as np

    return np.concatenate([members[i] for i in generator.integers(len(members), size=len(members))])


class DoseBin(NamedTuple):
    """Sequences with `low` to `high` copies, and how many of them are extractible.

    Sequences with one and the same continuation are one observation at best: `continuations` counts
    each once, as extractible if any of its sequences is. Intervals are Wilson's.
    """

    low: int
    high: int
    sequences: Estimate
    continuations: Estimate
    num_extractible: int


def extraction_by_dose(
    copies: "Int[np.ndarray, ' sequences']",
    is_extractible: "Bool[np.ndarray, ' sequences']",
    *,
    continuations: Sequence[object],
    starts: Sequence[int],
) -> tuple[DoseBin, ...]:
    """Counts extractible sequences by their number of copies.

    Args:
        copies: Copies of each sequence.
        is_extractible: Whether the model reproduces it.
        continuations: Something hashable that is equal where continuations are.
        starts: The smallest number of copies of each bin, ascending; the last has no upper end.

    Returns:
        One bin each; an empty one has undefined shares. Its `high` is the largest number below the
        next bin, in the last the largest that occurs.
    """
    import numpy as np

    ends = [*(start - 1 for start in starts[1:]), max(int(np.max(copies)), starts[-1])]
    found = []
    for low, high in zip(starts, ends, strict=True):
        rows = np.flatnonzero((copies >= low) & (copies <= high)).tolist()
        hits = [row for row in rows if is_extractible[row]]
        unique, unique_hits = ({continuations[row] for row in part} for part in (rows, hits))
        found.append(
            DoseBin(
                low,
                high,
                proportion(len(hits), len(rows)),
                proportion(len(unique_hits), len(unique)),
                len(hits),
            )
        )
    return tuple(found)


def placement_differences(
    values: "Float[np.ndarray, ' sequences']",
    placements: Sequence[str],
    *,
    reference: str,
    families: Sequence[str] | None = None,
) -> Mapping[str, Estimate]:
    """Computes how much better sequences of other placements are remembered than one placement's.

    Args:
        values: In any unit; higher is better remembered. NaN is left out.
        placements: Where the copies of each sequence stand in training.
        reference: The placement that is subtracted.
        families: The sequences' families; by default each is its own.

    Returns:
        For every other placement, the difference of the means with Welch's interval; undefined
        where one of the two has no value. `n` is the smaller number of sequences.

    Source:
        Welch, "The generalization of 'Student's' problem when several different population
        variances are involved", Biometrika 1947.
    """
    names = [str(i) for i in range(len(values))] if families is None else list(families)
    spreads: dict[str, Spread] = {}
    for name in dict.fromkeys(placements):
        rows = [row for row, placement in enumerate(placements) if placement == name]
        spreads[name] = mean_spread(
            [float(values[row]) for row in rows], families=[names[row] for row in rows]
        )
    base = spreads.pop(reference)
    return {name: estimate_of(_minus(spread, base)) for name, spread in spreads.items()}


def _minus(spread: Spread, reference: Spread) -> Spread:
    n, num = min(spread.n, reference.n), min(spread.num_families, reference.num_families)
    if spread.value is None or reference.value is None:
        return Spread(None, math.nan, 0.0, n, num)
    value = spread.value - reference.value
    variances = [one.standard_error**2 for one in (spread, reference)]
    error = math.sqrt(sum(variances))
    if math.isnan(error) or error == 0:
        return Spread(value, error, min(spread.df, reference.df), n, num)
    # Welch and Satterthwaite: the degrees of freedom of a sum of two estimated variances.
    terms = zip(variances, (spread, reference), strict=True)
    df = error**4 / sum(v * v / one.df for v, one in terms)
    return Spread(value, error, df, n, num)


class Forgetting(NamedTuple):
    """Sequences `low` to `high` steps after their last copy.

    `kept` is the share of what they had learned by then that is left, `excess_nats` the
    log-probability above that of sequences that were never seen, and `extractible` the share that
    still is, of those that were; each counts a sequence once.
    """

    low: int
    high: int
    kept: Estimate
    excess_nats: Estimate
    extractible: Estimate


def forgetting(
    steps: Sequence[int],
    log_probs: "Float[np.ndarray, 'steps sequences']",
    is_extractible: "Bool[np.ndarray, 'steps sequences']",
    *,
    unseen: "Float[np.ndarray, ' steps']",
    last_copies: Sequence[int],
    starts: Sequence[int],
) -> tuple[Forgetting, ...]:
    """Follows sequences after their last copy.

    Each starts at the first checkpoint that has seen its last copy; a later checkpoint is compared
    with that one. What is kept is the ratio of both log-probabilities above `unseen`, which
    subtracts what the model has learned about such text in general.

    Args:
        steps: Of the checkpoints, ascending.
        log_probs: Mean log-probability per token, in nats.
        is_extractible: Whether the model reproduces the sequence.
        unseen: At each checkpoint, the mean of sequences that were never seen.
        last_copies: The step of the last copy of each sequence.
        starts: Steps after the start at which the bins begin, ascending and positive.

    Returns:
        One entry for each bin. A sequence counts by its mean over the checkpoints of the bin, and
        as extractible if it is at the last of them; one that has none there does not count. Nothing
        is kept by one that was not above `unseen` at its start: NaN, left out.
    """
    import numpy as np

    ends = [*(start - 1 for start in starts[1:]), max(int(steps[-1]), starts[-1])]
    above = log_probs - unseen[:, None]
    begins = np.searchsorted(np.asarray(steps), np.asarray(last_copies))
    found = []
    for low, high in zip(starts, ends, strict=True):
        kept, excess, still = [], [], []
        for place, begin in enumerate(begins.tolist()):
            if begin == len(steps):
                continue
            since = np.asarray(steps) - steps[begin]
            rows = np.flatnonzero((since >= low) & (since <= high))
            if not len(rows):
                continue
            level = float(above[rows, place].mean())
            learned = float(above[begin, place])
            excess.append(level)
            kept.append(level / learned if learned > 0 else math.nan)
            if is_extractible[begin, place]:
                still.append(bool(is_extractible[rows[-1], place]))
        found.append(
            Forgetting(
                low,
                high,
                mean_estimate(kept),
                mean_estimate(excess),
                proportion(sum(still), len(still)),
            )
        )
    return tuple(found)


def half_lives(
    steps: Sequence[int],
    log_probs: "Float[np.ndarray, 'steps sequences']",
    *,
    unseen: "Float[np.ndarray, ' steps']",
    last_copies: Sequence[int],
) -> "Float[np.ndarray, ' sequences']":
    """Computes after how many steps half of what was learned of each sequence is lost.

    Args:
        steps: Of the checkpoints, ascending.
        log_probs: Mean log-probability per token, in nats.
        unseen: At each checkpoint, the mean of sequences that were never seen.
        last_copies: The step of the last copy of each sequence.

    Returns:
        Steps between the first checkpoint that has seen the last copy and the first time that half
        of the log-probability above `unseen` is lost, straight between checkpoints. Infinite where
        the training ends before; NaN where nothing was learned or no checkpoint follows.
    """
    import numpy as np

    above = log_probs - unseen[:, None]
    begins = np.searchsorted(np.asarray(steps), np.asarray(last_copies))
    found = np.full(len(last_copies), math.nan)
    for place, begin in enumerate(begins.tolist()):
        if begin >= len(steps) - 1 or above[begin, place] <= 0:
            continue
        kept = above[begin:, place] / above[begin, place]
        times = np.asarray(steps[begin:], dtype=np.float64) - steps[begin]
        lost = np.flatnonzero(kept <= 0.5)
        if not len(lost):
            found[place] = math.inf
            continue
        after = int(lost[0])
        share = (kept[after - 1] - 0.5) / (kept[after - 1] - kept[after])
        found[place] = times[after - 1] + share * (times[after] - times[after - 1])
    return found


def dose_means(
    copies: "Int[np.ndarray, ' sequences']",
    values: "Float[np.ndarray, ' sequences']",
    *,
    families: Sequence[str] | None = None,
) -> Mapping[int, Estimate]:
    """Computes the mean response at each dose, with Student's t interval over families."""
    found: dict[int, Estimate] = {}
    for dose in sorted({int(c) for c in copies}):
        rows = [row for row, c in enumerate(copies) if int(c) == dose]
        names = None if families is None else [families[row] for row in rows]
        found[dose] = mean_estimate([float(values[row]) for row in rows], families=names)
    return found
