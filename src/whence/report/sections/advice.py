"""Which method to use for what, folded to a line."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from whence.methods.advice import ADVICE, ALWAYS
from whence.report.context import Context
from whence.report.sections import SectionKind
from whence.report.sentences import capitalized, listed, method_label


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """What to use for one purpose."""

    question: str
    methods: Annotated[str, "the methods in words, best known first; None where none serves"]
    missing: Annotated[Sequence[str], "names of those of them that this run does not have"]
    grounds: Annotated[str, "what the answer rests on"]


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Which method to use for what, from the leaderboards in docs/validation.md."""

    reading: Annotated[str, "which method this page leads with, and why"]
    purposes: Sequence[Purpose]
    always: str


def advice(page: Context) -> Advice | None:
    """Answers for the methods of a run; None where none of them scored anything."""
    lead = page.compared.method
    if lead is None:
        return None
    names = {scores.method for scores in page.record.scores}
    return Advice(
        reading=f"This page leads with {method_label(lead)}: the first of the study's methods that "
        "compares gradients. Every list can be switched to another method.",
        purposes=[
            Purpose(
                question=one.purpose,
                methods=capitalized(listed([method_label(name) for name in one.methods]) or "none"),
                missing=[name for name in one.methods if name not in names],
                grounds=one.grounds,
            )
            for one in ADVICE
        ],
        always=ALWAYS.replace("`gradient_cosine_initial`", "gradient cosine initial"),
    )


SECTION = SectionKind(order=28, menu="Which method", make=advice)
