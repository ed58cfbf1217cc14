"""Retraining the testbed with other example weights."""

from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import Field

from whence.artifacts import building, is_current
from whence.errors import CorpusError
from whence.records import LoadedModel
from whence.settings import Settings
from whence.testbed.checkpoints import WEIGHTS, loaded, training_inputs, training_start
from whence.testbed.plan import training_order
from whence.testbed.sizes import size_named
from whence.testbed.tables import corpus, training_weights
from whence.training.recipe import num_steps


class RetrainingSettings(Settings):
    """Which testbed is trained again, and how far.

    Example:
        >>> RetrainingSettings(size="nano").stop_after is None
        True
    """

    size: str = Field(description="`nano` or `mini`.")
    stop_after: int | None = Field(
        default=None, ge=1, description="End after this optimizer step; a toy, for tests."
    )


def retrained_model(
    settings: RetrainingSettings, *, dropped: Collection[str], seed: int = 0
) -> LoadedModel:
    """Trains a testbed again, with some examples at weight zero.

    A dropped example keeps its place in the order and in the loss's denominator, so that nothing
    but its own gradient is missing.

    Args:
        settings: Which testbed.
        dropped: Ids of examples that do not count; inert ones never count.
        seed: 0 is the testbed's own first weights and order; another number draws both anew, each
            document within its own window of the order.

    Returns:
        The model at the end. The same arguments and number of threads give the same bits.

    Raises:
        CorpusError: An id is not in the corpus.

    Cost:
        One training run: about 8 seconds of one CPU core for nano, 75 for mini.
    """
    from whence.training.trainer import train

    size = settings.size
    examples = corpus(size)
    weights = training_weights(size)
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
        stop_after=settings.stop_after,
    )
    last = num_steps(size_named(size).recipe, len(examples))
    return loaded(size, model.eval(), step=min(settings.stop_after or last, last))


def seeded_model(size: str, *, seed: int, cache: Path) -> LoadedModel:
    """Loads a testbed that was trained with another seed on the same corpus; trains it once.

    Args:
        size: `nano` or `mini`.
        seed: Of first weights and order; above 0.
        cache: Where the weights at the end are kept.

    Raises:
        ArtifactError: The cache cannot be written or read.
    """
    from whence.training.checkpoints import load_tensors, save_tensors

    settings = RetrainingSettings(size=size)
    directory = cache / f"testbed-{size}-seed{seed}"
    inputs = {**retraining_inputs(settings), "order_seed": seed}
    if not is_current(directory, kind="testbed-seed", inputs=inputs):
        with building(directory, kind="testbed-seed", inputs=inputs) as partial:
            trained = retrained_model(settings, dropped=(), seed=seed)
            save_tensors(trained.model.state_dict(), partial / WEIGHTS)
    model = training_start(size, seed=seed)
    model.load_state_dict(load_tensors(directory / WEIGHTS))
    return loaded(size, model.eval(), step=num_steps(size_named(size).recipe, len(corpus(size))))


def retraining_inputs(settings: RetrainingSettings) -> Mapping[str, object]:
    """Tells everything that determines a retraining beside the examples dropped and the seed."""
    from importlib.metadata import version

    return {
        **training_inputs(settings.size),
        "stop_after": settings.stop_after,
        "torch": version("torch"),
    }
