"""The derivatives are those of training again with an example weighing a little more or less."""

import copy

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from whence.training import Recipe, replay, train
from whence.training.trainer import example_losses

# The norms of the gradients are about 3, 4 and 13, so that some steps are clipped and some are not.
RECIPE = Recipe(
    batch_size=3,
    peak_learning_rate=2e-2,
    warmup_steps=2,
    weight_decay=0.1,
    max_gradient_norm=4.0,
    eps=1e-6,
)
EXAMPLES = [[5, 9, 2, 7], [1], [3, 3, 8], [9, 5, 1, 1, 4], [2, 6], [7, 7, 7], [4, 2, 9, 5], [8, 1]]
ORDER = [6, 0, 3, 2, 7, 4, 5, 1]
WEIGHTS = [1.0, 1.0, 0.5, 1.0, 0.0, 2.0, 1.0, 1.0]
ASKED = ([5, 9, 2], [6, 2, 9, 4])


def make_model() -> GPTNeoXForCausalLM:
    config = GPTNeoXConfig(
        vocab_size=12,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=16,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GPTNeoXForCausalLM(config).double()


def gradients(network):
    losses = example_losses(network, ASKED)
    parameters = dict(network.named_parameters())
    rows = [
        torch.autograd.grad(loss, list(parameters.values()), retain_graph=True) for loss in losses
    ]
    return {name: torch.stack(parts) for name, *parts in zip(parameters, *rows, strict=True)}


def losses_after(weights, *, order=ORDER, recipe=RECIPE):
    network = copy.deepcopy(make_model())
    train(network, EXAMPLES, recipe=recipe, weights=weights, order=order)
    with torch.no_grad():
        return example_losses(network, ASKED)


def replayed(*, order=ORDER, recipe=RECIPE, since=0):
    return replay(
        make_model(), EXAMPLES, gradients, recipe=recipe, weights=WEIGHTS, order=order, since=since
    )


@pytest.mark.parametrize("largest", [4.0, 1e9])
def test_derivatives_are_finite_differences(largest):
    recipe = RECIPE.model_copy(update={"max_gradient_norm": largest})
    found = replayed(recipe=recipe).derivatives
    for row in range(len(EXAMPLES)):
        changed = []
        for sign in (1, -1):
            weights = list(WEIGHTS)
            weights[row] += sign * 1e-6
            changed.append(losses_after(weights, recipe=recipe))
        expected = (changed[0] - changed[1]) / 2e-6
        torch.testing.assert_close(found[:, row], expected, rtol=1e-5, atol=1e-7)
    assert found[:, 1].abs().max() == 0
    assert (found[:, [0, 2, 3, 4, 5, 6, 7]] != 0).all()


def test_some_steps_are_clipped_and_some_are_not():
    log = train(make_model(), EXAMPLES, recipe=RECIPE, weights=WEIGHTS, order=ORDER)
    clipped = [entry.gradient_norm > RECIPE.max_gradient_norm for entry in log]
    assert any(clipped)
    assert not all(clipped)


def test_the_end_is_that_of_the_trainer_and_the_start_is_left_alone():
    model = make_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    end = replay(model, EXAMPLES, gradients, recipe=RECIPE, weights=WEIGHTS, order=ORDER).end
    network = make_model()
    train(network, EXAMPLES, recipe=RECIPE, weights=WEIGHTS, order=ORDER)
    for name, rows in gradients(network).items():
        torch.testing.assert_close(end[name], rows, rtol=0, atol=0)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name], rtol=0, atol=0)


def test_a_shorter_walk_gives_the_same_derivatives_of_what_it_reaches():
    found = replayed(since=1).derivatives
    whole = replayed().derivatives
    torch.testing.assert_close(found[:, ORDER[3:]], whole[:, ORDER[3:]], rtol=1e-12, atol=0)
    assert found[:, ORDER[:3]].abs().max() == 0


def test_the_order_of_training_counts():
    one, other = replayed().derivatives, replayed(order=ORDER[::-1]).derivatives
    assert not torch.allclose(one, other, rtol=0.1)


