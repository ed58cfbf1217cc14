"""What a run found, read back from its directory."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from whence.artifacts import damage, fingerprint, read_manifest, write_json
from whence.artifacts.stage import Stage
from whence.errors import ArtifactError, ModelError
from whence.evidence import Evidence, read_evidence
from whence.evidence.splits import read_splits
from whence.progress import SILENT, Progress
from whence.records import Behavior, Coverage, LoadedModel, Plan, Scores
from whence.report.run_record import RunRecord
from whence.runs import opening
from whence.runs.directory import Run, open_run
from whence.runs.stages import read_verifications
from whence.settings import StudySettings
from whence.validation import (
    Surprises,
    Validation,
    applied,
    read_example_effects,
    read_surprises,
)

DECISIONS = "decisions"
VALIDATION = "validation"
EVIDENCE = "evidence"
SURPRISES = "surprises"
SPLITS = "splits"
EFFECTS = "effects"
MEMORIZATION = "memorization"
QUERIES, NULLS = "queries", "nulls"
DUPLICATES = "duplicates"
IMPORTED = "imported/"
_FILE = "decisions.json"
# Of a plan: what depends on the machine and its load.
_MEASURED = ("seconds", "memory_bytes")


@dataclass(frozen=True)
class Decisions:
    """What a run decided that no other stage holds."""

    study: StudySettings
    behaviors: tuple[Behavior, ...]
    attributed: tuple[str, ...]
    forced: tuple[str, ...]
    model: str
    methods: tuple[str, ...]
    coverage: Coverage | None
    plan: Plan | None
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Turns the record into what JSON can hold."""
        return {
            "study": self.study.model_dump(mode="json"),
            "behaviors": [behavior.model_dump(mode="json") for behavior in self.behaviors],
            "attributed": list(self.attributed),
            "forced": list(self.forced),
            "model": self.model,
            "methods": list(self.methods),
            "coverage": self.coverage and self.coverage.to_json(),
            "plan": asdict(self.plan) if self.plan else None,
            "skipped": list(self.skipped),
            "warnings": list(self.warnings),
        }


def decisions_stage(decisions: Decisions) -> Stage[Decisions]:
    """Keeps what a run decided; the content is its own key, but for what was measured."""
    values = decisions.to_json()
    plan = decisions.plan and {
        k: v for k, v in asdict(decisions.plan).items() if k not in _MEASURED
    }
    return Stage(
        DECISIONS,
        1,
        values | {"plan": plan},
        make=lambda place: write_json(place / _FILE, values),
        read=read_decisions,
    )


