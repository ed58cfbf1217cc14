"""Every method gives the same record and obeys the same rules."""

from dataclasses import FrozenInstanceError, fields, replace
from typing import get_args

import numpy as np
import pytest

from whence.errors import ArtifactError, SettingsError
from whence.evidence import ranking
from whence.methods import (
    METHODS,
    Products,
    check_methods,
    load_scores,
    save_scores,
    score,
)
from whence.methods.requests import CorpusPass
from whence.records import Family
from whence.settings import (
    AdamSettings,
    AdamwInfluenceSettings,
    AttributionSettings,
    EkfacCgSettings,
    EkfacSettings,
    EmbeddingSettings,
    InfluenceSettings,
    MagicSettings,
    RandomSettings,
    SourceSettings,
    TracinSettings,
    TrackstarSettings,
    TrakSettings,
)

every_method = pytest.mark.parametrize("name", METHODS)
CHECKPOINTS = AttributionSettings(
    tracin=TracinSettings(checkpoints=(20, 40), learning_rates=(3e-3, 1e-3)),
    source=SourceSettings(checkpoints=(20, 40)),
)
NEEDY = [name for name, method in METHODS.items() if method.needs(CHECKPOINTS)]
REAL = [name for name, method in METHODS.items() if not method.is_control]


def test_the_default_settings_name_methods_of_one_pass_and_every_baseline():
    settings = AttributionSettings()
    needs = {name: METHODS[name].needs for name in METHODS}
    for name in settings.methods:
        assert _passes(needs[name](settings)) <= {Products()}
    rest = set(METHODS) - set(settings.methods)
    assert all(_passes(needs[name](CHECKPOINTS)) for name in rest)


def _passes(requests):
    return {request for request in requests if isinstance(request, CorpusPass)}


@every_method
def test_the_registry_the_method_and_the_record_have_one_name(name, planted):
    assert METHODS[name].name == name
    assert score(name, planted.inputs).method == name


@every_method
def test_a_method_states_everything_that_is_said_of_it(name):
    for text in fields(METHODS[name]):
        value = getattr(METHODS[name], text.name)
        if isinstance(value, str):
            assert value.strip() == value != "", text.name
    method = METHODS[name]
    assert method.family in get_args(Family)
    assert method.family != "unknown"
    assert method.about.endswith(".")
    assert method.avoid.endswith(".")
    assert method.higher_means[0].islower()
    assert not method.higher_means.endswith(".")
    assert method.version >= 1


@every_method
def test_there_is_one_number_per_query_and_example(name, planted):
    scores = score(name, planted.inputs)
    assert scores.values.shape == (2, 30)
    assert scores.values.dtype == np.float32
    assert scores.query_ids == ("first", "second")
    assert scores.example_ids == planted.corpus.ids
    assert scores.family == METHODS[name].family
    assert scores.higher_means == METHODS[name].higher_means
    assert scores.seconds >= 0


@every_method
def test_only_the_empty_document_is_undefined_and_in_no_ranking(name, planted):
    scores = score(name, planted.inputs)
    assert np.isnan(scores.values[:, 3]).all()
    assert np.isfinite(np.delete(scores.values, 3, axis=1)).all()
    assert 3 not in ranking(scores, 0)


@every_method
def test_scores_are_the_same_each_time(name, planted):
    again = replace(planted.inputs)
    np.testing.assert_array_equal(score(name, again).values, score(name, planted.inputs).values)


@every_method
def test_a_permuted_corpus_gives_permuted_scores(name, planted, lab):
    order = np.random.default_rng(1).permutation(30)
    corpus = lab.corpus_of([planted.documents[i] for i in order], [f"d{i}" for i in order])
    permuted = score(name, planted.inputs_for(corpus)).values
    np.testing.assert_allclose(
        permuted, score(name, planted.inputs).values[:, order], rtol=2e-4, atol=1e-5
    )


