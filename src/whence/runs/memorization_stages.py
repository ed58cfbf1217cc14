"""The stages of a memorization study that no room of its own keeps."""

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
from whence.memorization.arrays import read_arrays, save_arrays
from whence.memorization.copies import Copies
from whence.memorization.families import families
from whence.memorization.near_definitions import DefinitionRow, near_definitions
from whence.memorization.placing import join_windows, place_windows
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
from whence.memorization.taxonomy import Forms, count_copies, find_forms
from whence.memorization.windows import (
    Windows,
    first_windows,
    read_windows,
    save_windows,
)
from whence.models.network import vocabulary_size
from whence.progress import Progress
from whence.records import Corpus, Query
from whence.runs.checkpoints import Checkpoints
from whence.runs.directory import Run
from whence.runs.models import StudyModel
from whence.runs.record import MEMORIZATION
from whence.runs.stages import read_queries

if TYPE_CHECKING:
    from whence.corpus.duplicates import SuffixArray


def windows_stage(
    study: MemorizationStudy,
    corpus: Corpus,
    corpus_key: str,
    checkpoints: Checkpoints,
    lists: Windows | None = None,
) -> Stage[Windows]:
    """The windows of a study: the starts of its examples, or published sequences.

    `lists` is what `read_lists` gave, where it was read already.
    """
    asked = study.sequences

    def make(place: Path) -> None:
        save_windows(_windows(study, corpus, checkpoints, lists), place / "windows.npz")

    named = [name for name in (asked.source, asked.controls) if name is not None]
    origin = [
        {"name": path.name, "files": files_state(path)} if (path := Path(name)).exists() else name
        for name in named
    ]
    return Stage(
        "windows",
        1,
        {
            "origin": origin,
            "settings": asked.model_dump(mode="json", exclude={"source", "controls"}),
            "corpus": corpus_key,
        },
        make=make,
        read=lambda place: read_windows(place / "windows.npz"),
    )


def _windows(
    study: MemorizationStudy, corpus: Corpus, checkpoints: Checkpoints, lists: Windows | None
) -> Windows:
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
        lists = read_lists(study, checkpoints.own) if lists is None else lists
        placed = place_windows(lists, corpus)
        # Of a range of the training data, the sequences of other rows have no copies to look at.
        found = placed.inside() if placed.is_inside.any() else placed.windows
    if asked.max_windows is not None and len(found) > asked.max_windows:
        found = found.select(np.arange(asked.max_windows) * len(found) // asked.max_windows)
    return found


def read_lists(study: MemorizationStudy, model: StudyModel) -> Windows:
    """Reads the published sequences of a study and their controls.

    Raises:
        CorpusError: A list cannot be read, or its tokens are not the model's.
    """
    asked, vocabulary = study.sequences, vocabulary_size(model.loaded)
    found = read_sequences(
        asked.source,
        split=asked.split,
        num_prompt_tokens=asked.num_prompt_tokens,
        num_completion_tokens=asked.num_completion_tokens,
        vocabulary_size=vocabulary,
    ).windows
    if asked.controls is None:
        return found
    others = read_sequences(
        asked.controls,
        split=asked.controls_split,
        num_prompt_tokens=asked.num_prompt_tokens,
        num_completion_tokens=asked.num_completion_tokens,
        vocabulary_size=vocabulary,
        sample=asked.num_controls,
        seed=study.targets.seed,
    )
    return join_windows(found, others.windows)


def scan_at(
    run: Run,
    checkpoints: Checkpoints,
    windows: Windows,
    step: int,
    *,
    name: str = "scan",
    progress: Progress,
) -> Scan:
    """Scans windows at one step; the model is loaded only where that was not done before."""
    model = checkpoints.at(step)
    stage = scan_stage(
        model.fingerprint, lambda: model.loaded, windows, step=step, name=name, progress=progress
    )
    found = run.get(stage)
    if step != checkpoints.last:
        model.forget()
    return found


def fine_scans(
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
            scan_at(run, checkpoints, windows, step, name="dense", progress=progress)
            for step in checkpoints.dense_steps
        ]
    return sorted(found, key=lambda one: one.step)


class StoredArray:
    """The corpus's suffix array, made and read when it is first needed."""

    def __init__(self, run: Run, corpus: Corpus, key: str, progress: Progress) -> None:
        self._run = run
        self.corpus_key = key
        self._stage = suffix_array_stage(corpus, key, progress=progress)
        run.retain(self._stage)  # A run that resumes after the counts may not read it.
        self._found: SuffixArray | None = None

    def open(self) -> "SuffixArray":
        """The array itself."""
        if self._found is None:
            self._found = self._run.get(self._stage)
        return self._found


def documents_stage(windows: Windows, corpus_key: str, array: StoredArray) -> Stage[np.ndarray]:
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


def target_queries_stage(windows: Windows, model: StudyModel) -> Stage[tuple[Query, ...]]:
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


class Readings(NamedTuple):
    """What is read off the memorized windows: forms, occurrences, and the prior where it can be."""

    forms: Forms
    num_occurrences: np.ndarray
    prior: PriorCheck | None


def readings_stage(
    windows: Windows, corpus: Corpus, array: StoredArray, model: StudyModel, progress: Progress
) -> Stage[Readings]:
    """What is read off the memorized windows alone.

    Equal windows are compared with unrelated prompts once; of one family alone there are none.
    """
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

    def read(place: Path) -> Readings:
        found = read_arrays(place / "readings.npz")
        prior = PriorCheck(
            windows.ids, found["own_nats"], found["unrelated_nats"], int(found["num_prompts"])
        )
        return Readings(
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


def near_stage(
    windows: Windows,
    corpus: Corpus,
    array: StoredArray,
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


def record_stage(found: Memorization) -> Stage[Memorization]:
    """Keeps what was found; the content is its own key."""
    return Stage(
        MEMORIZATION,
        1,
        {"found": memorization_json(found)},
        make=lambda place: save_memorization(found, place),
        read=read_memorization,
    )
