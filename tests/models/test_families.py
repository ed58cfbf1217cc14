"""In every family of models: autograd's rows and losses, `generate`'s words, each layer counted."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.models.families import FAMILIES, build

from whence.behaviors.generate import greedy_continuations
from whence.gradients.passes.batches import pad, plan_pass
from whence.gradients.passes.capture import (
    capturing,
    gradient_dtype,
    layer,
    outer,
    vocabulary_layers,
)
from whence.models import attributed_modules, coverage
from whence.models.forward import token_log_probs
from whence.models.probe import linear_layers
from whence.records import Corpus, LoadedModel

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CONTEXT, NUM_TOKENS = 64, 9
# float32 inside of a float64 model: mixtures and recurrences compute in it whatever they are in.
TOLERANCE = 2e-6


def loaded(name: str) -> LoadedModel:
    # XGLM's mask overflows in float64.
    network = build(name, dtype="float32" if name == "XGLM" else "float64")
    return LoadedModel(network, None, name, "0", CONTEXT)  # pyright: ignore[reportArgumentType]


def sequences() -> list[list[int]]:
    draws = np.random.default_rng(0)
    return [draws.integers(5, 90, size=n).tolist() for n in (40, 12, 7, 25, 12)]


def corpus() -> Corpus:
    ids = sequences()
    columns = {
        "id": [str(row) for row in range(len(ids))],
        "input_ids": pa.array(ids, type=pa.list_(pa.int32())),
    }
    return Corpus(name="random", description="", table=pa.table(columns))


def oracle(network: Any, ids: list[int]) -> tuple[float, dict[int, torch.Tensor]]:
    """One sequence's loss, and its gradients by the weight's identity, all by autograd."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    tokens = torch.tensor([ids])
    logits = network(tokens, use_cache=False).logits[0, :-1].to(gradient_dtype_of(network))
    loss = torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="sum")
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return loss.item(), {id(p): g for p, g in zip(parameters, found, strict=True)}


def gradient_dtype_of(network: Any) -> torch.dtype:
    return next(network.parameters()).dtype


@pytest.mark.parametrize("name", FAMILIES)
def test_losses_in_company_are_those_of_one_sequence_alone(name: str) -> None:
    found = token_log_probs(loaded(name), sequences(), [1] * 5)
    expected = [oracle(loaded(name).model, ids)[0] for ids in sequences()]
    losses = [-float(part.log_probs_nats.double().sum()) for part in found]
    np.testing.assert_allclose(losses, expected, rtol=TOLERANCE)


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_are_autograds_of_one_sequence_alone(name: str) -> None:
    model, examples = loaded(name), corpus()
    modules = [*attributed_modules(model), *vocabulary_layers(model)]
    plan = plan_pass(model, examples, token_batch_size=4096)
    rows: dict[int, dict[str, torch.Tensor]] = {}
    batch = plan.batches[0]

    def keep(name: str, gradient: torch.Tensor, activations: torch.Tensor) -> None:
        found = outer(gradient, activations, dtype=gradient_dtype(model))
        for place, row in zip(batch, found, strict=True):
            rows.setdefault(int(place), {})[name] = row.clone()

    with capturing(model, modules, keep) as backward:
        for batch in plan.batches:
            backward(pad(plan.sequences(batch)))
    assert len(rows) == len(examples)
    for place, parts in rows.items():
        alone = loaded(name)
        _, gradients = oracle(alone.model, examples.input_ids(int(plan.distinct.rows[place])))
        for module in modules:
            own = layer(alone, module)
            expected = gradients[id(own.get_parameter("weight"))]
            expected = expected.mT if type(own).__name__ == "Conv1D" else expected
            apart = (parts[module] - expected.flatten()).norm()
            assert apart <= TOLERANCE * expected.norm() + 1e-12, module


@pytest.mark.parametrize("name", FAMILIES)
def test_continuations_are_the_models_own(name: str) -> None:
    prompts = [ids[:length] for ids in sequences() for length in (6, 14) if len(ids) >= length]
    found = greedy_continuations(loaded(name), prompts, num_tokens=NUM_TOKENS)
    for prompt, continuation in zip(prompts, found, strict=True):
        network = loaded(name).model
        network.generation_config.eos_token_id = None  # pyright: ignore
        ids = torch.tensor([prompt])
        own: Any = network.generate(  # pyright: ignore
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NUM_TOKENS,
            do_sample=False,
            pad_token_id=2,
        )
        assert continuation.token_ids == tuple(own[0, len(prompt) :].tolist())


@pytest.mark.parametrize("name", FAMILIES)
def test_each_linear_layer_is_attributed_or_left_out_by_name(name: str) -> None:
    model = loaded(name)
    counted, layers = coverage(model), linear_layers(model)
    assert {*counted.modules, *counted.not_attributable} == set(layers)
    assert not set(counted.modules) & set(counted.not_attributable)
    assert counted.num_parameters == sum(p.numel() for p in model.model.parameters())
    names = {id(parameter): key for key, parameter in model.model.named_parameters()}
    for left in counted.not_attributable:
        assert names[id(layers[left].weight)] in counted.left_out
