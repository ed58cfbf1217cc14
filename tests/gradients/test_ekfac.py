"""EK-FAC's factors are those of slow sums, and its inverse stands beside the exact ones."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from whence.errors import CorpusError, GradientError
from whence.gradients import streamed_products
from whence.gradients.curvature.conjugate_gradient import gauss_newton, solve
from whence.gradients.curvature.ekfac import ekfac_preconditioner, fit_ekfac
from whence.gradients.curvature.fisher import FisherBatch, draw, fisher_batches, fisher_pass
from whence.gradients.passes.batches import IGNORED, pad
from whence.gradients.passes.capture import frozen
from whence.gradients.passes.queries import query_gradients
from whence.gradients.passes.streamed import Preconditioner

LENGTHS = [9, 2, 20, 1, 17, 0, 20, 5, 5]


@pytest.fixture(scope="module")
def small(lab):
    model = lab.tiny("neox", dtype="float64")
    corpus = lab.corpus_of(lab.random_sequences(LENGTHS))
    a, b = lab.random_sequences([12, 9], seed=7)
    queries = (lab.query_of("a", (a, 8, 1.0)), lab.query_of("b", (b, 4, 1.0)))
    modules = lab.modules_of(model)
    gradients = query_gradients(model, queries, modules=modules, token_batch_size=64)
    return model, corpus, modules, gradients


def fit(model, corpus, modules, **changes):
    return fit_ekfac(model, corpus, **{"modules": modules, "token_batch_size": 64} | changes)


def labels_of(model, corpus):
    """The drawn labels, one example at a time."""
    found = {}
    with frozen(model):
        for row in range(len(corpus)):
            one = corpus.input_ids(row)
            if len(one) < 2:
                continue
            (alone,) = [
                batch
                for batch in fisher_batches(
                    model, corpus, token_batch_size=2, num_weights=10**12, seed=0
                )
                if batch.padded.input_ids.tolist() == [one]
            ]
            found[row] = fisher_pass(model, alone, labels="sampled")[0].tolist()
    return found


def oracle_factors(model, corpus, modules, labels):
    """A, S and every example's gradient by autograd, one example at a time."""
    network = copy.deepcopy(model.model).requires_grad_(True)
    inputs, outputs, examples = ({name: [] for name in modules} for _ in range(3))
    for row, targets in labels.items():
        seen, hooks = {}, []
        for name in modules:
            layer = network.base_model.get_submodule(name)

            def keep(_, given, output, name=name, seen=seen):
                output.retain_grad()
                seen[name] = (given[0].detach(), output)

            hooks.append(layer.register_forward_hook(keep))
        logits = network(torch.tensor([corpus.input_ids(row)])).logits[0]
        log_probs = logits.log_softmax(-1)
        loss = -sum(log_probs[t - 1, targets[t]] for t in range(1, len(targets)))
        network.zero_grad()
        loss.backward()
        for name in modules:
            given, output = seen[name]
            inputs[name] += list(given[0, :-1])
            outputs[name] += list(output.grad[0, :-1])
            weight = network.base_model.get_submodule(name).weight
            is_turned = type(network).__name__.startswith("GPT2")
            examples[name].append((weight.grad.T if is_turned else weight.grad).clone())
        for hook in hooks:
            hook.remove()
    return inputs, outputs, examples


