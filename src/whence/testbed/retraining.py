"""Retraining the testbed with other example weights."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from whence.artifacts import building, is_current
from whence.errors import ArtifactError, CorpusError, SettingsError
from whence.progress import SILENT, Progress
from whence.records import LoadedModel
from whence.settings import Settings
from whence.testbed.checkpoints import WEIGHTS, loaded, training_inputs, training_start
from whence.testbed.plan import training_order
from whence.testbed.sizes import size_named
from whence.testbed.tables import corpus, training_weights
from whence.training.recipe import num_steps

if TYPE_CHECKING:
    from whence.training.trainer import TrainingState

STATE = "state.safetensors"


class RetrainingSettings(Settings):
    """Which steps of a testbed's training are done again.

    Example:
        >>> RetrainingSettings(size="nano").stop_after is None
        True
    """

    size: str = Field(description="`nano` or `mini`.")
    since: int | None = Field(
        default=None,
        ge=0,
        description="Resume the uninterrupted training from its state after this step, so that "
        "only later examples can be dropped; by default train from the first weights.",
    )
    stop_after: int | None = Field(
        default=None, ge=1, description="End, and measure, after this optimizer step."
    )


def window(settings: RetrainingSettings) -> tuple[int, int]:
    """Finds the steps that are trained again: those after the first, up to the last.

    Raises:
        SettingsError: They are not steps of the testbed's training, or none is between them.
    """
    last = num_steps(size_named(settings.size).recipe, len(corpus(settings.size)))
    since, until = settings.since or 0, settings.stop_after or last
    if not since < until <= last:
        raise SettingsError(
            f"There is no window from step {since} to step {until}: the training of "
            f"testbed:{settings.size} has {last} steps.",
            f"Choose 0 <= since < until <= {last}.",
        )
    return since, until


def window_ids(settings: RetrainingSettings) -> tuple[str, ...]:
    """Lists the examples that the steps of a window train on, in their order."""
    since, until = window(settings)
    batch_size = size_named(settings.size).recipe.batch_size
    return corpus(settings.size).ids[since * batch_size : until * batch_size]


def retrained_model(
    settings: RetrainingSettings,
    *,
    dropped: Collection[str],
    seed: int = 0,
    start: "TrainingState | None" = None,
    progress: Progress = SILENT,
) -> LoadedModel:
    """Trains a testbed again, with some examples at weight zero.

    A dropped example keeps its place in the order and in the loss's denominator, so that nothing
    but its own gradient is missing.

    Args:
        settings: Which steps of which testbed.
        dropped: Ids of examples that do not count; inert ones never count.
        seed: 0 is the testbed's own first weights and order; another number draws both anew, each
            document within its own window of the order.
        start: The state after `settings.since` steps, which `kept_state` reads; where it is not
            given, it is trained anew.
        progress: Reports progress.

    Returns:
        The model after the last step. The same arguments and number of threads give the same bits,
        whether `start` is given or not; without dropped examples they are those of the
        uninterrupted training.

    Raises:
        CorpusError: An id is not in the corpus, or is trained on before the window.
        SettingsError: There is no such window, or a window is combined with another seed.

    Cost:
        One training run: about 8 seconds of one CPU core for nano, 75 for mini. A window costs its
        share: 0.4 seconds for the last 24 of nano's 488 steps.
    """
    from whence.training.trainer import train

    size = settings.size
    examples = corpus(size)
    weights = training_weights(size)
    if settings.since is not None:
        _check_window(settings, dropped, seed)
        start = _trained_state(settings) if start is None else start
    known = set(examples.ids)
    if unknown := sorted(set(dropped) - known):
        raise CorpusError(f"testbed:{size} has no example `{unknown[0]}`.", "Check the ids.")
    weights[examples.rows(sorted(dropped))] = 0.0
    model = training_start(size, seed=None if seed == 0 else seed)
    train(
        model,
        examples.table.column("input_ids").to_pylist(),
        recipe=size_named(size).recipe,
        weights=weights.tolist(),
        order=None if seed == 0 else training_order(size, seed=seed),
        resume=start,
        stop_after=settings.stop_after,
        progress=progress,
    )
    last = num_steps(size_named(size).recipe, len(examples))
    return loaded(size, model.eval(), step=min(settings.stop_after or last, last))


def kept_state(settings: RetrainingSettings, directory: Path) -> "TrainingState":
    """Reads the state from which a window is resumed; trains up to it once.

    Args:
        settings: A testbed and a window of its training.
        directory: Where the state is kept: weights and both of Adam's moments, in float32.

    Raises:
        ArtifactError: The directory cannot be written or read.
        SettingsError: There is no such window.
    """
    from whence.training.checkpoints import load_state, save_state

    since, _ = window(settings)
    inputs = {**retraining_inputs(RetrainingSettings(size=settings.size)), "since": since}
    if not is_current(directory, kind="training-state", inputs=inputs):
        with building(directory, kind="training-state", inputs=inputs) as partial:
            save_state(_trained_state(settings), partial / STATE)
    state = load_state(directory / STATE)
    if state.step != since:
        raise ArtifactError(f"{directory} holds the state of step {state.step}.", "Remove it.")
    return state


def _trained_state(settings: RetrainingSettings) -> "TrainingState":
    """Trains up to a window, on everything."""
    from whence.training.trainer import TrainingState, train

    size, (since, _) = settings.size, window(settings)
    found: list[TrainingState] = []

    def keep(state: "TrainingState") -> None:
        parts = (state.weights, state.first_moments, state.second_moments)
        copies = ({key: value.clone() for key, value in part.items()} for part in parts)
        found.append(TrainingState(state.step, *copies))

    train(
        training_start(size),
        corpus(size).table.column("input_ids").to_pylist(),
        recipe=size_named(size).recipe,
        weights=training_weights(size).tolist(),
        checkpoint_steps=(since,),
        on_checkpoint=keep,
        stop_after=since,
    )
    return found[0]


def _check_window(settings: RetrainingSettings, dropped: Collection[str], seed: int) -> None:
    """Refuses what a window's retraining would leave out without a word."""
    since, until = window(settings)
    if seed:
        raise SettingsError(
            f"A window of training cannot be resumed with seed {seed}.",
            "Another seed has another order; use the testbed's own.",
        )
    outside = set(dropped) & set(corpus(settings.size).ids) - set(window_ids(settings))
    if outside:
        raise CorpusError(
            f"`{min(outside)}` is not among the examples of steps {since + 1} to {until}.",
            "Only examples of the window can be dropped.",
        )


