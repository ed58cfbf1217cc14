"""Derivatives of a trained model by each example's weight, by replaying training in reverse.

A step of the trainer maps weights θ and Adam's moments m, v to the next ones. Given the derivative
of a scalar with respect to the state after a step (its adjoint, written x̄), the chain rule gives
that with respect to the state before it and to the weights w of the step's examples:

    M̄ = m̄' − η/(c₁ d) θ̄',            m̄ = β₁ M̄,      d = √(v'/c₂) + ε
    V̄ = v̄' + η m' / (2 c₁ d² √(v' c₂)) θ̄',   v̄ = β₂ V̄
    ĝ = (1 − β₁) M̄ + 2 (1 − β₂) g V̄   through the clipping of g to a norm,
    θ̄ = (1 − η λ) θ̄' + ∂⟨∇L, ĝ⟩/∂θ,      w̄_i = ⟨∇ℓ_i, ĝ⟩ / M.

Walking back from the last step to the first gives the exact derivative of the run. The states are
not all kept: the run is repeated in pieces from some that are, by the trainer itself.

∂⟨∇L, ĝ⟩/∂θ is the Hessian of the step's loss times ĝ, which costs passes for every scalar. Two
approximations need only the gradient of each example, whatever the number of scalars:

    fisher    Σ_i w_i ∇ℓ_i ⟨∇ℓ_i, ĝ⟩ / M    the batch's empirical Fisher matrix for the Hessian
    none      0                             a step moves later weights, and no later gradient

Under both, momentum, second moments, decay and clipping are those of the run.

Source: Engstrom et al., "Optimizing ML Training with Metagradient Descent", arXiv 2503.13751
(Replay); Ilyas and Engstrom, "MAGIC: Near-Optimal Data Attribution for Deep Learning", arXiv
2504.16430. Written for the trainer's own order, clipping and denominators, which Bergson's MAGIC,
that shuffles and trains by itself, does not have. That AdamW's whole state is followed, with a
Gauss-Newton matrix for the Hessian, is the idea of Deng et al., "How Faithful Is Trajectory-Based
Data Attribution?", arXiv 2605.18814, of which we know the abstract and descriptions: the formulas
are derived from the trainer's step.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from whence.progress import SILENT, Progress
from whence.training.recipe import Recipe, learning_rate, num_steps
from whence.training.trainer import TrainingState, example_losses, train

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

    Adjoint = dict[str, Tensor]

Curvature = Literal["exact", "fisher", "none"]
_Row = tuple[int, Sequence[int], float]


class Replayed(NamedTuple):
    """The trained weights, and derivatives of final quantities with respect to example weights."""

    derivatives: "Float[torch.Tensor, 'questions examples']"
    end: "Mapping[str, Tensor]"


def replay(
    model: "PreTrainedModel",
    examples: Sequence[Sequence[int]],
    ask: "Callable[[PreTrainedModel], Mapping[str, Tensor]]",
    *,
    recipe: Recipe,
    weights: Sequence[float] | None = None,
    order: Sequence[int] | None = None,
    since: int = 0,
    curvature: Curvature = "exact",
    progress: Progress = SILENT,
) -> Replayed:
    """Trains a copy of a model, and differentiates functions of the result by example weights.

    Args:
        model: The model before its first step; left as it is.
        examples: Token ids of each example.
        ask: Maps the trained model to the gradients of one or more scalars: by parameter name, a
            row of the parameter's shape for each.
        recipe: Batch size, learning rate and optimizer.
        weights: One number per example that multiplies its loss; 1 where not given.
        order: Indices into `examples` in the order in which they are seen, each at most once.
        since: Walk back to the state after this step, and no further.
        curvature: What stands for the Hessian of a step's loss; only `exact` gives derivatives of
            the run, as far as it is deterministic.
        progress: Reports progress.

    Returns:
        For each scalar and each example the derivative by its weight in training; zero for an
        example that has nothing to predict, was seen before `since` or is not in the order.

    Raises:
        CorpusError: There is nothing to train on.
        ModelError: The loss is no longer finite.

    Cost:
        Two trainings, and about three more per scalar; but for `exact`, one more in all, with a
        pass for each example, and about 20 operations per step, scalar and parameter. Memory for
        about 2 √steps states of three values per parameter, and three values per parameter for each
        scalar.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    order = range(len(examples)) if order is None else order
    given = [1.0] * len(examples) if weights is None else [float(w) for w in weights]
    network = copy.deepcopy(model)
    total = num_steps(recipe, len(order))
    every = max(1, math.isqrt(total - since))
    arguments = {"recipe": recipe, "weights": given, "order": order}
    kept: dict[int, TrainingState] = {}
    wanted = range(since, total, every)

    def keep(states: dict[int, TrainingState]) -> "Callable[[TrainingState], None]":
        return lambda state: states.update({state.step: _copied(state)})

    train(network, examples, checkpoint_steps=wanted, on_checkpoint=keep(kept), **arguments)
    end = ask(network)
    adjoint = _Adjoint(
        {name: rows.clone() for name, rows in end.items()},
        *({name: torch.zeros_like(rows) for name, rows in end.items()} for _ in range(2)),
    )
    found = next(iter(end.values())).new_zeros(len(next(iter(end.values()))), len(examples))
    with progress.task("Back through training", total=total - since, unit="steps") as task:
        for first in reversed(wanted):
            last = min(first + every, total)
            states = {first: kept.pop(first)}
            train(
                network,
                examples,
                resume=states[first],
                stop_after=last,
                checkpoint_steps=range(first + 1, last),
                on_checkpoint=keep(states),
                **arguments,
            )
            for step in range(last, first, -1):
                batch = order[(step - 1) * recipe.batch_size : step * recipe.batch_size]
                rows = [(i, examples[i], given[i]) for i in batch]
                rate = learning_rate(recipe, step, total_steps=total)
                with sdpa_kernel(SDPBackend.MATH):
                    adjoint = _step_back(
                        network,
                        states.pop(step - 1),
                        adjoint,
                        rows,
                        found,
                        recipe=recipe,
                        rate=rate,
                        curvature=curvature,
                    )
                task.advance()
    return Replayed(found, end)


