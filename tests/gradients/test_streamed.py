"""Streamed products are the inner products of exact gradients, however the work is cut."""

import copy

import numpy as np
import pytest
import torch

from whence.errors import BehaviorError, CorpusError, GradientError, ModelError
from whence.gradients import streamed_products
from whence.gradients.passes.capture import VOCABULARY
from whence.models.forward import batches_by_length
from whence.progress import SILENT

LENGTHS = [9, 2, 48, 1, 17, 0, 30, 5, 5, 48, 3, 22]


def products(
    lab,
    model,
    corpus,
    queries,
    *,
    tokens=4096,
    work=None,
    progress=SILENT,
    modules=None,
    second_moments=None,
):
    return streamed_products(
        model,
        corpus,
        queries,
        modules=modules or lab.modules_of(model),
        token_batch_size=tokens,
        second_moments=second_moments,
        work=work,
        progress=progress,
    )


@pytest.fixture
def queries(lab):
    a, b, c = lab.random_sequences([12, 20, 12], seed=7)
    return (
        lab.query_of("plain", (a, 9, 1.0)),
        lab.query_of("contrast", (b, 15, 1.0), (c, 11, -1.0)),
        lab.query_of("whole", (c, 0, 1.0)),
    )


def expected(lab, model, corpus, queries, *, divisor=1.0, oracle=None):
    oracle = oracle or lab.oracle
    examples = np.stack([oracle(model, corpus.input_ids(i)) for i in range(len(corpus))])
    asked = np.stack(
        [
            sum(
                t.weight * oracle(model, t.input_ids, num_prompt_tokens=t.num_prompt_tokens)
                for t in query.terms
            )
            for query in queries
        ]
    )
    asked, examples = asked / divisor, examples / divisor
    return asked @ examples.T, np.linalg.norm(asked, axis=1), np.linalg.norm(examples, axis=1)


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 2e-7), ("float32", 2e-5)])
def test_products_are_those_of_autograd_one_example_at_a_time(lab, family, queries, dtype, rtol):
    model = lab.tiny(family, dtype=dtype)
    corpus = lab.corpus_of(lab.random_sequences(LENGTHS))
    found = products(lab, model, corpus, queries, tokens=100)
    dots, query_norms, example_norms = expected(lab, model, corpus, queries)
    scale = np.outer(query_norms, example_norms).max()
    np.testing.assert_allclose(found.query_norms, query_norms, rtol=rtol)
    np.testing.assert_allclose(found.example_norms, example_norms, rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(found.dots, dots, rtol=rtol, atol=rtol * scale / 100)
    assert found.example_ids == corpus.ids
    assert found.query_ids == ("plain", "contrast", "whole")
    assert found.path == "streamed"
    assert found.settings["loss_reduction"] == "sum"


def vocabulary_oracle(model, tokens, *, num_prompt_tokens=0):
    """Autograd's gradients of the embedding and the output layer; of one matrix where tied."""
    network = copy.deepcopy(model.model).double()
    layers = (network.get_input_embeddings(), network.get_output_embeddings())
    weights = list({id(layer.weight): layer.weight for layer in layers}.values())
    if len(tokens) < 2:
        return np.zeros(sum(weight.numel() for weight in weights))
    log_probs = network(torch.tensor([list(tokens)])).logits[0].log_softmax(-1)
    first = max(1, num_prompt_tokens)
    loss = -sum(log_probs[t - 1, tokens[t]] for t in range(first, len(tokens)))
    found = torch.autograd.grad(loss, weights)
    return torch.cat([gradient.flatten() for gradient in found]).numpy()


def test_embedding_and_output_layer_are_those_of_autograd_too(lab, family, queries):
    model = lab.tiny(family, dtype="float64")
    corpus = lab.corpus_of(lab.random_sequences(LENGTHS))
    found = products(lab, model, corpus, queries, tokens=100, modules=VOCABULARY)
    dots, query_norms, example_norms = expected(
        lab, model, corpus, queries, oracle=vocabulary_oracle
    )
    np.testing.assert_allclose(found.query_norms, query_norms, rtol=2e-7)
    np.testing.assert_allclose(found.example_norms, example_norms, rtol=2e-7, atol=1e-12)
    np.testing.assert_allclose(found.dots, dots, rtol=2e-7, atol=1e-9 * np.abs(dots).max())


def test_examples_without_a_prediction_have_no_gradient(lab, queries):
    model = lab.tiny("neox")
    found = products(lab, model, lab.corpus_of(lab.random_sequences(LENGTHS)), queries)
    nothing = np.array(LENGTHS) < 2
    assert (found.example_norms[nothing] == 0).all()
    assert (found.dots[:, nothing] == 0).all()
    assert (found.example_norms[~nothing] > 0).all()


def test_padding_batch_size_order_and_company_change_only_the_rounding(lab, family, queries):
    model = lab.tiny(family)
    sequences = lab.random_sequences(LENGTHS)
    whole = products(lab, model, lab.corpus_of(sequences), queries)
    one_by_one = products(lab, model, lab.corpus_of(sequences), queries, tokens=2)
    order = np.random.default_rng(1).permutation(len(sequences))
    shuffled = products(lab, model, lab.corpus_of([sequences[i] for i in order]), queries)
    fewer = products(lab, model, lab.corpus_of(sequences[:5]), queries[::-1])
    scale = np.abs(whole.dots).max()
    for other in (one_by_one.dots, shuffled.dots[:, np.argsort(order)]):
        np.testing.assert_allclose(other, whole.dots, rtol=1e-5, atol=1e-5 * scale)
    np.testing.assert_allclose(fewer.dots[::-1], whole.dots[:, :5], rtol=1e-5, atol=1e-5 * scale)


def test_copies_have_the_same_products_and_are_computed_once(lab, queries):
    a, b = lab.random_sequences([10, 20])
    progress = lab.Interrupting(after=1000)
    model = lab.tiny("neox")
    found = products(lab, model, lab.corpus_of([a, b, a, a]), queries, progress=progress)
    assert (found.dots[:, [0, 0]] == found.dots[:, [2, 3]]).all()
    assert progress.totals == [30]


def test_an_interrupted_run_continues_with_identical_numbers(lab, queries, tmp_path, monkeypatch):
    monkeypatch.setattr("whence.gradients.passes.streamed.BLOCK_TOKENS", 40)
    model = lab.tiny("neox")
    corpus = lab.corpus_of(lab.random_sequences(LENGTHS))
    straight = products(lab, model, corpus, queries, tokens=50)
    with pytest.raises(KeyboardInterrupt):
        products(
            lab, model, corpus, queries, tokens=50, work=tmp_path, progress=lab.Interrupting(4)
        )
    saved = sorted(tmp_path.iterdir())
    assert len(saved) >= 2
    again = lab.Interrupting(1000)
    resumed = products(lab, model, corpus, queries, tokens=50, work=tmp_path, progress=again)
    assert again.totals[0] < sum(n for n in LENGTHS if n > 1)
    assert (resumed.dots == straight.dots).all()
    assert (resumed.example_norms == straight.example_norms).all()


def test_a_damaged_block_is_computed_again_and_other_inputs_share_none(lab, queries, tmp_path):
    model = lab.tiny("neox")
    corpus = lab.corpus_of(lab.random_sequences(LENGTHS))
    first = products(lab, model, corpus, queries, work=tmp_path)
    (block,) = tmp_path.iterdir()
    block.write_bytes(block.read_bytes()[:100])
    assert (products(lab, model, corpus, queries, work=tmp_path).dots == first.dots).all()
    other = lab.tiny("neox", seed=1)
    assert (products(lab, other, corpus, queries, work=tmp_path).dots != first.dots).any()


def test_the_model_is_left_as_it_was_even_after_an_error(lab, queries):
    model = lab.tiny("gpt2")
    network = model.model
    network.train()
    frozen = next(network.parameters())
    frozen.requires_grad_(False)
    corpus = lab.corpus_of(lab.random_sequences([20, 20]))
    with pytest.raises(KeyboardInterrupt):
        products(lab, model, corpus, queries, progress=lab.Interrupting(0))
    assert network.training
    assert [p.requires_grad for p in network.parameters()].count(False) == 1
    assert all(p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_dropout_is_off(lab, queries):
    model = lab.tiny("gpt2")
    corpus = lab.corpus_of(lab.random_sequences([20, 20]))
    calm = products(lab, model, corpus, queries).dots
    model.model.train()
    assert (products(lab, model, corpus, queries).dots == calm).all()


def test_products_work_where_gradients_are_switched_off(lab, queries):
    model = lab.tiny("neox")
    corpus = lab.corpus_of(lab.random_sequences([20, 20]))
    with torch.no_grad():
        found = products(lab, model, corpus, queries)
    assert (found.example_norms > 0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_names_the_example(lab, queries, value):
    model = lab.tiny("gpt2")
    used = {t for query in queries for term in query.terms for t in term.input_ids}
    only_here = next(t for t in range(1, 61) if t not in used)
    with torch.no_grad():
        model.model.transformer.wte.weight[only_here, 0] = value
    # The weight is tied to the output layer, so the poison must not be a possible prediction.
    model.model.lm_head.weight = torch.nn.Parameter(
        model.model.lm_head.weight.detach().nan_to_num(0, 0, 0)
    )
    a, b = (u for u in sorted(used)[:2])
    corpus = lab.corpus_of([[a, b], [b, only_here, a], [b, a]], ids=["a", "the bad one", "c"])
    with pytest.raises(GradientError, match="example `the bad one`"):
        products(lab, model, corpus, queries)


def test_a_query_without_direction_is_refused_by_name(lab):
    model = lab.tiny("neox")
    corpus = lab.corpus_of(lab.random_sequences([5]))
    with pytest.raises(GradientError, match="query `mute` is zero"):
        products(lab, model, corpus, (lab.query_of("mute", ([3, 4, 5], 3, 1.0)),))
    with pytest.raises(GradientError, match="query `short` is zero"):
        products(lab, model, corpus, (lab.query_of("short", ([3], 0, 1.0)),))
    with torch.no_grad():
        model.model.gpt_neox.embed_in.weight[9] = float("nan")
    with pytest.raises(GradientError, match="query `broken` is NaN"):
        products(lab, model, corpus, (lab.query_of("broken", ([9, 4, 5], 1, 1.0)),))


def test_what_does_not_fit_the_model_is_refused(lab, queries):
    model = lab.tiny("neox")
    with pytest.raises(CorpusError, match="`e1` has 50 tokens"):
        products(lab, model, lab.corpus_of(lab.random_sequences([5, 50])), queries)
    with pytest.raises(CorpusError, match="token 61, and tiny-neox knows 61"):
        products(lab, model, lab.corpus_of([[1, 61]]), queries)
    long = lab.query_of("long", (lab.random_sequences([49])[0], 3, 1.0))
    with pytest.raises(BehaviorError, match="`long` has 49 tokens"):
        products(lab, model, lab.corpus_of([[1, 2]]), (long,))
    with pytest.raises(ModelError, match=r"no module `layers\.9\.nothing`"):
        products(lab, model, lab.corpus_of([[1, 2]]), queries, modules=("layers.9.nothing",))


def test_a_module_used_twice_in_a_pass_is_refused(lab, queries):
    model = lab.tiny("llama")
    layers = model.model.model.layers
    layers[1].mlp.up_proj = layers[0].mlp.up_proj
    with pytest.raises(ModelError, match="used more than once"):
        products(lab, model, lab.corpus_of([[1, 2]]), queries, modules=("layers.0.mlp.up_proj",))


def test_products_with_some_modules_are_a_part_of_the_whole(lab, queries):
    model = lab.tiny("llama")
    corpus = lab.corpus_of(lab.random_sequences(LENGTHS))
    names = lab.modules_of(model)
    whole = products(lab, model, corpus, queries).dots
    parts = sum(products(lab, model, corpus, queries, modules=(name,)).dots for name in names)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5 * np.abs(whole).max())


def test_batches_hold_each_example_once_within_the_budget():
    lengths = np.random.default_rng(0).integers(0, 90, size=500)
    batches = batches_by_length(lengths, token_batch_size=200)
    rows = np.concatenate(batches)
    assert sorted(rows) == sorted(np.flatnonzero(lengths >= 2))
    assert all(lengths[batch].max() * len(batch) <= 200 for batch in batches)
    assert all((np.diff(lengths[rows]) <= 0).tolist())
    assert [len(b) for b in batches_by_length([500, 3], token_batch_size=200)] == [1, 1]


def test_corrected_products_are_those_of_autograds_gradients_divided(lab, family, queries):
    model = lab.tiny(family, dtype="float64")
    corpus = lab.corpus_of(lab.random_sequences(LENGTHS))
    generator = torch.Generator().manual_seed(3)
    moments = {
        name: torch.rand(parameter.shape, generator=generator) ** 4
        for name, parameter in model.model.named_parameters()
    }
    found = products(lab, model, corpus, queries, second_moments=moments)
    weights = [model.model.base_model.get_submodule(n).weight for n in lab.modules_of(model)]
    names = {id(parameter): name for name, parameter in model.model.named_parameters()}
    divisor = np.concatenate(
        [
            (v.T if family == "gpt2" else v).double().sqrt().add(1e-8).flatten().numpy()
            for v in (moments[names[id(weight)]] for weight in weights)
        ]
    )
    dots, query_norms, example_norms = expected(lab, model, corpus, queries, divisor=divisor)
    np.testing.assert_allclose(found.query_norms, query_norms, rtol=1e-5)
    np.testing.assert_allclose(found.example_norms, example_norms, rtol=1e-5)
    scale = np.outer(query_norms, example_norms).max()
    np.testing.assert_allclose(found.dots, dots, rtol=1e-5, atol=1e-7 * scale)
    assert found.settings["correction"] == "adam"
    assert products(lab, model, corpus, queries).settings["correction"] == "none"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.clear(), "no second moments"),
        (lambda v: v.update({n: t[:1] for n, t in v.items()}), "shape"),
        (lambda v: v.update({n: -t - 1 for n, t in v.items()}), "negative"),
    ],
)
def test_second_moments_that_do_not_fit_are_refused(lab, queries, change, message):
    model = lab.tiny("neox")
    moments = {n: torch.ones_like(p.detach()) for n, p in model.model.named_parameters()}
    change(moments)
    with pytest.raises(ModelError, match=message):
        products(lab, model, lab.corpus_of([[1, 2, 3]]), queries, second_moments=moments)
