"""What removing a cluster of copies does, beside the sum of its members' scores.

Sums of scores are no group effects: copies of one text stand in for each other, so that one of them
may be dispensable and all of them together not. A bank of retrainings measures the whole: with x
the share of a cluster's members that counted in a retraining, and y the log-probability of a
query's completion after it, the effect is the slope of y on x by least squares over retrainings,

    effect = Σ (x - x̄)(y - ȳ) / Σ (x - x̄)²,

in nats from none of the cluster to all of it. Of a cluster that is one unit of the bank, it is the
mean difference with and without. Everything else that was in or out by chance is part of the noise.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

from whence.evidence.listing import entries, proponent_rows
from whence.records import Scores
from whence.statistics import CONFIDENCE, Estimate, Interval
from whence.validation.bank import Bank
from whence.validation.record import ClusterEffect
from whence.validation.subject import Subject

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

# Of each behavior, the clusters among so many first ones of the method that leads.
NUM_FIRST = 5
_FEWEST_RUNS = 8


def cluster_effects(subject: Subject, bank: Bank) -> tuple[ClusterEffect, ...]:
    """Measures the clusters of copies among each behavior's first ones.

    Args:
        subject: The run's scores, and the cluster of each of its examples.
        bank: Retrainings without parts of its corpus.

    Returns:
        One per query of the bank and cluster of at least two members, some of which the bank
        varied; by the first method on gradients. Empty without known clusters.
    """
    import numpy as np

    leading = next((one for one in subject.scores if one.family == "gradient"), None)
    if leading is None or not len(subject.clusters) or bank.num_runs < _FEWEST_RUNS:
        return ()
    members: dict[Hashable, list[int]] = {}
    for row, cluster in enumerate(subject.clusters):
        members.setdefault(cluster, []).append(row)
    unit_of = {i: g for g, ids in enumerate(bank.groups.values()) for i in ids}
    ids = subject.corpus.ids
    found: list[ClusterEffect] = []
    rows = np.array(subject.corpus.rows(leading.example_ids), dtype=np.int64)
    for place, query_id in enumerate(bank.query_ids):
        if query_id not in leading.query_ids:
            continue
        listed = proponent_rows(leading, leading.query_ids.index(query_id), rows, k=NUM_FIRST)
        for entry in entries(listed, subject.clusters, k=NUM_FIRST):
            names = [ids[row] for row in members[subject.clusters[entry.row]]]
            units = [unit_of[name] for name in names if name in unit_of]
            if len(names) < 2 or not units:
                continue
            # A member that the bank never leaves out counts in every retraining.
            share = (bank.included[:, units].sum(axis=1) + len(names) - len(units)) / len(names)
            effects = slopes(share, bank.log_probs_nats)
            if effects[place].value is None:
                continue
            others = [one for n, one in enumerate(effects) if n != place and one.interval]
            found.append(
                ClusterEffect(
                    behavior_id=query_id,
                    example_id=ids[entry.row],
                    num_members=len(names),
                    num_varied=len(units),
                    effect=effects[place],
                    num_others=len(others),
                    num_others_shown=sum(_is_shown(one) for one in others),
                    sums={one.method: _sum(one, query_id, names) for one in subject.scores},
                )
            )
    return tuple(found)


def _is_shown(one: Estimate) -> bool:
    """Whether an interval leaves out 0."""
    return one.interval is not None and not one.interval.low <= 0 <= one.interval.high


def slopes(
    share: "Float[np.ndarray, ' runs']", log_probs_nats: "Float[np.ndarray, 'runs queries']"
) -> list[Estimate]:
    """Fits a line for each query.

    Args:
        share: Of the cluster's members that counted in each retraining, in [0, 1].
        log_probs_nats: Of each query's completion after it.

    Returns:
        Slopes in nats with their 95 % interval of Student's t; undefined where the share is the
        same in every retraining.
    """
    import numpy as np
    from scipy.stats import t as student

    num = len(share)
    x = share - share.mean()
    spread = float(x @ x)
    if spread <= 0 or num < _FEWEST_RUNS:
        return [Estimate(None, None, num)] * log_probs_nats.shape[1]
    y = log_probs_nats - log_probs_nats.mean(axis=0)
    slope = x @ y / spread
    errors = np.sqrt(((y - x[:, None] * slope) ** 2).sum(axis=0) / (num - 2) / spread)
    half = student.ppf(0.5 + CONFIDENCE / 2, num - 2) * errors
    return [
        Estimate(float(value), Interval(float(value - h), float(value + h), num), num)
        for value, h in zip(slope, half, strict=True)
    ]


def _sum(scores: Scores, query_id: str, names: Sequence[str]) -> float | None:
    """The sum of a cluster's scores by one method; None where none of them is defined."""
    import numpy as np

    if query_id not in scores.query_ids:
        return None
    place_of: Mapping[str, int] = {name: n for n, name in enumerate(scores.example_ids)}
    values = scores.values[scores.query_ids.index(query_id)]
    known = values[[place_of[name] for name in names if name in place_of]].astype(np.float64)
    known = known[np.isfinite(known)]
    return float(known.sum()) if len(known) else None


def cluster_sentence(one: ClusterEffect) -> str:
    """Puts a cluster's effect in words, beside its control."""
    low, high, _ = one.effect.interval or (None, None, 0)
    ends = "" if low is None or high is None else f" [{low:+.2f}, {high:+.2f}]"
    varied = "" if one.num_varied == one.num_members else f", {one.num_varied} of them varied"
    return (
        f"{one.example_id} and its copies ({one.num_members}{varied}): from none to all of them "
        f"{one.effect.value:+.2f}{ends} nats over {one.effect.n} retrainings; for "
        f"{one.num_others_shown} of {one.num_others} other behaviors the interval leaves out 0."
    )