def test_a_batch_without_anything_to_predict_passes_the_adjoint_on():
    recipe = RECIPE.model_copy(update={"batch_size": 1})
    found = replayed(recipe=recipe).derivatives
    weights = list(WEIGHTS)
    changed = []
    for sign in (1, -1):
        weights[6] = WEIGHTS[6] + sign * 1e-6
        changed.append(losses_after(weights, recipe=recipe))
    torch.testing.assert_close(found[:, 6], (changed[0] - changed[1]) / 2e-6, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("curvature", ["none", "fisher"])
@pytest.mark.parametrize("largest", [4.0, 1e9])
def test_an_approximate_walk_is_the_derivative_of_training_on_linear_gradients(curvature, largest):
    """AdamW written anew, with each step's gradient fixed but for weights and the Fisher matrix."""
    recipe = RECIPE.model_copy(update={"max_gradient_norm": largest})
    found = replay(
        make_model(),
        EXAMPLES,
        gradients,
        recipe=recipe,
        weights=WEIGHTS,
        order=ORDER,
        curvature=curvature,
    )
    expected = linear_training(recipe, curvature, found.end)
    torch.testing.assert_close(found.derivatives, expected, rtol=1e-8, atol=1e-12)
    assert (found.derivatives[:, [0, 2, 3, 4, 5, 6, 7]] != 0).all()
    exact = replayed(recipe=recipe).derivatives
    assert not torch.allclose(found.derivatives, exact, rtol=0.05)
    # A step after which no other gradient is taken has nothing to approximate.
    last = ORDER[-2:]
    torch.testing.assert_close(found.derivatives[:, last], exact[:, last], rtol=1e-9, atol=1e-15)


def linear_training(recipe, curvature, end):
    """Derivatives by autograd of AdamW on g_t(w, θ) = Σ w_i ∇ℓ_i / M + F_t (θ − θ_t)."""
    from whence.training import learning_rate

    network = make_model()
    states = []
    total = -(-len(ORDER) // recipe.batch_size)
    train(
        network,
        EXAMPLES,
        recipe=recipe,
        weights=WEIGHTS,
        order=ORDER,
        checkpoint_steps=range(total),
        on_checkpoint=lambda s: states.append({k: v.clone() for k, v in s.weights.items()}),
    )
    parameters = dict(network.named_parameters())
    decays = torch.cat(
        [torch.full((p.numel(),), recipe.weight_decay * (p.ndim > 1)) for p in parameters.values()]
    ).double()
    factors = torch.tensor(WEIGHTS, dtype=torch.float64, requires_grad=True)
    weights = torch.cat([states[0][name].flatten() for name in parameters])
    first, second = torch.zeros_like(weights), torch.zeros_like(weights)
    for step, state in enumerate(states, start=1):
        for name, parameter in parameters.items():
            parameter.data.copy_(state[name])
        batch = ORDER[(step - 1) * recipe.batch_size : step * recipe.batch_size]
        count = sum(len(EXAMPLES[i]) - 1 for i in batch)
        own = {}
        for i in batch:
            if len(EXAMPLES[i]) > 1:
                (loss,) = example_losses(network, [EXAMPLES[i]])
                parts = torch.autograd.grad(loss, list(parameters.values()))
                own[i] = torch.cat([part.flatten() for part in parts])
        rows = list(own)
        gradient = factors[rows] @ torch.stack([own[i] for i in rows]) / count
        if curvature == "fisher":
            here = torch.cat([state[name].flatten() for name in parameters])
            gradient = (
                gradient
                + sum(WEIGHTS[i] * g * (g @ (weights - here)) for i, g in own.items()) / count
            )
        norm = gradient.norm()
        if norm > recipe.max_gradient_norm:
            gradient = gradient * recipe.max_gradient_norm / (norm + 1e-6)
        rate = learning_rate(recipe, step, total_steps=total)
        first = recipe.beta1 * first + (1 - recipe.beta1) * gradient
        second = recipe.beta2 * second + (1 - recipe.beta2) * gradient.square()
        # Where there was never a gradient, the root has no derivative.
        is_moved = second > 0
        root = torch.where(is_moved, second, 1).div(1 - recipe.beta2**step).sqrt() + recipe.eps
        update = first / (1 - recipe.beta1**step) / root
        weights = weights * (1 - rate * decays) - rate * torch.where(is_moved, update, 0)
    rows = torch.cat([rows.flatten(1) for rows in end.values()], dim=1)
    return torch.stack(
        [torch.autograd.grad(row @ weights, factors, retain_graph=True)[0] for row in rows]
    )
