"""A run's methods against planted truth, one more step of training, retraining and each other."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from whence.artifacts import versions
from whence.records import Scores
from whence.statistics import mean_estimate
from whence.validation.above_null import above_null_measure
from whence.validation.leaderboard import ALL, SEARCH, Measure, leaderboard
from whence.validation.measures import planted_measures, removal_measures, retraining_measures
from whence.validation.record import Agreement, Cost, SignalToNoise, Validation
from whence.validation.stability import agreement, signal_to_noise
from whence.validation.step_measures import TailPatches, tail_patch_measures
from whence.validation.subject import Subject

# By these, named before anything was measured, methods are compared; the other steps of the
# tail-patch are stored beside them.
COMPARED = (
    "planted AP",
    "gold above decoys",
    "gold above inert",
    "tail-patch each, log-odds, adamw 0.0001",
    "LDS",
    "own-removed LDS",
    "QLD",
)


def validate(
    subject: Subject,
    *,
    tail_patches: TailPatches,
    costs: Mapping[str, Cost],
    banks: Sequence[Path] = (),
    num_masks: int = 64,
    num_second: int = 32,
    repeats: Mapping[str, Sequence[Scores]] | None = None,
) -> Validation:
    """Measures every method of a run by all that is known, and compares the methods.

    Args:
        subject: The run's scores and what is known about its corpus and behaviors.
        tail_patches: What steps on the methods' proponents did; see `tail_patch_stage`.
        costs: What each method costs.
        banks: Where retrainings are kept, of whole trainings and of windows; nothing is trained
            here.
        num_masks: Masks of the bank of whole trainings.
        num_second: Masks of its second seed.
        repeats: From a run's name to its scores: the same study with another projection seed,
            checkpoint or precision.

    Returns:
        Every figure with its interval, its number of queries and its control. What does not apply
        is named with its reason, and is no number.

    Raises:
        ArtifactError: A retraining cannot be read.
        SettingsError: Scores are about other examples or queries than those they are compared with.
    """
    methods = tuple(scores.method for scores in subject.scores)
    retraining = retraining_measures(subject, banks, num_masks=num_masks, num_second=num_second)
    removals = removal_measures(subject, banks)
    measures: list[Measure] = [
        *planted_measures(subject),
        above_null_measure(subject),
        *tail_patch_measures(tail_patches, methods),
        *retraining.measures,
        *removals.measures,
    ]
    of_windows = [
        window.measure_own_removed
        for window in retraining.windows
        if window.measure_own_removed not in COMPARED
    ]
    compared = (*COMPARED, *of_windows)
    families = subject.families
    board = leaderboard(measures, methods, subject.kinds, families=families, compared=compared)
    return Validation(
        run=subject.run,
        methods=costs,
        kinds=_counts(subject.kinds),
        families={
            kind: len({families[q] for q, own in subject.kinds.items() if kind in (ALL, own)})
            for kind in _counts(subject.kinds)
        },
        figures=board.figures,
        comparisons=board.comparisons,
        undefined={m.name: m.undefined for m in measures if m.undefined},
        retraining=retraining.bank,
        windows=retraining.windows,
        removal=removals.whole,
        window_removals=removals.windows,
        agreement=(
            *_agreements_with_search(subject.scores, families),
            *_agreements_with_repeats(subject.scores, repeats or {}, families),
        ),
        signal_to_noise=_noise(subject.scores, repeats, families) if repeats else None,
        compared=compared,
        sentences=board.sentences,
        versions=versions(),
    )


def _counts(kinds: Mapping[str, str]) -> dict[str, int]:
    counts = {ALL: len(kinds)}
    for kind in kinds.values():
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _agreements_with_search(
    scores: Sequence[Scores], families: Mapping[str, str]
) -> list[Agreement]:
    reference = next((one for one in scores if one.method == SEARCH), None)
    if reference is None:
        return []
    return [agreement(one, reference, families=families) for one in scores if one is not reference]


def _agreements_with_repeats(
    scores: Sequence[Scores],
    repeats: Mapping[str, Sequence[Scores]],
    families: Mapping[str, str],
) -> list[Agreement]:
    """Compares each method with itself in other runs."""
    own = {one.method: one for one in scores}
    return [
        agreement(
            own[repeat.method], repeat, families=families, reference=f"{repeat.method} in {run}"
        )
        for run, others in repeats.items()
        for repeat in others
        if repeat.method in own
    ]


def _noise(
    scores: Sequence[Scores],
    repeats: Mapping[str, Sequence[Scores]],
    families: Mapping[str, str],
) -> dict[str, SignalToNoise]:
    """Computes how noisy each method's scores are over the runs that have it."""
    noise = {}
    for own in scores:
        same = [own, *(o for others in repeats.values() for o in others if o.method == own.method)]
        # Rows are paired by query, so a run of other queries is no repetition.
        if len(same) > 1 and all(one.query_ids == own.query_ids for one in same):
            ratios = signal_to_noise(same)
            noise[own.method] = SignalToNoise(
                estimate=mean_estimate(
                    ratios.tolist(), families=[families.get(q, q) for q in own.query_ids]
                ),
                per_query={
                    query_id: None if math.isnan(ratio) else float(ratio)
                    for query_id, ratio in zip(own.query_ids, ratios, strict=True)
                },
            )
    return noise
