"""Which examples' gradients point in the query's direction in the layers that hold the words?"""

from whence.methods.contract import INFLUENCE, Found, Inputs, Method, from_products, needs_view
from whence.methods.views import VOCABULARY, cosines


def compute(inputs: Inputs) -> Found:
    """Takes `gradient_cosine` in the embedding and the output layer alone.

    Bergson, and so every index, leaves both out, though they are most of a small model's weights.
    Their gradients have a row per word: in the embedding, of the words read; in the output layer,
    of all words, most of all of those predicted. Two weights that are tied count as two.

    Returns:
        Cosines in [-1, 1], without unit; positive for proponents, negative for opponents. NaN for
        an example without a gradient.

    Use it to see what leaving them out hides. Do not take it for influence of what was learned: a
    row per word makes it a likeness of words, more than that of any other layer.

    Cost: a pass over the corpus of its own, without projection, in which the logits are held and
        2 · vocabulary · width numbers per query and per example of a batch.

    Source: Yeh et al., "First is Better Than Last for Language Data Influence", NeurIPS 2022, on
        what the first layer, the embedding, has to say and where it errs.
    """
    products = inputs.products[VOCABULARY]
    return from_products(products, cosines(products))


METHOD = Method("gradient_cosine_vocabulary", compute, INFLUENCE, needs=needs_view(VOCABULARY))
