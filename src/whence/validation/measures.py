"""The measures of a run's methods by planted truth, by retraining and by removal.

Each function gives measures for the leaderboard; one that does not apply to a run is undefined,
with its reason.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from whence.errors import ArtifactError
from whence.statistics import Estimate
from whence.testbed import RetrainingSettings, last_step, window, window_ids
from whence.validation.bank import (
    Bank,
    BankSettings,
    find_banks,
    load_bank,
    own_groups,
    window_order,
)
from whence.validation.bank_table import read_bank_table
from whence.validation.clusters import cluster_effects
from whence.validation.continuation_bank import (
    find_continuations,
    load_continuations,
    shared_queries,
)
from whence.validation.effects import (
    Effects,
    group_effects,
    off_diagonal,
    phantom_effects,
    significant_share,
)
from whence.validation.lds import (
    NUM_RANDOM_DRAWS,
    lds,
    noise_ceiling,
    predict,
    predict_additively,
    predict_at_random,
)
from whence.validation.leaderboard import RANDOM_METHOD, Correlated, PerQuery
from whence.validation.own_text import num_completion_tokens, own_by_text
from whence.validation.record import (
    BankSummary,
    MethodRemovals,
    OwnEffect,
    RemovalSummary,
    WindowSummary,
)
from whence.validation.removal import (
    QUERIES,
    Removals,
    loss_differences,
    plan_named_removals,
    plan_window_removals,
)
from whence.validation.retraining import read_outcomes
from whence.validation.retrieval import Retrieval, retrieval
from whence.validation.subject import Subject, Truth

OWN_REMOVED = "own-removed LDS"
LDS_NAMES = ("LDS", OWN_REMOVED)
QLD = "QLD"
_NO_TESTBED = "the run's behaviors are not a testbed's, so that no truth is on file."
_NO_OWN = "which examples are the queries' own is not on file."
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
    truth = subject.truth
    retrievals = {
        scores.method: mean_of_draws(subject, truth)
        if scores.method == RANDOM_METHOD
        else retrieval(scores, truth.gold, decoys=truth.decoys, inert=truth.inert)
        for scores in subject.scores
    }
    return [_planted_measure(one, retrievals) for one in _PLANTED]


def mean_of_draws(
    subject: Subject, truth: Truth, *, num_draws: int = NUM_RANDOM_DRAWS
) -> tuple[Retrieval, ...]:
    """Measures random orders: the mean of many, dealt anew in each world, which its corpus names.

    One draw would be a control that is lucky or not; the draws of one world are no other's.
    """
    import numpy as np

    rng = np.random.default_rng(list(f"{subject.corpus.fingerprint} random".encode()))
    like = subject.scores[0]
    draws = [
        retrieval(
            replace(like, values=rng.random(like.values.shape, dtype=np.float32)),
            truth.gold,
            decoys=truth.decoys,
            inert=truth.inert,
        )
        for _ in range(num_draws)
    ]
    return tuple(map(_mean_retrieval, zip(*draws, strict=True)))


def _mean_retrieval(draws: tuple[Retrieval, ...]) -> Retrieval:
    first = draws[0]
    means = {
        name: None if value is None else fmean(getattr(one, name) for one in draws)
        for name, value in first._asdict().items()
        if name not in ("query_id", "num_gold", "is_found")
    }
    return first._replace(**means)


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
    # Each of them is a share or a probability.
    return PerQuery(one.name, one.unit, one.control_name, values, controls, reason, (0.0, 1.0))


class Retrainings(NamedTuple):
    """What the banks of a testbed say: measures, about the bank of whole trainings, and of each."""

    measures: list[Correlated]
    bank: BankSummary | None
    windows: tuple[WindowSummary, ...]


def retraining_measures(
    subject: Subject, banks: Sequence[Path], *, num_masks: int, num_second: int
) -> Retrainings:
    """Measures how well methods predict the outcomes of banks of retrainings.

    Args:
        subject: What is validated.
        banks: Directories of retrainings, of whose equal banks the first counts, and tables.
        num_masks: Masks of the bank of whole trainings without some groups.
        num_second: Masks of its second seed.

    Returns:
        The linear datamodeling scores of that bank and of every bank of a window, and about each.
    """
    tables = [path for path in banks if path.is_file()]
    directories = [path for path in banks if path not in tables]
    measures, summary, windows = _of_testbed(
        subject, directories, num_masks=num_masks, num_second=num_second
    )
    continued = [one for directory in directories for one in _of_continuations(subject, directory)]
    if continued and subject.testbed is None:
        measures = []  # That there is no testbed is no news beside a bank of another model.
    for found, summaries in continued:
        measures += found
        windows += summaries
    for path in tables:
        names = (f"{LDS_NAMES[0]}, {path.name}", f"{LDS_NAMES[1]}, {path.name}")
        bank = read_bank_table(path, subject.corpus)
        found, about = _measured(subject, bank, names, label=path.name, unit="unit")
        measures += found
        windows += [about]
    return Retrainings(measures, summary, tuple(windows))


def _of_testbed(
    subject: Subject, directories: Sequence[Path], *, num_masks: int, num_second: int
) -> tuple[list[Correlated], BankSummary | None, list[WindowSummary]]:
    """Measures by what `whence bank` made, the whole training being the last point of the curve."""
    if subject.testbed is None or not directories:
        reason = _NO_TESTBED if subject.testbed is None else _NO_BANK
        return [Correlated(name, undefined=reason) for name in LDS_NAMES], None, []
    whole = BankSettings(
        retraining=RetrainingSettings(size=subject.testbed),
        num_masks=num_masks,
        num_second=num_second,
    )
    bank = _first_bank(whole, directories)
    summary = None
    if isinstance(bank, Bank):
        summary = _bank_summary(bank, own_groups(bank, subject.gold), subject)
    results = [_of_window(subject, whole, bank, LDS_NAMES)]
    known: dict[BankSettings, Path] = {}
    for directory in directories:
        for settings in find_banks(subject.testbed, directory):
            known.setdefault(settings, directory)
    for settings in sorted(known, key=window_order):
        suffix = f", {_label(settings)}{', groups' if settings.unit == 'group' else ''}"
        names = (LDS_NAMES[0] + suffix, LDS_NAMES[1] + suffix)
        bank = _first_bank(settings, [known[settings]])
        results.append(_of_window(subject, settings, bank, names))
    measures = [measure for found, _ in results for measure in found]
    windows = [about for _, about in (*results[1:], results[0]) if about is not None]
    return measures, summary, windows


def _of_continuations(
    subject: Subject, directory: Path
) -> list[tuple[list[Correlated], list[WindowSummary]]]:
    """Measures by the banks of users' checkpoints that a directory holds, one unit after the other.

    A bank of another model, or of other examples, is named with the reason, and has no figures.
    """
    results = []
    for found in find_continuations(directory):
        label = f"{found.label}, steps {found.since + 1}-{found.until}"
        for unit in found.masks:
            suffix = f", {label}{', groups' if unit == 'group' else ''}"
            names = (LDS_NAMES[0] + suffix, LDS_NAMES[1] + suffix)
            shared = shared_queries(found, subject)
            if isinstance(shared, str):
                results.append(([Correlated(name, undefined=shared) for name in names], []))
                continue
            try:
                bank = load_continuations(found, unit, shared)
            except ArtifactError as error:
                results.append(([Correlated(name, undefined=f"{error}") for name in names], []))
                continue
            measures, about = _measured(subject, bank, names, label=label, unit=unit)
            change: dict[str, object] = {
                "since": found.since,
                "until": found.until,
                "share": found.share,
                "optimizer_state": found.state,
                "end_difference_nats": found.mean_difference_nats,
            }
            results.append((measures, [about.model_copy(update=change)]))
    return results


def _first_bank(settings: BankSettings, directories: Sequence[Path]) -> Bank | str:
    """Reads the first of equal banks that is there, or tells why there is none."""
    reason = _NO_BANK
    for directory in directories:
        try:
            return load_bank(settings, directory)
        except ArtifactError as error:
            reason = f"{error}"
    return reason


def _of_window(
    subject: Subject, settings: BankSettings, bank: Bank | str, names: tuple[str, str]
) -> tuple[list[Correlated], WindowSummary | None]:
    """Measures by one bank of a testbed; undefined where it is measured at another checkpoint."""
    since, until = window(settings.retraining)
    if isinstance(bank, Bank) and bank.is_window and subject.step != until:
        bank = (
            f"it is measured after step {until}, and the run's model is that after step "
            f"{subject.step}; validate a run on the model's revision `step{until}`."
        )
    if isinstance(bank, str):
        return [Correlated(name, undefined=bank) for name in names], None
    measures, about = _measured(subject, bank, names, label=_label(settings), unit=settings.unit)
    share = (until - since) / last_step(bank.size)
    return measures, about.model_copy(update={"since": since, "until": until, "share": share})


def _measured(
    subject: Subject, bank: Bank, names: tuple[str, str], *, label: str, unit: str
) -> tuple[list[Correlated], WindowSummary]:
    """Computes both scores of every method on one bank, and the additive ceilings beside them."""
    own = _own(subject, bank)
    query_ids = subject.scores[0].query_ids
    measures: list[Correlated] = []
    ceilings: list[Estimate] = []
    for name, own_removed in zip(names, (False, True), strict=True):
        if own_removed and not any(own[q] is not None for q in query_ids if q in own):
            measures.append(Correlated(name, undefined=_NO_OWN))
            ceilings.append(Estimate(None, None, 0))
            continue
        chance = predict_at_random(query_ids, bank, own=own, own_removed=own_removed)
        predicted = {
            scores.method: chance
            if scores.method == RANDOM_METHOD
            else predict(scores, bank, own=own, own_removed=own_removed)
            for scores in subject.scores
        }
        measures.append(Correlated(name, predicted, chance))
        additive = predict_additively(query_ids, bank, own=own, own_removed=own_removed)
        ceilings.append(lds(additive, families=subject.families))
    about = WindowSummary(
        measure=names[0],
        measure_own_removed=names[1],
        label=label,
        unit=unit,
        num_units=len(bank.groups),
        masks=bank.num_runs,
        seconds_per_retraining=round(bank.seconds_per_run, 2),
        additive_ceiling=ceilings[0],
        additive_ceiling_own_removed=ceilings[1],
        clusters=cluster_effects(subject, bank),
    )
    return measures, about


def _own(subject: Subject, bank: Bank) -> Mapping[str, tuple[int, ...] | None]:
    """Finds each query's own units: by what was planted, or else by the text that they share."""
    if subject.truth is not None:
        return own_groups(bank, subject.gold)
    masked = frozenset().union(*bank.groups.values())
    return own_groups(bank, own_by_text(subject.queries, subject.corpus, masked), is_complete=True)


