"""MAGIC's scores are what training again with other weights does, in nats and with its sign."""

import copy

import numpy as np
import pyarrow as pa
import pytest
import torch

from whence.errors import CorpusError, ModelError, SettingsError
from whence.gradients.curvature.magic import LARGEST, magic_scores, training_order
from whence.training import Recipe, train
from whence.training.trainer import example_losses

LENGTHS = [9, 5, 1, 7, 6, 4]
STEPS = [2, 1, 1, 2, 3, 3]
RECIPE = Recipe(batch_size=2, peak_learning_rate=1e-2, warmup_steps=2, eps=1e-6)


def dated(lab, steps=STEPS):
    corpus = lab.corpus_of(lab.random_sequences(LENGTHS))
    column = corpus.table.column_names.index("step")
    table = corpus.table.set_column(column, "step", pa.array(steps, pa.int64()))
    return type(corpus)(corpus.name, corpus.description, table)


def test_scores_are_what_a_little_more_weight_does(lab):
    model = lab.tiny("neox", dtype="float64")
    corpus = dated(lab)
    (tokens, other) = lab.random_sequences([8, 6], seed=3)
    queries = (
        lab.query_of("plain", (tokens, 5, 1.0)),
        lab.query_of("contrast", (tokens, 5, 1.0), (other, 2, -1.0)),
    )
    # Adam does not feel the weight of example 1, which is alone in the first step.
    found = magic_scores(model, corpus, queries, recipe=RECIPE)
    order = training_order(corpus)
    assert order == [1, 2, 0, 3, 4, 5]

    def losses(row, weight):
        network = copy.deepcopy(model.model)
        weights = [1.0] * len(corpus)
        weights[row] = weight
        train(
            network,
            [corpus.input_ids(i) for i in range(len(corpus))],
            recipe=RECIPE,
            weights=weights,
            order=order,
        )
        with torch.no_grad():
            whole, half = (example_losses(network, [t]).item() for t in (tokens, tokens[:5]))
            rest, start = (example_losses(network, [t]).item() for t in (other, other[:2]))
        return np.array([whole - half, whole - half - (rest - start)])

    for row in (0, 3, 5):
        change = losses(row, 1 - 1e-6) - losses(row, 1 + 1e-6)
        np.testing.assert_allclose(found.values[:, row], change / 2e-6, rtol=1e-4)
    assert np.isfinite(found.values).all(axis=0).tolist() == [True, True, False, True, True, True]


def test_what_would_take_too_long_is_refused(lab, monkeypatch):
    model = lab.tiny("neox")
    (tokens,) = lab.random_sequences([8], seed=3)
    queries = (lab.query_of("a", (tokens, 5, 1.0)), lab.query_of("b", (tokens, 4, 1.0)))
    size = sum(parameter.numel() for parameter in model.model.parameters())
    monkeypatch.setattr("whence.gradients.curvature.magic.LARGEST", 3 * size)
    said = f"2 queries back through 3 steps of a model with {size:,} parameters.* at most 1 queries"
    with pytest.raises(ModelError, match=said):
        magic_scores(model, dated(lab), queries, recipe=RECIPE)
    assert LARGEST >= 488 * 300_000 * 40


def test_what_the_walk_does_not_reach_has_no_score(lab):
    (tokens,) = lab.random_sequences([8], seed=3)
    query = lab.query_of("a", (tokens, 5, 1.0))
    model, corpus = lab.tiny("neox"), dated(lab)
    found = magic_scores(model, corpus, (query,), recipe=RECIPE, since=2)
    assert np.isfinite(found.values).all(axis=0).tolist() == [False] * 4 + [True] * 2
    with pytest.raises(SettingsError, match=r"`magic.since = 3` is not before the last of 3 steps"):
        magic_scores(model, corpus, (query,), recipe=RECIPE, since=3)


def test_an_order_that_is_not_known_is_not_repeated(lab):
    with pytest.raises(CorpusError, match="1 of 6 examples do not say"):
        training_order(dated(lab, [*STEPS[:-1], None]))


@pytest.mark.slow
def test_the_derivative_foretells_nanos_last_steps_with_other_weights(lab):
    """All examples of the last 24 steps 1 % heavier or lighter, at random, eight times."""
    from whence.testbed import corpus as testbed_corpus
    from whence.testbed import initial_checkpoint, recipe, training_weights

    corpus, rules, since = testbed_corpus("nano"), recipe("nano"), 464
    weights = training_weights("nano")
    examples = [corpus.input_ids(row) for row in range(len(corpus))]
    rows = [examples.index(min(examples, key=len)), len(corpus) - 1]
    queries = tuple(lab.query_of(f"q{row}", (examples[row], 2, 1.0)) for row in rows)
    found = magic_scores(
        initial_checkpoint("nano"),
        corpus,
        queries,
        recipe=rules,
        weights=weights.tolist(),
        since=since,
    )
    is_late = np.isfinite(found.values).all(axis=0)
    model, kept = initial_checkpoint("nano").model, []

    def run(given, **changes):
        train(model, examples, recipe=rules, weights=given.tolist(), **changes)
        with torch.no_grad():
            whole = example_losses(model, [examples[row] for row in rows])
            return (whole - example_losses(model, [examples[row][:2] for row in rows])).numpy()

    run(
        weights,
        stop_after=since,
        checkpoint_steps=(since,),
        on_checkpoint=lambda state: kept.append(copy.deepcopy(state)),
    )
    before = run(weights, resume=kept[0])
    generator, foretold, measured = np.random.default_rng(0), [], []
    for _ in range(8):
        change = np.where(is_late, 0.01 * weights * generator.choice([-1, 1], len(weights)), 0)
        foretold.append(-np.where(is_late, found.values, 0) @ change)
        measured.append(run(weights + change, resume=kept[0]) - before)
    for one, other in zip(np.transpose(foretold), np.transpose(measured), strict=True):
        slope, r = one @ other / (one @ one), np.corrcoef(one, other)[0, 1]
        print(f"slope {slope:.3f}, r {r:.3f}")
        assert slope == pytest.approx(1, abs=0.1)
        assert r > 0.95
