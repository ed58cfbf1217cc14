"""Which examples would change the query's log-odds in a linear model of the network?"""

import numpy as np

from whence.methods.contract import INFLUENCE, Found, Inputs, Method, Needs
from whence.methods.rows import damped_power, has_gradient, products, second_moments
from whence.methods.views import FINAL
from whence.settings import AttributionSettings

# A text that is certain has no gradient left; float32 does not tell it from probability 1.
LEAST_DOUBT = 1e-6


def compute(inputs: Inputs) -> Found:
    """Takes TRAK's score with one model, φ_q · (R + δ λ̄)⁻¹ φ_i · (1 − p_i) on stored rows.

    TRAK's output is the log-odds f = log(p / (1 − p)) of the right answer, whose gradient is
    φ = −∇L / (1 − p). R = (1/N) Σ φ_i φ_iᵀ, block by block. For a sequence L is the summed loss
    and p the mean probability of its predicted tokens.

    Returns:
        Scores without unit; positive for proponents, negative for opponents. NaN for an example
        without a gradient.

    Use it to compare with published TRAK scores. TRAK averages over many models trained
    independently, and a single one is known to be weak; it was made for classifiers, and one mean
    probability stands here for a whole sequence. It does not find what is known by heart: p_i near
    1 makes φ_i large, so that such texts are the curvature and are whitened away. Scores vary with
    the projection's seed.

    Cost: as `influence`, and one forward pass over the distinct examples.

    Source: Park et al., "TRAK: Attributing Model Behavior at Scale", ICML 2023, with M = 1, without
        soft-thresholding, damped, and block-diagonal; the mean probability is Bergson's choice. The
        original divides by the mean entry of R⁻¹, which changes no order.
    """
    rows = inputs.rows[FINAL]
    damping = inputs.settings.damping
    doubts = np.maximum(1 - inputs.reading.mean_probabilities, LEAST_DOUBT).astype(np.float64)
    asked = np.maximum(1 - inputs.query_reading.mean_probabilities, LEAST_DOUBT).astype(np.float64)
    inverse = damped_power(second_moments(rows, weights=1 / doubts), -1, damping=damping)
    dots = products(rows, queries=inverse).dots / asked[:, None]
    values = np.where(has_gradient(rows), dots, np.nan)
    return Found(values, {**rows.settings, "damping": damping, "num_models": 1})


def needs(settings: AttributionSettings) -> Needs:
    """Stored rows, and the model for its probabilities."""
    return Needs(model=True, rows=(FINAL,))


METHOD = Method("trak", compute, INFLUENCE, needs=needs)