def _label(settings: BankSettings) -> str:
    since, until = window(settings.retraining)
    return f"steps {since + 1}-{until}"


def _bank_summary(
    bank: Bank, own: Mapping[str, tuple[int, ...] | None], subject: Subject
) -> BankSummary:
    ceiling = noise_ceiling(
        bank, own=own, query_ids=subject.scores[0].query_ids, families=subject.families
    )
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


class RemovalFigures(NamedTuple):
    """What removals say: measures, and about the removals of whole trainings and of windows."""

    measures: list[PerQuery]
    whole: RemovalSummary | None
    windows: tuple[RemovalSummary, ...]


def removal_measures(subject: Subject, directories: Sequence[Path]) -> RemovalFigures:
    """Measures how much the loss rises without what methods name first.

    Args:
        subject: What is validated.
        directories: Where retrainings are kept; the first that has them counts.

    Returns:
        The query loss difference of the queries that were named in advance, in all and per token;
        of each window whose removals were trained, that of all queries, per token.
    """
    size = subject.testbed
    directories = [path for path in directories if path.is_dir()]
    if size is None or not directories or size not in QUERIES:
        reason = _NO_TESTBED if size is None else _NO_BANK
        if size is not None and directories:
            reason = f"no queries were named in advance for testbed:{size}."
        measures, summary = [PerQuery(QLD, "nats", "", undefined=reason)], None
    else:
        plan = plan_named_removals(subject.scores, subject.corpus, size)
        settings = RetrainingSettings(size=size)
        measures, summary = _removals(subject, plan, settings, directories, QLD)
        if not measures:
            reason = (
                "its removals have not all been trained; "
                f"`whence bank {directories[0]} --size {size} --run RUN` does."
            )
            measures = [PerQuery(QLD, "nats", "", undefined=reason)]
    windows = []
    known: dict[BankSettings, None] = {}
    if size is not None:
        for directory in directories:
            known |= dict.fromkeys(find_banks(size, directory))
    for settings in sorted(known, key=window_order):
        if settings.unit != "document" or window(settings.retraining)[1] != subject.step:
            continue
        label = _label(settings)
        plan = plan_window_removals(subject.scores, subject.corpus, window_ids(settings.retraining))
        found, about = _removals(subject, plan, settings.retraining, directories, f"{QLD}, {label}")
        if about is not None:
            measures += found[1:]  # A window's queries differ in length more than in kind.
            windows.append(about.model_copy(update={"label": label}))
    return RemovalFigures(measures, summary, tuple(windows))


