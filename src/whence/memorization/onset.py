"""Onset: since which checkpoint is a window memorized, and when is it forgotten?

Training is seen at checkpoints only, so that an onset is an interval: after one checkpoint, and not
after another. One order of early and late sequences that a single definition supports is no
finding, so that every definition stands beside the others.

Source:
    Stable onset and token-level onset: as in Eichin et al. (strict extraction lags behind the
    tokens that are right); new, kept and forgotten sequences by checkpoint: arXiv 2506.12321.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from whence.errors import SettingsError
from whence.memorization.scan import Scan

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

Definition = Literal["stable", "first", "twice", "tokens"]
DEFINITIONS: tuple[Definition, ...] = get_args(Definition)
RULES: dict[Definition, str] = {
    "stable": "extractible at this checkpoint and at every later one",
    "first": "extractible at this checkpoint for the first time",
    "twice": "extractible at this checkpoint and the next one, for the first time",
    "tokens": "80 % of the tokens right for the first time, given the true ones before",
}
NEVER = -1
_SHARE_OF_TOKENS = 0.8


class Onset(NamedTuple):
    """When windows were memorized, by one definition.

    Attributes:
        definition: What counts as memorized.
        after: The last checkpoint's step at which it was not yet so; -1 where it was so at the
            first checkpoint, or never.
        by: The first checkpoint's step at which it is so; -1 where it never is.
    """

    definition: Definition
    after: "Int[np.ndarray, ' windows']"
    by: "Int[np.ndarray, ' windows']"

    @property
    def is_reached(self) -> "Bool[np.ndarray, ' windows']":
        """Whether it ever is so."""
        return self.by >= 0


class Flow(NamedTuple):
    """What changed at one checkpoint since the one before.

    `new` are extractible now and were not; `kept` were already; `forgotten` were and are not.
    `again` are the new ones that had been extractible at some earlier checkpoint.
    """

    step: int
    num_extractible: int
    new: int
    again: int
    kept: int
    forgotten: int


def onset(scans: Sequence[Scan], definition: Definition) -> Onset:
    """Finds when each window was memorized.

    Args:
        scans: Of the same windows, at ascending steps; at least one.
        definition: One of `RULES`. `twice` needs a next checkpoint, so that the last one alone
            never counts.

    Raises:
        SettingsError: The steps do not ascend.
    """
    steps = check_steps(scans)
    holds = _holds(scans, definition)
    is_reached = holds.any(axis=0)
    place = holds.argmax(axis=0)
    by = np.where(is_reached, steps[place], NEVER)
    after = np.where(is_reached & (place > 0), steps[np.maximum(place - 1, 0)], NEVER)
    return Onset(definition, after, by)


def _holds(
    scans: Sequence[Scan], definition: Definition
) -> "Bool[np.ndarray, 'checkpoints windows']":
    """Whether a checkpoint is one from which on, by a definition, a window is memorized."""
    if definition == "tokens":
        # Rounded: .8 of 5 tokens are 4.
        needed = int(np.ceil(_SHARE_OF_TOKENS * scans[0].is_right.shape[1] - 1e-9))
        return np.stack([one.num_right >= needed for one in scans])
    extractible = np.stack([one.is_extractible for one in scans])
    if definition == "first":
        return extractible
    if definition == "twice":
        later = np.zeros_like(extractible)
        later[:-1] = extractible[1:]
        return extractible & later
    return np.logical_and.accumulate(extractible[::-1], axis=0)[::-1]


def check_steps(scans: Sequence[Scan]) -> "Int[np.ndarray, ' checkpoints']":
    """The steps of some scans.

    Raises:
        SettingsError: There is none, or they do not ascend.
    """
    steps = np.array([one.step for one in scans], dtype=np.int64)
    if not len(steps) or (np.diff(steps) <= 0).any():
        raise SettingsError(
            f"The checkpoints' steps are {steps.tolist()}, which do not ascend.",
            "List each checkpoint once, in the order of training.",
        )
    return steps


def flow(scans: Sequence[Scan]) -> tuple[Flow, ...]:
    """Counts, at each checkpoint, the windows that are new, kept and forgotten.

    Args:
        scans: Of the same windows, at ascending steps.
    """
    check_steps(scans)
    found = []
    before = np.zeros(len(scans[0].is_right), dtype=bool)
    ever = before.copy()
    for one in scans:
        now = one.is_extractible
        found.append(
            Flow(
                step=one.step,
                num_extractible=int(now.sum()),
                new=int((now & ~before).sum()),
                again=int((now & ~before & ever).sum()),
                kept=int((now & before).sum()),
                forgotten=int((before & ~now).sum()),
            )
        )
        before, ever = now, ever | now
    return tuple(found)


def agreement(one: Onset, other: Onset) -> float:
    """Kendall's rank correlation of two definitions' onsets, over windows that reach both.

    Returns:
        In [-1, 1], with ties counted (tau-b); NaN where one of them does not vary.
    """
    from scipy.stats import kendalltau

    both = one.is_reached & other.is_reached
    if both.sum() < 2:
        return float("nan")
    found: Any = kendalltau(one.by[both], other.by[both])
    return float(found.statistic)