class _Adjoint(NamedTuple):
    """Derivatives with respect to a state, by parameter name."""

    weights: "Adjoint"
    first_moments: "Adjoint"
    second_moments: "Adjoint"


def _step_back(
    network: "PreTrainedModel",
    state: TrainingState,
    after: _Adjoint,
    rows: list[_Row],
    found: "Tensor",
    *,
    recipe: Recipe,
    rate: float,
    curvature: Curvature,
) -> _Adjoint:
    """Takes the adjoint from after a step to before it, and writes down that of its examples."""
    import torch

    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state.weights[name])
    num_targets = sum(max(len(ids) - 1, 0) for _, ids, _ in rows)
    used = [row for row in rows if len(row[1]) > 1]
    loss = _StepLoss if curvature == "exact" else _ExampleLosses
    step = loss(network, used, num_targets=num_targets)
    gradients = step.gradients
    scale, norm = _clipping(gradients, recipe.max_gradient_norm)
    before = _Adjoint({}, {}, {})
    pulled: dict[str, Tensor] = {}
    number = state.step + 1
    corrections = 1 - recipe.beta1**number, 1 - recipe.beta2**number
    for name, parameter in parameters.items():
        clipped = scale * gradients[name].detach()
        first = recipe.beta1 * state.first_moments[name] + (1 - recipe.beta1) * clipped
        second = recipe.beta2 * state.second_moments[name] + (1 - recipe.beta2) * clipped.square()
        root = (second / corrections[1]).sqrt() + recipe.eps
        pace = rate / corrections[0] / root
        # A weight that never had a gradient does not move, and its root has no derivative.
        bend = pace * first / root / (2 * (second * corrections[1]).sqrt())
        bend = torch.where(second > 0, bend, 0)
        outer = after.weights[name]
        moved = after.first_moments[name] - pace * outer
        spread = after.second_moments[name] + bend * outer
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        before.weights[name] = (1 - rate * decay) * outer
        before.first_moments[name] = recipe.beta1 * moved
        before.second_moments[name] = recipe.beta2 * spread
        pulled[name] = (1 - recipe.beta1) * moved + 2 * (1 - recipe.beta2) * clipped * spread
    _unclip(pulled, gradients, scale=scale, norm=norm)
    if used:
        derivatives = step.add_curvature(before.weights, pulled, times=curvature != "none")
        found[:, [row for row, _, _ in used]] = derivatives.to(found.dtype)
    return before


