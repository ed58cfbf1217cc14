"""The linear datamodeling score: do scores predict what retraining without groups does?

The linear datamodeling score of a query is Spearman's correlation, over the bank's masks, of

    predicted(mask) = sum of the scores of the examples that count in the mask

with the measured log-probability of the completion. Both are higher where the mask is kinder to the
query. A group is whatever is in or out as a whole; in a bank of documents, one document.

More examples are better for most queries, so that scores of one sign would predict something
whatever they are: what the number of kept examples and of their tokens explains is subtracted from
both sides. A method may also reach a high score by finding the query's own copies alone, so a
second figure takes the query's own groups out: they are left out of the sum, and what their
inclusion explains is subtracted from both sides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from whence.errors import SettingsError
from whence.records import Scores
from whence.statistics import (
    Estimate,
    Spread,
    TwoWay,
    residuals,
    two_way_estimate,
    two_way_spearman,
    two_way_spread,
)
from whence.validation.bank import Bank

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float


# Own groups are regressed out one by one only while they are few: each costs a dimension.
_MOST_OWN = 0.25
NUM_RANDOM_DRAWS = 50
NUM_DEALS = 199


class Deal(NamedTuple):
    """What predictions are made from, to make them again with the same scores on other groups.

    `own` and `regressors` have one entry for each query: the columns whose scores are left out, and
    what is regressed out of the predictions.
    """

    included: "Bool[np.ndarray, 'runs groups']"
    sums: "Float[np.ndarray, 'queries groups']"
    own: tuple[tuple[int, ...], ...]
    regressors: "tuple[Float[np.ndarray, 'runs regressors'], ...]"


@dataclass(frozen=True)
class Predicted:
    """Predictions of one method beside the measurements, queries by runs.

    `own_removed` says that the queries' own groups were taken out of both; `num_regressors` counts
    for each query what was. `further` are predictions of other draws of a method of chance, whose
    correlations are averaged.
    """

    method: str
    query_ids: tuple[str, ...]
    predicted: "Float[np.ndarray, 'queries runs']"
    measured: "Float[np.ndarray, 'queries runs']"
    own_removed: bool
    num_regressors: tuple[int, ...]
    deal: Deal | None = None
    further: "tuple[Float[np.ndarray, 'queries runs'], ...]" = ()

    @cached_property
    def correlations(self) -> TwoWay:
        """Those of every query, and what each run adds to them."""
        import numpy as np

        draws = [
            two_way_spearman(one, self.measured, num_regressors=self.num_regressors)
            for one in (self.predicted, *self.further)
        ]
        if len(draws) == 1:
            return draws[0]
        return TwoWay(
            np.mean([one.per_query for one in draws], axis=0),
            np.mean([one.pseudo for one in draws], axis=0),
        )

    def rows(self, query_ids: Sequence[str] | None) -> list[int]:
        """The rows of those of some queries that are there; of all by default."""
        selected = set(self.query_ids if query_ids is None else query_ids)
        return [row for row, query_id in enumerate(self.query_ids) if query_id in selected]

    def families(self, rows: Sequence[int], known: Mapping[str, str] | None) -> list[str] | None:
        """The families of some rows' queries; None where none are known."""
        return None if known is None else [known[self.query_ids[row]] for row in rows]


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
    own: Mapping[str, tuple[int, ...] | None],
    own_removed: bool,
) -> Predicted:
    """Sums the scores of the examples that count, for every run of a bank.

    Args:
        scores: One method's scores; undefined ones add nothing.
        bank: What was retrained.
        own: From query id to the columns of its own groups; None for a query whose own is unknown.
        own_removed: Take the own groups out. Queries whose own is unknown are then left out.

    Returns:
        Predictions and measurements of the queries that scores and bank share, without what the
        number of kept examples and tokens explains.

    Raises:
        SettingsError: The scores are of another corpus, or of no query of the bank.
    """
    if not set(scores.query_ids) & set(bank.query_ids):
        raise SettingsError(
            f"The scores of {scores.method} are of none of the bank's {len(bank.query_ids)} "
            "queries.",
            f"Validate a run whose behaviors are those of `testbed:{bank.size}`.",
        )
    return _predict(
        scores.method,
        dict(zip(scores.query_ids, _group_sums(scores, bank), strict=True)),
        bank,
        own=own,
        own_removed=own_removed,
    )


