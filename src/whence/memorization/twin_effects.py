"""Effects of exact and of near copies, estimated from twins, with intervals over families."""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Literal, NamedTuple

from whence.memorization.twins import Twins
from whence.statistics import (
    MIN_FAMILIES,
    Estimate,
    mean,
    mean_estimate,
    ratio_estimate,
    spearman,
)

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

# By effect: what each arm is multiplied by. Positive means that the copies help.
CONTRASTS: Mapping[str, Mapping[str, int]] = {
    "removing exact": {"full": 1, "without exact": -1},
    "removing near": {"full": 1, "without near": -1},
    "removing both": {"full": 1, "without both": -1},
    "exact alone": {"without near": 1, "without both": -1},
    "near alone": {"without exact": 1, "without both": -1},
    "exact minus near": {"without near": 1, "without exact": -1},
    "interaction": {"full": 1, "without exact": -1, "without near": -1, "without both": 1},
    "removing others": {"full": 1, "without others": -1},
}


class Effect(NamedTuple):
    """One effect on the targets, over all families and orders.

    Attributes:
        name: As in `CONTRASTS`. `removing exact` is what that costs where near copies are present,
            `exact alone` what exact copies give where near ones are absent. Their difference is the
            `interaction`: negative where each stands in for the other.
        estimate: Mean over families of the mean over orders; positive where the copies help. No
            interval with fewer than six families.
        per_order: The mean over families in each order.
        agreement: The mean rank correlation over families of two orders, in [-1, 1]; None with one
            order, or where an order's effects do not vary.
    """

    name: str
    estimate: Estimate
    per_order: tuple[float, ...]
    agreement: float | None


class TwinEffects(NamedTuple):
    """What twins say.

    Attributes:
        effects: One per contrast whose arms were run.
        near_in_exact: How many exact copies one near copy is worth, each class without the other:
            effect per near copy over effect per exact copy, with Fieller's interval over families.
        exact_share: The exact copies' part of what both classes give: the mean of their effect with
            and without near copies, over that of removing both, likewise.
    """

    effects: tuple[Effect, ...]
    near_in_exact: Estimate
    exact_share: Estimate

    def named(self, name: str) -> Effect:
        """Finds an effect by its name."""
        return next(effect for effect in self.effects if effect.name == name)


def twin_effects(
    twins: Twins, *, outcome: Literal["log_probs_nats", "matches"] = "log_probs_nats"
) -> TwinEffects:
    """Estimates all effects.

    Args:
        twins: What was measured.
        outcome: Log-probability per continuation token, in nats, or the share of matching tokens.

    Returns:
        Effects in the unit of the outcome.

    Source:
        The 2 × 2 factorial design: Box, Hunter and Hunter, "Statistics for Experimenters", 2005,
        chapter 5; in Latin squares over families, which are the units. The share of a class is its
        Shapley value: Shapley, "A Value for n-Person Games", 1953.
    """
    values = {
        name: _contrast(twins, getattr(twins, outcome), weights)
        for name, weights in CONTRASTS.items()
        if set(weights) <= set(twins.arms)
    }
    exact, near = (
        (values[f"{name} alone"].mean(axis=0) / twins.counts[:, column]).tolist()
        for column, name in enumerate(("exact", "near"))
    )
    shapley = (values["removing exact"] + values["exact alone"]).mean(axis=0) / 2
    both = values["removing both"].mean(axis=0)
    return TwinEffects(
        tuple(
            Effect(
                name,
                _claimed(mean_estimate(of.mean(axis=0).tolist())),
                tuple(of.mean(axis=1).tolist()),
                _agreement(of),
            )
            for name, of in values.items()
        ),
        _claimed(ratio_estimate(near, exact)),
        _claimed(ratio_estimate(shapley.tolist(), both.tolist())),
    )


def family_effects(
    twins: Twins, name: str, *, outcome: Literal["log_probs_nats", "matches"] = "log_probs_nats"
) -> "Float[np.ndarray, 'orders families']":
    """Computes one effect for every order and family; see `CONTRASTS`."""
    return _contrast(twins, getattr(twins, outcome), CONTRASTS[name])


def _contrast(
    twins: Twins,
    values: "Float[np.ndarray, 'orders families arms']",
    weights: Mapping[str, int],
) -> "Float[np.ndarray, 'orders families']":
    return sum(
        (weight * values[:, :, twins.arms.index(arm)] for arm, weight in weights.items()),
        start=0 * values[:, :, 0],
    )


def _claimed(estimate: Estimate) -> Estimate:
    """Leaves out the interval where there are too few families to claim anything."""
    return estimate if estimate.n >= MIN_FAMILIES else estimate._replace(interval=None)


def _agreement(values: "Float[np.ndarray, 'orders families']") -> float | None:
    found = [spearman(a, b) for a, b in combinations(values.tolist(), 2)]
    return None if any(map(math.isnan, found)) else mean(found)
