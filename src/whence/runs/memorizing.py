"""A memorization study from its TOML file to its answers.

Scan the windows at every checkpoint, find who copies them, choose targets and controls, attribute,
sum up: one direction, and each step a stage of the run, so that a study that was interrupted
resumes from what it finished.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import TypeAdapter

from whence.artifacts import write_json, write_text
from whence.artifacts.files import files_state
from whence.artifacts.stage import Stage
from whence.corpus.duplicates import duplicates_stage, suffix_array_stage
from whence.errors import ArtifactError
from whence.evidence.ties import Relater
from whence.memorization.analysis import Material, analyze
from whence.memorization.arrays import read_arrays, save_arrays
from whence.memorization.attribution import gradient_stage, pool_scores, search_stage
from whence.memorization.copies import Copies, copies_stage
from whence.memorization.families import families
from whence.memorization.near_definitions import DefinitionRow, near_definitions
from whence.memorization.onset import onset
from whence.memorization.placing import place_windows
from whence.memorization.pool import NO_COPY, choose_pool, classes_in
from whence.memorization.prior import PriorCheck, check_prior
from whence.memorization.record import (
    Memorization,
    memorization_json,
    read_memorization,
    save_memorization,
)
from whence.memorization.scan import Scan, scan_stage
from whence.memorization.sequences import read_sequences
from whence.memorization.settings import SCAN, MemorizationStudy
from whence.memorization.shares import Ranking, first_rows
from whence.memorization.targets import Targets, choose_targets
from whence.memorization.taxonomy import Forms, count_copies, find_forms
from whence.memorization.windows import (
    Windows,
    first_windows,
    read_windows,
    save_windows,
)
from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, Query
from whence.runs import opening
from whence.runs.checkpoints import Checkpoints
from whence.runs.directory import Run, open_run, writing
from whence.runs.memorization_causes import causes, single_steps, twins
from whence.runs.models import StudyModel
from whence.runs.stages import corpus_stage, read_queries
from whence.runs.study_file import STUDY, check_study_file, write_study_file
from whence.settings import parse, read_toml
from whence.training.recipe import learning_rate, num_steps

if TYPE_CHECKING:
    from whence.corpus.duplicates import SuffixArray

MEMORIZATION = "memorization"


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
        checkpoints = Checkpoints(run, study)
        own = checkpoints.own
        stored = corpus_stage(study.corpus, own, progress=progress)
        corpus = run.get(stored)
        windows = run.get(_windows_stage(study, corpus, stored.key, checkpoints))
        scans = [
            _scan(run, checkpoints, windows, step, progress=progress)
            for step in (*checkpoints.steps, checkpoints.last)
        ]
        array = _Array(run, corpus, stored.key, progress)
        num_documents = run.get(_documents_stage(windows, stored.key, array))
        targets = _targets(study, windows, scans, num_documents)
        ever = np.stack([one.is_extractible for one in scans]).any(axis=0)
        studied = np.union1d(np.flatnonzero(ever), [] if targets is None else targets.places)
        studied = studied.astype(np.int64)
        fine = _fine_scans(run, checkpoints, windows.select(studied), scans, studied, progress)
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
            [str(name) for name in families(known, "window-13")],
            progress=progress,
        )
        ranking, steps, near = None, (), ()
        if targets is not None:
            of_targets = copies.select(np.searchsorted(studied, targets.places))
            chosen = windows.select(targets.places)
            ranking = _rank(
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
            near = run.get(_near_stage(chosen, corpus, array, of_targets, own, run, progress))
        read = run.get(_readings_stage(known, corpus, array, own, progress))
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
        run.get(_record_stage(found))
        asked = opening.portable(study, directory).model_dump(mode="json")
        run.finish(asked, {"model": own.fingerprint, "corpus": corpus.fingerprint})
        write_study_file(directory / STUDY, study, source)
        return found


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
    source = study.sequences.source
    return study.model_copy(
        update={
            "model": opening.absolute_model(study.model, base),
            "corpus": study.corpus.model_copy(
                update={"source": opening.absolute_name(study.corpus.source, base)}
            ),
            "checkpoints": named.model_copy(update=patterns),
            "sequences": study.sequences.model_copy(
                update={"source": source if source == SCAN else opening.absolute_name(source, base)}
            ),
        }
    )


def _windows_stage(
    study: MemorizationStudy, corpus: Corpus, corpus_key: str, checkpoints: Checkpoints
) -> Stage[Windows]:
    """The windows of a study: the starts of its examples, or published sequences."""
    asked = study.sequences

    def make(place: Path) -> None:
        save_windows(_windows(study, corpus, checkpoints), place / "windows.npz")

    origin: object = asked.source
    if (path := Path(asked.source)).exists():
        origin = {"name": path.name, "files": files_state(path)}
    return Stage(
        "windows",
        1,
        {
            "origin": origin,
            "settings": asked.model_dump(mode="json", exclude={"source"}),
            "corpus": corpus_key,
        },
        make=make,
        read=lambda place: read_windows(place / "windows.npz"),
    )


def _windows(study: MemorizationStudy, corpus: Corpus, checkpoints: Checkpoints) -> Windows:
    asked = study.sequences
    if asked.source == SCAN:
        end: object = checkpoints.own.loaded.tokenizer.eos_token_id
        found = first_windows(
            corpus,
            num_prompt_tokens=asked.num_prompt_tokens,
            num_completion_tokens=asked.num_completion_tokens,
            end_of_text=end if isinstance(end, int) and study.corpus.append_eos else None,
        )
    else:
        read = read_sequences(
            asked.source,
            split=asked.split,
            num_prompt_tokens=asked.num_prompt_tokens,
            num_completion_tokens=asked.num_completion_tokens,
        )
        found = place_windows(read.windows, corpus).windows
    if asked.max_windows is not None and len(found) > asked.max_windows:
        found = found.select(np.arange(asked.max_windows) * len(found) // asked.max_windows)
    return found


def _scan(
    run: Run,
    checkpoints: Checkpoints,
    windows: Windows,
    step: int,
    *,
    name: str = "scan",
    progress: Progress,
) -> Scan:
    model = checkpoints.at(step)
    stage = scan_stage(
        model.fingerprint, lambda: model.loaded, windows, step=step, name=name, progress=progress
    )
    found = run.get(stage)
    if step != checkpoints.last:
        model.forget()
    return found


def _fine_scans(
    run: Run,
    checkpoints: Checkpoints,
    windows: Windows,
    scans: Sequence[Scan],
    places: np.ndarray,
    progress: Progress,
) -> list[Scan]:
    """Scans of some windows at all checkpoints, ascending; those of all windows are used again."""
    found = [Scan(one.step, one.is_right[places], one.log_probs_nats[places]) for one in scans]
    if len(windows):
        found += [
            _scan(run, checkpoints, windows, step, name="dense", progress=progress)
            for step in checkpoints.dense_steps
        ]
    return sorted(found, key=lambda one: one.step)


class _Array:
    """The corpus's suffix array, made and read when it is first needed."""

    def __init__(self, run: Run, corpus: Corpus, key: str, progress: Progress) -> None:
        self._run = run
        self.corpus_key = key
        self._stage = suffix_array_stage(corpus, key, progress=progress)
        self._found: SuffixArray | None = None

    def open(self) -> "SuffixArray":
        if self._found is None:
            self._found = self._run.get(self._stage)
        return self._found


