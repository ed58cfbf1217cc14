"""Several indexes searched as one rank as one index of all their examples does."""

import numpy as np
import pytest

from whence.errors import IndexFormatError
from whence.gradients import build_index, join_indexes, stored_products
from whence.gradients.index import approximate
from whence.records import Behavior
from whence.runs.indexing import query_index
from whence.runs.opening import open_corpus, open_model
from whence.settings import CorpusSettings, IndexSettings, ModelSettings

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
LENGTHS = [9, 2, 40, 1, 17, 0, 30, 5, 5, 44, 3, 22]
SETTINGS = IndexSettings(projection_dim=4, token_batch_size=48)


def taken(corpus, rows):
    from dataclasses import replace

    return replace(corpus, table=corpus.table.take(rows))


@pytest.fixture
def parts(lab, tmp_path):
    """A model, the index of all examples, and two of some each."""
    model, corpus = lab.tiny("neox"), lab.corpus_of(lab.random_sequences(LENGTHS))
    rows = range(len(corpus))
    halves = [taken(corpus, list(rows[:5])), taken(corpus, list(rows[5:]))]
    whole = build_index(model, corpus, tmp_path / "whole", SETTINGS)
    found = [
        build_index(model, half, tmp_path / f"part{i}", SETTINGS) for i, half in enumerate(halves)
    ]
    return model, whole, found


def test_products_are_those_of_one_index_of_all_examples(lab, parts):
    model, whole, found = parts
    (tokens,) = lab.random_sequences([12], seed=7)
    queries = (lab.query_of("q", (tokens, 9, 1.0)), lab.query_of("r", (tokens, 5, 1.0)))
    one = stored_products(whole, model, queries)
    joined = stored_products(join_indexes(found), model, queries)
    assert joined.example_ids == one.example_ids
    assert joined.settings == one.settings
    np.testing.assert_allclose(joined.dots, one.dots, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(joined.example_norms, one.example_norms, rtol=1e-5)


def test_one_index_joined_is_itself(parts):
    _, whole, _ = parts
    assert join_indexes([whole]).corpus is whole.corpus


def test_an_example_in_two_indexes_is_refused(parts):
    _, whole, found = parts
    with pytest.raises(IndexFormatError, match=r"`e0` is in .*whole and in .*part0"):
        join_indexes([whole, found[0]])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"projection_seed": 1}, r"the seed of the projection \(0 and 1\)"),
        ({"projection_dim": 5}, r"the dimensions of the projection \(4 and 5\)"),
        ({"include_bias": True}, "the projection"),
        ({"modules": "layers.0.*"}, "the attributed modules"),
        ({"loss_reduction": "mean"}, "the loss"),
    ],
)
def test_indexes_of_other_settings_are_refused(lab, parts, tmp_path, change, what):
    model, _, found = parts
    other = build_index(
        model,
        lab.corpus_of([[1, 2, 3]], ids=["x"]),
        tmp_path / "other",
        SETTINGS.model_copy(update=change),
    )
    with pytest.raises(IndexFormatError, match=f"differ in {what}"):
        join_indexes([found[0], other])


def test_indexes_of_two_models_are_refused(lab, parts, tmp_path):
    _, _, found = parts
    corpus = lab.corpus_of([[1, 2, 3]], ids=["x"])
    other = build_index(lab.tiny("neox", seed=1), corpus, tmp_path / "other", SETTINGS)
    with pytest.raises(IndexFormatError, match="differ in the model"):
        join_indexes([found[0], other])


def test_whole_and_factorized_rows_are_searched_together(lab, parts, tmp_path):
    model, whole, found = parts
    settings = SETTINGS.model_copy(update={"rank": 4, "storage": "bfloat16"})
    second = build_index(model, found[1].corpus, tmp_path / "factors", settings)
    (tokens,) = lab.random_sequences([12], seed=7)
    queries = (lab.query_of("q", (tokens, 9, 1.0)),)
    one = stored_products(whole, model, queries).dots
    joined = stored_products(join_indexes([found[0], second]), model, queries).dots
    np.testing.assert_allclose(joined, one, atol=0.02 * np.abs(one).max())


@pytest.mark.parametrize("method", ["gradient_cosine", "gradient_dot"])
@pytest.mark.parametrize("is_approximate", [False, True])
def test_hits_are_those_of_one_index(tiny, tmp_path, monkeypatch, method, is_approximate):
    monkeypatch.setattr(approximate, "MIN_ROWS", 1)
    model = open_model(ModelSettings(name=str(tiny / "model")))
    corpus = open_corpus(CorpusSettings(source=str(tiny / "corpus.jsonl")), model)
    rows = range(len(corpus))
    chosen = {"whole": rows, "even": rows[::2], "odd": rows[1::2]}
    whole, *found = [
        build_index(model, taken(corpus, list(some)), tmp_path / name, SETTINGS)
        for name, some in chosen.items()
    ]
    paris = Behavior(id="q", kind="fact", prompt="the capital of france is", completion=" paris")
    one = query_index(whole, model, paris, method=method, k=4)
    both = query_index(found, model, paris, method=method, k=4, approximate=is_approximate)
    assert (both.recall is not None) == is_approximate
    for ours, theirs in ((both.proponents, one.proponents), (both.opponents, one.opponents)):
        assert [(hit.rank, hit.id) for hit in ours] == [(hit.rank, hit.id) for hit in theirs]
        assert [hit.score for hit in ours] == pytest.approx([h.score for h in theirs], rel=1e-3)