def test_the_inverse_is_that_of_the_dense_matrix_built_from_slow_sums(lab, family):
    model = lab.tiny(family, dtype="float64")
    corpus = lab.corpus_of(lab.random_sequences(LENGTHS))
    modules = lab.modules_of(model)[-2:]
    curvature = fit(model, corpus, modules)
    labels = labels_of(model, corpus)
    inputs, outputs, examples = oracle_factors(model, corpus, modules, labels)
    generator = torch.Generator().manual_seed(1)
    for name in modules:
        a, s = (torch.stack(rows[name]).mT for rows in (inputs, outputs))
        q_a, q_s = (torch.linalg.eigh(x @ x.mT).eigenvectors for x in (a, s))
        rotated = torch.stack([q_s.mT @ g @ q_a for g in examples[name]])
        values = rotated.square().mean(0)
        # The order of rows is outputs × inputs, so the basis is that of kron(outputs, inputs).
        basis = torch.kron(q_s, q_a)
        dense = basis @ torch.diag(values.flatten()) @ basis.mT
        damped = dense + 0.1 * values.mean() * torch.eye(len(dense), dtype=torch.float64)
        asked = torch.randn(3, len(dense), dtype=torch.float64, generator=generator)
        expected = torch.linalg.solve(damped, asked.mT).mT
        found = curvature.inverse({name: asked}, damping=0.1)[name]
        assert (found - expected).norm() < 1e-4 * expected.norm()
        diagonal = curvature.diagonal(name).flatten()
        torch.testing.assert_close(diagonal, dense.diagonal(), rtol=1e-4, atol=1e-8)
        assert curvature.damping(0.1)[name] == pytest.approx(0.1 * float(values.mean()), rel=1e-6)


def test_a_drawn_label_depends_on_the_example_and_its_copy_alone(lab):
    model = lab.tiny("neox", dtype="float64")
    sequences = lab.random_sequences([9, 2, 20, 5])
    sequences.append(sequences[2])
    corpus = lab.corpus_of(sequences)
    order = [4, 1, 3, 0, 2]
    turned = lab.corpus_of([sequences[i] for i in order])

    def drawn(which, tokens):
        with frozen(model):
            return sorted(
                row[: int((ids >= 0).sum())].tolist()
                for batch in fisher_batches(
                    model, which, token_batch_size=tokens, num_weights=1, seed=3
                )
                for row, ids in zip(
                    fisher_pass(model, batch, labels="sampled"), batch.padded.input_ids, strict=True
                )
            )

    def bare(rows):
        return sorted([x for x in row if x != IGNORED] for row in rows)

    first = bare(drawn(corpus, 4096))
    assert first == bare(drawn(turned, 30))
    assert len(first) == 5
    copies = [row for row in first if len(row) == 19]
    assert copies[0] != copies[1]


def test_labels_are_drawn_with_the_models_probabilities():
    logits = torch.tensor([0.5, -1.0, 2.0, 0.0])
    chances = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    found = draw(logits.expand(1, len(chances), 4), chances[None])
    shares = torch.bincount(found[0], minlength=4) / len(chances)
    torch.testing.assert_close(shares, logits.softmax(-1), atol=2e-5, rtol=0)


def test_given_labels_are_the_texts_own(lab):
    model = lab.tiny("neox")
    padded = pad([[1, 2, 3], [4, 5]])
    with frozen(model):
        found = fisher_pass(model, FisherBatch(padded, torch.zeros(2, 3)), labels="given")
    assert found.tolist() == [[IGNORED, 2, 3], [IGNORED, 5, IGNORED]]


def test_the_gauss_newton_product_is_that_of_the_dense_matrix(small, lab):
    model = small[0]
    corpus = lab.corpus_of(lab.random_sequences([6, 1, 4]))
    name = "layers.1.mlp.dense_4h_to_h"
    vectors = torch.randn(2, 16 * 24, dtype=torch.float64)
    dense = dense_gauss_newton(model, corpus, [name])
    found = gauss_newton(model, corpus, {name: vectors}, token_batch_size=64)
    torch.testing.assert_close(found[name], vectors @ dense, rtol=1e-9, atol=1e-9)