def _documents_stage(windows: Windows, corpus_key: str, array: _Array) -> Stage[np.ndarray]:
    """In how many documents the continuation of each window stands."""

    def make(place: Path) -> None:
        distinct, which = np.unique(windows.continuations, axis=0, return_inverse=True)
        counts = [array.open().count_documents(ids) for ids in distinct.tolist()]
        save_arrays(place / "documents.npz", counts=np.array(counts)[which.reshape(-1)])

    return Stage(
        "documents",
        1,
        {"windows": windows.fingerprint, "corpus": corpus_key},
        make=make,
        read=lambda place: read_arrays(place / "documents.npz")["counts"],
    )


def _targets(
    study: MemorizationStudy,
    windows: Windows,
    scans: Sequence[Scan],
    num_documents: np.ndarray,
) -> Targets | None:
    """The memorized windows to attribute, with controls; None where nothing is memorized."""
    memorized = np.flatnonzero(scans[-1].is_extractible)
    if not len(memorized):
        return None
    family_of = np.full(len(windows), -1, dtype=np.int64)
    family_of[memorized] = memorized[families(windows.select(memorized), "window-13")]
    return choose_targets(
        windows,
        scans,
        onset(scans, "stable"),
        family_of,
        num_documents,
        per_family=study.targets.per_family,
        max_targets=study.targets.max_targets,
        seed=study.targets.seed,
    )


