"""Which examples' gradients have the largest inner product with the query's?"""

from whence.methods.contract import INFLUENCE, Found, Inputs, Method, from_products, needs_view
from whence.methods.views import FINAL, dots


def compute(inputs: Inputs) -> Found:
    """Takes the inner product of the query's and each example's gradient, ∇L_q · ∇L_i.

    To first order, one step of gradient descent on example i with a small learning rate η lowers
    the query's loss by η · ∇L_q · ∇L_i.

    Returns:
        Inner products (nats² per squared unit of weight), positive for proponents, negative for
        opponents. Losses are sums over tokens, so long and surprising documents have large
        gradients and large scores. NaN for an example without a gradient.

    Use it for effect sizes and for sums over groups of examples; for finding single documents
    `gradient_cosine` is better, because a few documents with large gradients are proponents of
    everything.

    Cost: nothing beyond the inner products.

    Source: Pruthi et al., "Estimating Training Data Influence by Tracing Gradient Descent",
        NeurIPS 2020 (TracIn), here with one checkpoint and without the learning rate.
    """
    products = inputs.products[FINAL]
    return from_products(products, dots(products))


METHOD = Method("gradient_dot", compute, INFLUENCE, needs=needs_view())
