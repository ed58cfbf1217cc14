"""Validation: whether what a run found holds, and which methods may be trusted with what.

`retrieval` compares rankings with planted truth; `tail_patch`, `proponent_steps` and
`example_effects` train one more step; `retraining`, `bank`, `effects`, `lds` and `removal` train
the testbed again without groups of examples, `continuation` goes on with a user's checkpoint;
`stability` compares rankings. `measures` and `step_measures` turn all of it into measures,
`leaderboard` puts methods side by side, and `run_validation` joins them into one `record`.

Other rooms import from here.
"""

from whence.validation.bank import BankProgress, BankSettings, Unit, make_bank
from whence.validation.clusters import cluster_sentence
from whence.validation.continuation_bank import make_continuations
from whence.validation.continuation_settings import ContinuationStudy
from whence.validation.example_effects import (
    ExampleEffect,
    ExampleEffects,
    read_example_effects,
    save_example_effects,
    step_on_examples,
)

# The room's modules have the functions' own names.
from whence.validation.families import families as behavior_families
from whence.validation.leaderboard import RANDOM_METHOD
from whence.validation.measures import OWN_REMOVED
from whence.validation.proponent_steps import (
    RANDOM_EXAMPLES,
    STEPS,
    ProponentStep,
    step_on_proponents,
)
from whence.validation.record import ClusterEffect, Comparison, Control, Cost, Figure, Validation
from whence.validation.removal import plan_named_removals, plan_window_removals
from whence.validation.run_validation import validate
from whence.validation.step_measures import (
    OwnMoments,
    TailPatches,
    first_of_each_kind,
    tail_patch_stage,
)
from whence.validation.subject import Subject, Truth
from whence.validation.surprises import (
    Candidate,
    Surprises,
    applied,
    read_surprises,
    surprises_stage,
)
from whence.validation.tail_patch import Patch, Request, StepSettings
from whence.validation.tail_patch import tail_patch as tail_patches
from whence.validation.text import format_validation

__all__ = [
    "OWN_REMOVED",
    "RANDOM_EXAMPLES",
    "RANDOM_METHOD",
    "STEPS",
    "BankProgress",
    "BankSettings",
    "Candidate",
    "ClusterEffect",
    "Comparison",
    "ContinuationStudy",
    "Control",
    "Cost",
    "ExampleEffect",
    "ExampleEffects",
    "Figure",
    "OwnMoments",
    "Patch",
    "ProponentStep",
    "Request",
    "StepSettings",
    "Subject",
    "Surprises",
    "TailPatches",
    "Truth",
    "Unit",
    "Validation",
    "applied",
    "behavior_families",
    "cluster_sentence",
    "first_of_each_kind",
    "format_validation",
    "make_bank",
    "make_continuations",
    "plan_named_removals",
    "plan_window_removals",
    "read_example_effects",
    "read_surprises",
    "save_example_effects",
    "step_on_examples",
    "step_on_proponents",
    "surprises_stage",
    "tail_patch_stage",
    "tail_patches",
    "validate",
]