def predict_at_random(
    query_ids: Sequence[str],
    bank: Bank,
    *,
    own: Mapping[str, tuple[int, ...] | None],
    own_removed: bool,
    num_draws: int = NUM_RANDOM_DRAWS,
) -> Predicted:
    """Predicts by scores that know nothing: the mean of many draws, new ones in each world.

    Args:
        query_ids: Whose scores are drawn, from a normal distribution for each example.
        bank: What was retrained; its testbed's name, which names the world, seeds the draws.
        own: See `predict`.
        own_removed: See `predict`.
        num_draws: How many.
    """
    import numpy as np

    rng = np.random.default_rng(list(f"{bank.size} random".encode()))
    # The sum of so many draws of one example each.
    spread = np.sqrt([len(ids) for ids in bank.groups.values()])
    draws = [
        _predict(
            "random",
            {q: spread * rng.normal(size=len(bank.groups)) for q in query_ids},
            bank,
            own=own,
            own_removed=own_removed,
        )
        for _ in range(num_draws)
    ]
    return replace(draws[0], further=tuple(one.predicted for one in draws[1:]))


def predict_additively(
    query_ids: Sequence[str],
    bank: Bank,
    *,
    own: Mapping[str, tuple[int, ...] | None],
    own_removed: bool,
) -> Predicted:
    """Predicts each half of the masks by a linear model of the other half's outcomes.

    It is what the best additive scores would reach at least: one number per group, chosen with the
    outcomes of half of the masks in hand.

    Args:
        query_ids: Which queries.
        bank: What was retrained.
        own: See `predict`.
        own_removed: See `predict`; the own groups are no inputs of the model then.

    Returns:
        Predictions, centered in each half, which the fit of the other one does not know.

    Source:
        Ilyas et al., "Datamodels: Predicting Predictions from Training Data", ICML 2022; here ridge
        regression, its strength chosen for each query by leaving out one mask at a time.
    """
    import numpy as np

    nothing = {q: np.zeros(len(bank.groups)) for q in query_ids}
    base = _predict("additive ceiling", nothing, bank, own=own, own_removed=own_removed)
    halves = np.array_split(np.arange(bank.num_runs), 2)
    predicted = np.zeros_like(base.measured)
    measured = base.measured.copy()
    for row, query_id in enumerate(base.query_ids):
        columns = np.ones(len(bank.groups), dtype=bool)
        columns[list(own[query_id] or ()) if own_removed else []] = False
        inputs = bank.included[:, columns].astype(np.float64)
        for fitted, held in (halves, halves[::-1]):
            found = _ridge(inputs[fitted], base.measured[row, fitted], inputs[held])
            predicted[row, held] = found - found.mean()
            measured[row, held] -= measured[row, held].mean()
    return replace(base, predicted=predicted, measured=measured)


def _predict(
    method: str,
    sums: "Mapping[str, Float[np.ndarray, ' groups']]",
    bank: Bank,
    *,
    own: Mapping[str, tuple[int, ...] | None],
    own_removed: bool,
) -> Predicted:
    import numpy as np

    query_ids = tuple(
        q for q in bank.query_ids if q in sums and (own[q] is not None or not own_removed)
    )
    predicted = np.empty((len(query_ids), bank.num_runs))
    measured = np.empty_like(predicted)
    weighted, own_columns, regressors = [], [], []
    for row, query_id in enumerate(query_ids):
        columns = tuple(own[query_id] or ()) if own_removed else ()
        weights = sums[query_id].copy()
        weights[list(columns)] = 0.0
        # Which own groups were in explains most of the outcome. Both sides lose that part, so that
        # what is correlated is knowledge about everything else.
        explained = np.column_stack([bank.included @ bank.counts, _own_regressors(bank, columns)])
        predicted[row] = residuals(bank.included @ weights, explained)
        measured[row] = residuals(bank.log_probs_nats[:, bank.query_ids.index(query_id)], explained)
        weighted.append(weights)
        own_columns.append(columns)
        regressors.append(explained)
    return Predicted(
        method,
        query_ids,
        predicted,
        measured,
        own_removed,
        tuple(one.shape[1] for one in regressors),
        Deal(
            bank.included,
            np.array(weighted).reshape(len(query_ids), len(bank.groups)),
            tuple(own_columns),
            tuple(regressors),
        ),
    )


