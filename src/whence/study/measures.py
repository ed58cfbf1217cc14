"""What can a run's methods be measured by, and why not by the rest?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whence.errors import ArtifactError
from whence.records import RunRecord
from whence.settings import StudySettings
from whence.study import inputs as sources
from whence.study.bank import removals_of
from whence.testbed import RetrainingSettings
from whence.validation.leaderboard import RANDOM, Correlated, PerQuery

_NO_TESTBED = "the run's behaviors are not a testbed's, so that no truth is on file."
_NO_BANK = "no bank of retrainings was given with `--bank`."


def planted_measures(record: RunRecord, study: StudySettings) -> list[PerQuery]:
    """Average precision of planted gold, and how far gold stands above what looks like it."""
    from whence import testbed
    from whence.validation.retrieval import retrieval

    size = sources.testbed_size(study.behaviors.file)
    names = {
        "planted AP": ("average precision", "a random order"),
        "planted MRR": ("reciprocal rank", RANDOM),
        "planted recall@10": ("share of all gold", RANDOM),
        "gold above decoys": ("probability", "chance"),
        "gold above inert": ("probability", "chance"),
        "inert above the rest": ("probability, larger is worse", "chance"),
    }
    if size is None:
        return [PerQuery(n, u, c, undefined=_NO_TESTBED) for n, (u, c) in names.items()]
    found = {
        one.method: retrieval(
            one, record.gold, decoys=testbed.decoys(size), inert=testbed.inert(size)
        )
        for one in record.scores
    }
    fields = (
        "average_precision",
        "reciprocal_rank",
        "recall",
        "over_decoys",
        "over_inert",
        "inert_above_rest",
    )
    measures = []
    for (name, (unit, control)), field in zip(names.items(), fields, strict=True):
        values = {
            method: {r.query_id: getattr(r, field) for r in rows if getattr(r, field) is not None}
            for method, rows in found.items()
        }
        first = next(iter(found.values()))
        controls: Mapping[str, float] = values.get(RANDOM, {})
        if field == "average_precision":
            controls = {r.query_id: r.chance for r in first if r.chance is not None}
        elif control == "chance":
            controls = {q: 0.5 for rows in values.values() for q in rows}
        nothing = None if any(values.values()) else "no attributed behavior has any."
        measures.append(PerQuery(name, unit, control, values, controls, nothing))
    return measures


def retraining_measures(
    record: RunRecord,
    study: StudySettings,
    bank: Path | None,
    *,
    num_masks: int,
    num_second: int,
) -> tuple[list[Correlated], dict[str, Any] | None]:
    """Linear datamodeling scores, and what the bank itself is worth."""
    from whence.validation.bank import BankSettings, load_bank, own_groups
    from whence.validation.effects import (
        group_effects,
        off_diagonal,
        phantom_effects,
        significant_share,
    )
    from whence.validation.lds import noise_ceiling, predict

    names = ("LDS", "own-removed LDS")
    size = sources.testbed_size(study.corpus.source)
    if size is None or bank is None:
        why = _NO_TESTBED if size is None else _NO_BANK
        return [Correlated(name, undefined=why) for name in names], None
    settings = BankSettings(
        retraining=RetrainingSettings(size=size), num_masks=num_masks, num_second=num_second
    )
    try:
        held = load_bank(settings, bank)
    except ArtifactError as error:
        return [Correlated(name, undefined=f"{error}") for name in names], None
    own = own_groups(held, record.gold)
    measures = [
        Correlated(
            name,
            {
                one.method: predict(
                    one, held, own=own, own_removed=removed, centered=one.method == RANDOM
                )
                for one in record.scores
            },
        )
        for name, removed in zip(names, (False, True), strict=True)
    ]
    ceiling = noise_ceiling(held, own=own, query_ids=record.scores[0].query_ids)
    effects = group_effects(held.included, held.log_probs_nats)
    inert = [column for column, name in enumerate(held.groups) if name.startswith("inert:")]
    about = {
        "masks": held.num_runs,
        "masks_of_second_seed": len(held.second_log_probs_nats),
        "groups": len(held.groups),
        "seconds_per_retraining": round(held.seconds_per_run, 2),
        "reliability": ceiling.reliability.as_dict(),
        "reliability_own_removed": ceiling.reliability_own_removed.as_dict(),
        "ceiling": _root(ceiling.reliability.value),
        "ceiling_own_removed": _root(ceiling.reliability_own_removed.value),
        "significant_share_of_inert_groups": significant_share(effects.z[:, inert]),
        "significant_share_of_phantom_groups": significant_share(phantom_effects(held).z),
        "significant_share_off_the_diagonal": significant_share(effects.z, off_diagonal(held, own)),
        "own_effects": _own_effects(held, effects, own),
    }
    return measures, about


def removal_measure(
    record: RunRecord, study: StudySettings, bank: Path | None
) -> tuple[PerQuery, dict[str, Any] | None]:
    """The query loss difference of the queries that were named in advance."""
    from whence.validation.removal import NUM_RANDOM, QUERIES, loss_differences
    from whence.validation.retraining import read_outcomes

    size = sources.testbed_size(study.corpus.source)
    control = f"mean of {NUM_RANDOM} random removals"

    def nothing(why: str) -> tuple[PerQuery, None]:
        return PerQuery("QLD", "nats", control, undefined=why), None

    if size is None or bank is None:
        return nothing(_NO_TESTBED if size is None else _NO_BANK)
    if size not in QUERIES:
        return nothing(f"no queries were named in advance for testbed:{size}.")
    planned = removals_of(record, size)
    outcomes = read_outcomes(RetrainingSettings(size=size), planned.runs, bank)
    found = loss_differences(planned, dict(zip(planned.runs, outcomes, strict=True)))
    if not any(one.per_query_nats for one in found):
        missing = sum(outcome is None for outcome in outcomes)
        return nothing(
            f"{missing} of {len(planned.runs)} removals have not been trained; "
            f"`whence bank {bank} --size {size} --run RUN` does."
        )
    measure = PerQuery(
        name="QLD",
        unit="nats",
        control_name=control,
        values={one.method: one.per_query_nats for one in found},
        controls=found[0].random_nats,
    )
    about = {
        "num_removed": planned.num_removed,
        "num_random": NUM_RANDOM,
        "methods": {
            one.method: {
                "per_query_nats": dict(one.per_query_nats),
                "p_values": dict(one.p_values),
                "num_beyond_all_random": one.num_beyond_random,
            }
            for one in found
        },
    }
    return measure, about


def _own_effects(held: Any, effects: Any, own: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    import math

    names = list(held.groups)
    found: dict[str, Any] = {}
    for row, query_id in enumerate(held.query_ids):
        found[query_id] = {
            names[column]: {
                "effect_nats": float(effects.effects_nats[row, column]),
                "standard_error_nats": float(effects.standard_errors_nats[row, column]),
            }
            for column in own[query_id]
            if not math.isnan(effects.effects_nats[row, column])
        }
    return found


def _root(reliability: float | None) -> float | None:
    """What the true effects themselves can reach against one seed; None where that is not real."""
    return None if reliability is None or reliability < 0 else reliability**0.5
