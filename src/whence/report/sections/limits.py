"""What the page can and cannot say."""

from collections.abc import Sequence
from dataclasses import dataclass

from whence.report.context import Context
from whence.report.sections import SectionKind
from whence.report.wording import GRADIENT_LIMIT, LIMITS, RETRIEVAL_LIMIT, TESTBED_LIMIT


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the results do not show."""

    sentences: Sequence[str]


def limits(page: Context) -> Limits:
    """Chooses the limits that apply to a run's methods and model."""
    sentences = list(LIMITS)
    if any(method.family == "gradient" for method in page.methods):
        sentences.append(GRADIENT_LIMIT)
        if page.has_gold:
            sentences.append(RETRIEVAL_LIMIT)
    if page.record.model.startswith("testbed:"):
        sentences.append(TESTBED_LIMIT)
    return Limits(sentences=sentences)


SECTION = SectionKind(order=30, menu="Limits", make=limits)
