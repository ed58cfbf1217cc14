"""AdamW-influence's scores are signed as effects, weighted, and undefined where the walk ends."""

import numpy as np
import pyarrow as pa
import pytest

from whence.errors import ModelError
from whence.gradients.curvature.adamw_influence import adamw_influence_scores
from whence.gradients.curvature.magic import magic_scores
from whence.training import Recipe

LENGTHS = [9, 5, 1, 7, 6, 4]
STEPS = [2, 1, 1, 2, 3, 3]
RECIPE = Recipe(batch_size=2, peak_learning_rate=1e-2, warmup_steps=2, eps=1e-6)


@pytest.fixture
def study(lab):
    corpus = lab.corpus_of(lab.random_sequences(LENGTHS))
    column = corpus.table.column_names.index("step")
    table = corpus.table.set_column(column, "step", pa.array(STEPS, pa.int64()))
    (tokens,) = lab.random_sequences([8], seed=3)
    query = lab.query_of("plain", (tokens, 5, 1.0))
    model = lab.tiny("neox", dtype="float64")
    return model, type(corpus)(corpus.name, corpus.description, table), (query,)


def test_in_the_last_step_it_is_the_derivative_times_the_weight(study):
    weights = [1.0, 1.0, 1.0, 1.0, 0.5, 0.0]
    arguments = {"recipe": RECIPE, "weights": weights}
    exact = magic_scores(*study, **arguments).values[0]
    found = adamw_influence_scores(*study, **arguments).values[0]
    assert found[4] == pytest.approx(0.5 * exact[4], rel=1e-5)
    assert found[5] == 0 != exact[5]
    # Earlier examples change later gradients, which only the exact derivative knows.
    assert abs(found[0] / exact[0] - 1) > 1e-3


def test_what_the_walk_does_not_reach_has_no_score(study):
    found = adamw_influence_scores(*study, recipe=RECIPE, since=2)
    assert np.isfinite(found.values).all(axis=0).tolist() == [False] * 4 + [True] * 2
    whole = adamw_influence_scores(*study, recipe=RECIPE)
    np.testing.assert_allclose(found.values[:, 4:], whole.values[:, 4:], rtol=1e-6)
    assert np.isnan(whole.values[0]).tolist() == [False, False, True, False, False, False]


def test_what_would_take_too_long_is_refused(study, monkeypatch):
    monkeypatch.setattr("whence.gradients.curvature.adamw_influence.LARGEST", 1)
    with pytest.raises(ModelError, match="`adamw_influence` would walk 1 queries back"):
        adamw_influence_scores(*study, recipe=RECIPE)
