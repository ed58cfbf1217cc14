"""LDS, its own-removed kin and its ceiling, in worlds whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr
from tests.validation.banks import made_up_bank, own_of, scores_from

from whence.errors import SettingsError
from whence.records import Scores
from whence.validation.lds import lds, lds_difference, noise_ceiling, predict


def world(**changes):
    bank, effects = made_up_bank(**{"other_effect": 0.5, "noise": 0.3, **changes})
    return bank, effects, own_of(bank)


def both(scores, bank, own):
    return [lds(predict(scores, bank, own=own, own_removed=flag)) for flag in (False, True)]


def test_is_the_correlation_of_summed_scores_with_what_was_measured():
    bank, effects, own = world()
    scores = scores_from(bank, effects)
    predicted = predict(scores, bank, own=own, own_removed=False)
    rows = {e: i for i, e in enumerate(scores.example_ids)}
    for q, query in enumerate(bank.query_ids):
        sums = [
            scores.values[q, :5].sum()
            + sum(
                scores.values[q, rows[e]]
                for g, ids in enumerate(bank.groups.values())
                if bank.included[r, g]
                for e in ids
            )
            for r in range(bank.num_runs)
        ]
        expected = spearmanr(sums, bank.log_probs_nats[:, q]).statistic
        found = lds(predicted, [query])
        assert found.value == pytest.approx(expected, abs=0.01)  # Sums in float32 may tie.
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
    own["q03"] = ()
    plain, removed = both(scores_from(bank, effects), bank, own)
    assert (plain.n, removed.n) == (12, 11)


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
    assert lds_difference(good, good).interval[:2] == (0, 0)
    width = difference.interval.high - difference.interval.low
    widths = [lds(one).interval.high - lds(one).interval.low for one in (good, worse)]
    assert width < sum(widths)


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


def test_centered_scores_do_not_count_examples():
    """In a bank whose own groups are large, scores of one sign look as if they knew something."""
    bank, effects, own = world(other_effect=0.0)
    groups = {
        name: frozenset([*ids, *(f"x{g:02d}-{i:03d}" for i in range(60 if g < 3 else 0))])
        for g, (name, ids) in enumerate(bank.groups.items())
    }
    bank = replace(bank, groups=groups)
    examples = tuple(sorted(i for ids in groups.values() for i in ids))
    values = np.random.default_rng(0).random((len(effects), len(examples))).astype(np.float32)
    scores = Scores("random", bank.query_ids, examples, values)
    large = bank.query_ids[:3]

    def value(given: Scores, *, centered: bool) -> float:
        predicted = predict(given, bank, own=own, own_removed=False, centered=centered)
        return lds(predicted, large).value

    assert value(scores, centered=False) > 0.3
    assert abs(value(scores, centered=True)) < 0.2
    shifted = replace(scores, values=values + 5)
    assert value(shifted, centered=True) == pytest.approx(value(scores, centered=True), abs=1e-3)
