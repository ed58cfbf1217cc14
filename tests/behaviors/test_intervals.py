"""Intervals agree with their published examples and with simulation."""

import numpy as np
import pytest

from whence.behaviors.intervals import bootstrap_mean, newcombe, wilson


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(hits: int, trials: int, low: float, high: float) -> None:
    interval = wilson(hits, trials, confidence=0.95)
    assert interval[:2] == pytest.approx((low, high), abs=5e-5)
    assert interval.n == trials


@pytest.mark.parametrize(
    ("hits", "trials", "reference", "low", "high"),
    # Newcombe, "Interval estimation for the difference between independent proportions", 1998,
    # table II, method 10, examples (a), (b), (e) and (h).
    [
        (56, 70, (48, 80), 0.0524, 0.3339),
        (9, 10, (3, 10), 0.1705, 0.8090),
        (5, 56, (0, 29), -0.0381, 0.1926),
        (10, 10, (0, 10), 0.6075, 1.0),
    ],
)
def test_newcombe_as_published(
    hits: int, trials: int, reference: tuple[int, int], low: float, high: float
) -> None:
    interval = newcombe(hits, trials, reference=reference, confidence=0.95)
    assert interval[:2] == pytest.approx((low, high), abs=1e-4)
    assert interval.n == min(trials, reference[1])


def test_no_trials_is_no_share() -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(0, 0, confidence=0.95)


def test_extremes_are_exact() -> None:
    assert wilson(0, 25, confidence=0.95).low == 0
    assert wilson(25, 25, confidence=0.95).high == 1


def test_bootstrap_needs_three_values() -> None:
    assert bootstrap_mean([1.0, 2.0], confidence=0.95, seed=0) is None
    assert bootstrap_mean([], confidence=0.95, seed=0) is None


def test_bootstrap_equals_all_resamples_of_three() -> None:
    values = [0.0, 1.0, 5.0]
    grid = np.array(np.meshgrid(values, values, values)).reshape(3, -1).mean(axis=0)
    interval = bootstrap_mean(values, confidence=0.8, seed=0)
    assert interval is not None
    assert interval[:2] == pytest.approx(np.quantile(grid, [0.1, 0.9]), abs=1e-9)
    assert interval.n == 3


def test_bootstrap_belongs_to_its_seed() -> None:
    values = list(np.random.default_rng(0).normal(size=12))
    first = bootstrap_mean(values, confidence=0.95, seed=1)
    assert first == bootstrap_mean(values, confidence=0.95, seed=1)
    assert first != bootstrap_mean(values, confidence=0.95, seed=2)
