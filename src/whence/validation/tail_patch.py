"""The tail-patch: what one more step of training on some examples does to a completion.

A tail-patch takes one optimizer step on a group of examples from the weights that are given, and
measures the completion before and after. It is local: it says what a step would do now, not what
happened in training, and it leans towards gradient methods of the same checkpoint.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from whence.behaviors.measure import measure
from whence.behaviors.query import Pair
from whence.errors import CorpusError, ModelError
from whence.methods.reading import main_term
from whence.models.forward import company, evaluation_mode
from whence.models.second_moments import Factored, SecondMoments
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel, Query
from whence.settings import Settings
from whence.training import backward_batch

if TYPE_CHECKING:
    import torch


OWN = "own-moments"
# Pythia's and the testbed's.
_BETA2, _EPS = 0.95, 1e-8


class StepSettings(Settings):
    """The one step of a tail-patch, without decay.

    The first step of a fresh AdamW moves every weight by about the learning rate, whatever the size
    of its gradient; one of SGD moves along the gradient of the mean loss per target. With the run's
    own second moments v, as training would take it,

        θ ← θ - η g / (√(β₂ v + (1 - β₂) g²) + ε),     β₂ = .95, ε = 1e-8:

    a weight whose gradients were small moves far. The first moments are the gradient itself, so
    that what other batches left in them does not count as the example's.

    Example:
        >>> StepSettings().optimizer
        'adamw'
    """

    optimizer: Literal["adamw", "sgd", "own-moments"] = "adamw"
    learning_rate: float = Field(default=1e-4, gt=0)


class Patch(NamedTuple):
    """How one completion changed by one step on one group of examples.

    Changes are after minus before: positive means that the step made the completion likelier.
    `log_odds_change` is of log p - log(1 - p), which does not saturate as p nears 1; NaN where p
    is 1 to the last bit. Log-probabilities are summed over the completion's tokens, in nats.
    """

    query_id: str
    group: str
    settings: StepSettings
    log_prob_before_nats: float
    probability_change: float
    log_prob_change_nats: float
    log_odds_change_nats: float


class Request(NamedTuple):
    """One group of examples to step on, and the queries that are measured after it.

    `name` is free; `rows` are those of the corpus, at least one; `query_ids` say whom to measure.
    """

    name: str
    rows: tuple[int, ...]
    query_ids: tuple[str, ...]


def tail_patch(
    model: LoadedModel,
    corpus: Corpus,
    queries: Sequence[Query],
    requests: Sequence[Request],
    *,
    steps: Sequence[StepSettings] = (StepSettings(),),
    moments: SecondMoments | None = None,
    progress: Progress = SILENT,
) -> tuple[Patch, ...]:
    """Takes one step on each group, from the same weights, and measures what it did.

    Args:
        model: In float32; its weights are the same to the bit when the call returns or raises.
        corpus: Where the examples are.
        queries: Whose completions are measured. Of a contrast, only the completion that the model
            produced.
        requests: The groups. Groups of the same examples are stepped on once.
        steps: Optimizers and learning rates; each gives patches of its own.
        moments: Adam's second moments by parameter, corrected for their bias, which a step with
            `own-moments` needs. A parameter that they lack does not move.
        progress: Reports progress.

    Returns:
        One patch per request, query named in it, and step, in that order.

    Raises:
        CorpusError: A group has no example with a target.
        ModelError: The model is not finite after a step.

    Source:
        Chang et al., "Scalable Influence and Fact Tracing for Large Language Model Pretraining",
        arXiv 2410.17413, section 5 (there the change of probability, averaged over proponents).
        We add the log-probability and the log-odds, and leave the group to the caller.

    Cost:
        A forward and a backward pass over each group, and per step a forward pass over the queries.
    """
    pairs = {query.id: _completion(query) for query in queries}
    if moments is None and any(one.optimizer == OWN for one in steps):
        raise ModelError(
            f"A step with the run's own second moments needs those of {model.label}.",
            "Give `moments`, or leave that step out.",
        )
    before = _log_probs(model, pairs, sorted({q for r in requests for q in r.query_ids}))
    measured_after: dict[tuple[int, ...], list[str]] = {}
    for request in requests:
        known = measured_after.setdefault(tuple(sorted(request.rows)), [])
        known += [q for q in request.query_ids if q not in known]
    after: dict[tuple[int, ...], list[Mapping[str, float]]] = {}
    with (
        patching(model),
        progress.task(
            "Steps on groups of examples", total=len(measured_after), unit="groups"
        ) as task,
    ):
        for rows, query_ids in measured_after.items():
            _take_gradient(model, [corpus.input_ids(row) for row in rows])
            after[rows] = [
                _after_step(model, pairs, query_ids, settings=settings, moments=moments)
                for settings in steps
            ]
            task.advance()
    return tuple(
        _patch(query_id, request.name, settings, before[query_id], log_probs[query_id])
        for request in requests
        for query_id in request.query_ids
        for settings, log_probs in zip(steps, after[tuple(sorted(request.rows))], strict=True)
    )


@contextmanager
def patching(model: LoadedModel) -> Iterator[None]:
    """Lets weights be changed, and restores all of them: bits, flags and gradients.

    `model.model` is in evaluation mode inside, every parameter takes gradients and has none.
    """
    network = model.model
    kept = [(p, p.detach().clone(), p.requires_grad, p.grad) for p in network.parameters()]
    for parameter, *_ in kept:
        parameter.grad = None
        parameter.requires_grad_(True)
    try:
        with evaluation_mode(network):
            yield
    finally:
        _restore([(parameter, value) for parameter, value, *_ in kept])
        for parameter, _, needed, gradient in kept:
            parameter.requires_grad_(needed)
            parameter.grad = gradient


def log_odds(log_prob_nats: float) -> float:
    """Computes log p - log(1 - p) in nats; NaN where p is 1."""
    if log_prob_nats >= 0:
        return math.nan
    return log_prob_nats - math.log(-math.expm1(log_prob_nats))


def _after_step(
    model: LoadedModel,
    pairs: Mapping[str, Pair],
    query_ids: Sequence[str],
    *,
    settings: StepSettings,
    moments: SecondMoments | None,
) -> Mapping[str, float]:
    parameters = list(model.model.parameters())
    kept = [(p, p.detach().clone()) for p in parameters]
    try:
        if settings.optimizer == OWN:
            assert moments is not None, "checked before any step"
            _step_by_moments(model, moments, settings)
        else:
            _optimizer(parameters, settings).step()
        return _log_probs(model, pairs, query_ids)
    finally:
        _restore(kept)


def _take_gradient(model: LoadedModel, examples: Sequence[Sequence[int]]) -> None:
    model.model.zero_grad(set_to_none=True)
    _, num_targets = backward_batch(
        model.model, [(ids, 1.0) for ids in examples], company=company(model)
    )
    if not num_targets:
        raise CorpusError(
            f"A group of {len(examples)} examples has no token to predict.",
            "Give it an example of two tokens or more.",
        )


def _optimizer(
    parameters: "list[torch.nn.Parameter]", settings: StepSettings
) -> "torch.optim.Optimizer":
    import torch

    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=settings.learning_rate)
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)


def _step_by_moments(model: LoadedModel, moments: SecondMoments, settings: StepSettings) -> None:
    """Takes a step of Adam whose second moments are the run's; see `StepSettings`."""
    import torch

    with torch.no_grad():
        for name, parameter in model.model.named_parameters():
            if parameter.grad is None or name not in moments:
                continue
            v = moments[name]
            if isinstance(v, Factored):
                v = v.row[:, None] * v.column[None, :] / v.row.mean()
            gradient = parameter.grad
            mixed = _BETA2 * v.to(gradient) + (1 - _BETA2) * gradient.square()
            parameter.sub_(settings.learning_rate * gradient / (mixed.sqrt() + _EPS))


def _restore(kept: "Sequence[tuple[torch.nn.Parameter, torch.Tensor]]") -> None:
    import torch

    with torch.no_grad():
        for parameter, value in kept:
            parameter.copy_(value)


def _log_probs(
    model: LoadedModel, pairs: Mapping[str, Pair], query_ids: Sequence[str]
) -> dict[str, float]:
    measured = measure(model, [pairs[q] for q in query_ids], names=list(query_ids))
    return {q: one.log_prob_nats for q, one in zip(query_ids, measured, strict=True)}


def _completion(query: Query) -> Pair:
    term = main_term(query)
    ids, n = list(term.input_ids), term.num_prompt_tokens
    return Pair(ids[:n], ids[n:])


def _patch(query_id: str, group: str, settings: StepSettings, before: float, after: float) -> Patch:
    return Patch(
        query_id=query_id,
        group=group,
        settings=settings,
        log_prob_before_nats=before,
        probability_change=math.exp(after) - math.exp(before),
        log_prob_change_nats=after - before,
        log_odds_change_nats=log_odds(after) - log_odds(before),
    )