def _queries_stage(windows: Windows, model: StudyModel) -> Stage[tuple[Query, ...]]:
    """The queries of the targets, with their texts, so that a run that is whole loads no model."""
    return Stage(
        "queries",
        1,
        {"windows": windows.fingerprint, "tokenizer": model.card.tokenizer},
        make=lambda place: write_json(
            place / "queries.json",
            [asdict(query) for query in windows.queries(model.loaded.tokenizer)],
        ),
        read=read_queries,
    )


def _rank(
    run: Run,
    study: MemorizationStudy,
    checkpoints: Checkpoints,
    windows: Windows,
    corpus: Corpus,
    array: _Array,
    targets: Targets,
    copies: Copies,
    progress: Progress,
) -> Ranking:
    """Scores a pool of examples for the targets at every attributed checkpoint."""
    queries = run.get(_queries_stage(windows, checkpoints.own))
    asked = study.pool
    pool = choose_pool(
        copies, corpus, num_random=asked.num_random, num_weak=asked.num_weak, seed=asked.seed
    )
    examples = pool.corpus(corpus)
    by_step = {}
    for step in (*study.targets.attribution_steps, checkpoints.last):
        model = checkpoints.at(step)
        stage = gradient_stage(
            step,
            model.fingerprint,
            lambda model=model: model.loaded,
            queries,
            examples,
            study.index,
            progress=progress,
        )
        by_step[step] = run.get(stage)
        if step != checkpoints.last:
            model.forget()
    search = run.get(search_stage(queries, corpus, pool, seed=study.targets.seed))
    scores = pool_scores(by_step, search, _learning_rates(study, len(corpus), list(by_step)))
    classes = classes_in(copies, len(targets), pool)
    duplicates = run.get(duplicates_stage(corpus, array.corpus_key, progress=progress))
    ranking = Ranking(
        scores,
        classes,
        np.zeros(classes.shape, dtype=bool),
        pool,
        duplicates.cluster_80[pool.rows],
        targets,
    )
    related = _related(ranking, corpus, queries, k=study.targets.top_k, progress=progress)
    return Ranking(scores, classes, related, pool, ranking.clusters, targets)


class _Readings(NamedTuple):
    """What is read off the memorized windows: forms, occurrences, and the prior where it can be."""

    forms: Forms
    num_occurrences: np.ndarray
    prior: PriorCheck | None


def _readings_stage(
    windows: Windows, corpus: Corpus, array: _Array, model: StudyModel, progress: Progress
) -> Stage[_Readings]:
    names = families(windows, "window-13") if len(windows) else np.zeros(0, dtype=np.int64)
    has_prior = len(np.unique(names)) > 1

    def make(place: Path) -> None:
        forms = find_forms(windows, model.loaded.tokenizer)
        own = unrelated = np.zeros(0)
        num_prompts = 0
        if has_prior:
            _, first, which = np.unique(
                windows.tokens, axis=0, return_index=True, return_inverse=True
            )
            found = check_prior(
                model.loaded, windows.select(first), names[first], progress=progress
            )
            own, unrelated = (v[which.reshape(-1)] for v in (found.own_nats, found.unrelated_nats))
            num_prompts = found.num_prompts
        save_arrays(
            place / "readings.npz",
            is_incrementing=forms.is_incrementing,
            is_repeating=forms.is_repeating,
            num_occurrences=count_copies(windows, array.open()),
            own_nats=own,
            unrelated_nats=unrelated,
            num_prompts=np.array(num_prompts),
        )

    def read(place: Path) -> _Readings:
        found = read_arrays(place / "readings.npz")
        prior = PriorCheck(
            windows.ids, found["own_nats"], found["unrelated_nats"], int(found["num_prompts"])
        )
        return _Readings(
            Forms(found["is_incrementing"], found["is_repeating"]),
            found["num_occurrences"],
            prior if has_prior else None,
        )

    return Stage(
        "readings",
        1,
        {
            "windows": windows.fingerprint,
            "corpus": array.corpus_key,
            "model": model.fingerprint,
        },
        make=make,
        read=read,
    )


