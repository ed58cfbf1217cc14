"""Statistics agree with their published examples, with slow oracles and with simulation."""

import math
from statistics import fmean

import numpy as np
import pytest
from scipy.stats import false_discovery_control, mannwhitneyu, spearmanr, ttest_1samp
from scipy.stats import t as student

from whence.errors import SettingsError
from whence.statistics import (
    Estimate,
    Interval,
    TwoWay,
    benjamini_hochberg,
    bootstrap_mean,
    detectable_difference,
    estimate_of,
    mean,
    mean_estimate,
    mean_spread,
    newcombe,
    p_value,
    paired_estimate,
    probability_above,
    proportion,
    ratio_estimate,
    residuals,
    rounded,
    spearman,
    stratified_estimate,
    two_way_estimate,
    two_way_spearman,
    two_way_spread,
    wilson,
)


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
    assert bootstrap_mean([1.0, 2.0], seed=0, num_resamples=100) is None
    assert bootstrap_mean([], seed=0, num_resamples=100) is None


def test_bootstrap_equals_all_resamples_of_three() -> None:
    values = [0.0, 1.0, 5.0]
    grid = np.array(np.meshgrid(values, values, values)).reshape(3, -1).mean(axis=0)
    interval = bootstrap_mean(values, seed=0, num_resamples=10_000, confidence=0.8)
    assert interval is not None
    assert interval[:2] == pytest.approx(np.quantile(grid, [0.1, 0.9]), abs=1e-9)
    assert interval.n == 3


def test_bootstrap_belongs_to_its_seed() -> None:
    values = list(np.random.default_rng(0).normal(size=12))
    first = bootstrap_mean(values, seed=1, num_resamples=1_000)
    assert first == bootstrap_mean(values, seed=1, num_resamples=1_000)
    assert first != bootstrap_mean(values, seed=2, num_resamples=1_000)
    assert first != bootstrap_mean(values, seed=1, num_resamples=999)


def test_wilson_solves_its_equation():
    """The bounds are where the true rate lies z standard errors from the observed one."""
    z = 1.959963984540054
    for hits, n in [(1, 3), (20, 24), (50, 1000)]:
        interval = wilson(hits, n)
        for bound in (interval.low, interval.high):
            assert abs(hits / n - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / n))


def test_wilson_at_the_ends():
    none, every = wilson(0, 10), wilson(10, 10)
    assert none.low == 0.0
    assert 0 < none.high < 0.3
    assert every == (pytest.approx(1 - none.high), 1.0, 10)


@pytest.mark.parametrize("seed", range(5))
def test_spearman_with_ties_is_scipys(seed: int):
    x, y = np.random.default_rng(seed).integers(0, 6, (2, 30)).astype(float)
    assert spearman(x.tolist(), y.tolist()) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_what_does_not_vary_has_no_correlation():
    assert np.isnan(spearman([1, 1, 1], [1, 2, 3]))
    assert np.isnan(spearman([1.0], [2.0]))


