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

from whence.methods.contract import Found, Inputs, Method, Needs
from whence.methods.reading import Reading, read_examples, read_queries
from whence.methods.rows import GradientRows, damped_power, has_gradient, products, second_moments
from whence.methods.views import FINAL, View
from whence.settings import AttributionSettings

if TYPE_CHECKING:
    from jaxtyping import Float

# A text that is certain has no gradient left; float32 does not tell it from probability 1.
LEAST_DOUBT = 1e-6


def _compute(inputs: Inputs) -> Found:
    damping = inputs.settings.trak.damping
    linear, doubts, defined = [], [], []
    for view in _members(inputs.settings):
        rows = inputs.rows[view]
        seen, asked = (_doubts(reading) for reading in _readings(inputs, view))
        linear.append(_member(rows, seen, asked, damping=damping))
        doubts.append(seen)
        defined.append(has_gradient(rows))
    values = np.mean(linear, axis=0) * np.mean(doubts, axis=0)
    values = np.where(np.all(defined, axis=0), values, np.nan)
    models = [inputs.rows[view].settings.get("model") for view in _members(inputs.settings)]
    told = {**inputs.rows[FINAL].settings, "damping": damping, "num_models": len(linear)}
    return Found(values, told | ({"model": models} if len(models) > 1 else {}))


def _member(
    rows: GradientRows, doubts: "np.ndarray", asked: "np.ndarray", *, damping: float
) -> "Float[np.ndarray, 'queries examples']":
    """Takes φ_q · (R + δ λ̄)⁻¹ φ_i / s for one model."""
    inverse = damped_power(second_moments(rows, weights=1 / doubts), -1, damping=damping)
    entries = sum(block.size for block in inverse.values())
    size = sum(float(np.abs(block).sum()) for block in inverse.values()) / entries
    return products(rows, queries=inverse).dots / asked[:, None] / doubts / size


def _readings(inputs: Inputs, view: View) -> tuple[Reading, Reading]:
    """Reads the examples and the queries with a view's model."""
    if view == FINAL:
        return inputs.reading, inputs.query_reading
    assert inputs.open_view is not None, "who stores rows of a view can open its model"
    model = inputs.open_view(view)
    return (
        read_examples(model, inputs.corpus, settings=inputs.settings, progress=inputs.progress),
        read_queries(model, inputs.queries, settings=inputs.settings),
    )


def _doubts(reading: Reading) -> "Float[np.ndarray, ' sequences']":
    return np.maximum(1 - reading.mean_probabilities, LEAST_DOUBT).astype(np.float64)


def _members(settings: AttributionSettings) -> tuple[View, ...]:
    """The views of the models that are averaged over, the study's own first."""
    return (FINAL, *(View(f"member{n}") for n in range(1, len(settings.trak.ensemble) + 1)))


def _needs(settings: AttributionSettings) -> Needs:
    """Stored rows of every model, and the models for their probabilities."""
    return Needs(model=True, rows=_members(settings))


METHODS = (
    Method(
        name="trak",
        compute=_compute,
        needs=_needs,
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
