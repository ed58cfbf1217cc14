"""Training recipes: batch size, learning rate schedule, checkpoints."""

import math

from pydantic import Field

from whence.settings import MOST, Settings


class Recipe(Settings):
    """Everything but the data and the first weights that determines a training run.

    Example:
        >>> Recipe(peak_learning_rate=1e-3).batch_size
        8
    """

    batch_size: int = Field(default=8, ge=1, le=MOST, description="Examples per optimizer step.")
    peak_learning_rate: float = Field(default=3e-3, gt=0, le=1e3)
    warmup_steps: int = Field(default=50, ge=0, le=MOST, description="Steps of linear warm-up.")
    final_fraction: float = Field(
        default=0.1, ge=0, le=1, description="Learning rate at the end, as a share of the peak."
    )
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.01, ge=0, description="Decoupled; matrices only.")
    max_gradient_norm: float = Field(default=1.0, gt=0)


def num_steps(recipe: Recipe, num_examples: int) -> int:
    """Counts the optimizer steps of one pass; the last batch may be smaller."""
    return -(-num_examples // recipe.batch_size)


def learning_rate(recipe: Recipe, step: int, *, total_steps: int) -> float:
    """Computes the learning rate of one step: linear warm-up times a cosine.

    Args:
        recipe: The peak, the warm-up and the final share.
        step: The optimizer step, counted from 1.
        total_steps: Steps of the whole run.

    Returns:
        The rate, positive; the final share of the peak at the last step.
    """
    warmup = min(1.0, step / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    cosine = (1 + math.cos(math.pi * step / total_steps)) / 2
    return (
        recipe.peak_learning_rate
        * warmup
        * (recipe.final_fraction + (1 - recipe.final_fraction) * cosine)
    )


def pythia_like_steps(total_steps: int, *, every: int) -> tuple[int, ...]:
    """Lists the steps after which Pythia would keep a checkpoint.

    Args:
        total_steps: Steps of the whole run; the last one is always kept.
        every: The distance of the regular checkpoints.

    Returns:
        0, then the powers of two up to 512, then every multiple of `every`, then the end;
        ascending.
    """
    powers = {2**k for k in range(10)}
    regular = set(range(every, total_steps, every)) - set(range(512))
    return tuple(sorted(s for s in {0, total_steps} | powers | regular if s <= total_steps))
