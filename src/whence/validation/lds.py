"""The linear datamodeling score: do scores predict what retraining without groups does?

The linear datamodeling score of a query is Spearman's correlation, over the bank's masks, of

    predicted(mask) = sum of the scores of the examples that count in the mask

with the measured log-probability of the completion. Both are higher where the mask is kinder to the
query. A method may reach a high score by finding the query's own copies alone, so a second figure
takes the query's own groups out: they are left out of the sum, and what their inclusion explains is
subtracted from both sides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from whence.errors import SettingsError
from whence.records import Scores
from whence.statistics import (
    Estimate,
    TwoWay,
    residuals,
    two_way_estimate,
    two_way_spearman,
)
from whence.validation.bank import Bank

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float


@dataclass(frozen=True)
class Predicted:
    """Predictions of one method beside the measurements, queries by runs.

    `own_removed` says that the queries' own groups were taken out of both.
    """

    method: str
    query_ids: tuple[str, ...]
    predicted: "Float[np.ndarray, 'queries runs']"
    measured: "Float[np.ndarray, 'queries runs']"
    own_removed: bool

    @cached_property
    def correlations(self) -> TwoWay:
        """Those of every query, with their resamples."""
        return two_way_spearman(self.predicted, self.measured)

    def rows(self, query_ids: Sequence[str] | None) -> list[int]:
        """The rows of those of some queries that are there; of all by default."""
        selected = set(self.query_ids if query_ids is None else query_ids)
        return [row for row, query_id in enumerate(self.query_ids) if query_id in selected]


class Ceiling(NamedTuple):
    """How well the first seed's outcomes predict the second's, for the same masks.

    No method that knows only the masks can be expected to reach more than the square root of
    `reliability` against one seed's outcomes; one that knows the seed's own noise may.
    """

    reliability: Estimate
    reliability_own_removed: Estimate


def predict(
    scores: Scores,
    bank: Bank,
    *,
    own: Mapping[str, tuple[int, ...]],
    own_removed: bool,
    centered: bool = False,
) -> Predicted:
    """Sums the scores of the examples that count, for every run of a bank.

    Args:
        scores: One method's scores; undefined ones add nothing.
        bank: What was retrained.
        own: From query id to the columns of its own groups.
        own_removed: Take the own groups out. Queries that have none are then left out, because
            nothing would be removed.
        centered: Subtract each query's mean score first. For controls: groups differ in size, so
            that scores of one sign predict that more examples are better, whatever they are.

    Returns:
        Predictions and measurements of the queries that scores and bank share.

    Raises:
        SettingsError: The scores are of another corpus, or of no query of the bank.
    """
    import numpy as np

    known = set(scores.query_ids)
    query_ids = tuple(q for q in bank.query_ids if q in known and (own[q] or not own_removed))
    sums = _group_sums(scores, bank, centered=centered)
    if not known & set(bank.query_ids):
        raise SettingsError(
            f"The scores of {scores.method} are of none of the bank's {len(bank.query_ids)} "
            "queries.",
            f"Validate a run whose behaviors are those of `testbed:{bank.size}`.",
        )
    predicted = np.empty((len(query_ids), bank.num_runs))
    measured = np.empty_like(predicted)
    for row, query_id in enumerate(query_ids):
        column = bank.query_ids.index(query_id)
        weights = sums[scores.query_ids.index(query_id)].copy()
        weights[list(own[query_id]) if own_removed else []] = 0.0
        predicted[row] = bank.included @ weights
        measured[row] = bank.log_probs_nats[:, column]
        # Which own groups were in explains most of the outcome. Both sides lose that part, so that
        # what is correlated is knowledge about everything else.
        if own_removed:
            explained = bank.included[:, list(own[query_id])].astype(np.float64)
            predicted[row] = residuals(predicted[row], explained)
            measured[row] = residuals(measured[row], explained)
    return Predicted(scores.method, query_ids, predicted, measured, own_removed)


def lds(predicted: Predicted, query_ids: Sequence[str] | None = None) -> Estimate:
    """Computes the mean linear datamodeling score of some queries.

    Args:
        predicted: Predictions and measurements.
        query_ids: Which queries; all by default.

    Returns:
        The mean over queries of Spearman's correlation over masks, in [-1, 1], with a 95 % interval
        from resampling queries and masks together. Queries whose predictions do not vary have none.

    Source:
        Park et al., "TRAK: Attributing Model Behavior at Scale", ICML 2023, section 4; here with
        groups in or out instead of single examples, and with an interval over both.
    """
    rows = predicted.rows(query_ids)
    if not rows:
        return Estimate(None, None, 0)
    return two_way_estimate(predicted.correlations, rows=rows)


def lds_difference(
    predicted: Predicted, reference: Predicted, query_ids: Sequence[str] | None = None
) -> Estimate:
    """Computes by how much one method's mean score is larger than another's, paired.

    Returns:
        The mean over queries that have both, with an interval from the same resamples.
    """
    rows = predicted.rows(query_ids)
    if not rows or reference.query_ids != predicted.query_ids:
        return Estimate(None, None, 0)
    return two_way_estimate(predicted.correlations, reference.correlations, rows=rows)


def noise_ceiling(
    bank: Bank,
    *,
    own: Mapping[str, tuple[int, ...]],
    query_ids: Sequence[str] | None = None,
) -> Ceiling:
    """Correlates the outcomes of two seeds on the same masks.

    Args:
        bank: What was retrained.
        own: From query id to the columns of its own groups.
        query_ids: Which queries; all of the bank by default.

    Returns:
        Mean correlations over queries; undefined with fewer than three masks of the second seed,
        because two always correlate fully.
    """
    import numpy as np

    undefined = Estimate(None, None, 0)
    n = len(bank.second_log_probs_nats)
    selected = set(bank.query_ids if query_ids is None else query_ids)
    rows = [row for row, query_id in enumerate(bank.query_ids) if query_id in selected]
    if n < 3 or not rows:
        return Ceiling(undefined, undefined)
    first, second = bank.log_probs_nats[:n].T, bank.second_log_probs_nats.T
    plain = two_way_estimate(two_way_spearman(first[rows], second[rows]))
    with_own = [row for row in rows if own[bank.query_ids[row]]]
    if not with_own:
        return Ceiling(plain, undefined)
    explained = [
        bank.included[:n, list(own[bank.query_ids[row]])].astype(np.float64) for row in with_own
    ]
    left, right = (
        np.stack([residuals(side[row], x) for row, x in zip(with_own, explained, strict=True)])
        for side in (first, second)
    )
    return Ceiling(plain, two_way_estimate(two_way_spearman(left, right)))


def _group_sums(
    scores: Scores, bank: Bank, *, centered: bool
) -> "Float[np.ndarray, 'queries groups']":
    import numpy as np

    rows = {example_id: row for row, example_id in enumerate(scores.example_ids)}
    missing = sorted(i for ids in bank.groups.values() for i in ids if i not in rows)
    if missing:
        raise SettingsError(
            f"The scores of {scores.method} lack the example `{missing[0]}` that the bank left "
            "out of some runs.",
            f"Validate a run whose corpus is `testbed:{bank.size}`.",
        )
    values = np.asarray(scores.values, dtype=np.float64)
    if centered:
        values = values - np.nanmean(values, axis=1, keepdims=True)
    values = np.nan_to_num(values, nan=0.0)
    sums = [values[:, [rows[i] for i in sorted(ids)]].sum(axis=1) for ids in bank.groups.values()]
    return np.stack(sums, axis=1)
