"""Which examples' gradients point in the query's direction, as Adam scales them?"""

from whence.methods.contract import INFLUENCE, Found, Inputs, Method, from_products, needs_view
from whence.methods.views import ADAM, cosines


def compute(inputs: Inputs) -> Found:
    """Takes the cosine between gradients divided by √v + ε, with v Adam's second moments.

    This is TrackStar without projection and without the curvature R (its ablation "Exp 3").

    Returns:
        Cosines in [-1, 1], without unit; positive for proponents, negative for opponents. NaN for
        an example without a gradient.

    Use it as the first choice for finding single documents in models that Adam trained. Like
    `gradient_cosine` it says nothing of how large an effect is.

    Cost: a pass over the corpus of its own, shared with `gradient_dot_adam`.

    Source: Chang et al., "Scalable Influence and Fact Tracing for Large Language Model
        Pretraining", arXiv 2410.17413, section 3; here with whole gradients.
    """
    products = inputs.products[ADAM]
    return from_products(products, cosines(products))


METHOD = Method("gradient_cosine_adam", compute, INFLUENCE, needs=needs_view(ADAM))
