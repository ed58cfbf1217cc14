"""How would the query's loss have ended, had training weighed each example a little more?"""

from whence.methods.contract import INFLUENCE, Found, Inputs, Method, from_products, needs_view
from whence.methods.views import MAGIC, dots


def compute(inputs: Inputs) -> Found:
    """Takes the exact derivative −∂L_q(θ_T(w)) / ∂w_i through the whole run of training.

    θ_T(w) is what training ends with, in its own order and with example i's loss multiplied by w_i;
    the derivative is taken at the weights of the run, with all parameters.

    Returns:
        To first order the decrease of the query's loss at the end of training per unit of weight on
        the example, in nats; positive for proponents, negative for opponents. NaN for an example
        with nothing to predict, or that was seen until the setting `magic_since`. An example of
        weight zero has the effect that it would have had.

    Use it as a reference for what other methods estimate, on the testbeds, whose training can be
    repeated, and over a last stretch of it (`magic_since`). A derivative is not a removal: where
    training is not smooth in the weights, leaving an example out does something else. Over the
    whole of nano's training derivatives grow towards the start until they say nothing of any
    change that could be made.

    Cost: two trainings, and about three more for each query; the testbed's sizes only, and refused
        beyond.

    Source: Ilyas and Engstrom, "MAGIC: Near-Optimal Data Attribution for Deep Learning", arXiv
        2504.16430.
    """
    products = inputs.products[MAGIC]
    return from_products(products, dots(products))


METHOD = Method("magic", compute, INFLUENCE, needs=needs_view(MAGIC))
