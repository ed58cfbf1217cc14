"""How sure can one be of a share or a mean from so few observations?"""

import math
from collections.abc import Sequence
from statistics import NormalDist

from whence.records import Interval

# Fewer prompts than this say nothing about how a margin varies between prompts.
MIN_PROMPTS = 3
_NUM_RESAMPLES = 10_000


def wilson(num_hits: int, num_trials: int, *, confidence: float) -> Interval:
    """Computes Wilson's score interval of a share.

    Args:
        num_hits: Trials that succeeded.
        num_trials: All trials, at least one; independent.
        confidence: Such as .95.

    Returns:
        Bounds in [0, 1]; unlike the textbook interval they have a width at 0 and at 1.

    Raises:
        ValueError: There is no trial, so there is no share.

    Source:
        Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927.

    Example:
        >>> low, high, n = wilson(0, 25, confidence=0.95)
        >>> round(low, 3), round(high, 3), n
        (0.0, 0.133, 25)
    """
    if not 0 <= num_hits <= num_trials or num_trials < 1:
        raise ValueError(f"no share of {num_hits} in {num_trials}")
    z, n, p = _z(confidence), num_trials, num_hits / num_trials
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # The bounds are exactly 0 and 1 there; rounding would leave 1e-17.
    low = 0.0 if num_hits == 0 else max(0.0, center - half)
    high = 1.0 if num_hits == num_trials else min(1.0, center + half)
    return Interval(low, high, num_trials)


def newcombe(
    num_hits: int, num_trials: int, *, reference: tuple[int, int], confidence: float
) -> Interval:
    """Computes Newcombe's interval of the difference of two independent shares.

    Args:
        num_hits: Trials that succeeded.
        num_trials: All trials.
        reference: The same two numbers of what is subtracted.
        confidence: Such as .95.

    Returns:
        Bounds of share minus reference share, in [-1, 1]; `n` is the smaller number of trials.

    Source:
        Newcombe, "Interval estimation for the difference between independent proportions",
        Statistics in Medicine 1998, method 10.
    """
    low, high, n = wilson(num_hits, num_trials, confidence=confidence)
    low_reference, high_reference, n_reference = wilson(*reference, confidence=confidence)
    p, p_reference = num_hits / num_trials, reference[0] / reference[1]
    below = math.hypot(p - low, high_reference - p_reference)
    above = math.hypot(high - p, p_reference - low_reference)
    difference = p - p_reference
    return Interval(difference - below, difference + above, min(n, n_reference))


def bootstrap_mean(values: Sequence[float], *, confidence: float, seed: int) -> Interval | None:
    """Computes a percentile bootstrap interval of a mean.

    With few values it is too narrow: in 1,500 simulations with normal values each, an interval
    called 95 % held the true mean in 76 % of cases with 3 values, 83 % with 5 and 92 % with 10.

    Args:
        values: One per independent unit, such as a prompt.
        confidence: Such as .95.
        seed: Of the resampling.

    Returns:
        Bounds in the unit of the values; None for fewer than `MIN_PROMPTS` values.
    """
    import numpy as np

    if len(values) < MIN_PROMPTS:
        return None
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(values), size=(_NUM_RESAMPLES, len(values)))
    means = np.asarray(values, dtype=np.float64)[rows].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high), len(values))


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)
