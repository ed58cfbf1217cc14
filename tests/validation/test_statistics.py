"""Rank correlations and their intervals: against a slow oracle, and right as often as they say."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from whence.errors import SettingsError
from whence.validation.statistics import (
    mean_estimate,
    paired_estimate,
    residuals,
    spearman,
    two_way_estimate,
    two_way_spearman,
)


@pytest.mark.parametrize("seed", range(5))
def test_spearman_with_ties_is_scipys(seed: int):
    x, y = np.random.default_rng(seed).integers(0, 6, (2, 30)).astype(float)
    assert spearman(x.tolist(), y.tolist()) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_what_does_not_vary_has_no_correlation():
    assert np.isnan(spearman([1, 1, 1], [1, 2, 3]))
    assert np.isnan(spearman([1.0], [2.0]))


def test_a_resample_is_the_correlation_of_the_repeated_data():
    """The oracle writes the repetitions out."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, (2, 3, 12)).astype(float)
    found = two_way_spearman(x, y, seed=7, num_resamples=20)
    counts = np.random.default_rng(7).multinomial(12, [1 / 12] * 12, size=20)
    for b in range(20):
        rows = np.repeat(np.arange(12), counts[b])
        for q in range(3):
            expected = spearmanr(x[q][rows], y[q][rows]).statistic
            assert found.resampled[q, b] == pytest.approx(expected, abs=1e-12)


def test_some_queries_are_summarized_as_if_there_were_no_others():
    x, y = np.random.default_rng(0).normal(size=(2, 6, 30))
    some = two_way_estimate(two_way_spearman(x, y), rows=[1, 4, 5])
    assert some == two_way_estimate(two_way_spearman(x[[1, 4, 5]], y[[1, 4, 5]]))
    assert some.n == 3


def test_the_two_way_interval_holds_the_truth_where_the_query_only_one_does_not():
    """A subset's noise is shared by all queries; the true correlation is known by construction."""
    rng = np.random.default_rng(1)
    truth = 6 / np.pi * np.arcsin(np.sqrt(0.5) / 2)  # Of ranks, where Pearson's is sqrt(1/2).
    held = {"two ways": 0, "queries only": 0}
    for trial in range(120):
        signal, noise = rng.normal(size=(2, 30))
        x = np.tile(signal, (12, 1)) + 1e-6 * rng.normal(size=(12, 30))
        y = np.tile(signal + noise, (12, 1)) + 0.05 * rng.normal(size=(12, 30))
        found = two_way_spearman(x, y, seed=trial, num_resamples=300)
        for name, estimate in (
            ("two ways", two_way_estimate(found)),
            ("queries only", mean_estimate(found.per_query.tolist())),
        ):
            assert estimate.interval is not None
            held[name] += estimate.interval.low <= truth <= estimate.interval.high
    assert held["two ways"] >= 0.88 * 120
    assert held["queries only"] < 0.5 * 120


def test_random_predictions_have_an_interval_around_zero():
    rng = np.random.default_rng(3)
    held = 0
    for trial in range(100):
        found = two_way_spearman(*rng.normal(size=(2, 10, 40)), seed=trial, num_resamples=300)
        interval = two_way_estimate(found).interval
        assert interval is not None
        held += interval.low <= 0 <= interval.high
    assert held >= 90


def test_paired_methods_share_their_resamples():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5, 30))
    same = two_way_estimate(two_way_spearman(x, y), two_way_spearman(x * 2 + 1, y))
    assert same.value == 0
    assert same.interval == (0, 0, 5)


def test_a_query_without_order_is_left_out_and_not_zero():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3, 30))
    x[1] = 4.0
    estimate = two_way_estimate(two_way_spearman(x, y))
    assert estimate.n == 2
    assert estimate.value == pytest.approx(np.mean([spearman(x[q], y[q]) for q in (0, 2)]))
    x[:] = 4.0
    assert two_way_estimate(two_way_spearman(x, y)) == (None, None, 0)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(SettingsError, match=r"\(2, 3\) predictions for \(2, 4\)"):
        two_way_spearman(np.zeros((2, 3)), np.zeros((2, 4)))


def test_means_leave_out_nan_and_pairs_with_one():
    assert mean_estimate([1.0, float("nan"), 3.0])[::2] == (2.0, 2)
    assert mean_estimate([float("nan")]) == (None, None, 0)
    difference = paired_estimate([3.0, 4.0, float("nan"), 6.0], [1.0, 1.0, 1.0, 2.0])
    assert difference.n == 3
    assert difference.value == pytest.approx(3.0)


def test_residuals_are_least_squares_and_rounding_counts_as_nothing():
    rng = np.random.default_rng(0)
    own = rng.integers(0, 2, (40, 1)).astype(float)
    left = residuals(3 * own[:, 0] + rng.normal(size=40), own)
    assert left.mean() == pytest.approx(0, abs=1e-12)
    assert left @ own[:, 0] == pytest.approx(0, abs=1e-12)
    assert not residuals(0.1 + 3.7 * own[:, 0], own).any()
