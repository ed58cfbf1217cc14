"""Scores of EK-FAC with conjugate gradients are those of a dense solve with the exact matrix."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from whence.gradients.curvature.ekfac import fit_ekfac
from whence.gradients.curvature.ekfac_cg import ekfac_cg_products
from whence.gradients.curvature.fisher import draw_examples
from whence.gradients.passes.queries import query_gradients
from whence.progress import Silent

SOLVER = {"damping": 10.0, "num_examples": 100, "tolerance": 1e-6, "max_iterations": 200}


@pytest.fixture
def study(lab):
    model = lab.tiny("neox", dtype="float64")
    corpus = lab.corpus_of(lab.random_sequences([6, 1, 4, 0, 5]))
    a, b = lab.random_sequences([7, 6], seed=7)
    queries = (lab.query_of("a", (a, 4, 1.0)), lab.query_of("b", (b, 3, 1.0)))
    modules = (lab.modules_of(model)[1], lab.modules_of(model)[5])
    return model, corpus, queries, modules


def products(study, **changes):
    model, corpus, queries, modules = study
    arguments = {"modules": modules, "token_batch_size": 64, **SOLVER} | changes
    return ekfac_cg_products(model, corpus, queries, **arguments)


def dense_scores(study, *, share):
    """The matrix from the Jacobian of each logit, one dense solve, and each example's gradient."""
    model, corpus, queries, modules = study
    network = copy.deepcopy(model.model)
    weights = [network.base_model.get_submodule(name).weight for name in modules]
    size = sum(w.numel() for w in weights)
    matrix, count = torch.zeros(size, size, dtype=torch.float64), 0
    gradients = torch.zeros(len(corpus), size, dtype=torch.float64)

    def flat(scalar):
        found = torch.autograd.grad(scalar, weights, retain_graph=True)
        return torch.cat([part.flatten() for part in found])

    for row in range(len(corpus)):
        tokens = corpus.input_ids(row)
        if len(tokens) < 2:
            continue
        count += 1
        logits = network(torch.tensor([tokens])).logits[0, :-1]
        gradients[row] = flat(-logits.log_softmax(-1)[range(len(tokens) - 1), tokens[1:]].sum())
        for position in logits:
            jacobian = torch.stack([flat(z) for z in position])
            p = position.detach().softmax(-1)
            matrix += jacobian.mT @ (torch.diag(p) - torch.outer(p, p)) @ jacobian
    curvature = fit_ekfac(model, corpus, modules=modules, token_batch_size=64)
    shift = [
        torch.full((w.numel(),), share * float(curvature.factors[name].values.mean()))
        for name, w in zip(modules, weights, strict=True)
    ]
    asked = query_gradients(model, queries, modules=modules, token_batch_size=64)
    right = torch.cat([asked[name] for name in modules], dim=1)
    damped = matrix / count + torch.diag(torch.cat(shift).double())
    return (torch.linalg.solve(damped, right.mT).mT @ gradients.mT).numpy()


def test_scores_are_those_of_a_dense_solve_in_float64(study):
    found = products(study)
    expected = dense_scores(study, share=10.0)
    has_gradient = study[1].lengths >= 2
    np.testing.assert_allclose(
        found.dots[:, has_gradient],
        expected[:, has_gradient],
        rtol=1e-4,
        atol=1e-5 * np.abs(expected).max(),
    )
    told = dict(found.settings)
    assert float(str(told["residual"])) <= 1e-6
    assert 1 < int(str(told["num_iterations"])) <= 200
    assert found.settings["num_examples"] == 3


def test_a_residual_above_the_tolerance_is_stored_and_noted(study):
    notes = []

    class Noting(Silent):
        def note(self, message):
            notes.append(message)

    found = products(study, max_iterations=2, damping=0.1, progress=Noting())
    assert found.settings["num_iterations"] == 2
    assert float(str(found.settings["residual"])) > 1e-6
    assert "above the tolerance of 1e-06" in notes[-1]


def test_the_sample_does_not_depend_on_the_order_of_the_corpus(lab):
    sequences = lab.random_sequences([9, 1, 7, 0, 6, 8, 5, 4])
    sequences.append(sequences[0])
    order = [8, 3, 5, 1, 0, 7, 2, 6, 4]
    corpus, turned = lab.corpus_of(sequences), lab.corpus_of([sequences[i] for i in order])

    def drawn(which, seed):
        return sorted(which.input_ids(int(row)) for row in draw_examples(which, 4, seed=seed))

    assert drawn(corpus, 3) == drawn(turned, 3)
    assert len({str(drawn(corpus, seed)) for seed in range(8)}) > 1
    everything = draw_examples(corpus, 100, seed=0)
    assert everything.tolist() == [0, 2, 4, 5, 6, 7, 8]
    part = replace(corpus, table=corpus.table.take(everything))
    assert min(part.lengths) >= 2
