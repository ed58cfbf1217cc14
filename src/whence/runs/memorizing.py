"""A memorization study from its TOML file to its answers.

Scan the windows at every checkpoint, find who copies them, choose targets and controls, attribute,
sum up: one direction, and each step a stage of the run, so that a study that was interrupted
resumes from what it finished.
"""

from pathlib import Path

import numpy as np

from whence.errors import ArtifactError, SettingsError
from whence.memorization.analysis import Material, analyze
from whence.memorization.copies import copies_stage
from whence.memorization.families import families
from whence.memorization.record import (
    Memorization,
    read_memorization,
)
from whence.memorization.settings import SCAN, MemorizationStudy
from whence.progress import SILENT, Progress
from whence.report.memorization import write_memorization_page
from whence.runs import opening
from whence.runs.checkpoints import Checkpoints
from whence.runs.directory import open_run, writing
from whence.runs.memorization_causes import causes, check_twins, single_steps, twins
from whence.runs.memorization_ranking import rank, targets_of
from whence.runs.memorization_stages import (
    StoredArray,
    documents_stage,
    fine_scans,
    near_stage,
    read_lists,
    readings_stage,
    record_stage,
    scan_at,
    windows_stage,
)
from whence.runs.models import StudyModel
from whence.runs.record import MEMORIZATION, check_kind
from whence.runs.stages import corpus_stage
from whence.runs.study_file import STUDY, check_study_file, write_study_file
from whence.settings import parse, read_toml

PAGE = "index.html"


def load_memorization_study(path: Path) -> MemorizationStudy:
    """Reads a memorization study; relative paths in it start from its folder.

    Raises:
        SettingsError: The file cannot be read, or a setting is unknown or out of range.
    """
    return parse(MemorizationStudy, read_toml(path), where=str(path))


def run_memorization(
    study: MemorizationStudy,
    directory: Path,
    *,
    base: Path | None = None,
    source: Path | None = None,
    progress: Progress = SILENT,
) -> Memorization:
    """Runs a memorization study.

    Args:
        study: The question and its settings.
        directory: The run's directory: new, or that of an earlier run, whose stages are used again.
        base: The folder that the study's relative paths start from; by default the current one.
        source: The study's own file, which is never overwritten.
        progress: Reports progress.

    Returns:
        What was found.

    Raises:
        WhenceError: Some input is wrong; nothing that looks finished is left behind.
    """
    study = resolve(study, base or Path())
    check_study_file(directory / STUDY, source, command=MEMORIZATION)
    with writing(directory) as run:
        check_kind(run, is_memorization=True)
        checkpoints = Checkpoints(run, study, progress=progress)
        own = checkpoints.own
        _check_length(study, own)
        check_twins(study, own)
        stored = corpus_stage(study.corpus, own, progress=progress)
        # A list that cannot be read is refused before the corpus is read.
        is_new = study.sequences.source != SCAN and not run.has(stored)
        lists = read_lists(study, own) if is_new else None
        corpus = run.get(stored)
        check_twins(study, own, len(corpus))
        windows = run.get(windows_stage(study, corpus, stored.key, checkpoints, lists))
        scans = [
            scan_at(run, checkpoints, windows, step, progress=progress)
            for step in (*checkpoints.steps, checkpoints.last)
        ]
        array = StoredArray(run, corpus, stored.key, progress)
        num_documents = run.get(documents_stage(windows, stored.key, array))
        targets = targets_of(study, windows, scans, num_documents)
        ever = np.stack([one.is_extractible for one in scans]).any(axis=0)
        studied = np.union1d(np.flatnonzero(ever), [] if targets is None else targets.places)
        studied = studied.astype(np.int64)
        fine = fine_scans(run, checkpoints, windows.select(studied), scans, studied, progress)
        copies = run.get(
            copies_stage(
                windows.select(studied),
                corpus,
                stored.key,
                array.open,
                lambda: own.loaded.tokenizer,
                progress=progress,
            )
        )
        memorized = np.flatnonzero(fine[-1].is_extractible)
        known = windows.select(studied).select(memorized)
        trained = twins(
            run,
            study,
            checkpoints,
            corpus,
            known,
            copies.select(memorized),
            [str(name) for name in families(known, study.causes.families)],
            progress=progress,
        )
        ranking, steps, near = None, (), ()
        if targets is not None:
            of_targets = copies.select(np.searchsorted(studied, targets.places))
            chosen = windows.select(targets.places)
            ranking = rank(
                run, study, checkpoints, chosen, corpus, array, targets, of_targets, progress
            )
            steps = single_steps(
                run,
                study,
                checkpoints,
                corpus,
                chosen,
                targets,
                of_targets,
                ranking,
                progress=progress,
            )
            near = run.get(near_stage(chosen, corpus, array, of_targets, own, run, progress))
        read = run.get(readings_stage(known, corpus, array, own, progress))
        subsets = corpus.table.column("subset").to_pylist()
        own_steps = corpus.table.column("step").to_pylist()
        material = Material(
            windows=windows,
            scans=scans,
            subsets=[None if row < 0 else subsets[row] for row in windows.rows.tolist()],
            num_documents=num_documents,
            studied=studied,
            fine=fine,
            copies=copies,
            forms=read.forms,
            num_occurrences=read.num_occurrences,
            own_steps=np.array(
                [-1 if row < 0 or (s := own_steps[row]) is None else s for row in windows.rows]
            ),
            prior=read.prior,
            near_definitions=near,
            targets=targets,
            ranking=ranking,
            causes=causes(steps, trained),
        )
        found = analyze(
            material,
            model=own.card.label,
            corpus=corpus.name,
            source=study.sequences.source,
            num_examples=len(corpus),
            top_k=study.targets.top_k,
            seed=study.targets.seed,
        )
        run.get(record_stage(found))
        asked = opening.portable(study, directory).model_dump(mode="json")
        run.finish(asked, {"model": own.fingerprint, "corpus": corpus.fingerprint})
        write_study_file(directory / STUDY, study, source)
        write_memorization_page(found, study.title, directory / PAGE)
        return found


