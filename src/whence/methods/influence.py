"""Which examples would change the query's loss at the optimum, if they weighed more?"""

import numpy as np

from whence.methods.contract import INFLUENCE, Found, Inputs, Method, needs_rows
from whence.methods.rows import damped_power, has_gradient, products, second_moments
from whence.methods.views import FINAL


def compute(inputs: Inputs) -> Found:
    """Takes the influence function ∇L_q · (R + δ λ̄)⁻¹ ∇L_i on stored rows.

    R is the empirical Fisher matrix of the rows, block by block, in the place of the Hessian: like
    the Gauss–Newton matrix it has no negative eigenvalues. λ̄ is the block's mean eigenvalue and δ
    the setting `damping`.

    Returns:
        To first order the decrease of the query's loss per unit of weight on the example, in nats
        times the number of examples, if training went on to a new optimum; positive for proponents,
        negative for opponents. NaN for an example without a gradient.

    Use it for effect sizes on an index. It rests on a model at its optimum and on an empirical
    Fisher matrix near the Hessian; a language model after one pass is neither, so read it as
    gradient inner products in which directions that many examples share count less. Long documents
    have large scores. Scores vary with the projection's seed.

    Cost: one pass to build the index, and about 10 p⁶ operations per module with p × p numbers.

    Source: Koh and Liang, "Understanding Black-box Predictions via Influence Functions", ICML 2017,
        with the sign turned, so that higher is more helpful; damping relative to the mean
        eigenvalue as in Bergson.
    """
    rows = inputs.rows[FINAL]
    damping = inputs.settings.damping
    inverse = damped_power(second_moments(rows), -1, damping=damping)
    dots = products(rows, queries=inverse).dots
    values = np.where(has_gradient(rows), dots, np.nan)
    return Found(values, {**rows.settings, "damping": damping})


METHOD = Method("influence", compute, INFLUENCE, needs=needs_rows())
