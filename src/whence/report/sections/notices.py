"""Warnings of a run, and behaviors that were attributed though the model does not show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from whence.report.context import Context
from whence.report.sections import SectionKind


@dataclass(frozen=True, kw_only=True)
class Notices:
    """What a reader should know before the results."""

    forced: Annotated[Sequence[str], "ids of behaviors that are not shown and were attributed"]
    messages: Annotated[Sequence[str], "methods that were skipped, and other warnings"]


def notices(page: Context) -> Notices | None:
    """Collects the warnings of a run; None where there is none."""
    record = page.record
    messages = [text for text in (*record.skipped, *record.warnings) if text]
    return Notices(forced=record.forced, messages=messages) if record.forced or messages else None


SECTION = SectionKind(order=8, menu=None, make=notices)