def dense_gauss_newton(model, corpus, modules):
    """The matrix itself: the Jacobian of each position's logits, one word at a time."""
    network = copy.deepcopy(model.model)
    weights = [network.base_model.get_submodule(name).weight for name in modules]
    size = sum(w.numel() for w in weights)
    total, count = torch.zeros(size, size, dtype=torch.float64), 0
    for row in range(len(corpus)):
        tokens = corpus.input_ids(row)
        if len(tokens) < 2:
            continue
        count += 1
        logits = network(torch.tensor([tokens])).logits[0, :-1]
        for position in logits:
            jacobian = torch.stack(
                [
                    torch.cat(
                        [g.flatten() for g in torch.autograd.grad(z, weights, retain_graph=True)]
                    )
                    for z in position
                ]
            )
            p = position.detach().softmax(-1)
            total += jacobian.mT @ (torch.diag(p) - torch.outer(p, p)) @ jacobian
    return total / count


@pytest.mark.parametrize("is_guessed", [False, True])
def test_conjugate_gradients_solve_the_damped_system(small, lab, is_guessed):
    model, _, modules, gradients = small
    corpus = lab.corpus_of(lab.random_sequences([6, 1, 4]))
    chosen = (modules[1], modules[5])
    share = 10.0
    asked = {name: gradients[name] for name in chosen}
    curvature = fit(model, corpus, chosen)
    damping = curvature.damping(share)
    found = solve(
        model,
        corpus,
        asked,
        damping=damping,
        token_batch_size=64,
        tolerance=1e-6,
        max_iterations=200,
        precondition=(lambda v: curvature.inverse(v, damping=share)) if is_guessed else None,
    )
    dense = dense_gauss_newton(model, corpus, chosen)
    shift = [torch.full((asked[n].shape[1],), damping[n], dtype=torch.float64) for n in chosen]
    right = torch.cat([asked[name] for name in chosen], dim=1)
    expected = torch.linalg.solve(dense + torch.diag(torch.cat(shift)), right.mT).mT
    ours = torch.cat([found.vectors[name] for name in chosen], dim=1)
    assert (ours - expected).norm() < 1e-4 * expected.norm()
    print(f"{found.num_iterations} products, residual {found.residual:.1e}")


def test_what_is_not_solved_is_refused(small):
    model, corpus, modules, gradients = small
    with pytest.raises(GradientError, match=r"residual of .* after 1 products"):
        solve(
            model,
            corpus,
            gradients,
            damping=dict.fromkeys(modules, 1e-6),
            token_batch_size=64,
            max_iterations=1,
        )


def test_a_corpus_without_a_token_to_predict_has_no_curvature(lab):
    model = lab.tiny("neox")
    with pytest.raises(CorpusError, match="no curvature"):
        fit(model, lab.corpus_of([[5], []]), lab.modules_of(model))


def test_no_damping_of_no_curvature_is_refused(small):
    model, corpus, modules, gradients = small
    with pytest.raises(GradientError, match="cannot be inverted with a damping of 0"):
        fit(model, corpus, modules).inverse(gradients, damping=0)


def test_the_state_of_the_model_is_restored(small):
    model, corpus, modules, _ = small
    model.model.train()
    try:
        fit(model, corpus, modules[:1])
        assert model.model.training
        assert all(parameter.requires_grad for parameter in model.model.parameters())
        assert all(parameter.grad is None for parameter in model.model.parameters())
    finally:
        model.model.eval()


