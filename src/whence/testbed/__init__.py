"""The testbed: a miniature Pythia whose every training example and every cause is known.

A miniature Pythia in a miniature Pile: a GPT-NeoX model trained from scratch, in a fixed order, on
a corpus generated from a seed, with facts, stereotypes, memorized passages, rude replies and styles
planted in it, decoys beside them, and the truth on file.
"""

from whence.testbed.checkpoints import (
    all_steps,
    initial_checkpoint,
    initial_model,
    last_step,
    learning_rate_after,
    load_checkpoint,
    recipe,
    second_moment_steps,
    second_moments,
    steps,
    train_testbed,
    training_inputs,
)
from whence.testbed.groups import groups
from whence.testbed.plan import Testbed, generate, held_out_texts
from whence.testbed.retraining import (
    RetrainingSettings,
    kept_state,
    retrained_model,
    retraining_inputs,
    seeded_model,
    window,
    window_ids,
)
from whence.testbed.tables import corpus, corpus_hash, training_weights
from whence.testbed.truth import behaviors, decoys, gold, inert

__all__ = [
    "RetrainingSettings",
    "Testbed",
    "all_steps",
    "behaviors",
    "corpus",
    "corpus_hash",
    "decoys",
    "generate",
    "gold",
    "groups",
    "held_out_texts",
    "inert",
    "initial_checkpoint",
    "initial_model",
    "kept_state",
    "last_step",
    "learning_rate_after",
    "load_checkpoint",
    "recipe",
    "retrained_model",
    "retraining_inputs",
    "second_moment_steps",
    "second_moments",
    "seeded_model",
    "steps",
    "train_testbed",
    "training_inputs",
    "training_weights",
    "window",
    "window_ids",
]
