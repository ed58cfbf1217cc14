"""One test per fault that was found in intervals and tests."""

import math

import numpy as np
import pytest

from whence.statistics import (
    mean_estimate,
    mean_spread,
    p_value,
    two_way_spearman,
    two_way_spread,
    wilson,
)

# A few relations with many facts, and single behaviors: as the families of the testbed.
SIZES = (7, 7, 6, 6, 5, 5, 2, 1, 1, 1, 1, 1, 1, 1, 1)
UNEQUAL = (10, 6, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1)


def names(sizes: tuple[int, ...]) -> list[str]:
    return [str(family) for family, size in enumerate(sizes) for _ in range(size)]


@pytest.mark.parametrize("sizes", [SIZES, UNEQUAL])
def test_intervals_over_families_of_unequal_size_were_too_narrow(sizes: tuple[int, ...]) -> None:
    """They held the mean in 87 % of cases with a few large families, and in 91 % with more."""
    rng = np.random.default_rng(0)
    family, held, trials = np.repeat(np.arange(len(sizes)), sizes), 0, 3_000
    for _ in range(trials):
        values = rng.normal(size=len(sizes))[family] + 0.5 * rng.normal(size=len(family))
        interval = mean_estimate(values.tolist(), families=names(sizes)).interval
        assert interval is not None
        held += interval.low <= 0 <= interval.high
    # Three standard errors of 3,000 trials are 0.012.
    assert 0.935 <= held / trials <= 0.975


def test_the_error_over_families_is_that_of_the_mean_without_each() -> None:
    values = np.random.default_rng(1).normal(size=sum(SIZES))
    family = np.repeat(np.arange(len(SIZES)), SIZES)
    without = [values[family != one].mean() for one in range(len(SIZES))]
    variance = (len(SIZES) - 1) / len(SIZES) * sum((w - values.mean()) ** 2 for w in without)
    # The changes as linear functions of independent values give the degrees of freedom.
    rows = np.stack(
        [(family != one) / (family != one).sum() - 1 / len(family) for one in range(len(SIZES))]
    )
    covariance = rows @ rows.T
    found = mean_spread(values.tolist(), families=names(SIZES))
    assert found.standard_error == pytest.approx(math.sqrt(variance))
    assert found.df == pytest.approx(np.trace(covariance) ** 2 / (covariance**2).sum())
    assert found.df < len(SIZES) - 1


def test_families_of_equal_size_have_the_plain_error_of_their_means() -> None:
    values = np.random.default_rng(2).normal(size=(7, 4))
    found = mean_spread(values.ravel().tolist(), families=names((4,) * 7))
    assert found.standard_error == pytest.approx(values.mean(axis=1).std(ddof=1) / math.sqrt(7))
    assert found.df == pytest.approx(6)


def test_correlations_over_unequal_families_have_the_error_of_the_mean_without_each() -> None:
    """Of many subsets, what is left is the error over families."""
    rng = np.random.default_rng(3)
    family = np.repeat(np.arange(len(UNEQUAL)), UNEQUAL)
    shared = rng.uniform(-1, 1, len(UNEQUAL))[family]
    x = rng.normal(size=(len(family), 400))
    found = two_way_spearman(x, shared[:, None] * x + rng.normal(size=x.shape))
    spread = two_way_spread(found, families=names(UNEQUAL))
    means = [found.per_query[family != one].mean() for one in range(len(UNEQUAL))]
    deviations = np.array(means) - found.per_query.mean()
    jackknife = (len(UNEQUAL) - 1) / len(UNEQUAL) * (deviations**2).sum()
    assert spread.standard_error == pytest.approx(math.sqrt(jackknife), rel=0.02)
    assert spread.df < 8


def test_shares_that_are_0_in_every_family_had_an_interval_from_0_to_0() -> None:
    """One family in five may have all, and one world in thirty still shows none among 15."""
    none, every = (mean_estimate([end] * 15, bounds=(0.0, 1.0)).interval for end in (0.0, 1.0))
    assert none is not None
    assert every is not None
    assert none == (0.0, wilson(0, 15).high, 15)
    assert every == (pytest.approx(1 - wilson(0, 15).high), 1.0, 15)
    # The families count, and not their members.
    of_families = mean_estimate([0.0] * sum(SIZES), families=names(SIZES), bounds=(0.0, 1.0))
    assert of_families.interval is not None
    assert of_families.interval.high == wilson(0, len(SIZES)).high


def test_a_difference_that_is_the_same_in_six_families_had_a_p_value_of_0() -> None:
    """Of six coins, all fall alike in two of 64 worlds."""
    assert p_value(mean_spread([1.0] * 6)) == pytest.approx(2 / 64)
    assert p_value(mean_spread([-1.0] * 9)) == pytest.approx(2 / 512)
    assert p_value(mean_spread([0.0] * 6)) == 1.0