@every_method
def test_fewer_queries_change_nothing_for_the_others(name, planted):
    whole, inputs = score(name, planted.inputs), planted.inputs
    results = {request: _without_the_first(found) for request, found in inputs.results.items()}
    part = score(name, replace(inputs, queries=inputs.queries[1:], results=results))
    np.testing.assert_allclose(part.values[0], whole.values[1], rtol=1e-5, atol=1e-6)


def _without_the_first(found):
    per_query = ("query_ids", "dots", "query_norms", "queries", "values")
    return replace(
        found, **{key: value[1:] for key, value in vars(found).items() if key in per_query}
    )


@every_method
def test_no_other_methods_settings_change_a_score(name, planted):
    """A method's key holds its own table alone."""
    own, changed = METHODS[name].settings, {}
    others = {
        "embedding": EmbeddingSettings(model="none"),
        "random": RandomSettings(seed=9),
        "tracin": TracinSettings(checkpoints=(7,), learning_rates=(1.0,)),
        "source": SourceSettings(checkpoints=(7,)),
        "trak": TrakSettings(damping=9, ensemble=("x",)),
        "influence": InfluenceSettings(damping=9),
        "ekfac": EkfacSettings(damping=9),
        "ekfac_cg": EkfacCgSettings(damping=9),
        "magic": MagicSettings(since=9),
        "adamw_influence": AdamwInfluenceSettings(last_steps=9),
        "trackstar": TrackstarSettings(whiten=False, damping=9),
        "adam": AdamSettings(second_moments="none"),
        "methods": ("bm25",),
        "path": "stored",
    }
    for key, value in others.items():
        if type(value) is not own:
            changed[key] = value
    inputs = planted.inputs
    settings = inputs.settings.model_copy(update=changed)
    np.testing.assert_array_equal(
        score(name, replace(inputs, settings=settings)).values, score(name, inputs).values
    )


@pytest.mark.parametrize("name", REAL)
def test_an_exact_copy_of_the_query_ranks_first(name, planted):
    scores = score(name, planted.inputs)
    found = {query: int(ranking(scores, row)[0]) for row, query in enumerate(scores.query_ids)}
    assert found == planted.copies


@every_method
def test_the_record_is_frozen_and_its_settings_are_json(name, planted, tmp_path):
    scores = score(name, planted.inputs)
    with pytest.raises(FrozenInstanceError):
        scores.method = "other"
    with pytest.raises(ValueError, match="read-only"):
        scores.values[0, 0] = 1
    save_scores(scores, tmp_path / "scores")
    loaded = load_scores(tmp_path / "scores")
    np.testing.assert_array_equal(loaded.values, scores.values)
    assert replace(loaded, values=scores.values) == scores


@pytest.mark.parametrize("name", NEEDY)
def test_what_is_missing_is_named(name, planted):
    with pytest.raises(SettingsError, match=f"`{name}` needs"):
        score(name, replace(planted.inputs, model=None, results={}))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in NEEDY])
def test_what_is_not_needed_may_be_missing(name, planted):
    without = replace(planted.inputs, model=None, results={})
    np.testing.assert_array_equal(score(name, without).values, score(name, planted.inputs).values)


def test_an_unknown_method_gets_a_suggestion(planted):
    with pytest.raises(SettingsError, match="Did you mean `gradient_cosine`"):
        score("gradient_cosin", planted.inputs)
    with pytest.raises(SettingsError, match=r"no method `zzz`.*Known: gradient_cosine"):
        check_methods(["bm25", "zzz"])


def test_broken_scores_are_refused_in_one_sentence(planted, tmp_path):
    scores = score("random", planted.inputs)
    with pytest.raises(ArtifactError, match=r"has no scores\.json"):
        load_scores(tmp_path)
    save_scores(scores, tmp_path)
    values = tmp_path / "scores.npy"
    whole = values.read_bytes()
    values.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_scores(tmp_path)
    np.save(values, np.zeros((2, 5), dtype=np.float32))
    with pytest.raises(ArtifactError, match="does not fit their ids"):
        load_scores(tmp_path)
    values.unlink()
    with pytest.raises(ArtifactError, match=r"has no scores\.npy"):
        load_scores(tmp_path)
