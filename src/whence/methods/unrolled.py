"""SOURCE and MAGIC: an example's effect followed through the training that came after it.

SOURCE cuts training into the segments that end with each checkpoint of the settings, in which
curvature and Adam's correction are constant. An example counts in the segment that saw it, and its
effect decays through the curvature of that segment and of all later ones (formulas in
`whence.gradients.source`). MAGIC is the exact derivative −∂L_q(θ_T(w)) / ∂w_i, where θ_T(w) is what
training ends with, in its own order and with example i's loss multiplied by w_i; it is evaluated at
the weights of the run, with all parameters. Under both, an example of weight zero has the effect
that it would have had.
"""

from whence.errors import SettingsError
from whence.methods.contract import Found, Inputs, Method, Needs, from_products, needs_view
from whence.methods.views import MAGIC, SOURCE, dots
from whence.settings import AttributionSettings

_RETURNS = (
    "Nats per unit of weight on the example: to first order the decrease of the query's loss at "
    "the end of training."
)


def _source(inputs: Inputs) -> Found:
    found = inputs.products[SOURCE]
    return from_products(found, dots(found))


def _needs_segments(settings: AttributionSettings) -> Needs:
    steps = settings.source.checkpoints
    if not steps:
        raise SettingsError(
            "SOURCE cuts training into segments, and the study names no checkpoints.",
            "Set `attribution.source.checkpoints`, such as `[64, 128, 256, 488]`, the last step "
            "at the end.",
        )
    if list(steps) != sorted(set(steps)):
        raise SettingsError(
            f"The checkpoints {list(steps)} do not ascend, and SOURCE cuts training at them.",
            "Name each once, in the order of training.",
        )
    return Needs(products=(SOURCE,))


def _magic(inputs: Inputs) -> Found:
    found = inputs.products[MAGIC]
    return from_products(found, dots(found))


METHODS = (
    Method(
        name="source",
        compute=_source,
        needs=_needs_segments,
        family="gradient",
        about="How much the example's step lowered the query's loss, after what came later in "
        "training is allowed for, with an approximate curvature. Examples with large gradients are "
        "favored.",
        reads="gradients, curvature and Adam's moments along training",
        formula="(1/T) q · p (1 − exp(−κσ)) / σ · ∇L_i in the segment that saw the example",
        returns=f"{_RETURNS} NaN for an example without a gradient.",
        higher_means="the example's step in training lowered the query's loss at the end by more, "
        "to first order, after the decay that an approximate curvature gives to later training",
        cost="three passes over the corpus in all, however many segments; with each segment an "
        "eigendecomposition of every layer's factors",
        source='Bae et al., "Training Data Attribution via Approximate Unrolled Differentiation", '
        "NeurIPS 2024, with Adam's diagonal preconditioner; see `whence.gradients.source` for how "
        "we differ.",
        avoid="Where the schedule and the order of training are not known, and with few "
        "checkpoints: the end of a long segment stands for all of it, and early training changes "
        "too fast for that. Gradient clipping and momentum are left out.",
    ),
    Method(
        name="magic",
        compute=_magic,
        needs=needs_view(MAGIC),
        family="gradient",
        about="How much lower the query's loss would have ended, had training weighed the example "
        "more: the exact derivative through the whole run, and not what leaving the example out "
        "does.",
        reads="the whole run of training, repeated",
        formula="−∂L_q(θ_T(w)) / ∂w_i",
        returns=f"{_RETURNS} NaN for an example with nothing to predict, or that was seen until "
        "the setting `magic.since`.",
        higher_means="the query's loss at the end of training falls faster as the example's weight "
        "in training rises; a derivative, not the effect of leaving the example out",
        cost="two trainings, and about three more for each query; refused beyond the testbed's "
        "sizes",
        source='Ilyas and Engstrom, "MAGIC: Near-Optimal Data Attribution for Deep Learning", '
        "arXiv 2504.16430.",
        avoid="For the effect of a removal, where training is not smooth in the weights. Over the "
        "whole of nano's training derivatives grow towards the start until they say nothing of any "
        "change that could be made: use it over a last stretch (`magic.since`).",
    ),
)
