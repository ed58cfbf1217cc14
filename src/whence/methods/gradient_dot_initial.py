"""Which examples does the gradient dot product find in a model that has learned nothing?"""

from whence.methods.contract import LIKENESS, Found, Inputs, Method, from_products, needs_view
from whence.methods.gradient_cosine_initial import INITIAL
from whence.methods.views import dots


def compute(inputs: Inputs) -> Found:
    """Takes `gradient_dot` on the randomly initialised model, at step 0.

    Returns:
        Inner products, in nats² per unit² of weight; higher is more alike and longer. NaN for an
        example without a gradient.

    Use it as the floor of `gradient_dot`: the longest texts come first, in a trained model and in
    one that knows nothing. For the likeness of texts take `gradient_cosine_initial`.

    Cost: the pass of `gradient_cosine_initial`, shared with it.

    Source: see `gradient_cosine_initial`.
    """
    products = inputs.products[INITIAL]
    return from_products(products, dots(products))


METHOD = Method("gradient_dot_initial", compute, LIKENESS, needs=needs_view(INITIAL))
