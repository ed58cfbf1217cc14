"""SOURCE: an example's effect on a query, through the rest of training.

Training is cut into segments, in each of which the curvature H and what the optimizer divides by
are assumed constant. With the step θ ← θ − η p ∘ (g / M + decay · θ), where g is the summed
gradient of the step's examples, M counts their targets and p = 1 / (√v + ε) is Adam's correction,
an example's weight changes the query's loss through everything that comes after it. A segment of
learning rates κ = Σ η with T targets in all gives an example that was seen in it

    score_i = (1/T) q · p (1 − exp(−κσ)) / σ · ∇L_i,      σ = p d + decay,

weight by weight, averaged over the step of the segment at which the example was seen; d is the
diagonal of H per target, and q the query's gradient at the end of the segment: that of the final
model, walked back through each later segment by exp(−κσ). Without Adam p is 1 and both functions
are applied to H's eigenvalues in EK-FAC's basis, not of its diagonal.

An example counts in the segment that saw it, and in no other: the scores know the order.

Source: Bae et al., "Training Data Attribution via Approximate Unrolled Differentiation", NeurIPS
2024. The factors and f are Bergson's; unlike Bergson we take each example in its own segment
instead of all in every one, fit the curvature on the segment's own examples, keep the decay, and
use one diagonal throughout, so that small learning rates give exactly the sum of Adam's steps.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from whence.errors import CorpusError
from whence.gradients.curvature.ekfac import Curvature, fit_ekfac
from whence.gradients.curvature.fisher import Labels
from whence.gradients.index.engine import require_engine
from whence.gradients.passes.batches import check_queries
from whence.gradients.passes.correction import correction_scales
from whence.gradients.passes.queries import query_gradients, query_norms
from whence.gradients.passes.streamed import Preconditioner, streamed_products
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel, PairScores, Query

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    from whence.models.second_moments import SecondMoments

Gradients = dict[str, "Float[Tensor, 'queries weights']"]


@dataclass(frozen=True)
class Segment:
    """A stretch of training: the steps after `first` up to `last`, and what stands for them.

    `learning_rate_sum` is the sum of its steps' learning rates. `open` gives the model at its end,
    and Adam's second moments there by parameter name, or None for plain gradient descent.
    """

    first: int
    last: int
    learning_rate_sum: float
    weight_decay: float
    open: "Callable[[], tuple[LoadedModel, SecondMoments | None]]"


def source_scores(
    model: LoadedModel,
    corpus: Corpus,
    queries: Sequence[Query],
    *,
    segments: Sequence[Segment],
    modules: Sequence[str],
    token_batch_size: int,
    labels: Labels = "sampled",
    label_seed: int = 0,
    progress: Progress = SILENT,
) -> PairScores:
    """Computes SOURCE's score of every query and every example.

    Args:
        model: The model at the end of training.
        corpus: All that was trained on, with the step at which each example was seen.
        queries: The queries, whose loss is that of the final model.
        segments: The whole training, in order, without gaps.
        modules: Names of the attributed layers in the base model.
        token_batch_size: The most tokens in a batch, padding included.
        labels: Of the curvature.
        label_seed: Of drawn labels.
        progress: Reports progress.

    Returns:
        Scores in nats per unit of an example's weight in training: the first-order decrease of the
        query's loss at the end. NaN for an example without a gradient where it was seen.

    Raises:
        CorpusError: An example says no step, or one outside of the segments.

    Cost:
        For each segment its own examples thrice, that is, three passes over the corpus in all; and
        in memory a segment's factors.
    """
    started = time.perf_counter()
    check_queries(model, queries)
    members = _members(corpus, segments)
    gradients = query_gradients(model, queries, modules=modules, token_batch_size=token_batch_size)
    query_norms(gradients, queries)  # refuses a query without a gradient
    values = np.full((len(queries), len(corpus)), np.nan, dtype=np.float32)
    for segment, rows in reversed(list(zip(segments, members, strict=True))):
        seen, moments = segment.open()
        part = replace(corpus, table=corpus.table.take(rows))
        curvature = fit_ekfac(
            seen,
            part,
            modules=modules,
            token_batch_size=token_batch_size,
            labels=labels,
            seed=label_seed,
            progress=progress,
        )
        num_targets = int(np.maximum(part.lengths - 1, 0).sum())
        scales = correction_scales(seen, modules, moments)
        within, gradients = _walk(
            gradients,
            curvature,
            segment,
            scales=scales,
            per_target=curvature.num_examples / num_targets,
        )
        found = streamed_products(
            seen,
            part,
            queries,
            modules=modules,
            token_batch_size=token_batch_size,
            preconditioner=Preconditioner(lambda _, within=within: within, {}),
            progress=progress,
        )
        values[:, rows] = np.where(found.example_norms > 0, found.dots / num_targets, np.nan)
    return PairScores(
        query_ids=tuple(query.id for query in queries),
        example_ids=corpus.ids,
        values=values,
        settings={
            "correction": "source",
            "labels": labels,
            "label_seed": label_seed,
            "segments": [[segment.first, segment.last] for segment in segments],
            "learning_rate_sums": [segment.learning_rate_sum for segment in segments],
            "modules": list(modules),
            "model": model.fingerprint,
            "corpus": corpus.fingerprint,
        },
        seconds=time.perf_counter() - started,
    )


def _walk(
    gradients: Gradients,
    curvature: Curvature,
    segment: Segment,
    *,
    scales: "Mapping[str, Tensor] | None",
    per_target: float,
) -> tuple[Gradients, Gradients]:
    """Gives what a segment's examples meet, and what is left of the queries at its start."""
    require_engine()
    from bergson.approx_unrolling.approx_unrolling_math import f_backward, f_segment

    summed = segment.learning_rate_sum
    within, before = f_segment(summed), f_backward(summed)

    if scales is None:

        def rates(values: "Tensor") -> "Tensor":
            return values.clamp(min=0) * per_target + segment.weight_decay

        return (
            curvature.spectral(gradients, lambda values: within(rates(values))),
            curvature.spectral(gradients, lambda values: before(rates(values))),
        )
    met, left = {}, {}
    for name, rows in gradients.items():
        diagonal = curvature.diagonal(name).flatten().clamp(min=0)
        sigma = scales[name] * diagonal * per_target + segment.weight_decay
        met[name] = rows * scales[name] * within(sigma)
        left[name] = rows * before(sigma)
    return met, left


def _members(corpus: Corpus, segments: Sequence[Segment]) -> list[np.ndarray]:
    """Finds the rows of the examples that each segment saw."""
    steps = training_steps(corpus)
    for earlier, later in pairwise(segments):
        assert earlier.last == later.first, "segments are in order and without gaps"
    outside = np.flatnonzero((steps <= segments[0].first) | (steps > segments[-1].last))
    if len(outside):
        row = int(outside[0])
        raise CorpusError(
            f"Example `{corpus.ids[row]}` was seen at step {steps[row]}, and the segments of "
            f"training go from step {segments[0].first + 1} to {segments[-1].last}.",
            "Let `attribution.source.checkpoints` end with the last step of training.",
        )
    return [np.flatnonzero((steps > s.first) & (steps <= s.last)) for s in segments]


def training_steps(corpus: Corpus) -> "NDArray[np.int64]":
    """Reads the step at which training saw each example.

    Raises:
        CorpusError: It is not known.
    """
    column = corpus.table.column("step")
    if column.null_count:
        raise CorpusError(
            f"{column.null_count} of {len(corpus)} examples do not say at which step training saw "
            "them, so that training cannot be followed.",
            "Name the column in `corpus.step_column`, or leave the method out.",
        )
    return column.to_numpy()
