"""A study from its TOML file to its page.

Verify, read the corpus, compute gradients, score, show: one direction, and each step a stage of the
run. An interrupted run keeps the stages that it finished, and the same command resumes from there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from whence.errors import BehaviorError, SettingsError
from whence.memorization.record import read_memorization
from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, Verification
from whence.report.memorization import write_memorization_page
from whence.runs import opening
from whence.runs.attribution import attribute
from whence.runs.directory import Run, open_run, writing
from whence.runs.effects import keep_effects
from whence.runs.evidence import keep_evidence, renew_evidence
from whence.runs.models import model_origin, study_model
from whence.runs.planning import prepare
from whence.runs.record import (
    IMPORTED,
    MEMORIZATION,
    Decisions,
    check_kind,
    decisions_stage,
    load_run,
    part,
)
from whence.runs.splitting import keep_splits
from whence.runs.stages import corpus_stage, verification_stage
from whence.runs.study_file import STUDY, check_study_file, write_study_file
from whence.runs.views import StudyModels, initial_model
from whence.settings import StudySettings

PAGE = "index.html"


class RunResult(NamedTuple):
    """Where a run and its page are."""

    directory: Path
    page: Path


def run_study(
    study: StudySettings,
    directory: Path,
    *,
    base: Path | None = None,
    source: Path | None = None,
    progress: Progress = SILENT,
) -> RunResult:
    """Runs a study from behaviors to page.

    Args:
        study: The question and its settings.
        directory: The run's directory: new, or that of an earlier run, whose stages are used again
            where what determines them has not changed. A finished run there stays until this one
            is finished.
        base: The folder that the study's relative paths start from; by default the current one.
        source: The study's own file, which is never overwritten; nor is a `study.toml` in the
            directory that was edited since a run wrote it.
        progress: Reports progress.

    Returns:
        The run's directory and its page.

    Raises:
        WhenceError: Some input is wrong; nothing that looks finished is left behind.
    """
    study = opening.resolve(study, base or Path())
    check_study_file(directory / STUDY, source, command="run")
    with writing(directory) as run:
        check_kind(run, is_memorization=False)
        models = StudyModels(run, study, progress=progress)
        needed = prepare(study, models)
        behaviors = opening.open_behaviors(study.behaviors)
        stored = corpus_stage(study.corpus, models.own, progress=progress)
        corpus = run.get(stored)
        verifications, warnings = _verify(run, study, behaviors, models, corpus, progress)
        chosen, forced = _choose(study, behaviors, verifications)
        warnings += _missing_alternatives(study, chosen)
        attributed = attribute(run, study, chosen, corpus, needed, progress=progress)
        evidence = keep_evidence(
            run,
            study,
            chosen,
            attributed.queries,
            attributed.nulls,
            corpus,
            attributed.scores,
            corpus_key=stored.key,
            progress=progress,
        )
        keep_splits(run, study, models, attributed, corpus, evidence, progress=progress)
        keep_effects(
            run,
            study.effect,
            chosen,
            attributed,
            models.own,
            corpus,
            evidence,
            corpus_key=stored.key,
            planted=opening.planted(study.behaviors),
            progress=progress,
        )
        run.get(
            decisions_stage(
                Decisions(
                    study=opening.portable(study, directory),
                    behaviors=behaviors,
                    attributed=tuple(behavior.id for behavior in chosen),
                    forced=forced,
                    model=models.own.card.label,
                    methods=tuple(scores.method for scores in attributed.scores),
                    coverage=attributed.coverage,
                    plan=attributed.plan,
                    skipped=attributed.skipped,
                    warnings=tuple(warnings),
                )
            )
        )
        run.adopt(
            opening.portable(study, directory).model_dump(mode="json"),
            {"model": models.own.fingerprint, "corpus": corpus.fingerprint},
        )
        if any(name.startswith(IMPORTED) for name in run.names()):
            renew_evidence(run, progress=progress)
        run.finish()
        for name in run.dropped:
            progress.note(f"`{name}` is damaged and was left out of the run; make it again.")
        write_study_file(run.directory / STUDY, study, source)
        return RunResult(directory, _write_page(run))


def write_report(directory: Path) -> Path:
    """Writes the page of a finished run again, from what the run stored.

    Raises:
        ArtifactError: The directory is not a finished run.
    """
    run = open_run(directory)
    if run.find(MEMORIZATION) is not None:
        return write_memorization_page(
            read_memorization(part(run, MEMORIZATION)),
            str(run.manifest.inputs["title"]),
            directory / PAGE,
        )
    return _write_page(run)


def _write_page(run: Run) -> Path:
    from whence.report import write_page

    return write_page(load_run(run), run.directory / PAGE)


def _verify(
    run: Run,
    study: StudySettings,
    behaviors: tuple[Behavior, ...],
    models: StudyModels,
    corpus: Corpus,
    progress: Progress,
) -> tuple[tuple[Verification, ...], list[str]]:
    model, initial, warnings = models.own, models.initial, []
    other = study.verify_model
    if other is not None and other != study.model:
        if not study.allow_other_model:
            raise SettingsError(
                f"The study verifies with {other.name} but attributes {study.model.name}.",
                "Use one model for both, or set `allow_other_model = true`.",
            )
        model = study_model(
            run,
            "verify",
            model_origin(other),
            lambda: opening.open_model(other, cache=run.cache, progress=progress),
        )
        initial = initial_model(run, other, "verify-initial")
        warnings.append(
            f"Behaviors were verified with {model.card.label}, but gradients are those of "
            f"{models.own.card.label}."
        )
    if initial is None:
        warnings.append("No step-0 model was named, so nothing was compared with one.")
    stage = verification_stage(
        behaviors,
        model,
        initial,
        corpus,
        settings=study.verify,
        texts_by_subset=lambda: opening.texts_for_judges(corpus, study.corpus.source),
        progress=progress,
    )
    return run.get(stage), warnings


def _choose(
    study: StudySettings,
    behaviors: tuple[Behavior, ...],
    verifications: tuple[Verification, ...],
) -> tuple[tuple[Behavior, ...], tuple[str, ...]]:
    """Keeps what the model shows, at least weakly; the rest only with `force`."""
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


def _missing_alternatives(study: StudySettings, chosen: Sequence[Behavior]) -> list[str]:
    plain = sum(not behavior.alternatives for behavior in chosen)
    if not study.attribution.contrast or not plain:
        return []
    return [
        f"{plain} of {len(chosen)} behaviors name no alternative, so their queries are the "
        "completion alone and no contrast."
    ]
