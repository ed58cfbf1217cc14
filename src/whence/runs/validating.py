"""Validating a finished run, and training the retrainings that this needs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from whence.artifacts import read_manifest
from whence.errors import SettingsError
from whence.progress import SILENT, Progress
from whence.records import Scores
from whence.report.run_record import RunRecord
from whence.runs import opening
from whence.runs.directory import Run, open_run, writing
from whence.runs.record import (
    NULLS,
    QUERIES,
    load_run,
    part,
    run_decisions,
    run_model,
    validation_stage,
)
from whence.runs.stages import read_queries
from whence.runs.study import write_report
from whence.settings import MOST, StudySettings, parse
from whence.testbed import RetrainingSettings, last_step, window, window_ids
from whence.validation import (
    BankProgress,
    BankSettings,
    Cost,
    OwnMoments,
    Subject,
    Truth,
    Unit,
    Validation,
    make_bank,
    plan_named_removals,
    plan_window_removals,
    tail_patch_stage,
    validate,
)


def validate_run(
    directory: Path,
    *,
    banks: Sequence[Path] = (),
    num_masks: int = 64,
    num_second: int = 32,
    against: Sequence[Path] = (),
    queries_per_kind: int = 8,
    progress: Progress = SILENT,
) -> Validation:
    """Measures a run's methods by planted truth, one more step, retraining and each other.

    Args:
        directory: A finished run; the validation becomes a stage of it, and its page is written
            again.
        banks: Where retrainings are kept, of whole trainings and of windows; see
            `make_retrainings`. A file is a table of them that another tool made; see
            `whence.validation.bank_table`. Nothing is trained here.
        num_masks: Masks of the bank of whole trainings.
        num_second: Masks of its second seed.
        against: Runs of the same study with another projection seed, checkpoint or precision.
        queries_per_kind: Tail-patch so many behaviors of each kind, the study's first ones.
        progress: Reports progress.

    Returns:
        Every figure with its interval, its number of queries and its control; see
        `whence.validation.validate`.

    Raises:
        ArtifactError: The directory is not a finished run, or a retraining cannot be read.
        SettingsError: The run has no method, or another run is about other examples or queries.
    """
    _check_counts(queries_per_kind, num_masks, num_second, banks)
    with writing(directory) as run:
        record, study = load_run(run, is_validating=True), run_decisions(run).study
        subject = _subject(run, record, study)
        repeats = {str(path): load_run(path, is_validating=True).scores for path in against}
        _check_repeats(subject.scores, repeats)
        about = run.keys("scores/", "imported/", "corpus")
        patches = run.get(
            tail_patch_stage(
                subject,
                run_model(run, study, progress=progress),
                queries_per_kind=queries_per_kind,
                moments=_own_moments(study, run),
                about=about,
                progress=progress,
            )
        )
        validation = validate(
            subject,
            tail_patches=patches,
            costs=_costs(run, record, study),
            banks=banks,
            num_masks=num_masks,
            num_second=num_second,
            repeats=repeats,
        )
        run.get(validation_stage(validation, about=about))
        run.finish()
    write_report(directory)
    return validation


def _own_moments(study: StudySettings, run: Run) -> OwnMoments | None:
    """The optimizer's second moments of the run's model; None where nothing tells them."""
    from whence.methods.views import FINAL
    from whence.runs.views import study_moments

    try:
        found = study_moments(study, FINAL, run.cache)
    except SettingsError:
        return None
    return OwnMoments(found.origin, found.load)


def _check_repeats(scores: Sequence[Scores], repeats: Mapping[str, Sequence[Scores]]) -> None:
    """Refuses runs of another study before anything is measured."""
    own = {one.method: (one.query_ids, one.example_ids) for one in scores}
    for run, others in repeats.items():
        for one in others:
            about = one.query_ids, one.example_ids
            if own.get(one.method, about) != about:
                raise SettingsError(
                    f"{run} has other queries or examples.",
                    "Compare runs of the same study, on the same corpus.",
                )


def read_subject(directory: Path) -> Subject:
    """Reads what is validated from a finished run: its scores, and what is known beside them.

    Raises:
        ArtifactError: The directory is not a finished run.
        SettingsError: The run has no method.
    """
    run = open_run(directory)
    return _subject(run, load_run(run, is_validating=True), run_decisions(run).study)


def _subject(run: Run, record: RunRecord, study: StudySettings) -> Subject:
    if not record.scores:
        raise SettingsError(
            f"{run.directory} holds no scores.", "Run the study with at least one method."
        )
    return Subject(
        run=run.manifest.key,
        scores=record.scores,
        corpus=record.corpus,
        behaviors=record.behaviors,
        truth=_truth(opening.testbed_size(study.behaviors.file)),
        testbed=opening.testbed_size(study.corpus.source),
        step=_step(study),
        model=run.manifest.hashes.get("model"),
        queries=read_queries(part(run, QUERIES)),
        clusters=() if record.duplicates is None else record.duplicates.cluster_80.tolist(),
        nulls=read_queries(part(run, NULLS)) if run.find(NULLS) else (),
    )


def _check_counts(
    queries_per_kind: int, num_masks: int, num_second: int, banks: Sequence[Path]
) -> None:
    """Refuses numbers out of their bounds, and a bank that is not there."""
    for name, value, least in (
        ("queries per kind", queries_per_kind, 1),
        ("masks", num_masks, 2),
        ("masks of the second seed", num_second, 0),
    ):
        if not least <= value <= MOST:
            raise SettingsError(
                f"{value} is no number of {name}.", f"Give at least {least}, and at most {MOST:,}."
            )
    for bank in banks:
        if not bank.exists():
            raise SettingsError(
                f"There is no bank {bank}.", "Check the path, or make it with `whence bank`."
            )


def make_retrainings(
    directory: Path,
    *,
    size: str,
    num_masks: int,
    num_second: int | None = None,
    since: int | None = None,
    until: int | None = None,
    unit: Unit | None = None,
    run: Path | None = None,
    jobs: int = 1,
    most: int | None = None,
    progress: Progress = SILENT,
) -> BankProgress:
    """Trains the runs of a factorial bank, and the removals that validating a run needs.

    Args:
        directory: Where retrainings of all testbeds are kept.
        size: Which testbed.
        num_masks: Masks of the bank.
        num_second: Masks trained again with a second seed; by default 32, in a window none.
        since: Resume training after this step, and leave out only what comes later.
        until: End after this step.
        unit: What is in or out as a whole; by default a group, in a window a document.
        run: A run directory whose methods' first proponents are also removed; of a window, those
            that it trains on, for every query, and 100 random removals.
        jobs: Processes, of one thread each.
        most: Train at most so many now.
        progress: Reports progress.

    Returns:
        The numbers of trainings in all and still to be made.

    Raises:
        ArtifactError: `run` is not a finished run, or `directory` cannot be written.
        SettingsError: `run` is not on a testbed, a number is out of its bounds, or there is no such
            window.
    """
    is_part = since is not None or until is not None or unit == "document"
    retraining = _retraining(size, since or 0, until) if is_part else RetrainingSettings(size=size)
    values: dict[str, object] = {
        "retraining": retraining.model_dump(mode="json"),
        "unit": unit or ("document" if is_part else "group"),
        "num_masks": num_masks,
        "num_second": (0 if is_part else 32) if num_second is None else num_second,
    }
    settings = parse(BankSettings, values, where="The bank")
    removals = None
    if run is not None:
        opened = open_run(run)
        record, source = load_run(opened), run_decisions(opened).study.corpus.source
        if opening.testbed_size(source) is None:
            raise SettingsError(
                f"{run} is about {source}, which cannot be trained again here.",
                "Only runs on a testbed have retrainings.",
            )
        removals = (
            plan_window_removals(record.scores, record.corpus, window_ids(retraining))
            if is_part
            else plan_named_removals(record.scores, record.corpus, size)
        )
    return make_bank(
        settings, directory, removals=removals, jobs=jobs, most=most, progress=progress
    )


def _retraining(size: str, since: int, until: int | None) -> RetrainingSettings:
    """Describes a window; its end has one description, whether it is named or not."""
    values: dict[str, object] = {"size": size, "since": since, "stop_after": until}
    settings = parse(RetrainingSettings, values, where="The window")
    window(settings)
    return (
        settings if until != last_step(size) else settings.model_copy(update={"stop_after": None})
    )


def _step(study: StudySettings) -> int | None:
    """Finds the step of a testbed's model; None for another one."""
    if opening.testbed_size(study.model.name) is None:
        return None
    return opening.checkpoint_step(study.model)


def _truth(size: str | None) -> Truth | None:
    """What was planted in a testbed; None where the behaviors are not a testbed's."""
    if size is None:
        return None
    from whence.testbed import decoys, gold, inert

    return Truth(gold(size), decoys(size), inert(size))


def _costs(run: Run, record: RunRecord, study: StudySettings) -> dict[str, Cost]:
    """Seconds with the passes over the corpus that a method needs, and its index's bytes."""
    from whence.methods import find_method, is_method
    from whence.methods.requests import CorpusPass

    found = {}
    for one in record.scores:
        is_ours = one.family != "unknown" and is_method(one.method)
        needs = find_method(one.method).needs(study.attribution) if is_ours else ()
        places = [
            run.find(name)
            for request in needs
            if isinstance(request, CorpusPass)
            for name in request.directories
        ]
        total, size = one.seconds, 0
        for place in places:
            if place is None:
                continue
            manifest = read_manifest(place)
            total += manifest.details.get("seconds", manifest.seconds)
            rows = place / "gradients.bin"
            size += rows.stat().st_size if rows.is_file() else 0
        found[one.method] = Cost(
            seconds=round(total, 3), bytes_per_example=size / len(record.corpus)
        )
    return found
