"""Which gradients have the largest inner product with the query's, as Adam scales them?"""

from whence.methods.contract import INFLUENCE, Found, Inputs, Method, from_products, needs_view
from whence.methods.views import ADAM, dots


def compute(inputs: Inputs) -> Found:
    """Takes the inner product of gradients divided by √v + ε, (∇L_q / √v) · (∇L_i / √v).

    v are Adam's second moments at the checkpoint. Weights whose gradients are large in every batch
    count less, weights that few examples use count more.

    Returns:
        Inner products, without unit (each side in units of Adam's typical gradient); positive for
        proponents, negative for opponents. NaN for an example without a gradient. The correction is
        positive, so to first order signs are those of a step in these coordinates, not of a step of
        plain gradient descent: the two can differ for a pair.

    Use it where `gradient_dot` would be used and the model was trained with Adam. It divides on
    both sides, as TrackStar does; what one step of Adam would change is divided once, which is
    `tracin_adam` with a single checkpoint. Long documents still have large scores.

    Cost: a pass over the corpus of its own, shared with `gradient_cosine_adam`.

    Source: Chang et al., "Scalable Influence and Fact Tracing for Large Language Model
        Pretraining", arXiv 2410.17413, section 3; here with whole gradients.
    """
    products = inputs.products[ADAM]
    return from_products(products, dots(products))


METHOD = Method("gradient_dot_adam", compute, INFLUENCE, needs=needs_view(ADAM))
