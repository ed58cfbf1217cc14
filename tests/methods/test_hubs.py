"""What is a proponent of everything is held back, and what a query alone has is kept."""

from dataclasses import replace

import numpy as np
import pytest

from whence.errors import SettingsError
from whence.methods import METHODS, find_method, score
from whence.methods.hubs import centered, zscored

NONE = np.zeros(6, dtype=bool)


def _scores(*, num_queries: int = 6) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(num_queries, 9))
    values[:, 4] += 50  # a hub
    values[2, 7] += 5  # a tie of one query
    return values


@pytest.mark.parametrize("name", ["centered", "zscored"])
def test_each_query_is_compared_with_all_others(name: str) -> None:
    values = _scores()
    found = {"centered": centered, "zscored": zscored}[name](values, NONE)
    for q in range(6):
        others = np.delete(values, q, axis=0)
        expected = values[q] - others.mean(0)
        if name == "zscored":
            expected = expected / others.std(0, ddof=1)
        np.testing.assert_allclose(found[q], expected, rtol=1e-9, atol=1e-12)


def test_named_references_alone_are_compared_with() -> None:
    values = _scores()
    named = np.array([False, False, False, False, True, True])
    found = zscored(values, named)
    references = values[4:]
    expected = (values - references.mean(0)) / references.std(0, ddof=1)
    np.testing.assert_allclose(found[:4], expected[:4], rtol=1e-9)
    changed = values.copy()
    changed[1] += 100
    np.testing.assert_array_equal(zscored(changed, named)[0], found[0])


def test_a_hub_is_first_before_and_not_after() -> None:
    values = _scores()
    assert (values.argmax(1) == 4).all()
    for correct in (centered, zscored):
        found = correct(values, NONE)
        assert found[2].argmax() == 7
        assert (found.argmax(1) == 4).mean() < 0.5


def test_undefined_scores_stay_undefined_and_spoil_no_others() -> None:
    values = _scores()
    values[:, 3] = np.nan
    values[1] = np.nan
    for correct in (centered, zscored):
        found = correct(values, NONE)
        assert np.isnan(found[:, 3]).all()
        assert np.isnan(found[1]).all()
        without = correct(np.delete(values, 1, axis=0), NONE[:5])
        np.testing.assert_allclose(np.delete(found, 1, axis=0), without, rtol=1e-9)


def test_without_spread_there_is_no_z_score() -> None:
    values = np.full((5, 3), 0.1)
    values[0, 1] = 0.7
    found = zscored(values, NONE[:5])
    assert np.isnan(found[:, [0, 2]]).all()
    assert np.isnan(found[0, 1])
    assert np.isfinite(found[1:, 1]).all()
    np.testing.assert_allclose(centered(values, NONE[:5])[0], [0, 0.6, 0], atol=1e-12)


def test_too_few_queries_to_compare_with_are_refused(planted) -> None:
    with pytest.raises(SettingsError, match=r"gradient_cosine_zscored.*there are 1"):
        score("gradient_cosine_zscored", planted.inputs)
    alone = replace(planted.inputs, queries=planted.inputs.queries[:1])
    with pytest.raises(SettingsError, match=r"bm25_centered.*there are 0"):
        score("bm25_centered", alone)


def test_references_are_in_no_result(planted) -> None:
    inputs = replace(planted.inputs, references=frozenset({"first"}))
    plain = score("gradient_cosine", planted.inputs).values
    found = score("gradient_cosine_centered", inputs)
    assert found.query_ids == ("second",)
    np.testing.assert_allclose(found.values[0], plain[1] - plain[0], rtol=1e-4, atol=1e-6)
    assert found.settings["reference"] == "named behaviors"
    assert score("gradient_cosine", inputs).query_ids == ("second",)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_corrected(planted, name: str) -> None:
    scores = score(f"{name}_centered", planted.inputs)
    assert scores.method == f"{name}_centered"
    assert METHODS[name].higher_means in scores.higher_means
    assert "other queries" in scores.higher_means
    assert np.isnan(scores.values[:, 3]).all()
    assert find_method(f"{name}_centered").is_control == METHODS[name].is_control


def test_an_example_from_the_future_has_no_score(planted, lab) -> None:
    import pyarrow as pa

    steps = pa.array([1 + row // 3 for row in range(30)], pa.int64())
    table = planted.corpus.table
    place = table.column_names.index("step")
    corpus = replace(planted.corpus, table=table.set_column(place, "step", steps))
    inputs = replace(planted.inputs, corpus=corpus, last_step=3)
    for name in METHODS:
        scores = score(name, inputs)
        assert np.isnan(scores.values[:, 9:]).all(), name
        assert np.isfinite(np.delete(scores.values[:, :9], 3, axis=1)).all(), name
        assert scores.settings["num_unseen"] == 21
    with pytest.raises(SettingsError, match="30 of 30 examples do not say"):
        score("random", replace(planted.inputs, last_step=3))
