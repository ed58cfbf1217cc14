"""Influence functions: the query's gradient times a damped inverse curvature times the example's.

    influence   ∇L_q · (R + δ λ̄)⁻¹ ∇L_i         on stored rows of projected gradients
    ekfac       ∇L_q · (H + δ mean(Λ))⁻¹ ∇L_i    on whole gradients

R is the empirical Fisher matrix of the rows, block by block, in the place of the Hessian: like the
Gauss-Newton matrix it has no negative eigenvalues; λ̄ is the block's mean eigenvalue. H is the
curvature of the mean example's summed loss in EK-FAC's approximation, layer by layer: the
Gauss-Newton matrix, with labels drawn from the model by default, diagonal in the eigenbasis of a
Kronecker product. An example without a gradient has no score: NaN.
"""

import numpy as np

from whence.methods.contract import Found, Inputs, Method, from_products, needs_rows, needs_view
from whence.methods.rows import damped_power, has_gradient, products, second_moments
from whence.methods.views import EKFAC, FINAL, dots

_RETURNS = (
    "Nats times the number of examples: to first order the decrease of the query's loss per unit "
    "of weight on the example, if training went on to a new optimum. NaN for an example without a "
    "gradient."
)
_OPTIMUM = (
    "It rests on a model at its optimum, which a language model after one pass is not: read it as "
    "gradient inner products in which directions that many examples share count less. Long "
    "documents have large scores"
)


def _influence(inputs: Inputs) -> Found:
    rows = inputs.rows[FINAL]
    damping = inputs.settings.influence.damping
    inverse = damped_power(second_moments(rows), -1, damping=damping)
    values = np.where(has_gradient(rows), products(rows, queries=inverse).dots, np.nan)
    return Found(values, {**rows.settings, "damping": damping})


def _ekfac(inputs: Inputs) -> Found:
    found = inputs.products[EKFAC]
    return from_products(found, dots(found))


METHODS = (
    Method(
        name="influence",
        compute=_influence,
        needs=needs_rows(FINAL),
        family="gradient",
        about="How much the query's loss would fall if the example weighed more and training went "
        "on to a new optimum, to first order and with projected gradients. Examples with large "
        "gradients are favored.",
        reads="stored rows of projected gradients",
        formula="∇L_q · (R + δ λ̄)⁻¹ ∇L_i",
        returns=f"{_RETURNS} Scores vary with the projection's seed.",
        higher_means="more weight on the example, with training to a new optimum, lowers the "
        "query's loss by more, to first order, where the empirical Fisher matrix of projected "
        "gradients stands for the Hessian",
        cost="one pass to build the index, and about 10 p⁶ operations per module with p × p "
        "numbers",
        source='Koh and Liang, "Understanding Black-box Predictions via Influence Functions", ICML '
        "2017, with the sign turned, so that higher is more helpful; damping relative to the mean "
        "eigenvalue as in Bergson.",
        avoid=f"For finding single documents. {_OPTIMUM}, and the empirical Fisher matrix need not "
        "be near the Hessian.",
    ),
    Method(
        name="ekfac",
        compute=_ekfac,
        needs=needs_view(EKFAC),
        family="gradient",
        about="How much the query's loss would fall if the example weighed more and training went "
        "on to a new optimum, to first order and with an approximate curvature. Examples with "
        "large gradients are favored.",
        reads="gradients and the curvature in EK-FAC's approximation",
        formula="∇L_q · (H + δ mean(Λ))⁻¹ ∇L_i",
        returns=_RETURNS,
        higher_means="more weight on the example, with training to a new optimum, lowers the "
        "query's loss by more, to first order and with the curvature in EK-FAC's approximation",
        cost="three passes over the corpus, two of which do not spare copies; eigendecompositions "
        "of inputs × inputs and outputs × outputs for each layer, and memory for those",
        source='Grosse et al., "Studying Large Language Model Generalization with Influence '
        'Functions", arXiv 2308.03296, with the sign turned, so that higher is more helpful; the '
        "factors are Bergson's, fitted on all examples, and the damping is Bergson's default.",
        avoid=f"For finding copies: those that make up much of the curvature are proponents with "
        f"small scores. {_OPTIMUM}. It does not know the order of training.",
    ),
)
