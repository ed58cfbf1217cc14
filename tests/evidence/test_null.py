"""Scores of unrelated queries as the measure of chance."""

import numpy as np
import pytest

from whence.evidence.null import MIN_QUERIES, calibrate, hub_counts
from whence.evidence.proponents import shared_ranks
from whence.records import Scores


def scores_of(values, null_values) -> Scores:
    values = np.asarray(values, dtype=np.float32)
    return Scores(
        method="m",
        query_ids=tuple(f"q{i}" for i in range(len(values))),
        example_ids=tuple(f"e{i}" for i in range(values.shape[1])),
        values=values,
        null_values=np.asarray(null_values, dtype=np.float32),
    )


@pytest.fixture
def drawn() -> Scores:
    rng = np.random.default_rng(0)
    scale, shift = rng.uniform(0.1, 10, 200), rng.normal(0, 5, 200)
    return scores_of(
        rng.normal(size=(3, 200)) * scale + shift, rng.normal(size=(60, 200)) * scale + shift
    )


def test_z_is_that_of_each_example_over_the_null_queries(drawn: Scores):
    null = calibrate(drawn, ["a"] * 60)["a"]
    for query in range(3):
        for row in range(0, 200, 17):
            if null.deviations[row] == null.floor:
                continue
            others = drawn.null_values[:, row].astype(np.float64)
            expected = (drawn.values[query, row] - others.mean()) / others.std(ddof=1)
            z = null.standardize(drawn.values[query])[row]
            assert z == pytest.approx(expected, rel=1e-5)


def test_a_null_query_is_standardized_over_the_others(drawn: Scores):
    null = calibrate(drawn, ["a"] * 60)["a"]
    for query in (0, 31):
        others = np.delete(drawn.null_values.astype(np.float64), query, axis=0)
        deviations = np.maximum(others.std(axis=0, ddof=1), null.floor)
        z = (drawn.null_values[query] - others.mean(axis=0)) / deviations
        assert null.largest[query, :5] == pytest.approx(np.sort(z)[::-1][:5], rel=1e-4)


def test_chance_is_above_the_noise_line_in_one_of_twenty_queries():
    """Queries drawn like the null pass at every rank as often as the level says."""
    rng = np.random.default_rng(1)
    passed = []
    for _ in range(40):
        values = rng.standard_t(4, size=(10, 150)) * 3
        one = scores_of(values, rng.standard_t(4, size=(100, 150)) * 3)
        null = calibrate(one, ["a"] * 100)["a"]
        for row in values:
            z = np.sort(null.standardize(row))[::-1]
            passed.append([null.tail(z[k - 1], rank=k) <= 0.05 for k in (1, 3, 10)])
    # 400 queries: 5 % ± 3.3 % (three standard deviations).
    assert np.mean(passed, axis=0) == pytest.approx([0.05] * 3, abs=0.033)


def test_a_tail_counts_the_null_queries_that_reach_it(drawn: Scores):
    null = calibrate(drawn, ["a"] * 60)["a"]
    assert null.tail(1e9, rank=1) == 1 / 61
    assert null.tail(-1e9, rank=1) == 1.0
    assert np.isnan(null.tail(float("nan"), rank=1))
    reached = int((null.largest[:, 2] >= 2.5).sum())
    assert null.tail(2.5, rank=3) == (1 + reached) / 61
    assert null.tail(2.5, rank=10_000) == null.tail(2.5, rank=null.largest.shape[1])


def test_an_example_without_spread_is_not_infinitely_far_from_chance():
    null_values = np.random.default_rng(0).normal(size=(40, 50))
    null_values[:, 7] = 0.0
    null = calibrate(scores_of(np.ones((1, 50)), null_values), ["a"] * 40)["a"]
    assert null.floor > 0
    assert null.standardize(np.ones(50))[7] == pytest.approx(1 / null.floor)


def test_undefined_scores_stay_undefined_and_do_not_count():
    null_values = np.random.default_rng(0).normal(size=(40, 50))
    null_values[:, 3] = np.nan
    null_values[5:, 4] = np.nan
    null_values[2, 9] = np.inf
    values = np.ones((1, 50))
    values[0, 8] = np.nan
    null = calibrate(scores_of(values, null_values), ["a"] * 40)["a"]
    z = null.standardize(values[0])
    assert np.isnan(z[[3, 8]]).all()
    assert np.isfinite(np.delete(z, [3, 8])).all()
    assert shared_ranks(z, z[[3, 8]]).tolist() == [0, 0]


def test_each_length_class_has_a_null_of_its_own(drawn: Scores):
    classes = ["short"] * 40 + ["long"] * 15 + ["other"] * 5
    found = calibrate(drawn, classes)
    assert list(found) == ["short"]
    assert found["short"].num_queries == 40 >= MIN_QUERIES


def test_methods_without_null_scores_or_without_spread_are_not_calibrated(drawn: Scores):
    alike = np.repeat(np.arange(200.0)[None], 60, axis=0)
    assert calibrate(scores_of(drawn.values, alike), ["a"] * 60) == {}
    assert calibrate(scores_of(drawn.values, np.full((60, 200), np.nan)), ["a"] * 60) == {}
    assert calibrate(Scores("m", ("q",), ("e",), np.zeros((1, 1), np.float32)), []) == {}


def test_hubs_are_counted_among_positive_scores_only():
    null_values = np.full((30, 4), -1.0)
    null_values[:, 1] = 5
    null_values[:10, 2] = 1
    null_values[:, 3] = np.nan
    counts = hub_counts(scores_of(np.zeros((1, 4)), null_values), k=2)
    assert counts.tolist() == [0, 30, 10, 0]


def test_equal_z_share_the_best_rank():
    z = np.array([2.0, 5.0, 5.0, np.nan, -1.0])
    assert shared_ranks(z, z).tolist() == [3, 1, 1, 0, 4]
