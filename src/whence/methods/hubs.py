"""Corrections against hubs: scores relative to the same example's scores for other queries.

An example with a large score for every query is tied to none of them in particular. Two
corrections compare its score for a query with its scores for *other* queries, the references: all
other queries of the study, or a named set of behaviors that is used for nothing else. They are
derived methods: `gradient_cosine_centered` and `gradient_cosine_zscored` stand beside
`gradient_cosine`, so that what a correction does is seen before and after.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from whence.errors import SettingsError
from whence.methods.contract import Method, MethodInputs, MethodResult, S

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Correct = Callable[
    ["Float[np.ndarray, 'queries examples']", "Bool[np.ndarray, ' queries']"],
    "Float[np.ndarray, 'queries examples']",
]


def centered(
    values: "Float[np.ndarray, 'queries examples']", is_reference: "Bool[np.ndarray, ' queries']"
) -> "Float[np.ndarray, 'queries examples']":
    """Subtracts from each score the example's mean over the references, s(q, i) − μ_i.

    For inner products this is the product with ∇L_q minus the references' mean gradient.

    Args:
        values: One method's scores.
        is_reference: Which queries are the references; where none is, all queries but the one
            scored are.

    Returns:
        Differences, in the scores' unit; 0 is what the example has for any query. NaN where the
        score or all of the example's reference scores are undefined.
    """
    means, _, counts = _moments(values, is_reference)
    return np.where(counts >= 1, values - means, np.nan)


def zscored(
    values: "Float[np.ndarray, 'queries examples']", is_reference: "Bool[np.ndarray, ' queries']"
) -> "Float[np.ndarray, 'queries examples']":
    """Measures each score in the example's own spread over the references, (s(q, i) − μ_i) / σ_i.

    Args:
        values: One method's scores.
        is_reference: As in `centered`.

    Returns:
        Standard deviations above what the example has for any query, with σ from n − 1. NaN where
        fewer than two of the example's reference scores are defined, or all are equal. With few
        references the spread is uncertain: with 5 by about a third, with 50 by a tenth.
    """
    means, deviations, counts = _moments(values, is_reference)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (values - means) / deviations
    return np.where((counts >= 2) & (deviations > 0), found, np.nan)


CORRECTIONS: dict[str, Correct] = {"centered": centered, "zscored": zscored}
VERSION = 1
_FEWEST = {"centered": 1, "zscored": 2}
_ABOUT = {
    "centered": "Here the example's mean score for other queries is subtracted, so that a "
    "proponent of everything is one of nothing.",
    "zscored": "Here a score is measured against the same example's scores for other queries, in "
    "standard deviations.",
}
_FORMULAS = {"centered": "s(q, i) − μ_i", "zscored": "(s(q, i) − μ_i) / σ_i"}
_RETURNS = {
    "centered": "Differences, in the unit",
    "zscored": "Standard deviations above what the example has for any query, computed",
}


def derive(base: Method[S], correction: str) -> Method[S]:
    """Makes the method that corrects another one's scores."""

    def compute(inputs: MethodInputs, own: S) -> MethodResult:
        queries = inputs.without_nulls.queries
        is_reference = np.array([query.id in inputs.references for query in queries])
        num = int(is_reference.sum()) or len(queries) - 1
        if num < _FEWEST[correction]:
            raise SettingsError(
                f"`{base.name}_{correction}` compares a query with others, and there are {num}.",
                f"Ask about at least {_FEWEST[correction] + 1} behaviors, or name a file of others "
                "in `reference_behaviors`.",
            )
        found = base.compute(inputs, own)
        values = np.asarray(found.values, np.float64)
        if len(values) == len(inputs.queries):
            values = values[[query.id not in inputs.nulls for query in inputs.queries]]
        values = CORRECTIONS[correction](values, is_reference)
        told = {
            "reference": "named behaviors" if is_reference.any() else "the study's other queries",
            "num_references": num,
        }
        return MethodResult(values, {**found.settings, **told})

    return replace(
        base,
        name=f"{base.name}_{correction}",
        # Raised by either, and never the same for two pairs of them.
        version=100 * VERSION + base.version,
        compute=compute,
        about=f"{base.about} {_ABOUT[correction]}",
        formula=f"{_FORMULAS[correction]} of s(q, i) = {base.formula}",
        returns=f"{_RETURNS[correction]} of what {base.name} returns.",
        higher_means=f"in comparison with the same example's scores for other queries, "
        f"{base.higher_means}",
    )


def _moments(
    values: "Float[np.ndarray, 'queries examples']", is_reference: "Bool[np.ndarray, ' queries']"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes each example's mean, deviation and number of reference scores, for each query.

    Returns:
        Three arrays of queries × examples, or 1 × examples where references are named and so are
        the same for every query.
    """
    chosen = values[is_reference] if is_reference.any() else values
    defined = ~np.isnan(chosen)
    counts = defined.sum(axis=0)[None]
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(defined, chosen, 0).sum(axis=0)[None] / counts
        # Deviations from the mean, not E[x²] − E[x]²: of a hub, whose scores are large and alike,
        # the difference of two large squares would be rounding alone.
        squares = np.where(defined, chosen - means, 0)
        sums = np.square(squares).sum(axis=0)[None]
        if not is_reference.any():
            # A query is not its own reference. Leaving score x out of n with mean m and sum of
            # squared deviations S gives m' = m − (x − m) / (n − 1) and S' = S − (x − m)(x − m'),
            # Welford's update run backwards: one pass for all queries instead of one for each.
            without = counts - 1
            rest = means - (values - means) / without
            sums = np.maximum(sums - (values - means) * (values - rest), 0)
            means, counts = rest, np.broadcast_to(without, values.shape)
            # S' is a difference, so that equal scores leave rounding of about 1e-16 m² a score
            # where the spread is zero. 1e-12 m² is above that for thousands of queries; it is a
            # spread of a millionth of the mean, some ten spacings of the float32 scores.
            sums = np.where(sums > 1e-12 * np.square(means), sums, 0)
        deviations = np.sqrt(sums / (counts - 1))
    return means, deviations, counts
