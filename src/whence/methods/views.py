"""Views of the gradients: at which checkpoint, corrected how, in which layers."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from whence.records import GradientProducts

if TYPE_CHECKING:
    from jaxtyping import Float

Checkpoint = str | int
Part = Callable[[GradientProducts], "Float[np.ndarray, 'queries examples']"]
Correction = Literal["none", "adam", "adam_step", "ekfac", "source", "magic"]


class View(NamedTuple):
    """One choice of gradients.

    `checkpoint` is the study's own model ("final"), the randomly initialised one ("initial"), a
    step of training, or another model of its ensemble ("member1", counted from 1). `correction`
    says by what gradients are divided before they are multiplied, with v Adam's second moments:
    nothing; √v + ε on both sides ("adam", as TrackStar does); √v + ε once, shared between the sides
    ("adam_step"), so that a product is what one step of Adam does; or the damped curvature in
    EK-FAC's approximation, once ("ekfac"). With "source" and "magic" the training that led to the
    checkpoint is unrolled, and what stands for a product is the whole effect.
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


FINAL = View()
INITIAL = View("initial")
ADAM = View("final", "adam")
EKFAC = View("final", "ekfac")
SOURCE = View("final", "source")
MAGIC = View("final", "magic")
VOCABULARY = View(layers="vocabulary")


def dots(products: GradientProducts) -> "Float[np.ndarray, 'queries examples']":
    """Takes inner products; NaN for an example without a gradient."""
    return np.where(products.example_norms > 0, products.dots, np.nan)


def cosines(products: GradientProducts) -> "Float[np.ndarray, 'queries examples']":
    """Takes cosines in [-1, 1]; NaN for an example without a gradient."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = products.dots / products.query_norms[:, None] / products.example_norms
    return np.where(products.example_norms > 0, np.clip(found, -1, 1), np.nan)