def _removals(
    subject: Subject,
    plan: Removals,
    settings: RetrainingSettings,
    directories: Sequence[Path],
    name: str,
) -> tuple[list[PerQuery], RemovalSummary | None]:
    """Reads removals; two measures and a summary, or nothing where some were not trained."""
    each = [read_outcomes(settings, plan.runs, directory) for directory in directories]
    outcomes = [next((one for one in found if one), None) for found in zip(*each, strict=True)]
    known = loss_differences(plan, dict(zip(plan.runs, outcomes, strict=True)))
    differences = [one for one in known if one.per_query_nats]
    if not differences:
        return [], None
    control = f"mean of {len(plan.random)} random removals"
    random_nats = {q: v for one in differences for q, v in one.random_nats.items()}
    num_tokens = {query.id: num_completion_tokens(query) for query in subject.queries}
    measures = [
        PerQuery(
            name=name,
            unit="nats",
            control_name=control,
            values={one.method: one.per_query_nats for one in differences},
            controls=random_nats,
        ),
        PerQuery(
            name=f"{QLD} per token{name.removeprefix(QLD)}",
            unit="nats per token",
            control_name=control,
            values={
                one.method: {q: v / num_tokens[q] for q, v in one.per_query_nats.items()}
                for one in differences
            },
            controls={q: v / num_tokens[q] for q, v in random_nats.items()},
        ),
    ]
    summary = RemovalSummary(
        num_removed=plan.num_removed,
        num_random=len(plan.random),
        methods={
            one.method: MethodRemovals(
                per_query_nats=one.per_query_nats,
                p_values=one.p_values,
                num_beyond_all_random=one.num_beyond_random,
            )
            for one in differences
        },
    )
    return measures if num_tokens else measures[:1], summary


def _own_effects(
    bank: Bank, effects: Effects, own: Mapping[str, tuple[int, ...] | None]
) -> dict[str, dict[str, OwnEffect]]:
    names = list(bank.groups)
    return {
        query_id: {
            names[column]: OwnEffect(
                effect_nats=float(effects.effects_nats[row, column]),
                standard_error_nats=float(effects.standard_errors_nats[row, column]),
            )
            for column in own[query_id] or ()
            if not math.isnan(effects.effects_nats[row, column])
        }
        for row, query_id in enumerate(bank.query_ids)
    }


def _root(reliability: float | None) -> float | None:
    """What the true effects themselves can reach against one seed; None where that is not real."""
    return None if reliability is None or reliability < 0 else reliability**0.5
