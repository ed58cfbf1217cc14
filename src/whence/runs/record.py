"""What did a run find, read back from its directory?"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from whence.artifacts import write_json
from whence.errors import ArtifactError
from whence.records import Behavior, Coverage, Plan, RunRecord
from whence.runs import opening
from whence.runs.importing import load_imported
from whence.settings import StudySettings
from whence.validation import Validation

RUN_FILE = "run.json"
VALIDATION_FILE = "validation.json"


@dataclass(frozen=True)
class RunFile:
    """What a run decided that no stage holds: the content of `run.json`."""

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


def write_run_file(directory: Path, run: RunFile) -> None:
    """Writes `run.json` in one piece."""
    write_json(
        directory / RUN_FILE,
        {
            "study": run.study.model_dump(mode="json"),
            "behaviors": [behavior.model_dump(mode="json") for behavior in run.behaviors],
            "attributed": list(run.attributed),
            "forced": list(run.forced),
            "model": run.model,
            "methods": list(run.methods),
            "coverage": asdict(run.coverage) if run.coverage else None,
            "plan": asdict(run.plan) if run.plan else None,
            "skipped": list(run.skipped),
            "warnings": list(run.warnings),
        },
    )


def read_run_file(directory: Path) -> RunFile:
    """Reads `run.json`.

    Raises:
        ArtifactError: The directory holds no run, or one of another version.
    """
    try:
        value = json.loads((directory / RUN_FILE).read_text(encoding="utf-8"))
        return RunFile(
            study=StudySettings.model_validate(value["study"]),
            behaviors=tuple(Behavior.model_validate(b) for b in value["behaviors"]),
            attributed=tuple(value["attributed"]),
            forced=tuple(value["forced"]),
            model=value["model"],
            methods=tuple(value["methods"]),
            coverage=Coverage(**value["coverage"]) if value["coverage"] else None,
            plan=Plan(**value["plan"]) if value["plan"] else None,
            skipped=tuple(value["skipped"]),
            warnings=tuple(value["warnings"]),
        )
    except FileNotFoundError:
        raise ArtifactError(f"{directory} holds no run.", "Check the path.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{directory / RUN_FILE} cannot be read ({error}).", "Run the study again."
        ) from None


def load_run(directory: Path, *, manifest: Mapping[str, Any]) -> RunRecord:
    """Reads what a run stored, with everything that its page shows.

    Args:
        directory: The run's directory.
        manifest: Its manifest: settings, versions, hashes, seconds.

    Raises:
        ArtifactError: The directory is not a run, or a part of it is broken.
    """
    from whence.behaviors import verification_from_json
    from whence.corpus import read_corpus
    from whence.methods import load_scores

    run = read_run_file(directory)
    corpus = read_corpus(directory / "corpus")
    stored = json.loads((directory / "verification" / "verification.json").read_text("utf-8"))
    verifications = [verification_from_json(value) for value in stored]
    return RunRecord(
        title=run.study.title,
        model=run.model,
        behaviors=run.behaviors,
        verifications={v.behavior_id: v for v in verifications},
        corpus=corpus,
        scores=(
            *(load_scores(directory / "scores" / method) for method in run.methods),
            *load_imported(directory, corpus.ids),
        ),
        coverage=run.coverage,
        plan=run.plan,
        top_k=run.study.top_k,
        forced=run.forced,
        skipped=run.skipped,
        warnings=run.warnings,
        gold=opening.planted(run.study.behaviors),
        commands=commands(directory),
        manifest=manifest,
        validation=_validation(directory, manifest),
    )


def _validation(directory: Path, manifest: Mapping[str, Any]) -> Validation | None:
    """What `whence validate` stored; None where it was not asked, or about an earlier run here."""
    path = directory / VALIDATION_FILE
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        is_current = values["run"] == manifest.get("key")
        return Validation.from_json(values) if is_current else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}).", "Run `whence validate` again, or remove the file."
        ) from None


def commands(directory: Path) -> tuple[str, ...]:
    """The commands that make a run again and look into it."""
    return (
        f"whence run {directory / 'study.toml'} --out {directory}",
        f"whence show {directory}",
        f"whence report {directory}",
    )
