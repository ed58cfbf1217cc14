"""Which gradients pointed in the query's direction over training, in the metric of Adam's steps?"""

from whence.methods.checkpoints import needs_checkpoints, weighted_sum
from whence.methods.contract import INFLUENCE, Found, Inputs, Method
from whence.methods.views import cosines


def compute(inputs: Inputs) -> Found:
    """Averages Σ_c η_c cos_c / Σ_c η_c, with cosines in the metric ⟨a, b⟩ = a · (b / (√v_c + ε)).

    Each side is divided by the square root of √v_c + ε, so that products and norms are those of
    `tracin_adam`.

    Returns:
        A weighted mean of cosines, in [-1, 1], without unit; positive for proponents, negative for
        opponents. NaN for an example without a gradient.

    Use it as `tracin_cosine`, in models that Adam trained.

    Cost: nothing beyond `tracin_adam`'s passes.

    Source: Pruthi et al., NeurIPS 2020, with the preconditioned step of Xia et al., "LESS", ICML
        2024, and cosines in its metric.
    """
    return weighted_sum(inputs, cosines, correction="adam_step", mean=True)


METHOD = Method("tracin_adam_cosine", compute, INFLUENCE, needs=needs_checkpoints("adam_step"))
