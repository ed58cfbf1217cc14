"""Views of the gradients: at which checkpoint, corrected how, in which layers."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from whence.records import GradientProducts

if TYPE_CHECKING:
    from jaxtyping import Float

Checkpoint = str | int
Part = Callable[[GradientProducts], "Float[np.ndarray, 'queries examples']"]
Correction = Literal["none", "adam", "adam_step"]
MEMBER = "member"


class View(NamedTuple):
    """One choice of gradients.

    `checkpoint` is the study's own model ("final"), the randomly initialised one ("initial"), a
    step of training, or another model of its ensemble ("member1", counted from 1). `correction`
    says by what gradients are divided before they are multiplied, with v Adam's second moments:
    nothing; √v + ε on both sides ("adam", as TrackStar does); or √v + ε once, shared between the
    sides ("adam_step"), so that a product is what one step of Adam does.
    """

    checkpoint: Checkpoint = "final"
    correction: Correction = "none"
    layers: Literal["attributed", "vocabulary"] = "attributed"

    @property
    def label(self) -> str:
        """A name for directories and messages, such as `step512-adam`."""
        place = f"step{self.checkpoint}" if isinstance(self.checkpoint, int) else self.checkpoint
        correction = "" if self.correction == "none" else f"-{self.correction.replace('_', '-')}"
        return place + correction + ("" if self.layers == "attributed" else f"-{self.layers}")

    @property
    def member(self) -> int:
        """The number of the ensemble's model, from 1; 0 for the study's own."""
        name = str(self.checkpoint)
        return int(name.removeprefix(MEMBER)) if name.startswith(MEMBER) else 0


FINAL = View()
INITIAL = View("initial")
ADAM = View("final", "adam")
VOCABULARY = View(layers="vocabulary")


def dots(products: GradientProducts) -> "Float[np.ndarray, 'queries examples']":
    """Gives inner products; NaN for an example without a gradient."""
    return np.where(products.example_norms > 0, products.dots, np.nan)


def cosines(products: GradientProducts) -> "Float[np.ndarray, 'queries examples']":
    """Computes cosines in [-1, 1]; NaN for an example without a gradient."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = products.dots / products.query_norms[:, None] / products.example_norms
    return np.where(products.example_norms > 0, np.clip(found, -1, 1), np.nan)
