"""How are the scores of several checkpoints of one training run added up?"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from whence.errors import SettingsError
from whence.methods.contract import Found, Inputs, Needs, NeedsOf
from whence.methods.views import Correction, View
from whence.records import GradientProducts
from whence.settings import AttributionSettings

if TYPE_CHECKING:
    from jaxtyping import Float

Part = Callable[[GradientProducts], "Float[np.ndarray, 'queries examples']"]


def needs_checkpoints(correction: Correction = "none") -> NeedsOf:
    """Products of gradients at every checkpoint of the settings are needed."""

    def needs(settings: AttributionSettings) -> Needs:
        if not settings.checkpoints:
            raise SettingsError(
                "TracIn sums over checkpoints, and the study names none.",
                "Set `attribution.checkpoints`, such as `[512, 1024, 2048]`, or leave it out.",
            )
        if repeated := {c for c in settings.checkpoints if settings.checkpoints.count(c) > 1}:
            raise SettingsError(
                f"The study names the checkpoint {min(repeated)} more than once.", "Name it once."
            )
        _rates(settings)
        return Needs(products=tuple(View(c, correction) for c in settings.checkpoints))

    return needs


def weighted_sum(
    inputs: Inputs, part: Part, *, correction: Correction = "none", mean: bool = False
) -> Found:
    """Sums one part of each checkpoint's products, weighted by the learning rates.

    Args:
        inputs: The products of every checkpoint, and settings with as many learning rates.
        part: What is summed, such as inner products.
        correction: Which view's products.
        mean: Divide by the sum of the rates.

    Returns:
        Scores; NaN for an example without a gradient at one of the checkpoints.

    Raises:
        SettingsError: The learning rates are not known, or are all zero.
    """
    steps, rates = inputs.settings.checkpoints, _rates(inputs.settings)
    found = [inputs.products[View(step, correction)] for step in steps]
    total = np.zeros(found[0].dots.shape)
    for rate, products in zip(rates, found, strict=True):
        total += rate * part(products).astype(np.float64)
    models = [products.settings.get("model") for products in found]
    settings = {
        "path": found[0].path,
        **found[0].settings,
        "model": models,
        "view": [products.settings.get("view") for products in found],
        "checkpoints": list(steps),
        "learning_rates": list(rates),
    }
    return Found(total / sum(rates) if mean else total, settings)


def _rates(settings: AttributionSettings) -> tuple[float, ...]:
    """The learning rates of the checkpoints, in their order."""
    steps, rates = settings.checkpoints, settings.learning_rates
    if rates is None or len(rates) != len(steps):
        raise SettingsError(
            f"TracIn weights {len(steps)} checkpoints by their learning rates, and "
            f"{0 if rates is None else len(rates)} are known.",
            "Set `attribution.learning_rates`, one for each checkpoint.",
        )
    if min(rates) < 0 or not any(rates):
        raise SettingsError(
            f"The learning rates {list(rates)} weight no checkpoint.", "Give positive rates."
        )
    return rates
