"""Adam's state at a checkpoint that was kept without one, rebuilt from the batches before it.

Adam's moments are weighted means of recent gradients and of their squares: a gradient of s steps
ago weighs β^s. With β₂ = .95 what is older than 60 steps weighs 5 % in all, with β₁ = .9 0.2 %. So
the moments are nearly what the last batches give, and 60 steps of training with a learning rate of
zero, which change no weight, compute them. What is missing:

- K steps from zero have collected weights that sum to 1 − β^K instead of 1 − β^s at step s. The
  moments are multiplied by (1 − β^s) / (1 − β^K), so that bias correction at step s undoes it.
- The gradients are those of the checkpoint's weights, and not of the weights of each step. The
  closer the steps, the smaller the difference, and the less what is older weighs.

Without it, a continued run starts with a fresh Adam, whose first steps move every weight by about
the learning rate, whatever its gradient.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

from whence.artifacts import fingerprint
from whence.artifacts.stage import Stage
from whence.errors import CorpusError, ModelError, SettingsError
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel
from whence.training.checkpoints import load_state, save_state
from whence.training.recipe import Recipe
from whence.training.trainer import TrainingState, train

# With β₂ = .95 older gradients weigh 5 % of the second moments.
NUM_STEPS = 60
STATE_FILE = "state.safetensors"


def rebuild_state(
    model: LoadedModel,
    corpus: Corpus,
    *,
    recipe: Recipe,
    step: int,
    order: Sequence[int] | None = None,
    num_steps: int = NUM_STEPS,
    progress: Progress = SILENT,
) -> TrainingState:
    """Rebuilds the training state of a checkpoint from the batches that precede it.

    Args:
        model: The checkpoint, in float32; left as it is.
        corpus: What it was trained on.
        recipe: How it was trained; only its batch size, the betas and the clipping matter here.
        step: The number of optimizer steps that the checkpoint has seen, at least 1.
        order: The corpus row at each place of the training order; by default that of the corpus.
        num_steps: Batches to collect moments from; at most `step` are used.
        progress: Reports progress.

    Returns:
        A state of this step, from which `whence.training.train` resumes. Its weights are the
        model's; its moments estimate those that the trainer had.

    Raises:
        CorpusError: The order ends before the checkpoint.
        ModelError: The model is not in float32, or its loss is not finite.
        SettingsError: `step` or `num_steps` is below 1.

    Cost:
        A forward and a backward pass over `num_steps` batches.
    """
    if step < 1 or num_steps < 1:
        raise SettingsError(
            f"{num_steps} batches before step {step} hold no state.", "Give at least 1 of each."
        )
    order = range(len(corpus)) if order is None else order
    check_rebuilding(model.label, model.dtype, len(order), recipe=recipe, step=step)
    first = max(step - num_steps, 0)
    rows = order[first * recipe.batch_size : step * recipe.batch_size]
    network = copy.deepcopy(model.model).requires_grad_(True)
    kept: list[TrainingState] = []
    train(
        network,
        [corpus.input_ids(row) for row in rows],
        recipe=recipe,
        since=first,
        schedule=_zero,
        checkpoint_steps=(step,),
        on_checkpoint=kept.append,
        progress=progress,
    )
    return _unbiased(kept[0], recipe, num_collected=step - first)


def check_rebuilding(
    label: str, dtype: str, num_examples: int | None, *, recipe: Recipe, step: int
) -> None:
    """Refuses what no training state can be rebuilt from, before any work for it.

    Args:
        label: The checkpoint, for messages.
        dtype: The type of its weights.
        num_examples: Examples in the training order; None where that is not known yet.
        recipe: How it was trained.
        step: The number of optimizer steps that the checkpoint has seen.

    Raises:
        CorpusError: The order ends before the checkpoint.
        ModelError: The model is not in float32.
    """
    if dtype != "float32":
        raise ModelError(f"{label} was loaded in {dtype}.", "Load it in float32.")
    if num_examples is not None and num_examples <= (step - 1) * recipe.batch_size:
        raise CorpusError(
            f"{num_examples:,} examples in batches of {recipe.batch_size} end before step "
            f"{step:,}.",
            "Give the corpus, the order and the batch size that the checkpoint was trained with.",
        )


def warm_state_stage(
    model_fingerprint: str,
    open_model: Callable[[], LoadedModel],
    corpus: Corpus,
    *,
    recipe: Recipe,
    step: int,
    order: Sequence[int] | None = None,
    num_steps: int = NUM_STEPS,
    name: str = "warm-state",
    progress: Progress = SILENT,
) -> Stage[TrainingState]:
    """The rebuilt state as a stage; the model is opened only to make it. See `rebuild_state`."""

    def make(place: Path) -> None:
        state = rebuild_state(
            open_model(),
            corpus,
            recipe=recipe,
            step=step,
            order=order,
            num_steps=num_steps,
            progress=progress,
        )
        save_state(state, place / STATE_FILE)

    inputs = {
        "model": model_fingerprint,
        "corpus": corpus.fingerprint,
        "recipe": recipe.model_dump(mode="json"),
        "step": step,
        "order": None if order is None else fingerprint(list(order)),
        "num_steps": num_steps,
    }
    return Stage(name, 1, inputs, make=make, read=lambda place: load_state(place / STATE_FILE))


def _zero(step: int) -> float:
    return 0.0


def _unbiased(state: TrainingState, recipe: Recipe, *, num_collected: int) -> TrainingState:
    """Weights moments of so many steps as those of all steps of the state would be."""

    def factor(beta: float) -> float:
        return (1 - beta**state.step) / (1 - beta**num_collected)

    first, second = factor(recipe.beta1), factor(recipe.beta2)
    return TrainingState(
        state.step,
        {name: value.clone() for name, value in state.weights.items()},
        {name: value * first for name, value in state.first_moments.items()},
        {name: value * second for name, value in state.second_moments.items()},
    )