def test_pseudo_values_are_those_of_correlations_without_each_subset():
    """The oracle leaves each subset out and correlates again."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, (2, 3, 12)).astype(float)
    found = two_way_spearman(x, y)
    for q in range(3):
        whole = spearmanr(x[q], y[q]).statistic
        assert found.per_query[q] == pytest.approx(whole, abs=1e-12)
        for s in range(12):
            rest = np.arange(12) != s
            expected = 12 * whole - 11 * spearmanr(x[q][rest], y[q][rest]).statistic
            assert found.pseudo[q, s] == pytest.approx(expected, abs=1e-10)


def test_regressors_widen_pseudo_values_by_the_dimensions_they_cost():
    x, y = np.random.default_rng(0).normal(size=(2, 1, 21))
    plain, less = two_way_spearman(x, y), two_way_spearman(x, y, num_regressors=[15])
    deviations = [one.pseudo - one.per_query[:, None] for one in (plain, less)]
    np.testing.assert_allclose(deviations[1], 2 * deviations[0])
    assert less.per_query == plain.per_query


def test_some_queries_are_summarized_as_if_there_were_no_others():
    x, y = np.random.default_rng(0).normal(size=(2, 6, 30))
    some = two_way_estimate(two_way_spearman(x, y), rows=[1, 4, 5])
    assert some == two_way_estimate(two_way_spearman(x[[1, 4, 5]], y[[1, 4, 5]]))
    assert some.n == 3


def test_two_way_variance_is_the_analysis_of_variance_of_a_table():
    """For families of one query each: mean squares of rows, columns and what they leave."""
    rng = np.random.default_rng(2)
    pseudo = rng.normal(size=(7, 1)) + rng.normal(size=(1, 9)) + rng.normal(size=(7, 9))
    values = pseudo.mean(axis=1)
    left = pseudo - values[:, None] - pseudo.mean(axis=0) + pseudo.mean()
    rows = 9 * values.var(ddof=1)
    columns = 7 * pseudo.mean(axis=0).var(ddof=1)
    both = (left**2).sum() / (6 * 8)
    found = two_way_spread(TwoWay(values, pseudo))
    assert found.standard_error**2 == pytest.approx((rows + columns - both) / 63)
    assert (found.n, found.num_families) == (7, 7)


@pytest.mark.parametrize("shared", [0.0, 0.3, 0.8])
def test_copies_of_queries_in_one_family_tell_nothing_new(shared: float):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 6, 30)) + shared * rng.normal(size=(2, 1, 30))
    once = two_way_spread(two_way_spearman(x, y))
    names = [name for name in "abcdef" for _ in range(4)]
    fourfold = two_way_spearman(np.repeat(x, 4, axis=0), np.repeat(y, 4, axis=0))
    copied = two_way_spread(fourfold, families=names)
    assert copied[:3] == pytest.approx(once[:3])
    assert two_way_spread(fourfold).df > copied.df


def simulated(rng, *, num_queries, num_subsets, num_families, shared, spread, largest=()):
    """Queries of families, whose true correlations differ, on subsets whose noise they share.

    The queries that the sizes of the `largest` families leave are dealt to the others in turn.
    """
    family = np.repeat(np.arange(len(largest)), largest)
    rest = np.arange(num_queries - len(family)) % (num_families - len(largest))
    family = np.concatenate([family, len(largest) + rest]).astype(int)
    rho = np.tanh(0.6 + spread * rng.normal(size=num_families))[family]
    signal, noise = (
        math.sqrt(shared) * rng.normal(size=num_subsets)
        + math.sqrt(1 - shared) * rng.normal(size=(num_queries, num_subsets))
        for _ in range(2)
    )
    measured = rho[:, None] * signal + np.sqrt(1 - rho[:, None] ** 2) * noise
    return signal, measured, [str(name) for name in family]


WORLDS = [
    {"num_queries": q, "num_subsets": m, "num_families": f, "shared": shared, "spread": spread}
    for q, m, f, shared, spread in (
        (12, 30, 12, 0.9, 0.0),
        (33, 96, 15, 0.5, 0.3),
        (33, 96, 15, 0.0, 0.0),
        (33, 96, 33, 0.5, 0.3),
        (12, 72, 6, 0.5, 0.3),
    )
]
# As many behaviors and families as the testbed shows, of which five are relations and styles.
UNEQUAL = {**WORLDS[1], "num_families": 12, "largest": (7, 6, 5, 5, 3)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "world", [*WORLDS, UNEQUAL], ids=lambda world: "-".join(map(str, world.values()))
)
def test_two_way_intervals_hold_the_truth_in_95_of_100_worlds_and_not_more(world):
    """Both sides: a bootstrap of both ways at once holds it in more than 99 of 100."""
    rng = np.random.default_rng(1)
    z = 0.6 + world["spread"] * np.random.default_rng(9).normal(size=100_000)
    truth = float((6 / np.pi * np.arcsin(np.tanh(z) / 2)).mean())
    held, trials = 0, 1_000
    for _ in range(trials):
        x, y, families = simulated(rng, **world)
        interval = two_way_estimate(two_way_spearman(x, y), families=families).interval
        assert interval is not None
        held += interval.low <= truth <= interval.high
    # Three standard errors of 1,000 trials are 0.02.
    assert 0.92 <= held / trials <= 0.975


@pytest.mark.slow
def test_two_way_intervals_of_a_difference_hold_zero_as_often_as_they_say():
    rng = np.random.default_rng(2)
    held, rejected = 0, 0
    for _ in range(1_000):
        signal, y, families = simulated(rng, **WORLDS[1])
        one, other = (two_way_spearman(signal + rng.normal(size=signal.shape), y) for _ in range(2))
        spread = two_way_spread(one, other, families=families)
        interval = estimate_of(spread).interval
        assert interval is not None
        held += interval.low <= 0 <= interval.high
        found = p_value(spread)
        assert found is not None
        rejected += found <= 0.05
    assert 0.92 <= held / 1_000 <= 0.975
    assert rejected == 1_000 - held


@pytest.mark.parametrize("num_values", [3, 5, 12])
def test_mean_intervals_hold_the_mean_with_few_values_too(num_values: int):
    rng = np.random.default_rng(num_values)
    held = 0
    for _ in range(1_000):
        interval = mean_estimate(rng.normal(size=num_values).tolist()).interval
        assert interval is not None
        held += interval.low <= 0 <= interval.high
    assert 0.925 <= held / 1_000 <= 0.975


def test_a_mean_of_families_has_the_error_of_their_means():
    values, names = [1.0, 3.0, 2.0, 6.0, 5.0, 4.0], ["a", "a", "b", "b", "c", "c"]
    found = mean_spread(values, families=names)
    means = np.array([2.0, 4.0, 4.5])
    assert found.standard_error == pytest.approx(means.std(ddof=1) / math.sqrt(3))
    assert (found.value, found.df, found.n, found.num_families) == (3.5, 2.0, 6, 3)


def test_mean_intervals_are_students():
    values = np.random.default_rng(0).normal(size=9).tolist()
    low, high = student.interval(
        0.95, 8, loc=fmean(values), scale=np.std(values, ddof=1) / math.sqrt(9)
    )
    assert mean_estimate(values).interval == (pytest.approx(low), pytest.approx(high), 9)


def test_an_interval_ends_where_the_quantity_does():
    values = [0.0, 0.9, 1.0]
    unbounded, bounded = (mean_estimate(values, bounds=b) for b in ((-9, 9), (0, 1)))
    assert unbounded.interval is not None
    assert unbounded.interval.low < 0
    assert unbounded.interval.high > 1
    assert bounded == (unbounded.value, (0, 1, 3), 3)


def test_p_values_are_students_and_undefined_below_six_families():
    values = np.random.default_rng(1).normal(0.5, size=8).tolist()
    assert p_value(mean_spread(values)) == pytest.approx(ttest_1samp(values, 0).pvalue)
    assert p_value(mean_spread(values[:5])) is None
    assert p_value(mean_spread(values, families=["a", "b"] * 4)) is None
    assert p_value(mean_spread([0.0] * 6)) == 1.0
    assert p_value(mean_spread([0.5] * 6)) == 2 / 2**6


def test_benjamini_hochberg_is_scipys():
    values = np.random.default_rng(0).random(40) ** 3
    assert benjamini_hochberg(values.tolist()) == pytest.approx(false_discovery_control(values))
    assert benjamini_hochberg([]) == []


def test_paired_methods_share_their_errors():
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


def test_probability_above_counts_ties_half_and_nan_below():
    assert probability_above([1, 2], [1]) == 0.75
    assert probability_above([float("nan")], [-5.0]) == 0.0
    assert probability_above([], [1.0]) is None


def test_a_proportion_without_trials_is_undefined():
    assert proportion(0, 0) == Estimate(None, None, 0)
    assert proportion(3, 4) == (0.75, wilson(3, 4), 4)


def test_a_mean_does_not_depend_on_order_and_is_undefined_of_nothing():
    values = [1e16, 1.0, -1e16, 3.0]
    assert mean(values) == mean(sorted(values)) == 1.0
    assert mean([]) is None


def test_probability_above_is_mann_whitney_over_its_largest_value():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 11).astype(float), rng.integers(0, 5, 7).astype(float)
    expected = mannwhitneyu(a, b).statistic / (len(a) * len(b))
    assert probability_above(a.tolist(), b.tolist()) == pytest.approx(expected, abs=1e-12)


def test_seeded_intervals_do_not_move_from_version_to_version():
    """Figures that were published rest on these draws; the numbers are those of whence 0.1."""
    rng = np.random.default_rng(5)
    values = rng.normal(size=13).tolist()
    interval = bootstrap_mean(values, seed=4, num_resamples=10_000)
    assert interval is not None
    assert interval[:2] == pytest.approx((-0.5877039708544584, 0.3758953715222589), abs=1e-12)


def test_a_stratified_mean_counts_strata_alike_and_clusters_together():
    values, strata = [1, 1, 0, 1, 0, 0, 0], list("aaaabbb")
    found = stratified_estimate(values, strata=strata, clusters=list("ppqrstu"))
    assert found.value == pytest.approx((3 / 4 + 0) / 2)
    assert found.n == 6
    assert found.interval is not None
    # The slow way: draw clusters of each stratum, and average their units.
    rng, drawn = np.random.default_rng(1), []
    clusters = {"a": [[1, 1], [0], [1]], "b": [[0], [0], [0]]}
    for _ in range(4000):
        means = []
        for of in clusters.values():
            units = [unit for place in rng.integers(3, size=3) for unit in of[place]]
            means.append(np.mean(units))
        drawn.append(np.mean(means))
    expected = np.quantile(drawn, [0.025, 0.975])
    assert found.interval[:2] == pytest.approx(expected, abs=0.02)


def test_a_stratified_mean_of_few_clusters_has_no_interval():
    found = stratified_estimate([1, 0, 1, 1], strata=list("aabb"), clusters=[1, 2, 3, 4])
    assert (found.value, found.interval) == (0.75, None)
    assert detectable_difference(found) is None
    assert stratified_estimate([], strata=[], clusters=[]) == Estimate(None, None, 0)


def test_a_detectable_difference_is_found_as_often_as_the_power_says():
    rng = np.random.default_rng(0)
    error = 0.1
    half = 1.959964 * error
    seen = detectable_difference(Estimate(0.0, Interval(-half, half, 100), 100))
    assert seen is not None
    found = rng.normal(seen, error, size=20_000) - half > 0
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_the_interval_of_a_ratio_holds_the_ratios_that_a_t_test_does_not_refuse():
    rng = np.random.default_rng(0)
    b = rng.normal(2, 0.8, 12)
    a = 0.7 * b + rng.normal(0, 0.5, 12)
    found = ratio_estimate([*a.tolist(), float("nan")], [*b.tolist(), 1.0])
    assert found.n == 12
    assert found.value == pytest.approx(a.mean() / b.mean())
    ratios = np.linspace(0, 2, 4001)
    kept = [r for r in ratios if ttest_1samp(a - r * b, 0).pvalue >= 0.05]
    assert found.interval is not None
    assert found.interval[:2] == pytest.approx((min(kept), max(kept)), abs=6e-4)


def test_a_ratio_to_what_may_be_zero_has_no_interval():
    found = ratio_estimate([1.0, 2.0, 3.0], [-1.0, 0.5, 1.0])
    assert found.value == pytest.approx(12)
    assert found.interval is None
    assert ratio_estimate([1.0, 2.0], [1.0, 2.0]).interval is None
    assert ratio_estimate([1.0, 2.0], [1.0, -1.0]) == Estimate(None, None, 2)
    assert ratio_estimate([], []) == Estimate(None, None, 0)


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (-0.004, 2, False, "0.00"),
        (-0.004, 2, True, "0.00"),
        (-0.006, 2, False, "\u22120.01"),
        (0.5, 1, True, "+0.5"),
        (-1234.0, 0, False, "\u22121,234"),
        (-0.0, 0, False, "0"),
    ],
)
def test_what_rounds_to_zero_has_no_sign(value: float, digits: int, sign: bool, text: str) -> None:
    assert rounded(value, digits, sign=sign) == text
