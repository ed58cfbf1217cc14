"""The measures of a run's methods by planted truth, by retraining and by removal.

Each function gives measures for the leaderboard; one that does not apply to a run is undefined,
with its reason.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from whence.errors import ArtifactError
from whence.testbed import RetrainingSettings
from whence.validation.bank import Bank, BankSettings, load_bank, own_groups
from whence.validation.effects import (
    Effects,
    group_effects,
    off_diagonal,
    phantom_effects,
    significant_share,
)
from whence.validation.lds import noise_ceiling, predict
from whence.validation.leaderboard import RANDOM_METHOD, Correlated, PerQuery
from whence.validation.record import BankSummary, MethodRemovals, OwnEffect, RemovalSummary
from whence.validation.removal import NUM_RANDOM, QUERIES, loss_differences, plan_named_removals
from whence.validation.retraining import read_outcomes
from whence.validation.retrieval import Retrieval, retrieval
from whence.validation.subject import Subject

_NO_TESTBED = "the run's behaviors are not a testbed's, so that no truth is on file."
_NO_BANK = "no bank of retrainings was given with `--bank`."


class _Planted(NamedTuple):
    """One measure by planted truth; `value` is None for a query to which it does not apply."""

    name: str
    unit: str
    control_name: str
    value: Callable[[Retrieval], float | None]


_PLANTED = (
    _Planted("planted AP", "average precision", "a random order", lambda r: r.average_precision),
    _Planted("planted MRR", "reciprocal rank", RANDOM_METHOD, lambda r: r.reciprocal_rank),
    _Planted("planted recall@10", "share of all gold", RANDOM_METHOD, lambda r: r.recall),
    _Planted("gold above decoys", "probability", "chance", lambda r: r.over_decoys),
    _Planted("gold above inert", "probability", "chance", lambda r: r.over_inert),
    _Planted(
        "inert above the rest",
        "probability, larger is worse",
        "chance",
        lambda r: r.inert_above_rest,
    ),
)


def planted_measures(subject: Subject) -> list[PerQuery]:
    """Measures how well methods retrieve planted examples, and rank them above decoys."""
    if subject.truth is None:
        return [
            PerQuery(one.name, one.unit, one.control_name, undefined=_NO_TESTBED)
            for one in _PLANTED
        ]
    retrievals = {
        scores.method: retrieval(
            scores, subject.truth.gold, decoys=subject.truth.decoys, inert=subject.truth.inert
        )
        for scores in subject.scores
    }
    return [_planted_measure(one, retrievals) for one in _PLANTED]


def _planted_measure(one: _Planted, retrievals: Mapping[str, tuple[Retrieval, ...]]) -> PerQuery:
    values = {
        method: {r.query_id: value for r in rows if (value := one.value(r)) is not None}
        for method, rows in retrievals.items()
    }
    controls: Mapping[str, float] = values.get(RANDOM_METHOD, {})
    if one.control_name == "a random order":
        # The chance is that of the query, the same for every method.
        any_method = next(iter(retrievals.values()))
        controls = {r.query_id: r.chance for r in any_method if r.chance is not None}
    elif one.control_name == "chance":
        controls = {query_id: 0.5 for rows in values.values() for query_id in rows}
    reason = None if any(values.values()) else "no attributed behavior has any."
    return PerQuery(one.name, one.unit, one.control_name, values, controls, reason)


def retraining_measures(
    subject: Subject, directory: Path | None, *, num_masks: int, num_second: int
) -> tuple[list[Correlated], BankSummary | None]:
    """Measures how well methods predict the outcomes of a bank of retrainings.

    Args:
        subject: What is validated.
        directory: Where retrainings are kept; None where there are none.
        num_masks: Masks of the bank.
        num_second: Masks of its second seed.

    Returns:
        The linear datamodeling scores, and about the bank itself; None where there is no bank.
    """
    names = ("LDS", "own-removed LDS")
    if subject.testbed is None or directory is None:
        reason = _NO_TESTBED if subject.testbed is None else _NO_BANK
        return [Correlated(name, undefined=reason) for name in names], None
    settings = BankSettings(
        retraining=RetrainingSettings(size=subject.testbed),
        num_masks=num_masks,
        num_second=num_second,
    )
    try:
        bank = load_bank(settings, directory)
    except ArtifactError as error:
        return [Correlated(name, undefined=f"{error}") for name in names], None
    own = own_groups(bank, subject.gold)
    measures = [
        Correlated(
            name,
            {
                scores.method: predict(
                    scores,
                    bank,
                    own=own,
                    own_removed=own_removed,
                    centered=scores.method == RANDOM_METHOD,
                )
                for scores in subject.scores
            },
        )
        for name, own_removed in zip(names, (False, True), strict=True)
    ]
    return measures, _bank_summary(bank, own, subject.scores[0].query_ids)


def _bank_summary(
    bank: Bank, own: Mapping[str, tuple[int, ...]], query_ids: tuple[str, ...]
) -> BankSummary:
    ceiling = noise_ceiling(bank, own=own, query_ids=query_ids)
    effects = group_effects(bank.included, bank.log_probs_nats)
    inert = [column for column, name in enumerate(bank.groups) if name.startswith("inert:")]
    return BankSummary(
        masks=bank.num_runs,
        masks_of_second_seed=len(bank.second_log_probs_nats),
        groups=len(bank.groups),
        seconds_per_retraining=round(bank.seconds_per_run, 2),
        reliability=ceiling.reliability,
        reliability_own_removed=ceiling.reliability_own_removed,
        ceiling=_root(ceiling.reliability.value),
        ceiling_own_removed=_root(ceiling.reliability_own_removed.value),
        significant_share_of_inert_groups=significant_share(effects.z[:, inert]),
        significant_share_of_phantom_groups=significant_share(phantom_effects(bank).z),
        significant_share_off_the_diagonal=significant_share(effects.z, off_diagonal(bank, own)),
        own_effects=_own_effects(bank, effects, own),
    )


def removal_measure(
    subject: Subject, directory: Path | None
) -> tuple[PerQuery, RemovalSummary | None]:
    """Measures how much the loss rises without what methods name first.

    Args:
        subject: What is validated.
        directory: Where retrainings are kept; None where there are none.

    Returns:
        The query loss difference of the queries that were named in advance, and the same per
        method with p-values; None where the removals have not been trained.
    """
    size = subject.testbed
    control = f"mean of {NUM_RANDOM} random removals"

    def undefined(reason: str) -> tuple[PerQuery, None]:
        return PerQuery("QLD", "nats", control, undefined=reason), None

    if size is None or directory is None:
        return undefined(_NO_TESTBED if size is None else _NO_BANK)
    if size not in QUERIES:
        return undefined(f"no queries were named in advance for testbed:{size}.")
    plan = plan_named_removals(subject.scores, subject.corpus, size)
    outcomes = read_outcomes(RetrainingSettings(size=size), plan.runs, directory)
    differences = loss_differences(plan, dict(zip(plan.runs, outcomes, strict=True)))
    if not any(one.per_query_nats for one in differences):
        missing = sum(outcome is None for outcome in outcomes)
        return undefined(
            f"{missing} of {len(plan.runs)} removals have not been trained; "
            f"`whence bank {directory} --size {size} --run RUN` does."
        )
    measure = PerQuery(
        name="QLD",
        unit="nats",
        control_name=control,
        values={one.method: one.per_query_nats for one in differences},
        controls=differences[0].random_nats,
    )
    summary = RemovalSummary(
        num_removed=plan.num_removed,
        num_random=NUM_RANDOM,
        methods={
            one.method: MethodRemovals(
                per_query_nats=one.per_query_nats,
                p_values=one.p_values,
                num_beyond_all_random=one.num_beyond_random,
            )
            for one in differences
        },
    )
    return measure, summary


def _own_effects(
    bank: Bank, effects: Effects, own: Mapping[str, tuple[int, ...]]
) -> dict[str, dict[str, OwnEffect]]:
    names = list(bank.groups)
    return {
        query_id: {
            names[column]: OwnEffect(
                effect_nats=float(effects.effects_nats[row, column]),
                standard_error_nats=float(effects.standard_errors_nats[row, column]),
            )
            for column in own[query_id]
            if not math.isnan(effects.effects_nats[row, column])
        }
        for row, query_id in enumerate(bank.query_ids)
    }


def _root(reliability: float | None) -> float | None:
    """What the true effects themselves can reach against one seed; None where that is not real."""
    return None if reliability is None or reliability < 0 else reliability**0.5
