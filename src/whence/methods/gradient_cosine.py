"""Which examples' gradients point in the query's direction?"""

from whence.methods.contract import INFLUENCE, Found, Inputs, Method, from_products, needs_view
from whence.methods.views import FINAL, cosines


def compute(inputs: Inputs) -> Found:
    """Takes the cosine between the query's and each example's gradient,
    ∇L_q · ∇L_i / (‖∇L_q‖ ‖∇L_i‖).

    Returns:
        Cosines in [-1, 1], without unit; positive for proponents, negative for opponents. NaN for
        an example without a gradient.

    Use it to find single documents: dividing by the example's norm keeps long, rare and noisy
    documents from being proponents of everything. It says nothing of how large an effect is, and
    copies of a text that was learned well keep a high cosine when their gradient is nearly zero.
    On a randomly initialised model it still finds documents that share words with the query, so a
    high cosine is no evidence that the model was influenced.

    Cost: nothing beyond the inner products.

    Source: Charpiat et al., "Input Similarity from the Neural Network Perspective", NeurIPS 2019;
        here with one gradient per document.
    """  # noqa: D205
    products = inputs.products[FINAL]
    return from_products(products, cosines(products))


METHOD = Method("gradient_cosine", compute, INFLUENCE, needs=needs_view())
