"""SOURCE is the sum that its formula says, with matrices that are small enough to write down."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from whence.errors import CorpusError
from whence.gradients.curvature.ekfac import fit_ekfac
from whence.gradients.curvature.source import Segment, source_scores
from whence.gradients.passes.correction import correction_scales
from whence.gradients.passes.queries import query_gradients
from whence.records import Query, Term

LENGTHS = [9, 2, 14, 1, 12, 7, 5, 5]
STEPS = [1, 1, 2, 2, 3, 3, 4, 4]
DECAY = 0.1


def dated(lab, sequences, steps):
    corpus = lab.corpus_of(sequences)
    column = corpus.table.column_names.index("step")
    table = corpus.table.set_column(column, "step", pa.array(steps, pa.int64()))
    return type(corpus)(corpus.name, corpus.description, table)


@pytest.fixture(scope="module")
def run(lab):
    """Two segments of two steps; the models at their ends, and second moments of about 1e-4."""
    models = [lab.tiny("neox", dtype="float64", seed=seed) for seed in (0, 1)]
    generator = torch.Generator().manual_seed(0)
    moments = {
        name: 1e-4 * torch.rand(p.shape, generator=generator, dtype=torch.float64)
        for name, p in models[0].model.named_parameters()
    }
    a, b = lab.random_sequences([12, 9], seed=7)
    queries = (lab.query_of("a", (a, 8, 1.0)), lab.query_of("b", (b, 4, 1.0)))
    sequences = lab.random_sequences(LENGTHS)
    return models, moments, queries, sequences, lab.modules_of(models[0])[-2:]


def segments_of(run, *, rate, is_adam):
    models, moments = run[0], run[1] if is_adam else None
    return [
        Segment(2 * i, 2 * i + 2, 2 * rate, DECAY, lambda m=model: (m, moments))
        for i, model in enumerate(models)
    ]


def scores(lab, run, *, rate, is_adam, steps=STEPS):
    """SOURCE's scores; an example that predicts nothing has none, and 0 as the oracles have it."""
    models, _, queries, sequences, modules = run
    found = source_scores(
        models[1],
        dated(lab, sequences, steps),
        queries,
        segments=segments_of(run, rate=rate, is_adam=is_adam),
        modules=modules,
        token_batch_size=64,
    ).values
    is_empty = np.array(LENGTHS) < 2
    np.testing.assert_array_equal(np.isnan(found), np.broadcast_to(is_empty, found.shape))
    return np.where(is_empty, 0, found)


def example_gradients(run, model, rows):
    _, _, _, sequences, modules = run
    asked = [Query(str(r), (Term(tuple(sequences[r]), 1, 1.0),), "") for r in rows]
    return query_gradients(model, asked, modules=modules, token_batch_size=64)


def dense_scores(lab, run, *, rate, is_adam):
    """The same with whole matrices, in float64: e^(−κ H) by torch, the rest by solving."""
    models, moments, queries, sequences, modules = run
    asked = query_gradients(models[1], queries, modules=modules, token_batch_size=64)
    found = np.zeros((len(queries), len(sequences)))
    for number in (1, 0):
        model, rows = models[number], [i for i, k in enumerate(STEPS) if (k - 1) // 2 == number]
        part = lab.corpus_of([sequences[r] for r in rows])
        num_targets = sum(max(LENGTHS[r] - 1, 0) for r in rows)
        curvature = fit_ekfac(model, part, modules=modules, token_batch_size=64)
        share = curvature.num_examples / num_targets
        scales = correction_scales(model, modules, moments if is_adam else None)
        gradients = example_gradients(run, model, rows)
        for name in modules:
            q_a, q_s, values = curvature.factors[name]
            basis = torch.kron(q_s, q_a)
            dense = basis @ torch.diag(values.flatten()) @ basis.mT * share
            p = torch.ones(len(dense), dtype=torch.float64)
            if is_adam:
                p, dense = scales[name], torch.diag(dense.diagonal())
            system = torch.diag(p) @ dense + DECAY * torch.eye(len(dense), dtype=torch.float64)
            decayed = torch.linalg.matrix_exp(-2 * rate * system)
            segment = torch.linalg.solve(system, torch.eye(len(dense)).double() - decayed)
            effect = segment @ torch.diag(p) @ gradients[name].mT / num_targets
            found[:, rows] += (asked[name] @ effect).numpy()
            asked[name] = asked[name] @ decayed
    return found


@pytest.mark.parametrize("is_adam", [False, True])
def test_scores_are_those_of_whole_matrices(lab, run, is_adam):
    rate = 0.05 if is_adam else 2.0
    expected = dense_scores(lab, run, rate=rate, is_adam=is_adam)
    found = scores(lab, run, rate=rate, is_adam=is_adam)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    straight = dense_scores(lab, run, rate=1e-9, is_adam=is_adam) * rate / 1e-9
    assert not np.allclose(found, straight, rtol=0.1, atol=0.1 * np.abs(straight).max())


@pytest.mark.parametrize("is_adam", [False, True])
def test_small_learning_rates_give_the_sum_of_the_optimizers_steps(lab, run, is_adam):
    models, moments, queries, _, modules = run
    rate = 1e-7
    found = scores(lab, run, rate=rate, is_adam=is_adam)
    asked = query_gradients(models[1], queries, modules=modules, token_batch_size=64)
    for number, model in enumerate(models):
        rows = [i for i, k in enumerate(STEPS) if (k - 1) // 2 == number]
        num_targets = sum(max(LENGTHS[r] - 1, 0) for r in rows)
        scales = correction_scales(model, modules, moments if is_adam else None)
        gradients = example_gradients(run, model, rows)
        expected = sum(
            (asked[name] * (scales[name] if scales else 1)) @ gradients[name].mT for name in modules
        )
        expected = 2 * rate / num_targets * expected.numpy()
        np.testing.assert_allclose(
            found[:, rows], expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max()
        )


def test_the_order_of_training_counts(lab, run):
    swapped = [*STEPS[4:], *STEPS[:4]]
    one = scores(lab, run, rate=0.01, is_adam=True)
    other = scores(lab, run, rate=0.01, is_adam=True, steps=swapped)
    assert not np.allclose(one, other, rtol=0.1)


def test_examples_that_no_segment_saw_are_refused(lab, run):
    with pytest.raises(CorpusError, match=r"`e7` was seen at step 5.*from step 1 to 4"):
        scores(lab, run, rate=0.01, is_adam=True, steps=[*STEPS[:-1], 5])
    with pytest.raises(CorpusError, match="1 of 8 examples do not say at which step"):
        scores(lab, run, rate=0.01, is_adam=True, steps=[*STEPS[:-1], None])
