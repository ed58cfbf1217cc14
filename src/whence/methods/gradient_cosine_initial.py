"""Which examples does gradient cosine find in a model that has learned nothing? A floor."""

from whence.methods.contract import LIKENESS, Found, Inputs, Method, from_products, needs_view
from whence.methods.views import View, cosines

INITIAL = View("initial")


def compute(inputs: Inputs) -> Found:
    """Takes `gradient_cosine` on the randomly initialised model, at step 0.

    The gradient of a random model is a random feature map of the text, so its cosines are a kernel
    of shared tokens and order: they cannot be influence, since nothing was learned.

    Returns:
        Cosines in [-1, 1], without unit; higher is more alike. NaN for an example without a
        gradient.

    Use it as the floor of every gradient method: whatever it finds too is found by likeness of
    texts. It finds exact copies and stated facts about as well as the trained model, so finding
    them shows nothing about training. What counts is the difference between the two.

    Cost: a second pass over the corpus, as long as that of `gradient_cosine`.

    Source: the model randomization test of Adebayo et al., "Sanity Checks for Saliency Maps",
        NeurIPS 2018, applied to attribution of training data as by Hanawa et al., ICLR 2021.
    """
    products = inputs.products[INITIAL]
    return from_products(products, cosines(products))


METHOD = Method("gradient_cosine_initial", compute, LIKENESS, needs=needs_view(INITIAL))
