"""The deterministic trainer: one pass over weighted examples in a fixed order.

Nothing is random: the same model, examples, weights and number of threads
give the same bits. The step's loss is

    L = (1 / M) sum_i w_i sum_t -log p(x_it | x_i,<t)

where i runs over the batch, t over the targets of example i, and M counts the targets of *all*
examples of the batch. An example of weight 0 therefore keeps its place in the order and in the
denominator, so that nothing else moves when it is left out; its text is never looked at.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from whence.errors import CorpusError, ModelError
from whence.models.forward import ANY, Company, logits, pad
from whence.progress import SILENT, Progress
from whence.training.recipe import Recipe, learning_rate, num_steps

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# A forward pass on a CPU core costs about as much as this many tokens of a small model, whatever
# it holds; padding beyond it is dearer than a second pass.
_PASS_OVERHEAD_TOKENS = 96


class StepLog(NamedTuple):
    """What one optimizer step saw. The loss is in nats per target, with weights."""

    step: int
    loss_nats: float
    learning_rate: float
    gradient_norm: float
    num_targets: int


@dataclass(frozen=True)
class TrainingState:
    """Everything that a run needs to resume, after `step` steps."""

    step: int
    weights: "dict[str, torch.Tensor]"
    first_moments: "dict[str, torch.Tensor]"
    second_moments: "dict[str, torch.Tensor]"


OnCheckpoint = Callable[[TrainingState], None]
Schedule = Callable[[int], float]


def train(
    model: "PreTrainedModel",
    examples: Sequence[Sequence[int]],
    *,
    recipe: Recipe,
    weights: Sequence[float] | None = None,
    order: Sequence[int] | None = None,
    checkpoint_steps: Sequence[int] = (),
    on_checkpoint: OnCheckpoint | None = None,
    resume: TrainingState | None = None,
    since: int = 0,
    schedule: Schedule | None = None,
    stop_after: int | None = None,
    progress: Progress = SILENT,
) -> tuple[StepLog, ...]:
    """Trains a causal language model in place, one pass over the examples.

    Dropout is off. Labels are the inputs shifted by one; the first token is never a target.

    Args:
        model: Any Hugging Face causal language model, in float32; changed in place.
        examples: Token ids of each example.
        recipe: Batch size, learning rate and optimizer.
        weights: One number per example that multiplies its loss; 1 where not given.
        order: Indices into `examples` in the order in which they are seen; by default as given.
        checkpoint_steps: After which steps `on_checkpoint` is called; 0 is before the first.
        on_checkpoint: Receives the state; its tensors are the live ones, copy what you keep.
        resume: A state of the same run, to resume from.
        since: Steps of the run that came before `order`, whose first batch is that of the next one.
            Without `resume` Adam starts anew there: its moments are zero, and bias correction
            counts from there.
        schedule: The learning rate of a step, counted from 1, at least 0; by default the recipe's,
            over a run that ends with `order`.
        stop_after: Ends the run after this step, without changing its schedule.
        progress: Reports progress.

    Returns:
        One entry per optimizer step taken by this call.

    Raises:
        CorpusError: There is nothing to train on, or weights do not fit the examples.
        ModelError: The loss is no longer finite.
    """
    order = range(len(examples)) if order is None else order
    _check(examples, weights, order)
    total = since + num_steps(recipe, len(order))
    last = total if stop_after is None else min(stop_after, total)
    assert resume is None or resume.step >= since, "the order begins after the state"
    rates = schedule or partial(learning_rate, recipe, total_steps=total)
    parameters = dict(model.named_parameters())
    optimizer = _optimizer(parameters, recipe)
    first = _restore(model, optimizer, parameters, resume) if resume else since
    model.eval()
    wanted = set(checkpoint_steps)
    if on_checkpoint and not resume and since in wanted:
        on_checkpoint(_state(model, optimizer, parameters, since))
    log: list[StepLog] = []
    with progress.task("training", total=last - first, unit="steps") as task:
        for step in range(first + 1, last + 1):
            start = (step - 1 - since) * recipe.batch_size
            batch = order[start : start + recipe.batch_size]
            rows = [(examples[i], 1.0 if weights is None else float(weights[i])) for i in batch]
            log.append(_step(model, optimizer, rows, recipe=recipe, rate=rates(step), step=step))
            if on_checkpoint and step in wanted:
                on_checkpoint(_state(model, optimizer, parameters, step))
            task.advance()
    return tuple(log)


def _check(
    examples: Sequence[Sequence[int]], weights: Sequence[float] | None, order: Sequence[int]
) -> None:
    if not len(order):
        raise CorpusError("There are no examples to train on.", "Give at least one.")
    if weights is not None and len(weights) != len(examples):
        raise CorpusError(
            f"There are {len(weights)} weights for {len(examples)} examples.",
            "Give one weight per example.",
        )


def _optimizer(
    parameters: "dict[str, torch.nn.Parameter]", recipe: Recipe
) -> "torch.optim.Optimizer":
    import torch

    matrices = [p for p in parameters.values() if p.ndim > 1]
    vectors = [p for p in parameters.values() if p.ndim <= 1]
    for parameter in parameters.values():
        # A gradient of zero rather than none: Adam's moments decay at every step, also at one
        # whose examples all have weight zero.
        parameter.grad = torch.zeros_like(parameter)
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": recipe.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=recipe.peak_learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.eps,
        fused=True,
    )


def _step(
    model: "PreTrainedModel",
    optimizer: "torch.optim.Optimizer",
    rows: list[tuple[Sequence[int], float]],
    *,
    recipe: Recipe,
    rate: float,
    step: int,
) -> StepLog:
    import torch

    optimizer.zero_grad(set_to_none=False)
    loss, num_targets = backward_batch(model, rows)
    if not math.isfinite(loss):
        raise ModelError(
            f"The training loss is {loss} at step {step}.", "Lower the peak learning rate."
        )
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_gradient_norm)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return StepLog(step, loss, rate, norm.item(), num_targets)


def backward_batch(
    model: "PreTrainedModel",
    rows: Sequence[tuple[Sequence[int], float]],
    *,
    company: Company = ANY,
) -> tuple[float, int]:
    """Adds the gradient of one batch's loss to the parameters' `grad`.

    Args:
        model: The model, in evaluation mode.
        rows: Token ids and weight of each example.
        company: Which examples may share a pass, where positions depend on the longest of them.

    Returns:
        The weighted loss in nats per target, and the number of targets of all examples; a batch
        without targets has loss 0 and leaves the gradients alone.
    """
    num_targets = sum(max(len(ids) - 1, 0) for ids, _ in rows)
    loss = 0.0
    used = [row for row in rows if row[1] != 0 and len(row[0]) > 1]
    for group in _groups(used, company=company):
        part = _weighted_loss(model, group) / num_targets
        part.backward()
        loss += part.item()
    return loss, num_targets


def _groups(
    rows: list[tuple[Sequence[int], float]], *, company: Company
) -> Iterator[list[tuple[Sequence[int], float]]]:
    """Splits a batch into groups of like length; a group is padded, so short rows go apart.

    Not `batches_by_length`: the groups are those of one optimizer step, whose order of summation is
    part of the trained weights.
    """
    rows = sorted(rows, key=lambda row: -len(row[0]))  # Stable: order is part of the result.
    group: list[tuple[Sequence[int], float]] = []
    padding = 0
    for row in rows:
        extra = len(group[0][0]) - len(row[0]) if group else 0
        admitted = not group or company.admits(len(row[0]), len(group[0][0]))
        if group and (padding + extra > _PASS_OVERHEAD_TOKENS or not admitted):
            yield group
            group, padding, extra = [], 0, 0
        group.append(row)
        padding += extra
    if group:
        yield group


def _weighted_loss(
    model: "PreTrainedModel", group: list[tuple[Sequence[int], float]]
) -> "torch.Tensor":
    """Sums the weighted losses of some examples, in nats."""
    import torch
    from torch.nn.functional import cross_entropy

    sequences = [ids for ids, _ in group]
    if all(weight == 1 for _, weight in group):
        # One fused sum, and not `token_losses`: it is part of a step's arithmetic, and faster.
        found, targets = _predictions(model, sequences)
        return cross_entropy(
            found.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum"
        )
    losses = example_losses(model, sequences)
    weights = [weight for _, weight in group]
    return losses @ torch.tensor(weights, dtype=losses.dtype, device=losses.device)


def example_losses(model: "PreTrainedModel", sequences: Sequence[Sequence[int]]) -> "torch.Tensor":
    """Sums each example's loss over its targets, in nats; with a graph, where one is recorded."""
    from torch.nn.functional import cross_entropy

    found, targets = _predictions(model, sequences)
    return cross_entropy(found.mT, targets, ignore_index=-100, reduction="none").sum(dim=1)


