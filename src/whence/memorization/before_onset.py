"""Copies before onset: how many of a window the model had seen when it first reproduced it."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.memorization.copies import CLASSES, Copies, CopyClass
from whence.memorization.onset import Onset

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


class CopiesBefore(NamedTuple):
    """What a window's onset had behind it.

    Attributes:
        before: By class, the copies that the checkpoint of the onset had seen; 0 where the window
            has no onset.
        is_before_self: Whether the window is memorized at a checkpoint that had not seen its own
            example yet, so that this example cannot be the cause.
        first_step: The first step at which an exact copy of the window or its continuation was
            seen; -1 where there is none.
    """

    before: "dict[CopyClass, Int[np.ndarray, ' windows']]"
    is_before_self: "Bool[np.ndarray, ' windows']"
    first_step: "Int[np.ndarray, ' windows']"


def copies_before(copies: Copies, found: Onset) -> CopiesBefore:
    """Counts the copies that were seen before each window's onset.

    Args:
        copies: Of the windows.
        found: Their onset, by one definition.
    """
    before: dict[CopyClass, np.ndarray] = {
        name: copies.count([name], seen_by=found.by) for name in CLASSES
    }
    own = _first(copies, ("self",))
    return CopiesBefore(
        before,
        np.asarray(found.is_reached & (own > found.by)),
        _first(copies, ("self", "exact", "continuation")),
    )


def _first(copies: Copies, classes: tuple[CopyClass, ...]) -> "Int[np.ndarray, ' windows']":
    """The first step at which a copy of some classes was seen; -1 where none is known."""
    chosen = np.isin(copies.classes, [CLASSES.index(name) for name in classes])
    chosen &= copies.steps >= 0
    first = np.full(copies.num_windows, np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(first, copies.windows[chosen], copies.steps[chosen])
    return np.where(first == np.iinfo(np.int64).max, -1, first)
