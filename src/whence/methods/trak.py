"""TRAK: the influence of an example on the query's log-odds in a linear model of the network.

    mean over models of φ_q · (R + δ λ̄)⁻¹ φ_i / s,   times the mean of (1 − p_i)

TRAK's output is the log-odds f = log(p / (1 − p)) of the right answer, whose gradient is
φ = −∇L / (1 − p). R = (1/N) Σ φ_i φ_iᵀ, block by block, and s is the mean size of an entry of the
inverse, by which all models count alike. For a sequence L is the summed loss and p the mean
probability of its predicted tokens. The models are the study's own and those of `ensemble`, each
with a projection of its own.
"""

from typing import TYPE_CHECKING

import numpy as np

from whence.methods.contract import Method, MethodInputs, MethodResult
from whence.methods.curvature import damped_power, second_moments
from whence.methods.products import Rows
from whence.methods.reading import Reading
from whence.methods.requests import Readings, Request
from whence.methods.rows import GradientRows, has_gradient, products
from whence.methods.views import FINAL, MEMBER, View
from whence.settings import AttributionSettings, TrakSettings

if TYPE_CHECKING:
    from jaxtyping import Float

# A text that is certain has no gradient left; float32 does not tell it from probability 1.
LEAST_DOUBT = 1e-6


def _compute(inputs: MethodInputs, own: TrakSettings) -> MethodResult:
    linear, doubts, defined, models = [], [], [], []
    for view in _members(own):
        rows, readings = inputs.result(Rows(view)), inputs.result(Readings(view))
        seen = _doubts(readings.examples)
        linear.append(_member(rows, seen, _doubts(readings.queries), damping=own.damping))
        doubts.append(seen)
        defined.append(has_gradient(rows))
        models.append(rows.settings.get("model"))
    values = np.mean(linear, axis=0) * np.mean(doubts, axis=0)
    values = np.where(np.all(defined, axis=0), values, np.nan)
    told = {
        **inputs.result(Rows(FINAL)).settings,
        "damping": own.damping,
        "num_models": len(models),
    }
    return MethodResult(values, told | ({"model": models} if len(models) > 1 else {}))


def _member(
    rows: GradientRows, doubts: "np.ndarray", asked: "np.ndarray", *, damping: float
) -> "Float[np.ndarray, 'queries examples']":
    """Computes φ_q · (R + δ λ̄)⁻¹ φ_i / s for one model."""
    inverse = damped_power(second_moments(rows, weights=1 / doubts), -1, damping=damping)
    entries = sum(power.matrix.size for power in inverse.values())
    size = sum(float(np.abs(power.matrix).sum()) for power in inverse.values()) / entries
    # Rows hold ∇L = −(1 − p) φ of both sides, so each is divided by its own doubt; the two signs
    # cancel. `size` makes models of different scales count alike in the mean.
    return products(rows, queries=inverse).dots / asked[:, None] / doubts / size


def _doubts(reading: Reading) -> "Float[np.ndarray, ' sequences']":
    return np.maximum(1 - reading.mean_probabilities, LEAST_DOUBT).astype(np.float64)


def _members(own: TrakSettings) -> tuple[View, ...]:
    """The views of the models that are averaged over, the study's own first."""
    return (FINAL, *(View(f"{MEMBER}{n}") for n in range(1, len(own.ensemble) + 1)))


def _needs(settings: AttributionSettings) -> tuple[Request[object], ...]:
    views = _members(settings.trak)
    return (*(Rows(view) for view in views), *(Readings(view) for view in views))


METHODS = (
    Method(
        name="trak",
        compute=_compute,
        needs=_needs,
        settings=TrakSettings,
        family="gradient",
        about="How much the query's log-odds would rise with the example in a linear model of the "
        "network, from projected gradients of one or more models.",
        reads="stored rows of projected gradients and the probabilities of one or several models",
        formula="mean over models of φ_q · (R + δ λ̄)⁻¹ φ_i / s, times the mean of (1 − p_i)",
        returns="Scores without unit; NaN for an example without a gradient. They vary with the "
        "projection's seed.",
        higher_means="the query's log-odds rise by more with the example in a linear model of the "
        "network",
        cost="for each model as influence, and one forward pass over the distinct examples",
        source='Park et al., "TRAK: Attributing Model Behavior at Scale", ICML 2023, without '
        "soft-thresholding, damped, and block-diagonal; the mean probability of a sequence's "
        "tokens is Bergson's choice.",
        avoid="With a single model, which is known to be weak; for memorized texts: p_i near 1 "
        "makes φ_i large, so that such texts are the curvature and are whitened away. It was made "
        "for classifiers, and one mean probability stands here for a whole sequence.",
    ),
)
