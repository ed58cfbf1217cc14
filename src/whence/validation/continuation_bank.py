"""Banks of a user's checkpoint that goes on training without a random half of a window.

A bank explains itself: its folder holds what determines it, the examples of its window with hashes
of their tokens, and the behaviors that were measured, so that it is compared with a run without the
checkpoint that it began with.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from whence.artifacts import clear_disk_errors, exclusive, fingerprint, versions, write_json
from whence.errors import ArtifactError
from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus
from whence.validation.bank import (
    Bank,
    BankProgress,
    Unit,
    coin,
    note_masks,
    noted_masks,
)
from whence.validation.continuation import (
    UNMASKED,
    Continuation,
    compare_end,
    keep_state,
    make_outcome,
    open_continuation,
)
from whence.validation.continuation_settings import ContinuationStudy
from whence.validation.outcomes import (
    Outcome,
    Retraining,
    check_counts,
    make_missing,
    read_outcome,
)
from whence.validation.subject import Subject

if TYPE_CHECKING:
    import numpy as np

SETUP = "setup.json"
_PREFIX = "continuation-"


class Example(NamedTuple):
    """An example of a window: a hash of its tokens, their number, and the first of its copies."""

    tokens: str
    num_tokens: int
    group: str


@dataclass(frozen=True)
class ContinuationBank:
    """A folder of continuations, as it describes itself.

    Attributes:
        place: The folder.
        label: Of the checkpoint that training goes on from.
        since: Its step.
        until: The last step of the window.
        share: The window's share of the whole training.
        state: Where the optimizer's state comes from.
        examples: By id, in the order of training.
        behaviors: By id, the fingerprint of each behavior that was measured.
        ends: Fingerprints of the models at the window's end, by `continued` and, where one was
            kept, `kept`; none before the unmasked continuation was made.
        mean_difference_nats: Of the behaviors' log-probabilities, between the two.
    """

    place: Path
    label: str
    since: int
    until: int
    share: float
    state: str
    examples: Mapping[str, Example]
    behaviors: Mapping[str, str]
    ends: Mapping[str, str]
    mean_difference_nats: float | None

    @property
    def masks(self) -> Mapping[Unit, int]:
        """How many masks of each unit were called for."""
        return noted_masks(self.place)

    def units(self, unit: Unit) -> Mapping[str, frozenset[str]]:
        """Lists what is in or out as a whole: single examples, or near copies of each other."""
        if unit == "document":
            return {i: frozenset({i}) for i in self.examples}
        found: dict[str, set[str]] = {}
        for i, example in self.examples.items():
            found.setdefault(example.group, set()).add(i)
        return {name: frozenset(ids) for name, ids in found.items()}


def make_continuations(
    study: ContinuationStudy,
    directory: Path,
    *,
    unit: Unit = "document",
    num_masks: int = 64,
    jobs: int = 1,
    most: int | None = None,
    progress: Progress = SILENT,
) -> BankProgress:
    """Trains a checkpoint on, on everything and under random masks; resumes where it was stopped.

    Args:
        study: What goes on; its paths are absolute.
        directory: Where banks are kept.
        unit: What is in or out as a whole: an example of the window, or all near copies of it there
            (a Jaccard similarity of 0.8 of their 5-grams, by single linkage).
        num_masks: Random masks; mask number i is the same whatever their number.
        jobs: Processes, of one thread each.
        most: Train at most so many now.
        progress: Reports progress.

    Returns:
        The numbers of trainings in all, with the one on everything, and still to be made.

    Raises:
        WhenceError: The study cannot be used (see `open_continuation`, `starting_state`), or the
            directory cannot be written.

    Cost:
        Of each training, that of the steps, about half of whose examples are not looked at.
    """
    check_counts(jobs=jobs, most=most)
    opened = open_continuation(study)
    key = fingerprint(opened.inputs)
    place = directory / f"{_PREFIX}{opened.model.label.replace('/', '-')}-{key}"
    with clear_disk_errors(place):
        (place / "runs").mkdir(parents=True, exist_ok=True)
    with exclusive(place):
        _describe(opened, place)
        note_masks(place, unit, num_masks)
        found = _read(place)
        runs = [
            Retraining(frozenset()),
            *(Retraining(_dropped(found, unit, number)) for number in range(num_masks)),
        ]
        left = make_missing(
            place,
            runs,
            partial(make_outcome, study, place),
            before=lambda: keep_state(opened, place),
            jobs=jobs,
            most=most,
            progress=progress,
        )
        if unmasked := read_outcome(place, runs[0]):
            compare_end(opened, unmasked, place)
    return BankProgress(len(set(runs)), left)


def find_continuations(directory: Path) -> tuple[ContinuationBank, ...]:
    """Finds the banks of continuations in a directory; the latest windows first.

    Raises:
        ArtifactError: A file that describes one is broken.
    """
    found = [_read(path.parent) for path in sorted(directory.glob(f"{_PREFIX}*/{SETUP}"))]
    return tuple(sorted(found, key=lambda one: (-one.until, -one.since)))


def load_continuations(found: ContinuationBank, unit: Unit, query_ids: Sequence[str]) -> Bank:
    """Reads a bank; of an unfinished one, the masks that are there.

    Args:
        found: Which bank.
        unit: Of documents or of groups.
        query_ids: Of the behaviors to read, all of them measured.

    Raises:
        ArtifactError: Fewer than two masks have been trained, or a file is broken.
    """
    import numpy as np

    names = found.units(unit)
    made = {
        number: outcome
        for number in range(found.masks.get(unit, 0))
        if (outcome := read_outcome(found.place, Retraining(_dropped(found, unit, number))))
    }
    if len(made) < 2:
        raise ArtifactError(
            f"{found.place} holds {len(made)} continuations without some {unit}s.",
            "Call `whence bank` again; it resumes.",
        )
    counts = [[len(ids), sum(found.examples[i].num_tokens for i in ids)] for ids in names.values()]
    return Bank(
        size=found.place.name,
        groups=names,
        query_ids=tuple(query_ids),
        included=np.array([[coin(0, n, name) for name in names] for n in made]),
        log_probs_nats=_table(list(made.values()), query_ids),
        second_log_probs_nats=np.empty((0, len(query_ids))),
        counts=np.array(counts, dtype=np.float64),
        seconds_per_run=float(np.mean([outcome.seconds for outcome in made.values()])),
        is_window=True,
    )


def shared_queries(found: ContinuationBank, subject: Subject) -> tuple[str, ...] | str:
    """The queries of a run that a bank measured, or why its scores cannot be compared with it.

    Args:
        found: The bank.
        subject: The run's scores and what they are about.

    Returns:
        The ids of the shared behaviors; a reason where the run is about another model or other
        examples, or shares none.
    """
    known = dict(zip(subject.corpus.ids, range(len(subject.corpus)), strict=True))
    for example_id, example in found.examples.items():
        if example_id not in known:
            return f"the run's corpus lacks its example `{example_id}`."
        if tokens_hash(subject.corpus.input_ids(known[example_id])) != example.tokens:
            return f"its example `{example_id}` has other tokens than the run's."
    if subject.model not in found.ends.values():
        return (
            "the run's model is not the one at the window's end; validate a run on "
            f"{found.place / 'end'}, or on the study's `end`."
        )
    scored = set(subject.scores[0].query_ids)
    shared = tuple(
        b.id
        for b in subject.behaviors
        if b.id in scored and found.behaviors.get(b.id) == behavior_hash(b)
    )
    return shared or "it measured none of the run's behaviors."


def tokens_hash(ids: Sequence[int]) -> str:
    """Hashes the tokens of an example."""
    return fingerprint(list(ids))


def behavior_hash(behavior: Behavior) -> str:
    """Hashes what is measured of a behavior: its id, prompt and completion."""
    asked = {"id", "prompt", "completion", "prompt_ids", "completion_ids"}
    return fingerprint(behavior.model_dump(mode="json", include=asked))


def _dropped(found: ContinuationBank, unit: Unit, number: int) -> frozenset[str]:
    return frozenset(
        example_id
        for name, ids in found.units(unit).items()
        if not coin(0, number, name)
        for example_id in ids
    )


def _table(outcomes: Sequence[Outcome], query_ids: Sequence[str]) -> "np.ndarray":
    import numpy as np

    return np.array([[one.log_probs_nats[q] for q in query_ids] for one in outcomes])


def _describe(opened: Continuation, place: Path) -> None:
    """Writes down what determines a bank, and what it is compared by; the same on every call."""
    if (place / SETUP).is_file():
        return
    groups = _groups(opened.corpus)
    window = opened.corpus
    write_json(
        place / SETUP,
        {
            "inputs": opened.inputs,
            "versions": versions(),
            "title": opened.study.title,
            "label": opened.model.label,
            "since": opened.since,
            "until": opened.until,
            "share": (opened.until - opened.since) / opened.total_steps,
            "state": opened.state_words,
            "examples": {
                i: [tokens_hash(window.input_ids(row)), int(window.lengths[row]), groups[row]]
                for row, i in enumerate(window.ids)
            },
            "behaviors": {b.id: behavior_hash(b) for b in opened.behaviors},
        },
    )


def _groups(corpus: Corpus) -> list[str]:
    """Names each example's group of near copies by its first member."""
    from whence.corpus.duplicates import find_duplicates

    return [corpus.ids[int(row)] for row in find_duplicates(corpus).cluster_80]


def _read(place: Path) -> ContinuationBank:
    path = place / SETUP
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        unmasked = place / UNMASKED
        ends = json.loads(unmasked.read_text(encoding="utf-8")) if unmasked.is_file() else {}
        return ContinuationBank(
            place=place,
            label=value["label"],
            since=value["since"],
            until=value["until"],
            share=value["share"],
            state=value["state"],
            examples={i: Example(*one) for i, one in value["examples"].items()},
            behaviors=value["behaviors"],
            ends=ends.get("ends", {}),
            mean_difference_nats=ends.get("mean_difference_nats"),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}).", f"Delete {place}.") from None
