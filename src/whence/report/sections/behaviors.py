"""Every behavior with its verdict, its measurements, and the examples tied to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from whence.report.behaviors import behavior_record, query_text
from whence.report.context import Context
from whence.report.schema import Behavior
from whence.report.sections import SectionKind
from whence.report.spans import MAX_CORPUS_CHARACTERS, with_counts


@dataclass(frozen=True, kw_only=True)
class Behaviors:
    """The behaviors of the study."""

    has_planted: Annotated[bool, "whether the corpus holds examples planted for behaviors"]
    behaviors: Annotated[Sequence[Behavior], "in the order of the study"]


def behaviors(page: Context) -> Behaviors:
    """Collects the behaviors of a run."""
    record = page.record
    found = [behavior_record(behavior, page) for behavior in record.behaviors]
    texts = record.corpus.texts()
    if sum(len(text or "") for text in texts) <= MAX_CORPUS_CHARACTERS:
        queries = [query_text(behavior, page) for behavior in record.behaviors]
        found = with_counts(found, queries, texts)
    return Behaviors(has_planted=page.has_gold, behaviors=found)


SECTION = SectionKind(order=40, menu="Behaviors", make=behaviors)
