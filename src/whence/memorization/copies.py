"""Copies of windows in a corpus: which examples copy one, how closely, and when they were seen."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# Named and decided as in `evidence.relations`; `self` is the example that a window was read from.
CopyClass = Literal["self", "exact", "continuation", "near", "weak-near"]
CLASSES: tuple[CopyClass, ...] = get_args(CopyClass)


@dataclass(frozen=True)
class Copies:
    """Pairs of a window and an example that copies it, sorted by window, then row.

    Attributes:
        num_windows: Windows that were compared with the corpus, with or without copies.
        windows: Place of the window.
        rows: Row of the example in the corpus.
        classes: Place in `CLASSES`.
        similarity: Edit similarity of window and best-aligned part of the example, in [0, 1].
        steps: The training step, counted from 1, at which the example was seen; a checkpoint of
            step s has seen it if it is at most s. -1 where that is not known.
    """

    num_windows: int
    windows: "Int[np.ndarray, ' pairs']"
    rows: "Int[np.ndarray, ' pairs']"
    classes: "Int[np.ndarray, ' pairs']"
    similarity: "Float[np.ndarray, ' pairs']"
    steps: "Int[np.ndarray, ' pairs']"

    def of(
        self, window: int, classes: Collection[CopyClass] = CLASSES, *, seen_by: int | None = None
    ) -> "Int[np.ndarray, ' rows']":
        """Lists the rows of some classes of copies of one window, in corpus order.

        Args:
            window: Its place.
            classes: Which copies.
            seen_by: Only those that the checkpoint of this step has seen.
        """
        first, last = np.searchsorted(self.windows, [window, window + 1])
        part = slice(first, last)
        chosen = np.isin(self.classes[part], [CLASSES.index(name) for name in classes])
        if seen_by is not None:
            chosen &= (self.steps[part] >= 0) & (self.steps[part] <= seen_by)
        return self.rows[part][chosen]

    def count(
        self,
        classes: Collection[CopyClass],
        *,
        seen_by: "Int[np.ndarray, ' windows'] | None" = None,
    ) -> "Int[np.ndarray, ' windows']":
        """Counts copies of some classes of every window.

        Args:
            classes: Which copies.
            seen_by: For each window, count only those that the checkpoint of this step has seen.
        """
        chosen = np.isin(self.classes, [CLASSES.index(name) for name in classes])
        if seen_by is not None:
            chosen &= (self.steps >= 0) & (self.steps <= np.asarray(seen_by)[self.windows])
        return np.bincount(self.windows[chosen], minlength=self.num_windows)