class _StepLoss:
    """The gradient of a step's loss, with a graph from which it is differentiated once more."""

    def __init__(self, network: "PreTrainedModel", used: list[_Row], *, num_targets: int) -> None:
        import torch

        self._parameters = dict(network.named_parameters())
        if not used:
            self.gradients = _zeros(self._parameters)
            return
        like = next(iter(self._parameters.values()))
        self._factors = like.new_tensor([w for _, _, w in used]).requires_grad_()
        loss = example_losses(network, [ids for _, ids, _ in used]) @ self._factors / num_targets
        found = torch.autograd.grad(
            loss, list(self._parameters.values()), create_graph=True, materialize_grads=True
        )
        self.gradients = dict(zip(self._parameters, found, strict=True))

    def add_curvature(self, weights: "Adjoint", pulled: "Adjoint", *, times: bool) -> "Tensor":
        """Adds the Hessian times an adjoint to another, and gives that of the examples."""
        import torch

        assert times, "the exact curvature is never left out"
        names = list(self._parameters)
        num_scalars, derivatives = len(pulled[names[0]]), []
        for scalar in range(num_scalars):
            parts = torch.autograd.grad(
                [self.gradients[name] for name in names],
                [*self._parameters.values(), self._factors],
                [pulled[name][scalar] for name in names],
                retain_graph=scalar < num_scalars - 1,
                materialize_grads=True,
            )
            for name, part in zip(names, parts[:-1], strict=True):
                weights[name][scalar] += part
            derivatives.append(parts[-1])
        return torch.stack(derivatives)


class _ExampleLosses:
    """The gradient of each example of a step, whose sum of squares stands for the curvature."""

    def __init__(self, network: "PreTrainedModel", used: list[_Row], *, num_targets: int) -> None:
        import torch

        parameters = dict(network.named_parameters())
        self._num_targets = num_targets
        self.gradients = _zeros(parameters)
        if not used:
            return
        rows: dict[str, list[Tensor]] = {name: [] for name in parameters}
        for _, ids, _ in used:
            (loss,) = example_losses(network, [ids])
            found = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
            for name, part in zip(parameters, found, strict=True):
                rows[name].append(part.flatten())
        self._factors = next(iter(rows.values()))[0].new_tensor([w for _, _, w in used])
        self._rows = {name: torch.stack(parts) for name, parts in rows.items()}
        for name, parts in self._rows.items():
            summed = self._factors @ parts / num_targets
            self.gradients[name] = summed.view_as(parameters[name])

    def add_curvature(self, weights: "Adjoint", pulled: "Adjoint", *, times: bool) -> "Tensor":
        """Adds the Fisher matrix times an adjoint to another, and gives that of the examples."""
        import torch

        parts = [pulled[name].flatten(1) @ rows.mT for name, rows in self._rows.items()]
        derivatives = torch.stack(parts).sum(0) / self._num_targets
        if times:
            for name, rows in self._rows.items():
                weights[name] += ((derivatives * self._factors) @ rows).view_as(weights[name])
        return derivatives


def _zeros(parameters: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    import torch

    return {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}


def _clipping(gradients: "Mapping[str, Tensor]", largest: float) -> "tuple[float, float]":
    """Computes by what the trainer multiplies a gradient, and the gradient's norm."""
    import torch

    norms = [torch.linalg.vector_norm(g.detach()) for g in gradients.values()]
    norm = float(torch.linalg.vector_norm(torch.stack(norms)))
    return min(1.0, largest / (norm + 1e-6)), norm


def _unclip(
    pulled: "dict[str, Tensor]", gradients: "Mapping[str, Tensor]", *, scale: float, norm: float
) -> None:
    """Takes an adjoint through the clipping, in place: the scale depends on the gradient."""
    import torch

    if scale == 1.0:
        return
    parts = [(pulled[name] * g.detach()).flatten(1).sum(1) for name, g in gradients.items()]
    along = torch.stack(parts).sum(0)
    share = scale * along / (norm + 1e-6) / norm
    for name, gradient in gradients.items():
        back = share.view(-1, *[1] * gradient.ndim) * gradient.detach()
        pulled[name] = scale * pulled[name] - back


def _copied(state: TrainingState) -> TrainingState:
    return TrainingState(
        state.step,
        *(
            {name: value.detach().clone() for name, value in part.items()}
            for part in (state.weights, state.first_moments, state.second_moments)
        ),
    )
