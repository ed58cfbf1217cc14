"""Comparing the behaviors of a finished run across kinds, as a stage that is made on demand."""

from pathlib import Path

from whence.artifacts.stage import Stage
from whence.errors import ArtifactError, SettingsError
from whence.evidence import Comparison, compare, read_comparison, save_comparison
from whence.evidence.descriptors import Attribution
from whence.progress import SILENT, Progress
from whence.report.run_record import RunRecord
from whence.runs.directory import Run, open_run, writing
from whence.runs.record import NULLS, QUERIES, load_run, part
from whence.runs.stages import read_queries

COMPARISON = "comparison"


def compare_run(directory: Path, *, seed: int = 0, progress: Progress = SILENT) -> Comparison:
    """Compares what different kinds of behavior are attributed to, with four controls.

    Args:
        directory: A finished run; the comparison becomes a stage of it, and is read back where it
            is there already.
        seed: Of permutations, resampling and matching.
        progress: Reports progress.

    Raises:
        ArtifactError: The directory is not a finished run, or it keeps no evidence.
        SettingsError: It holds no scores, or fewer than two kinds have enough behaviors.
    """
    with writing(directory) as run:
        record = load_run(run)
        found = run.get(comparison_stage(run, record, seed=seed, progress=progress))
        run.finish()
    return found


def comparison_stage(
    run: Run, record: RunRecord, *, seed: int, progress: Progress
) -> Stage[Comparison]:
    """The comparison of a run's kinds; it stays while what it is about is part of the run."""
    if not record.scores:
        raise SettingsError(
            f"{run.directory} holds no scores.", "Run the study with at least one method."
        )

    def make(place: Path) -> None:
        found = compare(
            attribution_of(run, record), record.verifications, seed=seed, progress=progress
        )
        save_comparison(found, place)

    about = run.keys("scores/", "imported/", "corpus", "evidence", "verification")
    return Stage(
        COMPARISON, 2, {"about": list(about), "seed": seed}, make=make, read=read_comparison
    )


def attribution_of(run: Run, record: RunRecord) -> Attribution:
    """Gathers what a run knows of its behaviors' attribution.

    Raises:
        ArtifactError: The run keeps no evidence.
    """
    if record.evidence is None or record.duplicates is None:
        raise ArtifactError(
            f"{run.directory} keeps no evidence.", "Run the study again: it adds what is missing."
        )
    by_id = {behavior.id: behavior for behavior in record.behaviors}
    queries = {query.id: query for query in read_queries(part(run, QUERIES))}
    # Scores of another tool may lack some of the behaviors: these cannot be compared with others.
    whole = max((scores.query_ids for scores in record.scores), key=len)
    return Attribution(
        scores=tuple(scores for scores in record.scores if set(scores.query_ids) == set(whole)),
        behaviors=tuple(by_id[name] for name in whole),
        queries=tuple(queries[name] for name in whole),
        nulls=read_queries(part(run, NULLS)) if run.find(NULLS) is not None else (),
        corpus=record.corpus,
        duplicates=record.duplicates,
        evidence=record.evidence,
    )


def load_comparison(directory: Path) -> Comparison | None:
    """Reads the comparison that a run keeps; None where `whence compare` did not run since.

    Raises:
        ArtifactError: The directory is not a finished run, or the comparison is broken.
    """
    run = open_run(directory)
    return None if run.find(COMPARISON) is None else read_comparison(part(run, COMPARISON))
