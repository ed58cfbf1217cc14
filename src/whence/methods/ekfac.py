"""Which examples would change the query's loss at the optimum, as EK-FAC sees the curvature?"""

from whence.methods.contract import INFLUENCE, Found, Inputs, Method, from_products, needs_view
from whence.methods.views import EKFAC, dots


def compute(inputs: Inputs) -> Found:
    """Takes the influence function ∇L_q · (H + δ mean(Λ))⁻¹ ∇L_i on whole gradients.

    H is the curvature of the mean example's summed loss in EK-FAC's approximation, layer by layer:
    the Gauss-Newton matrix, with labels drawn from the model by default (`fisher_labels`), diagonal
    in the eigenbasis of a Kronecker product. δ is the setting `damping`.

    Returns:
        To first order the decrease of the query's loss per unit of weight on the example, in nats
        times the number of examples, if training went on to a new optimum; positive for proponents,
        negative for opponents. NaN for an example without a gradient.

    Use it for effect sizes where whole gradients can be streamed; nothing is projected, unlike in
    `influence`. It rests on a model at its optimum, which a language model after one pass is not,
    and what examples share counts less: copies of a text that make up much of the curvature are
    proponents with small scores. It knows nothing of the order of training. Long documents have
    large scores.

    Cost: two more passes over the corpus, in which copies are not spared, an eigendecomposition of
    inputs × inputs and outputs × outputs for each layer, and memory for those.

    Source: Grosse et al., "Studying Large Language Model Generalization with Influence Functions",
        arXiv 2308.03296, with the sign turned, so that higher is more helpful; the factors are
        Bergson's, fitted on all examples, and the damping is Bergson's default.
    """
    products = inputs.products[EKFAC]
    return from_products(products, dots(products))


METHOD = Method("ekfac", compute, INFLUENCE, needs=needs_view(EKFAC))
