"""How does a study become a page?

The stages run in one direction: verify, read the corpus, multiply gradients, score, show. Whatever
an interrupted run finished is kept, and the same command goes on from there.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from whence.artifacts import (
    FORMAT,
    MANIFEST,
    check_place,
    clear_disk_errors,
    fingerprint,
    read_manifest,
    versions,
    write_json,
    write_text,
)
from whence.errors import ArtifactError, BehaviorError, SettingsError
from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, LoadedModel, Verification
from whence.runs import opening
from whence.runs import passes as stages
from whence.runs.attribution import attribute
from whence.runs.planning import prepare
from whence.runs.record import RunFile, load_run, write_run_file
from whence.settings import StudySettings

UNFINISHED = ".unfinished"


class RunResult(NamedTuple):
    """Where a run and its page are."""

    directory: Path
    page: Path


def run_study(
    study: StudySettings, directory: Path, *, base: Path | None = None, progress: Progress = SILENT
) -> RunResult:
    """Runs a study from behaviors to page.

    Args:
        study: The question and its settings.
        directory: The run's directory: new, or an earlier run of a study, whose finished stages
            are used again where their inputs have not changed.
        base: The folder that the study's relative paths start from; by default the current one.
        progress: Is told how far the work is.

    Returns:
        The run's directory and its page.

    Raises:
        WhenceError: Some input is wrong; nothing that looks finished is left behind.
    """
    from whence.report import write_page

    study = opening.resolve(study, base or Path())
    _check_place(directory)
    clock = _Clock()
    cache = directory / "cache"
    prepare(study, cache=cache)
    with clock("load"):
        behaviors = opening.open_behaviors(study.behaviors)
        model = opening.open_model(study.model, cache=cache)
        corpus = opening.open_corpus(study.corpus, model, progress=progress)
    _claim(directory, study)
    stages.corpus_stage(directory / "corpus", corpus)
    with clock("verify"):
        verifications, warnings = _verify(study, behaviors, model, corpus, directory, progress)
    chosen, forced = _choose(study, behaviors, verifications)
    if study.attribution.contrast and (plain := sum(not b.alternatives for b in chosen)):
        warnings.append(
            f"{plain} of {len(chosen)} behaviors name no alternative, so their queries are the "
            "completion alone and no contrast."
        )
    attributed = attribute(study, chosen, model, corpus, directory, clock=clock, progress=progress)
    write_run_file(
        directory,
        RunFile(
            study=study,
            behaviors=behaviors,
            attributed=tuple(behavior.id for behavior in chosen),
            forced=forced,
            model=model.label,
            methods=attributed.methods,
            coverage=attributed.coverage,
            plan=attributed.plan,
            skipped=attributed.skipped,
            warnings=tuple(warnings),
        ),
    )
    manifest = _manifest(study, model, corpus, clock)
    page = write_page(load_run(directory, manifest=manifest), directory / "index.html")
    write_json(directory / MANIFEST, manifest)
    (directory / UNFINISHED).unlink(missing_ok=True)
    return RunResult(directory, page)


def write_report(directory: Path) -> Path:
    """Writes the page of a finished run again, from what the run stored.

    Raises:
        ArtifactError: The directory is not a finished run.
    """
    from whence.report import write_page

    record = load_run(directory, manifest=read_manifest(directory))
    return write_page(record, directory / "index.html")


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - started, 3)


def _check_place(directory: Path) -> None:
    """Refuses a directory that is no run's; changes nothing.

    A run's directory, finished or not, has nothing but a run's parts in it; a study's own folder
    is none, so that the study is never overwritten with what was made of it.
    """
    with clear_disk_errors(directory):
        if not directory.exists():
            check_place(directory, kind="run")
        elif not directory.is_dir():
            raise ArtifactError(f"{directory} is no directory.", "Choose another place.")
        elif any(directory.iterdir()) and not _is_run(directory):
            raise ArtifactError(f"{directory} exists and is not a run.", "Choose another place.")


def _is_run(directory: Path) -> bool:
    try:
        return read_manifest(directory).get("kind") == "run"
    except ArtifactError:
        return (directory / UNFINISHED).is_file()


def _claim(directory: Path, study: StudySettings) -> None:
    """Takes a directory for this run; an earlier run's manifest goes, its stages stay."""
    import tomli_w

    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / UNFINISHED).touch()
        (directory / MANIFEST).unlink(missing_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"{directory} cannot be written ({error.strerror}).", "Choose another place."
        ) from None
    write_text(
        directory / "study.toml", tomli_w.dumps(study.model_dump(mode="json", exclude_none=True))
    )


def _verify(
    study: StudySettings,
    behaviors: tuple[Behavior, ...],
    model: LoadedModel,
    corpus: Corpus,
    directory: Path,
    progress: Progress,
) -> tuple[tuple[Verification, ...], list[str]]:
    judge, settings, warnings = model, study.model, []
    if study.verify_model is not None and study.verify_model != study.model:
        if not study.allow_other_model:
            raise SettingsError(
                f"The study verifies with {study.verify_model.name} but attributes "
                f"{study.model.name}.",
                "Use one model for both, or set `allow_other_model = true`.",
            )
        settings = study.verify_model
        judge = opening.open_model(settings, cache=directory / "cache")
        warnings.append(
            f"Behaviors were verified with {judge.label}, but gradients are those of {model.label}."
        )
    initial = opening.open_initial(settings, cache=directory / "cache")
    if initial is None:
        warnings.append("No step-0 model was named, so nothing was compared with one.")
    texts = (
        opening.texts_for_judges(corpus, study.corpus.source)
        if any(behavior.kind == "style" for behavior in behaviors)
        else {}
    )
    found = stages.verification_stage(
        directory / "verification",
        behaviors,
        judge,
        initial=initial,
        settings=study.verify,
        texts_by_subset=texts,
        progress=progress,
    )
    return found, warnings


def _choose(
    study: StudySettings,
    behaviors: tuple[Behavior, ...],
    verifications: tuple[Verification, ...],
) -> tuple[tuple[Behavior, ...], tuple[str, ...]]:
    """Keeps what the model shows, at least weakly; the rest only when asked."""
    absent = {v.behavior_id for v in verifications if v.verdict == "not shown"}
    if study.force:
        return behaviors, tuple(b.id for b in behaviors if b.id in absent)
    chosen = tuple(behavior for behavior in behaviors if behavior.id not in absent)
    if not chosen:
        raise BehaviorError(
            f"The model shows none of the {len(behaviors)} behaviors, so there is nothing to "
            "attribute.",
            "Read their verdicts with `whence verify`, or attribute them anyway with `--force`.",
        )
    return chosen, ()


def _manifest(
    study: StudySettings, model: LoadedModel, corpus: Corpus, clock: _Clock
) -> dict[str, Any]:
    hashes = {"model": model.fingerprint, "corpus": corpus.fingerprint}
    inputs = study.model_dump(mode="json")
    return {
        "format": FORMAT,
        "kind": "run",
        "key": fingerprint("run", inputs, hashes),
        "inputs": inputs,
        "hashes": hashes,
        "versions": versions(),
        "seconds": clock.seconds,
    }
