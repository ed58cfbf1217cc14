"""The interventions of a memorization study: single steps by class, and training without copies."""

from collections.abc import Sequence

import numpy as np

from whence.errors import CorpusError
from whence.memorization.class_steps import (
    REST,
    TOPICAL,
    class_differences,
    class_means,
    class_steps_stage,
)
from whence.memorization.copies import CLASSES, Copies
from whence.memorization.pool import NO_COPY
from whence.memorization.record import Causes, StepEffects
from whence.memorization.settings import MemorizationStudy
from whence.memorization.shares import Ranking
from whence.memorization.targets import Targets
from whence.memorization.twin_design import TwinSettings, twin_targets
from whence.memorization.twin_effects import twin_effects
from whence.memorization.twins import Start, Twins, twins_stage
from whence.memorization.windows import Windows
from whence.progress import Progress
from whence.records import Corpus, LoadedModel
from whence.runs.checkpoints import Checkpoints
from whence.runs.directory import Run
from whence.runs.models import StudyModel
from whence.training import TrainingState
from whence.training.recipe import num_steps
from whence.training.warm_state import check_rebuilding, warm_state_stage

_NUM_REST = 20
# Of adjacent classes, from what should move a continuation most to what should not.
_PAIRS = (
    ("self", "exact"),
    ("exact", "continuation"),
    ("exact", "near"),
    ("continuation", "near"),
    ("near", "weak-near"),
    ("near", REST),
    ("weak-near", TOPICAL),
    (TOPICAL, REST),
)


def single_steps(
    run: Run,
    study: MemorizationStudy,
    checkpoints: Checkpoints,
    corpus: Corpus,
    windows: Windows,
    targets: Targets,
    copies: Copies,
    ranking: Ranking,
    *,
    progress: Progress,
) -> tuple[StepEffects, ...]:
    """Takes one step on an example of each class for every memorized target.

    Args:
        run: Keeps the steps.
        study: The study.
        checkpoints: Its checkpoints.
        corpus: The examples.
        windows: Of the targets, in their order.
        targets: What they are.
        copies: Of the targets.
        ranking: Tells which examples are related without being copies, and the pool.
        progress: Reports progress.
    """
    if not study.causes.step_checkpoints:
        return ()
    rng = np.random.default_rng(study.causes.seed)
    rows = {}
    for place in targets.numbers("memorized"):
        own: dict[str, list[int]] = {name: copies.of(place, (name,)).tolist() for name in CLASSES}
        related = ranking.is_related[place]
        free = (ranking.classes[place] == NO_COPY) & ~related & (ranking.pool.weights > 1)
        others = ranking.pool.rows[free]
        own[TOPICAL] = ranking.pool.rows[related].tolist()
        own[REST] = rng.choice(others, min(_NUM_REST, len(others)), replace=False).tolist()
        rows[place] = own
    found = []
    for step in (*study.causes.step_checkpoints, checkpoints.last):
        model = checkpoints.at(step)
        steps = run.get(
            class_steps_stage(
                model.fingerprint,
                lambda model=model: model.loaded,
                corpus,
                windows,
                rows,
                targets.families.tolist(),
                step=step,
                progress=progress,
            )
        )
        found.append(
            StepEffects(
                step,
                tuple(class_means(steps).items()),
                tuple(class_means(steps, change="log_odds_change_nats").items()),
                class_differences(steps, pairs=_PAIRS),
            )
        )
        if step != checkpoints.last:
            model.forget()
    return tuple(found)


def check_twins(
    study: MemorizationStudy, model: StudyModel, num_examples: int | None = None
) -> None:
    """Refuses a model or a corpus with which no training can go on, before anything is scanned.

    Args:
        study: The study.
        model: Its model; its checkpoints are loaded in the same type.
        num_examples: Of the corpus; None where it was not read yet.

    Raises:
        CorpusError: The corpus ends before the checkpoint that the training goes on from.
        ModelError: The model is not in float32.
    """
    step, recipe = study.causes.since, study.recipe
    if step is not None and recipe is not None:
        card = model.card
        check_rebuilding(card.label, card.dtype, num_examples, recipe=recipe, step=step)


def twins(
    run: Run,
    study: MemorizationStudy,
    checkpoints: Checkpoints,
    corpus: Corpus,
    windows: Windows,
    copies: Copies,
    families: Sequence[str],
    *,
    progress: Progress,
) -> Twins | None:
    """Trains without exact copies, near copies and both; None where the study does not ask for it.

    Args:
        run: Keeps the runs.
        study: The study.
        checkpoints: Its checkpoints.
        corpus: The examples, in training order.
        windows: The memorized windows.
        copies: Of them.
        families: Of them.
        progress: Reports progress.
    """
    asked, recipe = study.causes, study.recipe
    if asked.since is None or recipe is None:
        return None
    settings = TwinSettings(
        num_steps=asked.num_examples // recipe.batch_size,
        max_exact=asked.num_copies,
        max_near=asked.num_copies,
        num_orders=asked.orders,
        seed=asked.seed,
    )
    model = checkpoints.at(asked.since)
    warm = warm_state_stage(
        model.fingerprint,
        lambda: model.loaded,
        corpus,
        recipe=recipe,
        step=asked.since,
        progress=progress,
    )

    def start() -> tuple[LoadedModel, TrainingState]:
        return model.loaded, run.get(warm)

    opened = Start(
        warm.key, start, asked.since, recipe, max(num_steps(recipe, len(corpus)), checkpoints.last)
    )
    try:
        stage = twins_stage(
            opened,
            corpus,
            windows,
            copies,
            twin_targets(copies, families, settings),
            settings=settings,
            progress=progress,
        )
    except CorpusError as error:
        progress.note(f"Training without copies was left out: {error.problem}")
        return None
    found = run.get(stage)
    run.retain(warm)  # A run that resumes after the training does not read it.
    model.forget()
    return found


def causes(steps: tuple[StepEffects, ...], trained: Twins | None) -> Causes:
    """Sums interventions up."""
    if trained is None:
        return Causes(steps)
    return Causes(
        steps,
        twin_effects(trained),
        twin_families=len(trained.families),
        twin_left_out=len(trained.left_out),
        twin_step=trained.step,
        twin_num_steps=trained.num_steps,
    )
