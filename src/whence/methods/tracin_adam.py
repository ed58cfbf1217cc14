"""Which examples would have moved the query's loss over training, by steps that Adam scales?"""

from whence.methods.checkpoints import needs_checkpoints, weighted_sum
from whence.methods.contract import INFLUENCE, Found, Inputs, Method
from whence.methods.views import dots


def compute(inputs: Inputs) -> Found:
    """Sums Σ_c η_c ∇L_q(θ_c) · (∇L_i(θ_c) / (√v_c + ε)), the first-order effect of Adam's steps.

    v_c are Adam's second moments at checkpoint c, held fixed: a single example hardly moves them.
    The correction divides once, unlike that of `gradient_dot_adam`. Momentum spreads a step over
    the next ones and is left out.

    Returns:
        The decrease of the query's loss, in nats, if at each checkpoint one step were taken on the
        example alone; positive for proponents, negative for opponents. NaN for an example without a
        gradient.

    Use it for effect sizes in models that Adam trained. What `tracin` says against itself holds
    here too: it does not know the order of training, and favors long documents.

    Cost: a pass over the corpus for each checkpoint, shared with `tracin_adam_cosine`.

    Source: Pruthi et al., NeurIPS 2020, with the preconditioned step of Xia et al., "LESS", ICML
        2024, without momentum.
    """
    return weighted_sum(inputs, dots, correction="adam_step")


METHOD = Method("tracin_adam", compute, INFLUENCE, needs=needs_checkpoints("adam_step"))
