"""What one optimizer step on an example of each class does to a window's continuation.

A tail-patch by relation: from the same weights, one step on a window's own example, on an exact
copy, a near copy, a topical example, any other, each by itself. It is local: what a step would do
at that checkpoint. Two things mislead:

- Saturation: a continuation that is nearly certain cannot become much likelier. So the log-odds are
  measured as well, and checkpoints before any window's onset are the ones to compare groups at.
- Length: the step's loss is a mean over the example's tokens, so those of a short example weigh
  more. So examples are chosen that are about as long as the window's own.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import Field

from whence.artifacts import fingerprint
from whence.artifacts.stage import Stage
from whence.errors import CorpusError
from whence.memorization.arrays import read_arrays, save_arrays
from whence.memorization.copies import CLASSES, Copies
from whence.memorization.windows import UNKNOWN_ROW, Windows
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel
from whence.settings import MOST, Settings
from whence.statistics import MIN_FAMILIES, Estimate, mean_estimate
from whence.validation import Request, StepSettings, tail_patches

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# By the place of a window, then by class: rows of the corpus.
RowsByClass = Mapping[int, Mapping[str, Sequence[int]]]
Change = Literal["log_prob_change_nats", "log_odds_change_nats"]
TOPICAL, REST = "topical", "rest"
STEP_CLASSES: tuple[str, ...] = (*CLASSES, TOPICAL, REST)
PAIRS: tuple[tuple[str, str], ...] = (("exact", "near"), ("near", REST), (TOPICAL, REST))
_FILE = "class-steps.npz"


class ClassStepSettings(Settings):
    """The step, and on how many examples.

    Example:
        >>> ClassStepSettings().num_examples
        1
    """

    step: StepSettings = StepSettings()
    num_examples: int = Field(
        default=1,
        ge=1,
        description="Examples of each class and window, each stepped on by itself; their mean.",
    )
    seed: int = Field(default=0, ge=0, le=MOST, description="Of the choice among equal lengths.")


@dataclass(frozen=True)
class ClassSteps:
    """What steps did at one checkpoint.

    Attributes:
        step: The checkpoint's training step.
        classes: In the order of the columns below.
        window_ids: In the order of the rows below.
        families: The family of each window.
        num_examples: How many examples were stepped on, one at a time.
        mean_num_tokens: Their mean length; NaN where there is none.
        before_nats: Log-probability of the whole continuation before, in nats.
        log_prob_change_nats: Its mean change by a step: positive where the step made the
            continuation likelier; NaN where the window has no example of the class.
        log_odds_change_nats: The same of log p − log(1 − p), p being the whole continuation's.
    """

    step: int
    classes: tuple[str, ...]
    window_ids: tuple[str, ...]
    families: tuple[str, ...]
    num_examples: "Int[np.ndarray, 'windows classes']"
    mean_num_tokens: "Float[np.ndarray, 'windows classes']"
    before_nats: "Float[np.ndarray, ' windows']"
    log_prob_change_nats: "Float[np.ndarray, 'windows classes']"
    log_odds_change_nats: "Float[np.ndarray, 'windows classes']"


def rows_by_class(
    copies: Copies,
    places: Sequence[int],
    *,
    topical: Mapping[int, Sequence[int]],
    rest: Sequence[int],
) -> dict[int, dict[str, list[int]]]:
    """Lists the examples of every class of some windows.

    Args:
        copies: Of the windows.
        places: Which windows.
        topical: By window, examples of its topic.
        rest: Examples for all windows, such as random ones.

    Returns:
        By window, then by class of `STEP_CLASSES`; what copies the window is in no class of the
        last two, and what is topical not in the rest.
    """
    found = {}
    for place in places:
        own = {name: copies.of(place, (name,)).tolist() for name in CLASSES}
        copied = set(copies.of(place).tolist())
        near_topic = [row for row in topical.get(place, ()) if row not in copied]
        others = [row for row in rest if row not in copied and row not in set(near_topic)]
        found[place] = own | {TOPICAL: near_topic, REST: others}
    return found


def step_on_classes(
    model: LoadedModel,
    corpus: Corpus,
    windows: Windows,
    rows: RowsByClass,
    families: Sequence[Hashable],
    *,
    step: int,
    settings: ClassStepSettings | None = None,
    progress: Progress = SILENT,
) -> ClassSteps:
    """Takes one step on examples of each class, from the same weights, for every window.

    Args:
        model: A checkpoint in float32; its weights come back to the bit.
        corpus: The examples.
        windows: All windows.
        rows: For each window to measure the examples of each class (`rows_by_class`).
        families: The family of each of `windows`.
        step: The checkpoint's training step, which is only noted.
        settings: The step, and how many examples of a class.
        progress: Reports progress.

    Returns:
        One row per window of `rows`, one column per class that any of them names. Of each class
        those examples are stepped on whose length is nearest to that of the window's own example,
        or of the window where that is not known.

    Raises:
        CorpusError: There is no window, or no example with a token to predict.
        ModelError: The model is not finite after a step.

    Cost:
        A forward and a backward pass over each distinct example, and a forward pass over the
        windows that it is stepped on for.
    """
    settings = settings or ClassStepSettings()
    classes = _classes(rows)
    chosen = choose_examples(corpus, windows, rows, settings=settings)
    requests = [
        Request(name, (row,), (windows.ids[place],))
        for place, by_class in chosen.items()
        for name, own in by_class.items()
        for row in own
    ]
    if not requests:
        raise CorpusError(
            f"None of {len(rows)} windows has an example to step on.", "Name some of a class."
        )
    measured = windows.select(list(rows))
    patches = iter(
        tail_patches(
            model,
            corpus,
            measured.queries(model.tokenizer),
            requests,
            steps=(settings.step,),
            progress=progress,
        )
    )
    shape = (len(rows), len(classes))
    count, length = np.zeros(shape, dtype=np.int64), np.full(shape, np.nan)
    log_prob, log_odds = np.full(shape, np.nan), np.full(shape, np.nan)
    before = np.full(len(rows), np.nan)
    for number, by_class in enumerate(chosen.values()):
        for name, own in by_class.items():
            found = [next(patches) for _ in own]
            if not found:
                continue
            at = (number, classes.index(name))
            count[at], length[at] = len(own), np.mean(corpus.lengths[list(own)])
            log_prob[at] = np.mean([patch.log_prob_change_nats for patch in found])
            log_odds[at] = np.mean([patch.log_odds_change_nats for patch in found])
            before[number] = found[0].log_prob_before_nats
    return ClassSteps(
        step,
        classes,
        measured.ids,
        tuple(str(families[place]) for place in rows),
        count,
        length,
        before,
        log_prob,
        log_odds,
    )


def choose_examples(
    corpus: Corpus, windows: Windows, rows: RowsByClass, *, settings: ClassStepSettings
) -> dict[int, dict[str, tuple[int, ...]]]:
    """Chooses the examples of each class that are about as long as the window's own example.

    Returns:
        By window and class, at most `settings.num_examples` rows, nearest first; among equally near
        ones a random one. Examples of one token have nothing to predict and are never chosen.
    """
    rng = np.random.default_rng(settings.seed)
    found = {}
    for place, by_class in rows.items():
        own = int(windows.rows[place])
        like = windows.tokens.shape[1] if own == UNKNOWN_ROW else int(corpus.lengths[own])
        found[place] = {}
        for name, candidates in by_class.items():
            shuffled = rng.permutation(np.asarray(candidates, dtype=np.int64))
            shuffled = shuffled[corpus.lengths[shuffled] > 1]
            order = np.argsort(np.abs(corpus.lengths[shuffled] - like), kind="stable")
            found[place][name] = tuple(shuffled[order[: settings.num_examples]].tolist())
    return found


class ClassDifference(NamedTuple):
    """A paired difference of two classes, in nats; positive where the first moves more."""

    first: str
    second: str
    estimate: Estimate


def class_means(
    found: ClassSteps, *, change: Change = "log_prob_change_nats"
) -> dict[str, Estimate]:
    """Averages what steps on each class did.

    Returns:
        By class, the mean over families of the mean over a family's windows, in nats, with a 95 %
        interval of Student's t over families; `n` counts families. No interval with fewer than
        six of them.
    """
    values = getattr(found, change)
    return {
        name: _over_families(values[:, column], found.families)
        for column, name in enumerate(found.classes)
    }


def class_differences(
    found: ClassSteps,
    *,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    change: Change = "log_prob_change_nats",
) -> tuple[ClassDifference, ...]:
    """Compares classes within windows: only those count that have examples of both.

    Returns:
        One difference per pair whose classes are known, averaged as by `class_means`.
    """
    values = getattr(found, change)
    column = {name: values[:, number] for number, name in enumerate(found.classes)}
    return tuple(
        ClassDifference(
            first, second, _over_families(column[first] - column[second], found.families)
        )
        for first, second in pairs
        if first in column and second in column
    )


def _over_families(values: "Float[np.ndarray, ' windows']", families: Sequence[str]) -> Estimate:
    by_family: dict[str, list[float]] = {}
    for value, family in zip(values.tolist(), families, strict=True):
        if not np.isnan(value):
            by_family.setdefault(family, []).append(value)
    estimate = mean_estimate([fmean(own) for own in by_family.values()])
    return estimate if estimate.n >= MIN_FAMILIES else estimate._replace(interval=None)


def _classes(rows: RowsByClass) -> tuple[str, ...]:
    """All classes, the known ones in their order, then the others in order of appearance."""
    named = dict.fromkeys(name for by_class in rows.values() for name in by_class)
    known = [name for name in STEP_CLASSES if name in named]
    return tuple(dict.fromkeys([*known, *named]))


def class_steps_stage(
    model_fingerprint: str,
    open_model: Callable[[], LoadedModel],
    corpus: Corpus,
    windows: Windows,
    rows: RowsByClass,
    families: Sequence[Hashable],
    *,
    step: int,
    settings: ClassStepSettings | None = None,
    progress: Progress = SILENT,
) -> Stage[ClassSteps]:
    """The steps at one checkpoint as a stage; the model is opened only to make it."""
    settings = settings or ClassStepSettings()

    def make(place: Path) -> None:
        found = step_on_classes(
            open_model(),
            corpus,
            windows,
            rows,
            families,
            step=step,
            settings=settings,
            progress=progress,
        )
        values = {field.name: np.asarray(getattr(found, field.name)) for field in fields(found)}
        save_arrays(place / _FILE, **values)

    chosen = choose_examples(corpus, windows, rows, settings=settings)
    inputs = {
        "model": model_fingerprint,
        "corpus": corpus.fingerprint,
        "windows": windows.select(list(rows)).fingerprint,
        "examples": fingerprint([[place, list(own.items())] for place, own in chosen.items()]),
        "families": [str(families[place]) for place in rows],
        "step": step,
        "settings": settings.model_dump(mode="json"),
    }
    return Stage(f"class-steps/step{step}", 1, inputs, make=make, read=_read)


def _read(place: Path) -> ClassSteps:
    stored = read_arrays(place / _FILE)
    classes, window_ids, families = (
        tuple(map(str, stored.pop(name))) for name in ("classes", "window_ids", "families")
    )
    return ClassSteps(int(stored.pop("step")), classes, window_ids, families, **stored)