def bergsons_scores(lab, model, corpus, queries, directory):
    """What Bergson's own EK-FAC pipeline makes of the same tokens and labels."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    from whence.gradients import require_engine

    bergson = require_engine()
    from bergson.config.config import HessianConfig, HessianPipelineConfig, QuerySetConfig
    from bergson.data import load_scores
    from bergson.hessians.pipeline import hessian_pipeline

    model.model.save_pretrained(directory / "model")
    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(61)}, unk_token="t0"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(directory / "model")
    ids = [corpus.input_ids(row) for row in range(len(corpus))]
    asked = [query.terms[0] for query in queries]
    columns = {
        "data": (ids, ids),
        "queries": (
            [list(term.input_ids) for term in asked],
            [
                [IGNORED] * term.num_prompt_tokens + list(term.input_ids[term.num_prompt_tokens :])
                for term in asked
            ],
        ),
    }
    for name, (tokens, labels) in columns.items():
        rows = {"input_ids": tokens, "labels": labels, "length": [*map(len, tokens)]}
        Dataset.from_dict(rows).save_to_disk(str(directory / name))
    config = bergson.IndexConfig(
        run_path=str(directory / "run"),
        model=str(directory / "model"),
        data=bergson.DataConfig(dataset=str(directory / "data")),
        precision="fp32",
        projection_dim=0,
        token_batch_size=48,
        loss_reduction="sum",
        drop_columns=False,
    )
    config.distributed.nproc_per_node = 1
    hessian_pipeline(
        config,
        HessianConfig(method="kfac", ev_correction=True, use_dataset_labels=True),
        bergson.ScoreConfig(),
        bergson.PreprocessConfig(),
        HessianPipelineConfig(query=QuerySetConfig(dataset=str(directory / "queries"))),
    )
    return np.asarray(load_scores(directory / "run" / "scores")[:], dtype=np.float64).T


@pytest.mark.slow
def test_scores_are_those_of_bergsons_own_pipeline(lab, family, tmp_path):
    model = lab.tiny(family)
    corpus = lab.corpus_of(lab.random_sequences([n for n in LENGTHS if n > 1]))
    a, b = lab.random_sequences([12, 9], seed=7)
    queries = (lab.query_of("a", (a, 8, 1.0)), lab.query_of("b", (b, 4, 1.0)))
    modules = lab.modules_of(model)
    preconditioner = ekfac_preconditioner(
        model, corpus, modules=modules, token_batch_size=48, damping=0.1, labels="given"
    )
    ours = streamed_products(
        model,
        corpus,
        queries,
        modules=modules,
        token_batch_size=48,
        preconditioner=preconditioner,
    ).dots
    theirs = bergsons_scores(lab, model, corpus, queries, tmp_path)
    for query, one, other in zip(queries, ours, theirs, strict=True):
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        rank = spearmanr(one, other).statistic
        print(f"{family} {query.id}: Spearman {rank:.4f}, 1 - cosine {1 - cosine:.1e}")
        assert rank > 0.999
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.slow
def test_ekfac_resembles_the_exact_solution_more_than_no_curvature_does(lab):
    """Both damped by a tenth of EK-FAC's mean eigenvalues."""
    model = lab.tiny("neox")
    modules = lab.modules_of(model)
    corpus = lab.corpus_of(lab.random_sequences([12] * 80, seed=1))
    queries = tuple(
        lab.query_of(f"q{i}", (tokens, 6, 1.0))
        for i, tokens in enumerate(lab.random_sequences([12] * 3, seed=7))
    )
    gradients = query_gradients(model, queries, modules=modules, token_batch_size=2048)
    curvature = fit(model, corpus, modules)
    exact = solve(
        model,
        corpus,
        gradients,
        damping=curvature.damping(0.1),
        token_batch_size=2048,
        tolerance=0.02,
        precondition=lambda v: curvature.inverse(v, damping=0.1),
    )
    print(f"{exact.num_iterations} products")
    solutions = {
        "exact": exact.vectors,
        "ekfac": curvature.inverse(gradients, damping=0.1),
        "dot": gradients,
    }
    scores = {
        name: streamed_products(
            model,
            corpus,
            queries,
            modules=modules,
            token_batch_size=2048,
            preconditioner=Preconditioner(lambda _, found=found: found, {"correction": name}),
        ).dots
        for name, found in solutions.items()
    }
    for row, query in enumerate(queries):
        truth = scores["exact"][row]
        rank = {name: spearmanr(truth, found[row]).statistic for name, found in scores.items()}
        pearson = np.corrcoef(truth, scores["ekfac"][row])[0, 1]
        print(f"{query.id}: Spearman {rank['ekfac']:.2f} (dot {rank['dot']:.2f}), r {pearson:.2f}")
        assert rank["ekfac"] > rank["dot"] + 0.05
