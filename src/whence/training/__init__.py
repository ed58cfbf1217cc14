"""Training: one deterministic trainer with example weights, a fixed order and checkpoints."""

from whence.training.checkpoints import load_state, load_tensors, save_state, save_tensors
from whence.training.recipe import Recipe, learning_rate, num_steps, pythia_like_steps
from whence.training.replay import Curvature, Replayed, replay
from whence.training.trainer import StepLog, TrainingState, backward_batch, train

__all__ = [
    "Curvature",
    "Recipe",
    "Replayed",
    "StepLog",
    "TrainingState",
    "backward_batch",
    "learning_rate",
    "load_state",
    "load_tensors",
    "num_steps",
    "pythia_like_steps",
    "replay",
    "save_state",
    "save_tensors",
    "train",
]