def read_decisions(place: Path) -> Decisions:
    """Reads what `decisions_stage` keeps.

    Raises:
        ArtifactError: The file is broken, or of another version.
    """
    try:
        value = json.loads((place / _FILE).read_text(encoding="utf-8"))
        coverage = value["coverage"]
        return Decisions(
            study=StudySettings.model_validate(value["study"]),
            behaviors=tuple(Behavior.model_validate(b) for b in value["behaviors"]),
            attributed=tuple(value["attributed"]),
            forced=tuple(value["forced"]),
            model=value["model"],
            methods=tuple(value["methods"]),
            coverage=coverage and Coverage.from_json(coverage),
            plan=Plan(**value["plan"]) if value["plan"] else None,
            skipped=tuple(value["skipped"]),
            warnings=tuple(value["warnings"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{place / _FILE} cannot be read ({error}).", "Run the study again."
        ) from None


def run_decisions(run: Run) -> Decisions:
    """Reads what a finished run decided; paths in its study are absolute again.

    Raises:
        ArtifactError: The run is not finished, its files are broken, or it is of another kind of
            study.
    """
    if run.find(MEMORIZATION) is not None:
        raise ArtifactError(
            f"{run.directory} is a run of `whence memorization`, which has no behaviors.",
            "Open its page, or print its answers and tables with `whence memorization`.",
        )
    found = read_decisions(part(run, DECISIONS))
    return replace(found, study=opening.resolve(found.study, run.directory))


def part(run: Run, name: str) -> Path:
    """Finds a stage that every finished run has.

    Raises:
        ArtifactError: It is gone.
    """
    place = run.find(name)
    if place is None or not place.is_dir():
        raise ArtifactError(
            f"{run.directory} has lost its stage `{name}`.", "Run the study again; it resumes."
        )
    if (problem := damage(place, read_manifest(place).files)) is not None:
        raise ArtifactError(f"{problem}.", _remedy(name))
    return place


def _remedy(name: str) -> str:
    if name.startswith(IMPORTED):
        return "Import these scores again."
    return "Run the study again: it makes what is damaged."


def run_model(run: Run, study: StudySettings, *, progress: Progress = SILENT) -> LoadedModel:
    """Loads the model that a finished run attributed.

    Raises:
        ArtifactError: Another model stands in its place, or none does.
    """
    try:
        model = opening.open_model(study.model, cache=run.cache, progress=progress)
    except ModelError as error:
        raise ArtifactError(
            f"The model of {run.directory} cannot be loaded: {error.problem}",
            "Paths in a run are relative to it: move the run or the model back, or run the study "
            "again.",
        ) from error
    expected = run.manifest.hashes.get("model")
    if model.fingerprint != expected:
        raise ArtifactError(
            f"{run.directory} was made with the model {expected}, and {model.label} is now "
            f"{model.fingerprint}.",
            "Put that model back, or run the study again.",
        )
    return model


def load_run(
    run: Run | Path, *, is_validating: bool = False, is_checking: bool = False
) -> RunRecord:
    """Reads what a run stored, with everything that its page shows.

    Args:
        run: A finished run, or its directory.
        is_validating: Leave out what was validated before, which is about to be replaced.
        is_checking: Leave out what was checked for surprises before, likewise.

    Raises:
        ArtifactError: The directory is not a finished run, or a part of it is broken.
    """
    from whence.corpus import read_corpus
    from whence.corpus.duplicates import read_duplicates
    from whence.methods import load_scores

    run = run if isinstance(run, Run) else open_run(run)
    found = run_decisions(run)
    place = part(run, "verification")
    try:
        verifications = read_verifications(place)
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(
            f"{place / 'verification.json'} cannot be read ({error}).",
            "Run the study again; it resumes.",
        ) from None
    return RunRecord(
        title=found.study.title,
        model=found.model,
        behaviors=found.behaviors,
        verifications={v.behavior_id: v for v in verifications},
        corpus=read_corpus(part(run, "corpus")),
        scores=(
            *(load_scores(part(run, f"scores/{method}")) for method in found.methods),
            *_imported(run, found.attributed),
        ),
        coverage=found.coverage,
        plan=found.plan,
        top_k=found.study.top_k,
        forced=found.forced,
        skipped=found.skipped,
        warnings=found.warnings,
        gold=opening.planted(found.study.behaviors),
        commands=commands(run.directory),
        manifest=run.manifest.to_json(),
        validation=None if is_validating else _validation(run),
        evidence=_evidence(run, None if is_checking else run.find(SURPRISES)),
        surprises=None if is_checking else _surprises(run),
        splits=None if run.find(SPLITS) is None else read_splits(part(run, SPLITS)),
        effects=None if run.find(EFFECTS) is None else read_example_effects(part(run, EFFECTS)),
        duplicates=None if run.find(DUPLICATES) is None else read_duplicates(part(run, DUPLICATES)),
    )


def _imported(run: Run, attributed: Sequence[str]) -> tuple[Scores, ...]:
    """Reads the scores that another tool made, by name, for the queries that the run still has."""
    from whence.methods import load_scores

    found = []
    for name in run.names(IMPORTED):
        scores = load_scores(part(run, name))
        rows = [row for row, query in enumerate(scores.query_ids) if query in attributed]
        if rows:
            ids = tuple(scores.query_ids[row] for row in rows)
            found.append(replace(scores, query_ids=ids, values=scores.values[rows]))
    return tuple(found)


def _evidence(run: Run, checked: Path | None) -> Evidence | None:
    """What is known of the listed examples, with what `whence surprises` found of them."""
    if run.find(EVIDENCE) is None:
        return None
    found = read_evidence(part(run, EVIDENCE))
    return found if checked is None else applied(found, read_surprises(part(run, SURPRISES)))


def _surprises(run: Run) -> Surprises | None:
    """What `whence surprises` found; None where it did not run since."""
    return None if run.find(SURPRISES) is None else read_surprises(part(run, SURPRISES))


def _validation(run: Run) -> Validation | None:
    """What `whence validate` found about these scores; None where it did not run since."""
    place = run.find(VALIDATION)
    return None if place is None else read_validation(place)


def validation_stage(validation: Validation, *, about: Sequence[str]) -> Stage[Validation]:
    """Keeps what `whence validate` found, while the run keeps the stages that it is about.

    The content is its own key, since a bank of retrainings grows without a name for its state.
    """
    values = validation.to_json()
    return Stage(
        VALIDATION,
        1,
        {"about": list(about), "content": fingerprint(values)},
        make=lambda place: write_json(place / "validation.json", values),
        read=read_validation,
    )


def read_validation(place: Path) -> Validation:
    """Reads a stored validation.

    Raises:
        ArtifactError: It is broken, or of another version.
    """
    path = place / "validation.json"
    try:
        return Validation.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}).", "Run `whence validate` again."
        ) from None


def commands(directory: Path) -> tuple[str, ...]:
    """The commands that make a run again and look into it."""
    if directory.is_absolute():
        directory = Path(directory.name)
    return (
        f"whence run {directory / 'study.toml'} --out {directory}",
        f"whence show {directory}",
        f"whence report {directory}",
    )


def check_kind(run: Run, *, is_memorization: bool) -> None:
    """Refuses to replace a finished run by one of another kind of study.

    Raises:
        ArtifactError: The directory holds one.
    """
    if run.is_finished and (run.find(MEMORIZATION) is not None) != is_memorization:
        kind = "behaviors" if is_memorization else "memorized sequences"
        raise ArtifactError(
            f"{run.directory} holds a finished run of a study of {kind}.",
            "Choose another directory.",
        )
