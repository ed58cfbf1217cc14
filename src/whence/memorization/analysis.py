"""Puts the parts of a memorization study together: from scans, copies and scores to one record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from whence.memorization.attribution import UNTRAINED, Named
from whence.memorization.before_onset import copies_before
from whence.memorization.copies import CLASSES, Copies, CopyClass
from whence.memorization.copy_scores import copy_scores
from whence.memorization.dose import extraction_by_dose
from whence.memorization.early_late import SHARE_OUTCOME, EarlyLate, compare_early_late
from whence.memorization.exposure_map import exposure_map, pre_exposure
from whence.memorization.families import FAMILY_RULES, FamilyRule, families
from whence.memorization.near_definitions import DefinitionRow
from whence.memorization.onset import DEFINITIONS, Onset, agreement, flow, onset
from whence.memorization.prior import PriorCheck
from whence.memorization.record import (
    Agreement,
    Attributed,
    Causes,
    CheckpointCount,
    CopiesAtOnset,
    FamilyCount,
    Matching,
    Memorization,
    OnsetCount,
    Part,
    TaxonomyAt,
)
from whence.memorization.scan import Scan
from whence.memorization.shares import (
    SHARE_CLASSES,
    Difference,
    Ranking,
    Unit,
    all_shares,
    differences,
    mean_shares,
    own_ranks,
)
from whence.memorization.targets import GROUPS, Targets
from whence.memorization.taxonomy import Forms, taxonomy
from whence.memorization.windows import Windows
from whence.statistics import UNBOUNDED, Estimate

if TYPE_CHECKING:
    from jaxtyping import Int

DOSE_STARTS = (1, 2, 3, 6, 11, 21, 51)
# Answers are given for a coarse, a middle and a fine definition of what is independent.
ANSWER_RULES: tuple[FamilyRule, ...] = ("window-13", "continuation-13", "jaccard-50")
_NUM_LARGEST = 8


@dataclass(frozen=True)
class Material:
    """What a study computed.

    Attributes:
        windows: All scanned windows.
        scans: Of them, at ascending steps; the last is the model's.
        subsets: The subset of each window's example.
        num_documents: In how many documents each continuation stands.
        studied: Places of the windows that are ever extractible, or targets.
        fine: Scans of the studied windows, at these and at denser steps.
        copies: Of the studied windows.
        forms: Which memorized windows count or repeat themselves.
        num_occurrences: How often the continuation of each memorized window occurs.
        own_steps: The step at which each window's own example was seen; -1 where unknown.
        prior: Whether continuations of memorized windows are common text; None where not measured.
        near_definitions: What published definitions make of the targets.
        targets: What was attributed; None where nothing is memorized.
        ranking: Scores of the targets; None where nothing is memorized.
        causes: What interventions did.
    """

    windows: Windows
    scans: Sequence[Scan]
    subsets: Sequence[str | None]
    num_documents: "Int[np.ndarray, ' windows']"
    studied: "Int[np.ndarray, ' studied']"
    fine: Sequence[Scan]
    copies: Copies
    forms: Forms
    num_occurrences: "Int[np.ndarray, ' memorized']"
    own_steps: "Int[np.ndarray, ' windows']"
    prior: PriorCheck | None
    near_definitions: tuple[DefinitionRow, ...]
    targets: Targets | None
    ranking: Ranking | None
    causes: Causes


def analyze(
    material: Material,
    *,
    model: str,
    corpus: str,
    source: str,
    num_examples: int,
    top_k: int,
    seed: int = 0,
) -> Memorization:
    """Computes everything that is reported.

    Args:
        material: What was computed.
        model: The model's name.
        corpus: The corpus's name.
        source: Where the windows come from.
        num_examples: Examples of the corpus.
        top_k: The first so many examples count.
        seed: Of shuffled onsets.
    """
    scans, fine = material.scans, material.fine
    is_memorized = fine[-1].is_extractible
    memorized = np.flatnonzero(is_memorized)
    windows = material.windows.select(material.studied).select(memorized)
    onsets = {name: onset(fine, name) for name in DEFINITIONS}
    stable = onsets["stable"]
    family_of = {rule: families(windows, rule) for rule in FAMILY_RULES}
    before = copies_before(material.copies, stable)
    has_copy = sum(before.before[name] for name in ("self", "exact", "continuation", "near"))
    return Memorization(
        model=model,
        corpus=corpus,
        source=source,
        num_examples=num_examples,
        num_windows=len(material.windows),
        num_prompt_tokens=material.windows.num_prompt_tokens,
        num_completion_tokens=material.windows.num_completion_tokens,
        num_memorized=int(scans[-1].is_extractible.sum()),
        num_ever=int(np.stack([one.is_extractible for one in scans]).any(axis=0).sum()),
        checkpoints=tuple(_count(one, material.subsets) for one in scans),
        flow=flow(scans),
        onsets=tuple(_onset_count(found, is_memorized) for found in onsets.values()),
        agreements=tuple(
            Agreement(one, other, _known(agreement(onsets[one], onsets[other])))
            for place, one in enumerate(DEFINITIONS)
            for other in DEFINITIONS[place + 1 :]
        ),
        families=tuple(_family_count(rule, family_of[rule]) for rule in FAMILY_RULES),
        copies_at_onset=_copies_at_onset(before.before, stable, memorized, family_of["window-13"]),
        before_self=Part(int(before.is_before_self[memorized].sum()), len(memorized)),
        without_copy=Part(int((np.asarray(has_copy)[memorized] == 0).sum()), len(memorized)),
        before_exposure=pre_exposure(
            np.stack([one.is_extractible[memorized] for one in fine]),
            before.first_step[memorized],
            [one.step for one in fine],
            families=family_of["window-13"].tolist(),
        ).share,
        exposure_effects=_exposure_effects(material),
        taxonomy=_taxonomy(material, family_of["window-13"]),
        near_definitions=material.near_definitions,
        common=None
        if material.prior is None
        else material.prior.share_of_common(family_of["window-13"].tolist()),
        dose=extraction_by_dose(
            material.num_documents,
            scans[-1].is_extractible,
            continuations=[row.tobytes() for row in material.windows.continuations],
            starts=DOSE_STARTS,
        ),
        attributed=_attributed(material, stable, before.before, top_k=top_k, seed=seed),
        causes=material.causes,
    )


def _attributed(
    material: Material,
    stable: Onset,
    before: Mapping[CopyClass, np.ndarray],
    *,
    top_k: int,
    seed: int,
) -> Attributed | None:
    """What needs scores; None where nothing was attributed."""
    targets, ranking = material.targets, material.ranking
    if targets is None or ranking is None:
        return None
    found = all_shares(ranking, k=top_k)
    untrained = {m.method: m for m in ranking.scores.values if m.step == UNTRAINED}
    by_rule: dict[FamilyRule, list[str]] = {
        rule: _target_families(material, targets, rule) for rule in ANSWER_RULES
    }
    place_of = {int(place): number for number, place in enumerate(material.studied)}
    places = [place_of[int(place)] for place in targets.places]
    numbers = targets.numbers("memorized")
    cut = early_until(stable, material.fine[-1].is_extractible)
    early: list[tuple[FamilyRule, tuple[EarlyLate, ...]]] = [
        (rule, _early_late(before, found, stable, numbers, places, names, cut, seed))
        for rule, names in by_rule.items()
    ]
    against: list[tuple[FamilyRule, tuple[Difference, ...]]] = [
        (rule, differences(found, targets, names, untrained=untrained))
        for rule, names in by_rule.items()
    ]
    return Attributed(
        pool=ranking.pool.sentence(),
        top_k=top_k,
        num_targets=tuple((group, len(targets.numbers(group))) for group in GROUPS),
        matching=_matching(material, targets),
        shares=mean_shares(found, targets, by_rule["window-13"]),
        differences=tuple(against),
        own_ranks=own_ranks(ranking),
        copy_scores=copy_scores(
            ranking, by_rule["window-13"], material.windows.rows[targets.places]
        ),
        early_late=tuple(early),
        early_until=cut,
    )


def early_until(stable: Onset, is_memorized: "np.ndarray") -> int | None:
    """The last step that counts as early: at most half of the memorized windows come by then.

    Returns:
        The first onset where more than half come by it; None where there is none.
    """
    by = np.sort(stable.by[is_memorized & stable.is_reached])
    if not len(by):
        return None
    steps, counts = np.unique(by, return_counts=True)
    fits = np.flatnonzero(np.cumsum(counts) <= len(by) / 2)
    return int(steps[fits[-1]] if len(fits) else steps[0])


def _target_families(material: Material, targets: Targets, rule: FamilyRule) -> list[str]:
    """The family of each target among all memorized windows; a control has that of its target."""
    is_memorized = material.fine[-1].is_extractible
    memorized = material.studied[is_memorized]
    names = families(material.windows.select(memorized), rule)
    own = names[np.searchsorted(memorized, targets.places[targets.of])]
    return [str(name) for name in own]


def _early_late(
    before: Mapping[CopyClass, np.ndarray],
    shares: Mapping[tuple[Named, Unit], np.ndarray],
    stable: Onset,
    numbers: list[int],
    places: list[int],
    names: list[str],
    cut: int | None,
    seed: int,
) -> tuple[EarlyLate, ...]:
    if cut is None:
        return ()
    own = np.array([places[number] for number in numbers])
    num_exact = before["exact"] + before["continuation"] + before["self"]
    groups = [names[number] for number in numbers]
    outcomes: dict[str, np.ndarray] = {
        "exact copies before onset (log2)": np.log2(1 + num_exact[own]),
        "near copies before onset (log2)": np.log2(1 + before["near"][own]),
    }
    exact = [SHARE_CLASSES.index("exact"), SHARE_CLASSES.index("continuation")]
    for (method, unit), values in shares.items():
        if unit == "examples":
            label = f"{SHARE_OUTCOME}{method.label}"
            outcomes[label] = values[numbers][:, exact].sum(axis=1)
    # Of the copies themselves, a slope at equal numbers of copies says nothing.
    held = {name: 0 if name.startswith("exact") else 1 for name in outcomes}
    return tuple(
        compare_early_late(
            name,
            values,
            stable.by[own],
            held[name] * num_exact[own],
            groups,
            cut=cut,
            bounds=(0.0, 1.0) if name.startswith("share") else UNBOUNDED,
            seed=seed,
        )
        for name, values in outcomes.items()
    )


def _count(one: Scan, subsets: Sequence[str | None]) -> CheckpointCount:
    hits: dict[str | None, int] = {}
    totals: dict[str | None, int] = {}
    for subset, hit in zip(subsets, one.is_extractible.tolist(), strict=True):
        hits[subset] = hits.get(subset, 0) + hit
        totals[subset] = totals.get(subset, 0) + 1
    by_subset = tuple((name, hits[name], totals[name]) for name in sorted(totals, key=str))
    return CheckpointCount(one.step, int(one.is_extractible.sum()), by_subset)


def _onset_count(found: Onset, is_memorized: np.ndarray) -> OnsetCount:
    steps, counts = np.unique(found.by[is_memorized & found.is_reached], return_counts=True)
    return OnsetCount(found.definition, tuple(zip(steps.tolist(), counts.tolist(), strict=True)))


def _family_count(rule: FamilyRule, found: np.ndarray) -> FamilyCount:
    sizes = np.unique(found, return_counts=True)[1]
    return FamilyCount(rule, len(sizes), tuple(np.sort(sizes)[::-1][:_NUM_LARGEST].tolist()))


def _copies_at_onset(
    before: Mapping[CopyClass, np.ndarray],
    stable: Onset,
    memorized: np.ndarray,
    family_of: np.ndarray,
) -> tuple[CopiesAtOnset, ...]:
    rows = []
    for step in np.unique(stable.by[memorized]).tolist():
        own = stable.by[memorized] == step
        sizes = np.unique(family_of[own], return_counts=True)[1]
        medians: list[tuple[CopyClass, float]] = [
            (name, float(np.median(before[name][memorized[own]]))) for name in CLASSES
        ]
        rows.append(
            CopiesAtOnset(step, int(own.sum()), len(sizes), int(sizes.max()), tuple(medians))
        )
    return tuple(rows)


def _exposure_effects(material: Material) -> tuple[tuple[int, Estimate], ...]:
    """How much likelier continuations are, by steps since their example was seen."""
    if len(material.scans) < 2 or not (material.own_steps > 0).any():
        return ()
    found = exposure_map(
        np.stack([one.mean_log_prob_nats for one in material.scans]),
        material.own_steps,
        [one.step for one in material.scans],
        families=families(material.windows, "window-13").tolist(),
    )
    return tuple(found.by_lag.items())


def _taxonomy(material: Material, names: np.ndarray) -> tuple[TaxonomyAt, ...]:
    if not len(names):
        return ()
    found = taxonomy(material.num_occurrences, material.forms)
    return tuple(TaxonomyAt(at, found.shares(at, names)) for at in found.kinds)


def _matching(material: Material, targets: Targets) -> tuple[Matching, ...]:
    early = material.scans[len(material.scans) // 2].mean_log_prob_nats
    rows = []
    for group in GROUPS[1:]:
        numbers = targets.numbers(group)
        if numbers:
            own = targets.places[numbers]
            other = targets.places[targets.of[numbers]]
            counts = [float(np.exp(np.log(material.num_documents[p]).mean())) for p in (own, other)]
            losses = [float(early[p].mean()) for p in (own, other)]
            rows.append(Matching(group, len(numbers), *counts, *losses))
    return tuple(rows)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