def _predictions(
    model: "PreTrainedModel", sequences: Sequence[Sequence[int]]
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Computes logits and targets; a target of -100 is none."""
    # A last token beyond the context is only a target: a table of positions has no row for it.
    limit = getattr(model.config, "max_position_embeddings", None)
    batch, device = pad(sequences, context_length=limit), model.device
    targets = batch.labels[:, 1:].to(device)
    return logits(model, batch.input_ids.to(device))[:, : targets.shape[1]], targets


def _state(
    model: "PreTrainedModel",
    optimizer: "torch.optim.Optimizer",
    parameters: "dict[str, torch.nn.Parameter]",
    step: int,
) -> TrainingState:
    import torch

    def moments(name: str) -> "dict[str, torch.Tensor]":
        states = {key: optimizer.state.get(p, {}) for key, p in parameters.items()}
        return {
            key: state[name] if name in state else torch.zeros_like(parameters[key])
            for key, state in states.items()
        }

    return TrainingState(
        step=step,
        weights={key: p.detach() for key, p in parameters.items()},
        first_moments=moments("exp_avg"),
        second_moments=moments("exp_avg_sq"),
    )


def _restore(
    model: "PreTrainedModel",
    optimizer: "torch.optim.Optimizer",
    parameters: "dict[str, torch.nn.Parameter]",
    state: TrainingState,
) -> int:
    import torch

    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(state.weights[key])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(state.step)),
                "exp_avg": state.first_moments[key].clone(),
                "exp_avg_sq": state.second_moments[key].clone(),
            }
    return state.step
