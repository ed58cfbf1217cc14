"""Null queries are scored apart, and change no other score."""

from dataclasses import replace

import numpy as np
import pytest

from whence.methods import Products, find_method, load_scores, save_scores, score
from whence.methods.contract import MethodInputs
from whence.records import GradientProducts, Query

NULLS = frozenset({"n1", "n2", "n3"})


@pytest.fixture
def inputs() -> MethodInputs:
    from tests.methods.conftest import corpus_of, query_of

    corpus = corpus_of([[i, i + 1, i + 2] for i in range(2, 12)], [f"d{i}" for i in range(10)])
    ids = ("q1", "q2", "n1", "n2", "n3")
    queries: tuple[Query, ...] = tuple(
        query_of(name, [4 + i, 5 + i, 6 + i], num_prompt_tokens=1) for i, name in enumerate(ids)
    )
    rng = np.random.default_rng(0)
    products = GradientProducts(
        query_ids=ids,
        example_ids=corpus.ids,
        dots=rng.normal(size=(5, 10)).astype(np.float32),
        query_norms=rng.uniform(1, 2, 5).astype(np.float32),
        example_norms=rng.uniform(1, 2, 10).astype(np.float32),
        path="streamed",
        settings={},
        seconds=0.0,
    )
    return MethodInputs(queries=queries, corpus=corpus, results={Products(): products}, nulls=NULLS)


def without(inputs: MethodInputs) -> MethodInputs:
    products = inputs.results[Products()]
    rows = slice(0, 2)
    fewer = replace(
        products,
        query_ids=products.query_ids[rows],
        dots=products.dots[rows],
        query_norms=products.query_norms[rows],
    )
    return replace(inputs.without_nulls, results={Products(): fewer})


@pytest.mark.parametrize("name", ["gradient_cosine", "gradient_dot", "bm25", "tfidf", "random"])
def test_null_scores_stand_apart(inputs: MethodInputs, name: str):
    found = score(name, inputs)
    assert found.query_ids == ("q1", "q2")
    assert found.null_values is not None
    assert found.null_values.shape == (3, 10)
    np.testing.assert_array_equal(found.values, score(name, without(inputs)).values)
    assert score(name, without(inputs)).null_values is None


def test_corrections_compare_a_query_with_the_studys_others_alone(inputs: MethodInputs):
    for name in ("gradient_cosine_centered", "bm25_centered"):
        found = score(name, inputs)
        assert found.null_values is None
        np.testing.assert_array_equal(found.values, score(name, without(inputs)).values)


def test_null_scores_are_frozen_and_stored(inputs: MethodInputs, tmp_path):
    found = score("gradient_cosine", inputs)
    assert not found.null_values.flags.writeable
    save_scores(found, tmp_path)
    again = load_scores(tmp_path)
    np.testing.assert_array_equal(again.null_values, found.null_values)
    assert not again.null_values.flags.writeable


def test_a_pass_of_its_own_scores_no_null_query(inputs: MethodInputs):
    from whence.settings import AttributionSettings

    for name in ("ekfac", "gradient_cosine"):
        (request, *_) = find_method(name).needs(AttributionSettings())
        assert request.has_nulls == (name == "gradient_cosine")
