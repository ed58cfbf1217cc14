"""Group effects are recovered, and nulls are significant as often as they should be."""

import numpy as np
import pytest
from scipy.stats import ttest_ind
from tests.validation.banks import made_up_bank, own_of

from whence.validation.effects import (
    group_effects,
    off_diagonal,
    phantom_effects,
    significant_share,
)


def test_effects_and_errors_are_those_of_two_means():
    bank, _ = made_up_bank(num_runs=20, num_groups=4)
    found = group_effects(bank.included, bank.log_probs_nats)
    for q in range(4):
        for g in range(4):
            inside = bank.log_probs_nats[bank.included[:, g], q]
            outside = bank.log_probs_nats[~bank.included[:, g], q]
            assert found.effects_nats[q, g] == pytest.approx(inside.mean() - outside.mean())
            assert found.z[q, g] == pytest.approx(
                ttest_ind(inside, outside, equal_var=False).statistic
            )


def test_own_effects_are_recovered_within_their_errors():
    bank, effects = made_up_bank(num_runs=200, noise=0.5)
    found = group_effects(bank.included, bank.log_probs_nats)
    own = np.eye(12, dtype=bool)
    distance = (found.effects_nats - effects)[own] / found.standard_errors_nats[own]
    assert np.abs(distance).max() < 3.5
    assert (found.z[own] > 10).all()


def test_a_group_that_was_always_in_has_no_effect_and_not_zero():
    bank, _ = made_up_bank(num_runs=10, num_groups=3)
    included = bank.included.copy()
    included[:, 1] = True
    found = group_effects(included, bank.log_probs_nats)
    assert np.isnan(found.effects_nats[:, 1]).all()
    assert np.isnan(found.standard_errors_nats[:, 1]).all()
    assert significant_share(found.z[:, 1]) is None


def test_null_groups_are_significant_at_the_nominal_rate():
    """A4: true nulls, in a world where every query also has a large effect of its own."""
    shares = []
    for seed in range(6):
        bank, _ = made_up_bank(num_groups=24, seed=seed)
        found = group_effects(bank.included, bank.log_probs_nats)
        shares.append(significant_share(found.z, off_diagonal(bank, own_of(bank))))
        assert 0.03 <= significant_share(phantom_effects(bank, seed=seed).z) <= 0.08
    assert 0.03 <= np.mean(shares) <= 0.08


def test_real_effects_off_the_diagonal_are_seen():
    bank, _ = made_up_bank(num_groups=24, other_effect=1.0)
    found = group_effects(bank.included, bank.log_probs_nats)
    assert significant_share(found.z, off_diagonal(bank, own_of(bank))) > 0.15