def _check_length(study: MemorizationStudy, model: StudyModel) -> None:
    asked, most = study.sequences, model.card.context_length
    length = asked.num_prompt_tokens + asked.num_completion_tokens
    if length > most:
        raise SettingsError(
            f"A window of {asked.num_prompt_tokens} + {asked.num_completion_tokens} tokens is "
            f"longer than the context of {model.card.label}, {most} tokens.",
            "Choose fewer `sequences.num_prompt_tokens` or `num_completion_tokens`.",
        )


def load_memorization(directory: Path) -> Memorization:
    """Reads what a finished memorization study found.

    Raises:
        ArtifactError: The directory is no such run.
    """
    place = open_run(directory).find(MEMORIZATION)
    if place is None:
        raise ArtifactError(
            f"{directory} is a run of another kind of study.",
            "Name a run of `whence memorization`, or read this one with `whence show`.",
        )
    return read_memorization(place)


def resolve(study: MemorizationStudy, base: Path) -> MemorizationStudy:
    """Makes the study's relative paths absolute; a name that is no path there stays as it is.

    Raises:
        SettingsError: A path names an environment variable that is not set.
    """
    named = study.checkpoints
    patterns = {
        key: opening.absolute_pattern(value, base)
        for key in ("name", "dense_name")
        if (value := getattr(named, key)) is not None
    }
    sequences = {
        key: value if value == SCAN else opening.absolute_name(value, base)
        for key in ("source", "controls")
        if (value := getattr(study.sequences, key)) is not None
    }
    return study.model_copy(
        update={
            "model": opening.absolute_model(study.model, base),
            "corpus": study.corpus.model_copy(
                update={"source": opening.absolute_name(study.corpus.source, base)}
            ),
            "checkpoints": named.model_copy(update=patterns),
            "sequences": study.sequences.model_copy(update=sequences),
        }
    )
