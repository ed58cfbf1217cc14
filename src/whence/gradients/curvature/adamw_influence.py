"""AdamW-influence: an example's effect on the end of training, through AdamW's own steps.

An example that counts a little more in step t changes that step's gradient by ġ = ∇ℓ_i(θ_t₋₁) / M,
taken through the clipping, where M counts the step's targets. AdamW carries it on to the end:

    ṁ_s = β₁ṁ_s₋₁,        ṁ_t = (1 − β₁) ġ
    v̇_s = β₂v̇_s₋₁,        v̇_t = 2 (1 − β₂) g_t ġ
    θ̇_s = (1 − η_s λ) θ̇_s₋₁ − η_s / (c₁ d_s) ∘ (ṁ_s − m_s v̇_s / (2 d_s √(v_s c₂))),
    score = −w_i ∇L_q(θ_T) · θ̇_T,

with d = √(v/c₂) + ε and Adam's bias corrections c₁, c₂. What the moved weights do to the gradients
of later steps is left out: it would add H_s θ̇_s₋₁ to each later gradient. That makes it neither a
derivative of the run, which is MAGIC, nor dear: all queries share one walk back through training.
An example of weight zero did nothing and has the score 0. Its derivative would be no guide: where
no other example of the last steps has its tokens, v is about zero and a first step would be huge.

With `curvature="fisher"` the empirical Fisher matrix Σ ∇ℓ ∇ℓᵀ / M of each step's batch stands for
H_s. On nano that predicts less (docs/validation.md): a batch of few examples gives it directions in
which AdamW's steps overshoot, and the walk grows.

`gradient_cosine_adam` divides both gradients at the last checkpoint by √v + ε, and knows neither
the step that saw the example, nor its rate, momentum, clipping and decay. `tracin_adam` divides
once and knows the rates, and adds up gradients of whole checkpoints instead of the example's own.

Source: the idea is that of Deng et al., "How Faithful Is Trajectory-Based Data Attribution?", arXiv
2605.18814, whose AdamW-influence follows the same state and has a Gauss-Newton matrix for H_s. We
know its abstract and descriptions of it; the formulas above are derived from the trainer's step
(`whence.training.replay` has them in reverse), and leave H_s out by default.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from whence.gradients.curvature.magic import replayed_scores
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel, PairScores, Query
from whence.training import Curvature, Recipe

# Steps × parameters × queries, of about twenty operations each: an hour of one core.
LARGEST = 10**12


def adamw_influence_scores(
    model: LoadedModel,
    corpus: Corpus,
    queries: Sequence[Query],
    *,
    recipe: Recipe,
    weights: Sequence[float] | None = None,
    since: int = 0,
    curvature: Curvature = "none",
    progress: Progress = SILENT,
) -> PairScores:
    """Computes every example's effect on every query's final loss through AdamW's steps.

    Args:
        model: The model *before* its first step; left as it is.
        corpus: All that it was trained on, in one pass; the column `step` says when.
        queries: The queries whose final loss counts.
        recipe: How it was trained.
        weights: What multiplied each example's loss; 1 where not given.
        since: Walk back to the state after this step. What was seen until then has no score.
        curvature: What stands for the Hessian of a step's loss.
        progress: Reports progress.

    Returns:
        Scores in nats: to first order, and with later gradients held fixed, by how much the example
        as it was weighted lowered the query's loss. NaN where there is nothing to predict or the
        walk did not come.

    Raises:
        CorpusError: An example says no step, or does not fit the model.
        ModelError: The walk would take too long.
        SettingsError: It would take no step.

    Cost:
        Three trainings, one of them an example at a time, and about twenty operations per step,
        parameter and query. Memory: about ten values per parameter and query.
    """
    found = replayed_scores(
        model,
        corpus,
        queries,
        method="adamw_influence",
        curvature=curvature,
        largest=LARGEST,
        recipe=recipe,
        weights=weights,
        since=since,
        progress=progress,
    )
    if weights is None:
        return found
    return replace(found, values=found.values * np.asarray(weights, dtype=np.float32))