def _own_regressors(bank: Bank, columns: Sequence[int]) -> "Float[np.ndarray, 'runs own']":
    """Which own groups were in; their counts, where they are too many to be taken out singly."""
    import numpy as np

    included = bank.included[:, list(columns)].astype(np.float64)
    is_few = len(columns) <= _MOST_OWN * bank.num_runs
    return included if is_few else included @ bank.counts[list(columns)]


def _ridge(
    inputs: "Float[np.ndarray, 'fitted groups']",
    outcomes: "Float[np.ndarray, ' fitted']",
    others: "Float[np.ndarray, 'held groups']",
) -> "Float[np.ndarray, ' held']":
    """Fits a ridge regression, whose strength leaves the smallest leave-one-out error."""
    import numpy as np

    center, mean = inputs.mean(axis=0), outcomes.mean()
    left, singular, right = np.linalg.svd(inputs - center, full_matrices=False)
    along = left.T @ (outcomes - mean)
    best, least = along * 0, np.inf
    for strength in (singular**2).mean() * np.logspace(-3, 3, 13):
        shrunk = singular**2 / (singular**2 + strength)
        # The error without a mask is the residual over one minus the mask's leverage.
        leverage = (left**2) @ shrunk + 1 / len(outcomes)
        errors = (outcomes - mean - left @ (shrunk * along)) / (1 - leverage)
        if float(errors @ errors) < least:
            least = float(errors @ errors)
            best = along * singular / (singular**2 + strength)
    return (others - center) @ (right.T @ best) + mean


def lds(
    predicted: Predicted,
    query_ids: Sequence[str] | None = None,
    *,
    families: Mapping[str, str] | None = None,
) -> Estimate:
    """Computes the mean linear datamodeling score of some queries.

    Args:
        predicted: Predictions and measurements.
        query_ids: Which queries; all by default.
        families: From query id to its family; by default each query is its own.

    Returns:
        The mean over queries of Spearman's correlation over masks, in [-1, 1], with a 95 % interval
        over families of queries and masks together. Queries whose predictions do not vary have
        none.

    Source:
        Park et al., "TRAK: Attributing Model Behavior at Scale", ICML 2023, section 4; here with
        groups in or out instead of single examples, and with an interval over both.
    """
    rows = predicted.rows(query_ids)
    if not rows:
        return Estimate(None, None, 0)
    known = predicted.families(rows, families)
    return two_way_estimate(predicted.correlations, rows=rows, families=known)


def lds_difference(
    predicted: Predicted,
    reference: Predicted,
    query_ids: Sequence[str] | None = None,
    *,
    families: Mapping[str, str] | None = None,
) -> Spread:
    """Computes by how much one method's mean score is larger than another's, paired.

    Returns:
        The mean over queries that have both, with its error over families and masks.
    """
    rows = predicted.rows(query_ids)
    if not rows or reference.query_ids != predicted.query_ids:
        return Spread(None, float("nan"), 0.0, 0, 0)
    known = predicted.families(rows, families)
    return two_way_spread(predicted.correlations, reference.correlations, rows=rows, families=known)


