"""Which examples would have moved the query's loss over the course of training?"""

from whence.methods.checkpoints import needs_checkpoints, weighted_sum
from whence.methods.contract import INFLUENCE, Found, Inputs, Method
from whence.methods.views import dots


def compute(inputs: Inputs) -> Found:
    """Sums inner products of gradients over checkpoints, Σ_c η_c ∇L_q(θ_c) · ∇L_i(θ_c).

    c runs over the setting `checkpoints`, η_c is the learning rate of the step after checkpoint c,
    at which these gradients are taken (the last step's at the end of training).

    Returns:
        The decrease of the query's loss, in nats, if at each checkpoint one step of plain gradient
        descent were taken on the example alone; positive for proponents, negative for opponents.
        NaN for an example without a gradient.

    Use it for effect sizes: early checkpoints still have the gradients of what was learned later by
    heart and is saturated at the end. It knows nothing of when an example was seen, so an example
    from the future counts at an early checkpoint too, and checkpoints on a logarithmic scale give
    early training more weight than its share. Long documents have large scores.

    Cost: a pass over the corpus for each checkpoint.

    Source: Pruthi et al., "Estimating Training Data Influence by Tracing Gradient Descent",
        NeurIPS 2020 (TracInCP).
    """
    return weighted_sum(inputs, dots)


METHOD = Method("tracin", compute, INFLUENCE, needs=needs_checkpoints())
