"""MAGIC: the derivative of a query's final loss by each example's weight in training.

The derivative is exact: training is repeated and differentiated in reverse, step by step, with all
parameters (see `whence.training.replay`).
"""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from whence.errors import ModelError, SettingsError
from whence.gradients.curvature.source import training_steps
from whence.gradients.passes.batches import check_fits, check_queries, pad
from whence.gradients.passes.loss import position_losses
from whence.gradients.passes.queries import query_norms
from whence.models.forward import ANY, company
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel, PairScores, Query
from whence.training import Curvature, Recipe, num_steps, replay

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

# Steps × parameters × queries; nano with forty queries is within, mini with more than four is not.
LARGEST = 10**10


def magic_scores(
    model: LoadedModel,
    corpus: Corpus,
    queries: Sequence[Query],
    *,
    recipe: Recipe,
    weights: Sequence[float] | None = None,
    since: int = 0,
    progress: Progress = SILENT,
) -> PairScores:
    """Computes the derivative of every query's loss by every example's weight in training.

    Args:
        model: The model *before* its first step; left as it is.
        corpus: All that it was trained on, in one pass; the column `step` says when.
        queries: The queries whose final loss is differentiated.
        recipe: How it was trained.
        weights: What multiplied each example's loss; 1 where not given.
        since: Walk back to the state after this step. What was seen until then has no score.
        progress: Reports progress.

    Returns:
        The derivatives, their sign turned, in nats per unit of weight: to first order the decrease
        of the query's loss if the example had weighed more. NaN where there is nothing to predict
        or the walk did not come.

    Raises:
        CorpusError: An example says no step, or does not fit the model.
        ModelError: The walk would take too long.
        SettingsError: It would take no step.

    Cost:
        Two trainings, and about three more for each query.
    """
    return replayed_scores(
        model,
        corpus,
        queries,
        method="magic",
        curvature="exact",
        largest=LARGEST,
        recipe=recipe,
        weights=weights,
        since=since,
        progress=progress,
    )


def replayed_scores(
    model: LoadedModel,
    corpus: Corpus,
    queries: Sequence[Query],
    *,
    method: str,
    curvature: Curvature,
    largest: int,
    recipe: Recipe,
    weights: Sequence[float] | None,
    since: int,
    progress: Progress,
) -> PairScores:
    """Computes the scores of a method that walks back through training; see `magic_scores`.

    `method` names it in messages and settings; more than `largest` steps × parameters × queries
    are refused.
    """
    started = time.perf_counter()
    check_fits(model, corpus)
    check_queries(model, queries)
    if company(model) != ANY:
        raise ModelError(
            f"`{method}` repeats training batches, in which the positions of {model.label} depend "
            "on the longest example.",
            f"Leave `{method}` out.",
        )
    order = training_order(corpus)
    steps = num_steps(recipe, len(order))
    if since >= steps:
        raise SettingsError(
            f"`{method}.since = {since}` is not before the last of {steps} steps.", "Lower it."
        )
    _check_cost(model, steps - since, len(queries), method=method, largest=largest)
    found = replay(
        model.model,
        [corpus.input_ids(row) for row in range(len(corpus))],
        lambda network: _query_gradients(network, queries),
        recipe=recipe,
        weights=weights,
        order=order,
        since=since,
        curvature=curvature,
        progress=progress,
    )
    reached = np.zeros(len(corpus), dtype=np.bool_)
    reached[order[since * recipe.batch_size :]] = True
    # Refuses a query without a gradient.
    query_norms({name: rows.flatten(1) for name, rows in found.end.items()}, queries)
    is_defined = reached & (corpus.lengths >= 2)
    values = np.where(is_defined, -found.derivatives.float().cpu().numpy(), np.nan)
    return PairScores(
        query_ids=tuple(query.id for query in queries),
        example_ids=corpus.ids,
        values=values.astype(np.float32),
        settings={
            "correction": method,
            "curvature": curvature,
            "since": since,
            "recipe": recipe.model_dump(mode="json"),
            "start": model.fingerprint,
            "corpus": corpus.fingerprint,
        },
        seconds=time.perf_counter() - started,
    )


def training_order(corpus: Corpus) -> list[int]:
    """Lists the rows in the order in which training saw them; rows of one step as they stand.

    Raises:
        CorpusError: It is not known.
    """
    return np.argsort(training_steps(corpus), kind="stable").tolist()


def _check_cost(
    model: LoadedModel, steps: int, num_queries: int, *, method: str, largest: int
) -> None:
    size = sum(parameter.numel() for parameter in model.model.parameters())
    if steps * size * num_queries > largest:
        raise ModelError(
            f"`{method}` would walk {num_queries} queries back through {steps:,} steps of a model "
            f"with {size:,} parameters, and is meant for at most "
            f"{max(largest // (steps * size), 0)} queries there.",
            f"Name fewer in `behaviors.ids`, raise `{method}.since`, or take `testbed:nano`.",
        )


def _query_gradients(
    network: "PreTrainedModel", queries: Sequence[Query]
) -> "Mapping[str, Tensor]":
    """Takes the gradient of each query's loss with respect to all parameters."""
    import torch

    parameters = dict(network.named_parameters())
    rows = {name: [] for name in parameters}
    for query in queries:
        batch = pad(
            [term.input_ids for term in query.terms],
            num_unlabelled=[term.num_prompt_tokens for term in query.terms],
        )
        losses = position_losses(network, batch).sum(dim=1)
        loss = losses @ losses.new_tensor([term.weight for term in query.terms])
        found = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
        for name, part in zip(parameters, found, strict=True):
            rows[name].append(part)
    return {name: torch.stack(parts) for name, parts in rows.items()}
