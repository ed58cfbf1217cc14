"""TracIn: gradient inner products or cosines summed over the checkpoints of one training run.

    tracin               Σ_c η_c ∇L_q(θ_c) · ∇L_i(θ_c)
    tracin_adam          Σ_c η_c ∇L_q(θ_c) · (∇L_i(θ_c) / (√v_c + ε))
    …_cosine             Σ_c η_c cos_c / Σ_c η_c

c runs over the checkpoints of the settings; η_c is the learning rate of the step *after*
checkpoint c, at which these gradients are computed (the last step's at the end of training), and
v_c are Adam's second moments there, held fixed. An example without a gradient at one of the
checkpoints has no score: NaN.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from whence.errors import SettingsError
from whence.methods.contract import Method, MethodInputs, MethodResult, Needs, Split, SplitTerm
from whence.methods.products import Products
from whence.methods.requests import LearningRates, Request
from whence.methods.views import Correction, Part, View, cosines, dots
from whence.settings import AttributionSettings, TracinSettings

_RETURNS = (
    "Nats: the decrease of the query's loss if at each checkpoint one step were taken on the "
    "example alone, to first order. NaN for an example without a gradient."
)
_MEAN = (
    "A weighted mean of cosines in [-1, 1], without unit; NaN for an example without a gradient."
)
_PRUTHI = (
    'Pruthi et al., "Estimating Training Data Influence by Tracing Gradient Descent", NeurIPS 2020 '
    "(TracInCP)"
)
_XIA = f"{_PRUTHI}, with the preconditioned step of Xia et al., LESS, ICML 2024, without momentum"
_ORDER = (
    "It does not know when an example was seen, so an example from the future counts at an early "
    "checkpoint, too; checkpoints on a logarithmic scale give early training more weight than its "
    "share."
)


def _needs(correction: Correction) -> Needs:
    """Products at every checkpoint, and the learning rates where the settings do not give them."""

    def needs(settings: AttributionSettings) -> tuple[Request[object], ...]:
        steps, rates = settings.tracin.checkpoints, settings.tracin.learning_rates
        if not steps:
            raise SettingsError(
                "TracIn sums over checkpoints, and the study names none.",
                "Set `attribution.tracin.checkpoints`, such as `[512, 1024]`, or leave it out.",
            )
        if repeated := {step for step in steps if steps.count(step) > 1}:
            raise SettingsError(
                f"The study names the checkpoint {min(repeated)} more than once.", "Name it once."
            )
        products = tuple(Products(View(step, correction)) for step in steps)
        if rates is None:
            return (*products, LearningRates(steps))
        if len(rates) != len(steps):
            raise SettingsError(
                f"TracIn weights {len(steps)} checkpoints by their learning rates, and "
                f"{len(rates)} are known.",
                "Set `attribution.tracin.learning_rates`, one for each checkpoint.",
            )
        if min(rates) < 0 or not any(rates):
            raise SettingsError(
                f"The learning rates {list(rates)} weight no checkpoint.", "Give positive rates."
            )
        return products

    return needs


def _over_checkpoints(
    part: Part, *, correction: Correction, mean: bool = False
) -> Callable[[MethodInputs, TracinSettings], MethodResult]:
    """Sums one part of each checkpoint's products, weighted by the learning rates.

    Args:
        part: What is summed, such as inner products.
        correction: Which view's products.
        mean: Divide by the sum of the rates.
    """

    def compute(inputs: MethodInputs, own: TracinSettings) -> MethodResult:
        steps = own.checkpoints
        rates = own.learning_rates or inputs.result(LearningRates(steps))
        found = [inputs.result(Products(View(step, correction))) for step in steps]
        total = np.zeros(found[0].dots.shape)
        for rate, products in zip(rates, found, strict=True):
            total += rate * part(products).astype(np.float64)
        settings = {
            "path": found[0].path,
            **found[0].settings,
            "model": [products.settings.get("model") for products in found],
            "view": [products.settings.get("view") for products in found],
            "checkpoints": list(steps),
            "learning_rates": list(rates),
        }
        return MethodResult(total / sum(rates) if mean else total, settings)

    return compute


def _split(correction: Correction) -> Split:
    """The sum over checkpoints; one with the rate 0 is no part of it."""
    return lambda settings: tuple(
        SplitTerm(View(step, correction), rate)
        for step, rate in zip(settings["checkpoints"], settings["learning_rates"], strict=True)
        if rate > 0
    )


def _cosine_split(settings: Mapping[str, Any]) -> tuple[SplitTerm, ...]:
    """The products at the only checkpoint; several have norms of their own, and no such sum."""
    terms = _split("none")(settings)
    return terms if len(terms) == 1 else ()


METHODS = (
    Method(
        name="tracin",
        compute=_over_checkpoints(dots, correction="none"),
        needs=_needs("none"),
        split=_split("none"),
        settings=TracinSettings,
        family="gradient",
        about="What small steps of training on the example at several checkpoints would have done "
        "to the query's loss, added up. Examples with large gradients are favored.",
        reads="gradients at each of `checkpoints`",
        formula="Σ_c η_c ∇L_q(θ_c) · ∇L_i(θ_c)",
        returns=_RETURNS,
        higher_means="steps of plain gradient descent on the example, one at each checkpoint, "
        "lower the query's loss by more in sum, to first order",
        cost="one pass over the corpus for each checkpoint",
        source=f"{_PRUTHI}.",
        avoid=f"For finding single documents: long documents have large scores. {_ORDER}",
    ),
    Method(
        name="tracin_cosine",
        compute=_over_checkpoints(cosines, correction="none", mean=True),
        needs=_needs("none"),
        split=_cosine_split,
        settings=TracinSettings,
        family="gradient",
        about="The angle between an example's gradient and the query's, averaged over several "
        "checkpoints.",
        reads="gradients at each of `checkpoints`",
        formula="Σ_c η_c cos_c / Σ_c η_c",
        returns=_MEAN,
        higher_means="the two gradients point more nearly in one direction, on average over the "
        "checkpoints",
        cost="nothing beyond the passes of tracin",
        source=f"{_PRUTHI}, with cosines in place of inner products; dividing by the sum of rates "
        "does not change the order.",
        avoid=f"For the size of an effect, which the cosines discard. {_ORDER}",
    ),
    Method(
        name="tracin_adam",
        compute=_over_checkpoints(dots, correction="adam_step"),
        needs=_needs("adam_step"),
        split=_split("adam_step"),
        settings=TracinSettings,
        family="gradient",
        about="What small steps of Adam on the example at several checkpoints would have done to "
        "the query's loss, added up. Examples with large gradients are favored.",
        reads="gradients at each of `checkpoints`, divided by √v + ε once",
        formula="Σ_c η_c ∇L_q(θ_c) · (∇L_i(θ_c) / (√v_c + ε))",
        returns=_RETURNS,
        higher_means="steps on the example, one at each checkpoint and scaled as Adam scales them, "
        "lower the query's loss by more in sum, to first order and without momentum",
        cost="one pass over the corpus for each checkpoint, shared with tracin_adam_cosine",
        source=f"{_XIA}. The correction divides once, unlike that of gradient_dot_adam.",
        avoid=f"For finding single documents: long documents have large scores. {_ORDER}",
    ),
    Method(
        name="tracin_adam_cosine",
        compute=_over_checkpoints(cosines, correction="adam_step", mean=True),
        needs=_needs("adam_step"),
        settings=TracinSettings,
        family="gradient",
        about="The angle between an example's gradient and the query's in the metric of Adam's "
        "steps, averaged over several checkpoints.",
        reads="gradients at each of `checkpoints`, divided by √v + ε once",
        formula="Σ_c η_c cos_c / Σ_c η_c in the metric ⟨a, b⟩ = a · (b / (√v_c + ε))",
        returns=_MEAN,
        higher_means="the two gradients point more nearly in one direction in the metric of Adam's "
        "steps, on average over the checkpoints",
        cost="nothing beyond the passes of tracin_adam",
        source=f"{_XIA}, and cosines in its metric: each side is divided by the square root of "
        "√v_c + ε.",
        avoid=f"For the size of an effect, which the cosines discard. {_ORDER}",
    ),
)