def _near_stage(
    windows: Windows,
    corpus: Corpus,
    array: _Array,
    copies: Copies,
    model: StudyModel,
    run: Run,
    progress: Progress,
) -> Stage[tuple[DefinitionRow, ...]]:
    """What three published definitions of a near-duplicate make of the targets."""
    rows: TypeAdapter[tuple[DefinitionRow, ...]] = TypeAdapter(tuple[DefinitionRow, ...])

    def make(place: Path) -> None:
        found = near_definitions(
            windows,
            array.open(),
            model.loaded.tokenizer,
            duplicates=run.get(duplicates_stage(corpus, array.corpus_key, progress=progress)),
            progress=progress,
        )
        write_text(place / "near.json", rows.dump_json(found.table(copies), indent=1).decode())

    return Stage(
        "near-definitions",
        1,
        {
            "windows": windows.fingerprint,
            "corpus": array.corpus_key,
            "tokenizer": model.card.tokenizer,
        },
        make=make,
        read=lambda place: rows.validate_json((place / "near.json").read_bytes()),
    )


def _learning_rates(
    study: MemorizationStudy, num_examples: int, steps: Sequence[int]
) -> dict[int, float]:
    """The rate of the step after each checkpoint; 1 for each where no recipe is known."""
    size = opening.testbed_size(study.model.name)
    if size is not None:
        from whence.testbed import learning_rate_after

        return {step: learning_rate_after(size, step) for step in steps}
    if study.recipe is None:
        return dict.fromkeys(steps, 1.0)
    total = num_steps(study.recipe, num_examples)
    return {
        step: learning_rate(study.recipe, min(step + 1, total), total_steps=total) for step in steps
    }


def _related(
    ranking: Ranking,
    corpus: Corpus,
    queries: Sequence[Query],
    *,
    k: int,
    progress: Progress,
) -> np.ndarray:
    """Whether topic, template or format tie a target's first examples to it; false for copies."""
    behaviors = [
        Behavior(id=query.id, kind="memorized", prompt="", completion=query.text)
        for query in queries
    ]
    relater = Relater(corpus, behaviors, queries)
    found = np.zeros(ranking.classes.shape, dtype=bool)
    with progress.task("Relate first examples", total=len(queries), unit="targets") as task:
        for target, query in enumerate(queries):
            wanted: set[int] = set()
            for values in ranking.scores.values.values():
                rows = first_rows(values[target], ranking.classes[target])
                wanted.update(_first_of(rows, ranking.clusters, k))
            places = sorted(p for p in wanted if ranking.classes[target][p] == NO_COPY)
            ties = relater.ties(query.id, ranking.pool.rows[places].tolist())
            for place, tie in zip(places, ties, strict=True):
                found[target, place] = tie.relation in RELATED
            task.advance()
    return found


RELATED = frozenset(("templated", "topical", "same-style", "same-format"))


def _first_of(rows: np.ndarray, clusters: np.ndarray, k: int) -> list[int]:
    """The first k examples, and those that stand for the first k clusters."""
    _, first = np.unique(clusters[rows], return_index=True)
    return [*rows[:k].tolist(), *rows[np.sort(first)[:k]].tolist()]


def _record_stage(found: Memorization) -> Stage[Memorization]:
    """Keeps what was found; the content is its own key."""
    return Stage(
        MEMORIZATION,
        1,
        {"found": memorization_json(found)},
        make=lambda place: save_memorization(found, place),
        read=read_memorization,
    )
