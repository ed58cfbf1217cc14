"""Which examples' gradients pointed in the query's direction over the course of training?"""

from whence.methods.checkpoints import needs_checkpoints, weighted_sum
from whence.methods.contract import INFLUENCE, Found, Inputs, Method
from whence.methods.views import cosines


def compute(inputs: Inputs) -> Found:
    """Averages the cosine of gradients over checkpoints, Σ_c η_c cos_c / Σ_c η_c.

    Checkpoints and rates are those of `tracin`.

    Returns:
        A weighted mean of cosines, in [-1, 1], without unit; positive for proponents, negative for
        opponents. NaN for an example without a gradient.

    Use it for finding single documents whose tie to the query may have faded by the end of
    training. Dividing by norms at each checkpoint keeps one checkpoint with large gradients, and
    long documents, from deciding the sum; it says nothing of how large an effect is.

    Cost: nothing beyond `tracin`'s passes.

    Source: Pruthi et al., NeurIPS 2020, with cosines in place of inner products; dividing by the
        sum of rates does not change the order.
    """
    return weighted_sum(inputs, cosines, mean=True)


METHOD = Method("tracin_cosine", compute, INFLUENCE, needs=needs_checkpoints())
