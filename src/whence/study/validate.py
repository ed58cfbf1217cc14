"""Does what a run found hold, and which of its methods may be trusted with what?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from whence.artifacts import read_manifest, versions, write_json
from whence.errors import SettingsError
from whence.progress import SILENT, Progress
from whence.records import RunRecord, Scores
from whence.settings import StudySettings
from whence.statistics import mean_estimate
from whence.study.leaderboard_text import tell
from whence.study.load import VALIDATION_FILE, load_run, read_run_file
from whence.study.measures import (
    planted_measures,
    removal_measure,
    retraining_measures,
)
from whence.study.tail_patch import tail_patch_measures
from whence.validation.leaderboard import (
    ALL,
    SEARCH,
    Comparison,
    Figure,
    Measure,
    leaderboard,
)
from whence.validation.stability import Agreement, agreement, signal_to_noise

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
PRINTED = (*COMPARED, "inert above the rest")


@dataclass(frozen=True)
class Validation:
    """A run's leaderboard as plain values, and the same in words."""

    values: dict[str, Any]
    text: str


def validate_run(
    directory: Path,
    *,
    bank: Path | None = None,
    num_masks: int = 64,
    num_second: int = 32,
    against: Sequence[Path] = (),
    queries_per_kind: int = 8,
    progress: Progress = SILENT,
) -> Validation:
    """Holds a run's methods against planted truth, one more step, retraining and each other.

    Args:
        directory: A finished run; `validation.json` is written into it, and its page again.
        bank: Where retrainings are kept; see `whence.study.bank`. Nothing is trained here.
        num_masks: Masks of the bank.
        num_second: Masks of its second seed.
        against: Runs of the same study with another projection seed, checkpoint or precision.
        queries_per_kind: Tail-patch so many behaviors of each kind, the study's first ones.
        progress: Told of long work.

    Returns:
        Every figure with its interval, its number of queries and its control. What does not apply
        is named with its reason, and is no number.

    Raises:
        ArtifactError: The directory is not a finished run, or a retraining cannot be read.
        SettingsError: The run has no method, or another run is about other examples or queries.
    """
    from whence.report import write_page

    manifest = read_manifest(directory)
    record = load_run(directory, manifest=manifest)
    study = read_run_file(directory).study
    if not record.scores:
        raise SettingsError(
            f"{directory} holds no scores.", "Run the study with at least one method."
        )
    kinds = _kinds(record)
    methods = tuple(one.method for one in record.scores)
    measures: list[Measure] = [
        *planted_measures(record, study),
        *tail_patch_measures(
            record, study, _first_of_each_kind(kinds, queries_per_kind), directory, progress
        ),
    ]
    retraining, about_bank = retraining_measures(
        record, study, bank, num_masks=num_masks, num_second=num_second
    )
    measures += retraining
    removal, about_removal = removal_measure(record, study, bank)
    measures.append(removal)
    board = leaderboard(measures, methods, kinds, compared=COMPARED)
    units = {measure.name: measure.unit for measure in measures}
    agreements = _agreements(record.scores)
    repeats, noise = _repeats(record, against)
    values = {
        "run": manifest["key"],
        "methods": {
            method: {"seconds": seconds, "bytes_per_example": size}
            for method, (seconds, size) in _costs(record, study, directory).items()
        },
        "kinds": _count(kinds),
        "figures": [_figure(f, units[f.measure]) for f in board.figures],
        "comparisons": [_comparison(c) for c in board.comparisons],
        "undefined": {m.name: m.undefined for m in measures if m.undefined},
        "retraining": about_bank,
        "removal": about_removal,
        "agreement": [_agreement(a) for a in (*agreements, *repeats)],
        "signal_to_noise": noise,
        "compared": list(COMPARED),
        "sentences": list(board.sentences),
        "versions": versions(),
    }
    write_json(directory / VALIDATION_FILE, values)
    write_page(replace(record, validation=values), directory / "index.html")
    return Validation(values, tell(values, printed=PRINTED))


