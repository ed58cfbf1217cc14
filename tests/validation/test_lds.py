"""LDS, its own-removed kin and its ceiling, in worlds whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr
from tests.validation.banks import made_up_bank, own_of, scores_from

from whence.errors import SettingsError
from whence.records import Scores
from whence.statistics import two_way_spread
from whence.validation.lds import (
    lds,
    lds_difference,
    no_skill_p_values,
    noise_ceiling,
    predict,
    predict_additively,
    predict_at_random,
)


def world(**changes):
    bank, effects = made_up_bank(**{"other_effect": 0.5, "noise": 0.3, **changes})
    return bank, effects, own_of(bank)


def both(scores, bank, own):
    return [lds(predict(scores, bank, own=own, own_removed=flag)) for flag in (False, True)]


def left_of(values: np.ndarray, *regressors: np.ndarray) -> np.ndarray:
    design = np.column_stack([np.ones(len(values)), *regressors])
    return values - design @ np.linalg.pinv(design) @ values


@pytest.mark.parametrize("own_removed", [False, True])
def test_is_the_correlation_of_summed_scores_with_what_was_measured_without_counts(own_removed):
    bank, effects, own = world()
    rng = np.random.default_rng(0)
    bank = replace(bank, counts=np.column_stack([np.full(12, 3.0), rng.integers(20, 60, 12)]))
    scores = scores_from(bank, effects)
    predicted = predict(scores, bank, own=own, own_removed=own_removed)
    rows = {e: i for i, e in enumerate(scores.example_ids)}
    tokens = bank.included @ bank.counts[:, 1]
    for q, query in enumerate(bank.query_ids):
        sums = [
            sum(
                float(scores.values[q, rows[e]])
                for g, ids in enumerate(bank.groups.values())
                if bank.included[r, g] and not (own_removed and g == q)
                for e in sorted(ids)
            )
            for r in range(bank.num_runs)
        ]
        taken = [bank.included.sum(axis=1), tokens]
        taken += [bank.included[:, q]] if own_removed else []
        expected = spearmanr(
            left_of(np.array(sums), *taken), left_of(bank.log_probs_nats[:, q], *taken)
        ).statistic
        found = lds(predicted, [query])
        assert found.value == pytest.approx(expected, abs=1e-3)  # Sums in float32 may tie.
        assert found.n == 1


def test_the_truth_predicts_and_chance_does_not():
    bank, effects, own = world()
    truth = both(scores_from(bank, effects), bank, own)
    assert all(found.value > 0.9 for found in truth)
    chance = np.random.default_rng(5).normal(size=effects.shape)
    for found in both(scores_from(bank, chance), bank, own):
        assert found.interval.low < 0 < found.interval.high


def test_who_finds_only_the_own_copies_has_plain_lds_and_no_other():
    bank, effects, own = world()
    copies = scores_from(bank, np.eye(len(effects)))
    plain, removed = both(copies, bank, own)
    assert plain.value > 0.6
    assert removed == (None, None, 0)
    rng = np.random.default_rng(1)
    noisy = scores_from(bank, np.eye(len(effects)) + 0.01 * rng.normal(size=effects.shape))
    plain, removed = both(noisy, bank, own)
    assert plain.value > 0.6
    assert removed.interval.low < 0 < removed.interval.high


def test_own_removed_does_not_depend_on_the_own_scores():
    bank, effects, own = world()
    wrong = effects.copy()
    np.fill_diagonal(wrong, -50.0)
    right_removed = both(scores_from(bank, effects), bank, own)[1]
    wrong_plain, wrong_removed = both(scores_from(bank, wrong), bank, own)
    assert wrong_plain.value < 0
    assert wrong_removed.value == pytest.approx(right_removed.value, abs=1e-3)


def test_queries_without_an_own_group_are_left_out_of_own_removed_only():
    bank, effects, own = world()
    own["q03"] = None
    plain, removed = both(scores_from(bank, effects), bank, own)
    assert (plain.n, removed.n) == (12, 11)
    # Nothing of it is in this bank's window: nothing has to be removed.
    own["q03"] = ()
    assert both(scores_from(bank, effects), bank, own)[1].n == 12


def test_differences_are_paired():
    bank, effects, own = world(noise=1.5)
    rng = np.random.default_rng(2)
    good = predict(scores_from(bank, effects), bank, own=own, own_removed=True)
    worse = predict(
        scores_from(bank, effects + 0.4 * rng.normal(size=effects.shape)),
        bank,
        own=own,
        own_removed=True,
    )
    difference = lds_difference(good, worse)
    assert difference.value == pytest.approx(lds(good).value - lds(worse).value)
    assert lds_difference(good, good).standard_error == 0
    errors = [two_way_spread(one.correlations).standard_error for one in (good, worse)]
    assert difference.standard_error < sum(errors)


def test_undefined_scores_add_nothing():
    bank, effects, own = world()
    scores = scores_from(bank, effects)
    values = scores.values.copy()
    values[:, 7] = np.nan
    zeroed = np.nan_to_num(values)
    found = [
        lds(predict(replace(scores, values=v), bank, own=own, own_removed=False))
        for v in (values, zeroed)
    ]
    assert found[0] == found[1]


def test_the_ceiling_is_the_reliability_of_two_seeds():
    quiet = world(num_second=32, noise=0.01, other_effect=0.5)
    found = noise_ceiling(quiet[0], own=quiet[2])
    assert found.reliability.value > 0.95
    assert found.reliability_own_removed.value > 0.95
    some = noise_ceiling(quiet[0], own=quiet[2], query_ids=["q02", "q05", "elsewhere"])
    assert some.reliability.n == some.reliability_own_removed.n == 2
    loud = world(num_second=32, noise=1.0, other_effect=0.0)
    found = noise_ceiling(loud[0], own=loud[2])
    assert found.reliability.value > 0.4
    assert found.reliability_own_removed.interval.low < 0
    assert found.reliability_own_removed.interval.high > 0


def test_without_a_second_seed_there_is_no_ceiling():
    bank, _, own = world()
    assert noise_ceiling(bank, own=own).reliability == (None, None, 0)


def test_scores_of_another_corpus_or_of_other_queries_are_refused():
    bank, effects, own = world()
    scores = scores_from(bank, effects)
    renamed = tuple(f"x{i}" for i in range(len(scores.example_ids)))
    with pytest.raises(SettingsError, match="lack the example `e000`"):
        predict(replace(scores, example_ids=renamed), bank, own=own, own_removed=False)
    renamed = tuple(f"x{i}" for i in range(12))
    with pytest.raises(SettingsError, match="none of the bank's 12 queries"):
        predict(replace(scores, query_ids=renamed), bank, own=own, own_removed=False)


def test_scores_of_one_sign_do_not_count_examples():
    """In a bank of unequal groups, more examples are better, whatever their scores are."""
    bank, effects, own = world(other_effect=0.2)
    sizes = [40 if g < 6 else 3 for g in range(12)]
    groups = {
        name: frozenset(f"x{g:02d}-{i:03d}" for i in range(sizes[g]))
        for g, name in enumerate(bank.groups)
    }
    included = bank.included.astype(float)
    outcomes = (included @ np.array(sizes, dtype=float))[:, None] + included @ effects.T
    bank = replace(
        bank,
        groups=groups,
        counts=np.array([[n, 10.0 * n] for n in sizes]),
        log_probs_nats=outcomes,
    )
    examples = tuple(sorted(i for ids in groups.values() for i in ids))
    drawn = np.random.default_rng(0).random((12, len(examples))).astype(np.float32)
    found = lds(
        predict(Scores("m", bank.query_ids, examples, drawn), bank, own=own, own_removed=False)
    )
    assert abs(found.value) < 0.2
    # The same number for each example says nothing, and has no order.
    equal = Scores("m", bank.query_ids, examples, np.full_like(drawn, 0.5))
    predicted = predict(equal, bank, own=own, own_removed=True)
    assert lds(predicted) == (None, None, 0)
    raw = [
        spearmanr(included @ np.array(sizes, dtype=float), outcomes[:, q]).statistic
        for q in range(12)
    ]
    assert np.mean(raw) > 0.9


def test_many_own_groups_are_taken_out_by_their_counts():
    bank, effects, _ = world(num_runs=20)
    own = dict.fromkeys(bank.query_ids, tuple(range(6)))
    predicted = predict(scores_from(bank, effects), bank, own=own, own_removed=True)
    assert set(predicted.num_regressors) == {4}
    few = dict.fromkeys(bank.query_ids, tuple(range(5)))
    predicted = predict(scores_from(bank, effects), bank, own=few, own_removed=True)
    assert set(predicted.num_regressors) == {7}


def test_random_scores_are_the_mean_of_many_draws_and_new_in_each_world():
    bank, _, own = world()
    one, same, other, few = (
        predict_at_random(bank.query_ids, b, own=own, own_removed=True, num_draws=n)
        for b, n in ((bank, 50), (bank, 50), (replace(bank, size="nano@1"), 50), (bank, 1))
    )
    assert lds(one) == lds(same)
    assert lds(one) != lds(other)
    assert abs(lds(one).value) < 0.05
    values = [
        lds(replace(one, predicted=draw, further=())).value
        for draw in (one.predicted, *one.further)
    ]
    assert lds(one).value == pytest.approx(np.mean(values))
    assert lds(few).value == values[0]
    assert no_skill_p_values(one, [one.query_ids]) == [None]


def test_an_additive_model_of_half_of_the_masks_predicts_the_other_in_an_additive_world():
    bank, _, own = world(num_runs=96, noise=0.1)
    for own_removed in (False, True):
        found = lds(predict_additively(bank.query_ids, bank, own=own, own_removed=own_removed))
        assert found.value > 0.9
    noise = replace(bank, log_probs_nats=np.random.default_rng(1).normal(size=(96, 12)))
    found = lds(predict_additively(bank.query_ids, noise, own=own, own_removed=True))
    assert abs(found.value) < 0.15


def test_an_additive_model_knows_nothing_of_the_half_that_it_predicts():
    bank, _, own = world(num_runs=40)
    changed = bank.log_probs_nats.copy()
    changed[20:] = np.random.default_rng(0).permutation(changed[20:])
    both_ways = [
        predict_additively(
            bank.query_ids,
            # Without counts, whose regression sees all masks.
            replace(bank, counts=np.zeros((12, 2)), log_probs_nats=outcomes),
            own=own,
            own_removed=False,
        )
        for outcomes in (bank.log_probs_nats, changed)
    ]
    np.testing.assert_allclose(
        both_ways[0].predicted[:, 20:], both_ways[1].predicted[:, 20:], atol=1e-9
    )
    assert np.abs(both_ways[0].predicted[:, :20] - both_ways[1].predicted[:, :20]).max() > 0.1


def test_ridge_is_scikit_learns_leave_one_out_choice():
    from sklearn.linear_model import RidgeCV

    from whence.validation.lds import _ridge

    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 2, (30, 50)).astype(float)
    outcomes = inputs[:, :5].sum(axis=1) + 0.3 * rng.normal(size=30)
    others = rng.integers(0, 2, (10, 50)).astype(float)
    centered = inputs - inputs.mean(axis=0)
    singular = np.linalg.svd(centered, compute_uv=False)
    oracle = RidgeCV(alphas=(singular**2).mean() * np.logspace(-3, 3, 13))
    expected = oracle.fit(inputs, outcomes).predict(others)
    np.testing.assert_allclose(_ridge(inputs, outcomes, others), expected, atol=1e-6)


def test_no_skill_is_rejected_for_the_truth_and_is_undefined_without_queries():
    bank, effects, own = world()
    truth = predict(scores_from(bank, effects), bank, own=own, own_removed=True)
    found = no_skill_p_values(truth, [bank.query_ids, ["elsewhere"], ["q03"]])
    assert found[0] == pytest.approx(1 / 200)
    assert found[1] is None
    assert found[2] < 0.1


def test_a_deal_is_a_prediction_with_the_scores_of_other_groups():
    """The oracle permutes the table of scores and predicts again."""
    bank, effects, own = world()
    table = effects.copy()
    np.fill_diagonal(table, 0.0)
    scores = scores_from(bank, table)
    predicted = predict(scores, bank, own=own, own_removed=True)
    rng, means = np.random.default_rng(0), []
    for _ in range(20):
        dealt = scores_from(bank, table[:, rng.permutation(12)])
        means.append(lds(predict(dealt, bank, own=own, own_removed=True)).value)
    expected = (1 + sum(abs(m) >= abs(lds(predicted).value) for m in means)) / 21
    assert no_skill_p_values(predicted, [bank.query_ids], num_deals=20) == [pytest.approx(expected)]


@pytest.mark.slow
@pytest.mark.parametrize("own_removed", [False, True])
def test_random_scores_are_called_skilled_at_the_level_of_the_test(own_removed: bool):
    """Own groups matter most, and queries share their masks: both make a test too eager."""
    bank, _, own = world(num_runs=40, own_effect=6.0, noise=0.1)
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(400):
        # One ranking for all queries, as a method has that looks at documents alone.
        table = rng.normal(size=(1, 12)) + 0.1 * rng.normal(size=(12, 12))
        predicted = predict(scores_from(bank, table), bank, own=own, own_removed=own_removed)
        (found,) = no_skill_p_values(predicted, [bank.query_ids], num_deals=99)
        rejected += found <= 0.05
    assert 0.02 <= rejected / 400 <= 0.085
