"""Which examples moved the query's loss, given all the training that came after them?"""

from whence.errors import SettingsError
from whence.methods.contract import INFLUENCE, Found, Inputs, Method, Needs, from_products
from whence.methods.views import SOURCE, dots
from whence.settings import AttributionSettings


def compute(inputs: Inputs) -> Found:
    """Takes SOURCE's score: each example's step, walked through the rest of training.

    Training is cut into the segments that end with each of `checkpoints`, in which curvature and
    Adam's correction are taken to be constant. An example counts in the segment that saw it, and
    its effect decays through the curvature of that segment and of all later ones.

    Returns:
        To first order the decrease of the query's loss at the end of training per unit of weight on
        the example, in nats; positive for proponents, negative for opponents. NaN for an example
        without a gradient. An example of weight zero has the effect that it would have had.

    Use it for effect sizes where the order of training matters, on models whose schedule and order
    are known. Few checkpoints make long segments, whose end stands for all of them: early training
    changes too fast for that. Gradient clipping and momentum are left out.

    Cost: three passes over the corpus in all, however many segments; with each an
        eigendecomposition of every layer's factors.

    Source: Bae et al., "Training Data Attribution via Approximate Unrolled Differentiation",
        NeurIPS 2024, with Adam's diagonal preconditioner; see `whence.gradients.source` for how we
        differ.
    """
    products = inputs.products[SOURCE]
    return from_products(products, dots(products))


def needs(settings: AttributionSettings) -> Needs:
    """Scores along the training run that `checkpoints` cut into segments."""
    if not settings.checkpoints:
        raise SettingsError(
            "SOURCE cuts training into segments, and the study names no checkpoints.",
            "Set `attribution.checkpoints`, such as `[64, 128, 256, 488]`, the last step at the "
            "end.",
        )
    if list(settings.checkpoints) != sorted(set(settings.checkpoints)):
        raise SettingsError(
            f"The checkpoints {list(settings.checkpoints)} do not ascend, and SOURCE cuts training "
            "at them.",
            "Name each once, in the order of training.",
        )
    return Needs(products=(SOURCE,))


METHOD = Method("source", compute, INFLUENCE, needs=needs)
