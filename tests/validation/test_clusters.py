"""A cluster's effect is that of a slow fit, is found where it is planted, and not elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
from tests.report.conftest import corpus_of
from tests.validation.banks import made_up_bank, scores_from

from whence.records import Behavior
from whence.validation.clusters import cluster_effects, cluster_sentence, slopes
from whence.validation.record import ClusterEffect
from whence.validation.subject import Subject


def subject_of(bank, scores, clusters) -> Subject:
    ids = scores.example_ids
    behaviors = tuple(Behavior(id=q, kind="fact", completion=" x") for q in bank.query_ids)
    corpus = corpus_of(ids, [f"text {n}" for n in range(len(ids))])
    return Subject("run", (scores,), corpus, behaviors, clusters=clusters)


def setting(**how):
    """A bank, and scores for which the three examples of a query's own group are one cluster."""
    bank, effects = made_up_bank(**how)
    scores = replace(scores_from(bank, np.eye(len(bank.groups)) * 9), family="gradient")
    clusters = [*range(-5, 0), *(n // 3 for n in range(3 * len(bank.groups)))]
    return bank, effects, scores, clusters


def test_a_cluster_that_is_a_unit_has_the_difference_with_and_without() -> None:
    bank, effects, scores, clusters = setting()
    found = cluster_effects(subject_of(bank, scores, clusters), bank)
    own = {one.behavior_id: one for one in found if one.effect.value > 1}
    assert set(own) == set(bank.query_ids)
    for place, one in enumerate(own.values()):
        is_in = bank.included[:, place]
        y = bank.log_probs_nats[:, place]
        assert one.effect.value == pytest.approx(y[is_in].mean() - y[~is_in].mean())
        low, high, n = one.effect.interval
        assert low < effects[place, place] < high
        assert n == bank.num_runs
        assert (one.num_members, one.num_varied) == (3, 3)
        assert one.sums == {"m": pytest.approx(9)}
        assert one.num_others_shown <= 3 < one.num_others == 11


def test_the_intervals_hold_nothing_in_nineteen_of_twenty_cases() -> None:
    shown, num = 0, 0
    for seed in range(40):
        bank, _, scores, clusters = setting(seed=seed)
        [one, *_] = cluster_effects(subject_of(bank, scores, clusters), bank)
        shown, num = shown + one.num_others_shown, num + one.num_others
    assert 0.02 < shown / num < 0.09


def test_the_slope_is_that_of_a_line_through_the_retrainings() -> None:
    rng = np.random.default_rng(0)
    share = rng.integers(0, 5, size=40) / 4
    y = np.stack([3 * share + rng.normal(size=40), rng.normal(size=40)], axis=1)
    for one, column in zip(slopes(share, y), y.T, strict=True):
        assert one.value == pytest.approx(np.polyfit(share, column, 1)[0])
    assert slopes(np.ones(40), y)[0].value is None
    assert slopes(share[:4], y[:4])[0].value is None


def test_members_that_no_retraining_leaves_out_count_in_each() -> None:
    bank, _, scores, clusters = setting()
    joined = [0 if c == -1 else c for c in clusters]
    found = cluster_effects(subject_of(bank, scores, joined), bank)
    one = next(one for one in found if one.behavior_id == "q00" and one.num_members == 4)
    assert one.num_varied == 3
    # Three of four members are varied: from none to all is four thirds of what was seen.
    is_in = bank.included[:, 0]
    y = bank.log_probs_nats[:, 0]
    seen = y[is_in].mean() - y[~is_in].mean()
    assert one.effect.value == pytest.approx(4 / 3 * seen)
    assert "3 of them varied" in cluster_sentence(one)


def test_single_texts_and_unknown_clusters_have_no_effect_here() -> None:
    bank, _, scores, clusters = setting()
    assert cluster_effects(subject_of(bank, scores, range(len(clusters))), bank) == ()
    assert cluster_effects(subject_of(bank, scores, ()), bank) == ()
    searched = replace(scores, family="text")
    assert cluster_effects(subject_of(bank, searched, clusters), bank) == ()


def test_an_effect_is_read_back_as_it_was() -> None:
    bank, _, scores, clusters = setting()
    for one in cluster_effects(subject_of(bank, scores, clusters), bank):
        assert ClusterEffect.model_validate(one.model_dump(mode="json")) == one
