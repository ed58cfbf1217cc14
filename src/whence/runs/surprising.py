"""Checks whether what no reader can explain has an effect: the surprises of a finished run."""

from pathlib import Path

from whence.errors import ArtifactError, SettingsError
from whence.progress import SILENT, Progress
from whence.records import LoadedModel
from whence.runs import opening
from whence.runs.directory import Run, writing
from whence.runs.evidence import own_evidence_key
from whence.runs.record import QUERIES, load_run, part, run_decisions, run_model
from whence.runs.stages import read_queries
from whence.runs.study import write_report
from whence.settings import StudySettings
from whence.validation import Surprises, surprises_stage


def check_surprises(
    directory: Path,
    *,
    checkpoint: str,
    max_candidates: int = 60,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Surprises:
    """Tries the examples that have no visible tie and are stronger than chance.

    Args:
        directory: A finished run; the result becomes a stage of it, and its page is written again.
        checkpoint: Another checkpoint of the run's model, for the confirmation: a revision such as
            `step1000`, or a folder.
        max_candidates: Try so many at most: the strongest, by z.
        seed: Of the controls.
        progress: Reports progress.

    Returns:
        The funnel with its counts, and what became of each candidate; see `Surprises`.

    Raises:
        ArtifactError: The directory is not a finished run, or keeps no evidence.
        SettingsError: The checkpoint is the run's own, or a number is below 1.
        ModelError: The checkpoint cannot be loaded.
    """
    if max_candidates < 1:
        raise SettingsError(
            f"{max_candidates} is no number of candidates.", "Give at least 1, such as 60."
        )
    with writing(directory) as run:
        record, study = load_run(run, is_checking=True), run_decisions(run).study
        if record.evidence is None:
            raise ArtifactError(
                f"{directory} keeps no evidence.", "Run the study again; it resumes from there."
            )
        model = run_model(run, study, progress=progress)
        attributed = {scores for one in record.scores for scores in one.query_ids}
        found = run.get(
            surprises_stage(
                record.evidence,
                record.scores,
                [q for q in read_queries(part(run, QUERIES)) if q.id in attributed],
                record.corpus,
                model,
                _other(run, study, model, checkpoint, progress),
                evidence_key=own_evidence_key(run),
                max_candidates=max_candidates,
                seed=seed,
                progress=progress,
            )
        )
        run.finish()
    write_report(directory)
    return found


def _other(
    run: Run, study: StudySettings, own: LoadedModel, checkpoint: str, progress: Progress
) -> LoadedModel:
    """Loads the other checkpoint."""
    is_folder = Path(checkpoint).is_dir()
    changes = {"name": checkpoint, "revision": None} if is_folder else {"revision": checkpoint}
    settings = study.model.model_copy(update=changes)
    found = opening.open_model(settings, cache=run.cache, progress=progress)
    if found.fingerprint == own.fingerprint:
        raise SettingsError(
            f"`{checkpoint}` is the checkpoint that the run attributes.",
            "Name another one: an effect is confirmed where it was not found.",
        )
    return found
