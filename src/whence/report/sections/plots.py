"""Pictures of what the listed examples have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

from whence.report.context import Context
from whence.report.pictures import Picture
from whence.report.plots import across_pictures
from whence.report.sections import SectionKind


@dataclass(frozen=True, kw_only=True)
class Plots:
    """Pictures, each with the numbers behind it."""

    pictures: Sequence[Picture]


def plots(page: Context) -> Plots | None:
    """Draws what a run has the numbers for; None where there is nothing to draw."""
    pictures = across_pictures(page)
    return Plots(pictures=pictures) if pictures else None


SECTION = SectionKind(order=45, menu="Plots", make=plots)