def no_skill_p_values(
    predicted: Predicted,
    query_ids: Sequence[Sequence[str]],
    *,
    num_deals: int = NUM_DEALS,
    seed: int = 0,
) -> list[float | None]:
    """Computes how probable mean scores at least as far from zero are for a method without skill.

    The sums of scores are dealt to other groups, the same for all queries, so that masks, outcomes
    and what queries share stay as they are. Dealing outcomes to other masks instead rejects too
    often: predictions and outcomes are both sums over the same groups, and lie in fewer dimensions
    than there are masks. Of 200 draws of random scores on nano's banks it called up to 26 % skilled
    at a level of 5 %; this one 0 to 8 % of 60, and 15 % by the plain score over groups, whose sizes
    differ, so that they are not quite exchangeable.

    Args:
        predicted: Predictions and measurements.
        query_ids: Of each mean.
        num_deals: How often sums are dealt.
        seed: Of the deals.

    Returns:
        For each mean (1 + deals at least as far from zero) / (1 + deals), two-sided; None without a
        correlation, and for the mean of many draws.
    """
    import numpy as np

    deal, rng = predicted.deal, np.random.default_rng(seed)
    if deal is None or predicted.further or not len(predicted.query_ids):
        return [None] * len(query_ids)
    outcomes = _ranked(predicted.measured)
    found = (_ranked(predicted.predicted) * outcomes).sum(axis=1)
    bases = [np.linalg.qr(np.column_stack([np.ones(len(x)), x]))[0] for x in deal.regressors]
    dealt = np.empty((num_deals, len(found)))
    for number in range(num_deals):
        sums = deal.sums[:, rng.permutation(deal.sums.shape[1])]
        for row, columns in enumerate(deal.own):
            sums[row, list(columns)] = 0.0
        values = deal.included @ sums.T
        left = [v - basis @ (basis.T @ v) for v, basis in zip(values.T, bases, strict=True)]
        dealt[number] = (_ranked(np.array(left)) * outcomes).sum(axis=1)
    p_values: list[float | None] = []
    for some in query_ids:
        rows = [row for row in predicted.rows(some) if not np.isnan(found[row])]
        if not rows:
            p_values.append(None)
            continue
        extreme = np.abs(np.nan_to_num(dealt[:, rows]).mean(axis=1)) >= abs(found[rows].mean())
        p_values.append((1 + int(extreme.sum())) / (1 + num_deals))
    return p_values


def _ranked(values: "Float[np.ndarray, 'queries runs']") -> "Float[np.ndarray, 'queries runs']":
    """Ranks each row, centered and of length one; NaN where a row does not vary."""
    import numpy as np
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=1) - (values.shape[1] + 1) / 2
    norms = np.sqrt((ranks**2).sum(axis=1, keepdims=True))
    return np.divide(ranks, norms, out=np.full_like(ranks, np.nan), where=norms > 0)


def noise_ceiling(
    bank: Bank,
    *,
    own: Mapping[str, tuple[int, ...] | None],
    query_ids: Sequence[str] | None = None,
    families: Mapping[str, str] | None = None,
) -> Ceiling:
    """Correlates the outcomes of two seeds on the same masks.

    Args:
        bank: What was retrained.
        own: From query id to the columns of its own groups; None where that is unknown.
        query_ids: Which queries; all of the bank by default.
        families: From query id to its family; by default each query is its own.

    Returns:
        Mean correlations over queries; undefined with fewer than three masks of the second seed,
        because two always correlate fully.
    """
    n = len(bank.second_log_probs_nats)
    selected = set(bank.query_ids if query_ids is None else query_ids)
    if n < 3:
        return Ceiling(Estimate(None, None, 0), Estimate(None, None, 0))
    twice = replace(bank, included=bank.included[:n], log_probs_nats=bank.log_probs_nats[:n])
    second = replace(twice, log_probs_nats=bank.second_log_probs_nats)
    nothing = {q: bank.included.sum(axis=0) * 0.0 for q in bank.query_ids if q in selected}
    figures = []
    for own_removed in (False, True):
        first, other = (
            _predict("seed", nothing, one, own=own, own_removed=own_removed)
            for one in (twice, second)
        )
        figures.append(lds(replace(first, predicted=other.measured), families=families))
    return Ceiling(*figures)


def _group_sums(scores: Scores, bank: Bank) -> "Float[np.ndarray, 'queries groups']":
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
    values = np.nan_to_num(values, nan=0.0)
    sums = [values[:, [rows[i] for i in sorted(ids)]].sum(axis=1) for ids in bank.groups.values()]
    return np.stack(sums, axis=1)