def seeded_model(size: str, *, seed: int, cache: Path, progress: Progress = SILENT) -> LoadedModel:
    """Loads a testbed that was trained with another seed on the same corpus; trains it once.

    Args:
        size: `nano` or `mini`.
        seed: Of first weights and order; above 0.
        cache: Where the weights at the end are kept.
        progress: Reports progress.

    Raises:
        ArtifactError: The cache cannot be written or read.
    """
    from whence.training.checkpoints import load_tensors, save_tensors

    settings = RetrainingSettings(size=size)
    directory = cache / f"testbed-{size}-seed{seed}"
    inputs = {**retraining_inputs(settings), "order_seed": seed}
    if not is_current(directory, kind="testbed-seed", inputs=inputs):
        with building(directory, kind="testbed-seed", inputs=inputs) as partial:
            progress.note(f"Training testbed:{size} with seed {seed}, kept in {directory}.")
            trained = retrained_model(settings, dropped=(), seed=seed, progress=progress)
            save_tensors(trained.model.state_dict(), partial / WEIGHTS)
    model = training_start(size, seed=seed)
    model.load_state_dict(load_tensors(directory / WEIGHTS))
    return loaded(size, model.eval(), step=num_steps(size_named(size).recipe, len(corpus(size))))


def retraining_inputs(settings: RetrainingSettings) -> Mapping[str, object]:
    """Tells everything that determines a retraining beside the examples dropped and the seed."""
    from importlib.metadata import version

    # Only where there is one, so that the name of a whole training does not depend on windows.
    since = {} if settings.since is None else {"since": settings.since}
    return {
        **training_inputs(settings.size),
        "stop_after": settings.stop_after,
        "torch": version("torch"),
        **since,
    }
