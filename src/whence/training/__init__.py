"""How would the model differ, had it been trained otherwise?

One deterministic trainer: per-example weights, a fixed order, checkpoints, optimizer state.
"""

from whence.training.checkpoints import load_state, load_tensors, save_state, save_tensors
from whence.training.recipe import Recipe, learning_rate, num_steps, pythia_like_steps
from whence.training.trainer import StepLog, TrainingState, backward_batch, train

__all__ = [
    "Recipe",
    "StepLog",
    "TrainingState",
    "backward_batch",
    "learning_rate",
    "load_state",
    "load_tensors",
    "num_steps",
    "pythia_like_steps",
    "save_state",
    "save_tensors",
    "train",
]
