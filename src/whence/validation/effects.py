"""Effects of training on planted groups, estimated from a bank, and their null."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence.validation.bank import Bank

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float

CRITICAL_Z = 1.96


@dataclass(frozen=True)
class Effects:
    """Mean log-probability with a group in minus with it out, in nats; positive means it helps.

    Queries by groups. NaN where a group was in, or out, in fewer than two runs.
    """

    effects_nats: "Float[np.ndarray, 'queries groups']"
    standard_errors_nats: "Float[np.ndarray, 'queries groups']"

    @property
    def z(self) -> "Float[np.ndarray, 'queries groups']":
        """Effects in units of their standard error."""
        import numpy as np

        with np.errstate(invalid="ignore", divide="ignore"):
            return self.effects_nats / self.standard_errors_nats


def group_effects(
    included: "Bool[np.ndarray, 'runs groups']",
    log_probs_nats: "Float[np.ndarray, 'runs queries']",
) -> Effects:
    """Estimates the effect of every group on every query from one factorial bank.

    Args:
        included: Which groups counted in which run.
        log_probs_nats: What was measured.

    Returns:
        Differences of two means with Welch's standard error. The other groups, in or out by
        chance, are part of the noise, so that the error is honest and not the smallest possible.

    Source:
        The main effect of a two-level factorial design: Box, Hunter and Hunter, "Statistics for
        Experimenters", 2005, chapter 5; here with fair coins instead of an orthogonal array.
    """
    import numpy as np

    # In minus out: the two sides of every group, for all queries at once.
    means, variances = [], []
    for side in (included, ~included):
        n = side.sum(axis=0).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = log_probs_nats.T @ side / n
            squares = np.stack(
                [((log_probs_nats - mean[:, g]) ** 2).T @ side[:, g] for g in range(side.shape[1])],
                axis=1,
            )
            variance = np.where(n > 1, squares / np.where(n > 1, n - 1, 1) / n, np.nan)
        means.append(mean)
        variances.append(variance)
    errors = np.sqrt(variances[0] + variances[1])
    return Effects(np.where(np.isnan(errors), np.nan, means[0] - means[1]), errors)


def phantom_effects(bank: Bank, *, num: int = 500, seed: int = 0) -> Effects:
    """Estimates the effects of groups that do not exist: the null, by construction.

    Args:
        bank: The bank whose measurements are used.
        num: How many inclusion patterns are drawn, by fair coins that nothing depends on.
        seed: Of the coins.
    """
    import numpy as np

    coins = np.random.default_rng(seed).integers(0, 2, size=(bank.num_runs, num)).astype(bool)
    return group_effects(coins, bank.log_probs_nats)


def significant_share(
    z: "Float[np.ndarray, '...']", where: "Bool[np.ndarray, '...'] | None" = None
) -> float | None:
    """Computes the share of |z| > 1.96; about 0.05 where nothing has an effect.

    Returns:
        In [0, 1]; None where no z is defined.
    """
    import numpy as np

    selected = z if where is None else z[where]
    defined = selected[~np.isnan(selected)]
    return float((np.abs(defined) > CRITICAL_Z).mean()) if len(defined) else None


def off_diagonal(
    bank: Bank, own: Mapping[str, tuple[int, ...] | None]
) -> "Bool[np.ndarray, '...']":
    """Marks the pairs of a query and a group that was not planted for it, queries by groups.

    These need not be null: other facts of a relation teach its form, and decoys take part.
    """
    import numpy as np

    marks = np.ones((len(bank.query_ids), len(bank.groups)), dtype=bool)
    for row, query_id in enumerate(bank.query_ids):
        marks[row, list(own[query_id] or ())] = False
    return marks