def _kinds(record: RunRecord) -> dict[str, str]:
    asked = set(record.scores[0].query_ids)
    return {b.id: b.kind for b in record.behaviors if b.id in asked}


def _first_of_each_kind(kinds: Mapping[str, str], most: int) -> tuple[str, ...]:
    taken: dict[str, list[str]] = {}
    for query_id, kind in kinds.items():
        if len(taken.setdefault(kind, [])) < most:
            taken[kind].append(query_id)
    return tuple(q for queries in taken.values() for q in queries)


def _count(kinds: Mapping[str, str]) -> dict[str, int]:
    found = {ALL: len(kinds)}
    for kind in kinds.values():
        found[kind] = found.get(kind, 0) + 1
    return found


def _costs(
    record: RunRecord, study: StudySettings, directory: Path
) -> dict[str, tuple[float, float]]:
    """Seconds with the passes over the corpus that a method needs, and its index's bytes."""
    from whence.methods import find_method, is_method
    from whence.methods.requests import CorpusPass

    found = {}
    for one in record.scores:
        is_ours = one.family != "unknown" and is_method(one.method)
        needs = find_method(one.method).needs(study.attribution) if is_ours else ()
        places = [
            directory / name
            for request in needs
            if isinstance(request, CorpusPass)
            for name in request.directories
        ]
        total, size = one.seconds, 0
        for place in filter(Path.is_dir, places):
            manifest = read_manifest(place)
            total += manifest["details"].get("seconds", manifest["seconds"])
            rows = place / "gradients.bin"
            size += rows.stat().st_size if rows.is_file() else 0
        found[one.method] = (round(total, 3), size / len(record.corpus))
    return found


def _agreements(scores: Sequence[Scores]) -> list[Agreement]:
    reference = next((one for one in scores if one.method == SEARCH), None)
    if reference is None:
        return []
    return [agreement(one, reference) for one in scores if one is not reference]


def _repeats(
    record: RunRecord, against: Sequence[Path]
) -> tuple[list[Agreement], dict[str, Any] | None]:
    """Compares each method with itself in other runs; None where there is no other run."""
    if not against:
        return [], None
    agreements: list[Agreement] = []
    same: dict[str, list[Scores]] = {one.method: [one] for one in record.scores}
    for path in against:
        other = load_run(path, manifest=read_manifest(path))
        for one in other.scores:
            if one.method in same:
                agreements.append(
                    agreement(same[one.method][0], one, reference=f"{one.method} in {path}")
                )
                same[one.method].append(one)
    noise = {}
    for method, repeats in same.items():
        if len(repeats) > 1 and all(r.query_ids == repeats[0].query_ids for r in repeats):
            ratios = signal_to_noise(repeats)
            noise[method] = {
                **mean_estimate(ratios.tolist()).as_dict(),
                "per_query": {
                    q: None if math.isnan(r) else float(r)
                    for q, r in zip(repeats[0].query_ids, ratios, strict=True)
                },
            }
    return agreements, noise


def _figure(figure: Figure, unit: str) -> dict[str, Any]:
    return {
        "measure": figure.measure,
        "unit": unit,
        "kind": figure.kind,
        "method": figure.method,
        **figure.estimate.as_dict(),
        "control": {"name": figure.control_name, **figure.control.as_dict()},
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "measure": comparison.measure,
        "kind": comparison.kind,
        "method": comparison.method,
        "reference": comparison.reference,
        **comparison.difference.as_dict(),
        "verdict": comparison.verdict,
    }


def _agreement(found: Agreement) -> dict[str, Any]:
    return {
        "method": found.name,
        "reference": found.reference,
        "k": found.k,
        "jaccard": found.jaccard.as_dict(),
        "rank_biased_overlap": found.overlap.as_dict(),
        "chance_jaccard": found.chance_jaccard,
    }
