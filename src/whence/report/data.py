"""The data of a page: one strict JSON object, made from a run.

The page shows this object and offers it for download; `docs/page-data.md` explains every key.
"""

from collections.abc import Mapping
from typing import get_args

from whence.records import RunRecord
from whence.records import Verdict as VerdictName
from whence.report.context import Context
from whence.report.encode import Json, strict
from whence.report.examples import Examples
from whence.report.schema import Kind, Page, Section, Verdict
from whence.report.sections import section_kinds
from whence.settings import KINDS
from whence.settings import Kind as KindName

# Raised when the meaning of a key changes.
FORMAT = 2

_LABELS: Mapping[KindName, str] = {
    "fact": "Facts",
    "stereotype": "Stereotypes",
    "memorized": "Memorized passages",
    "toxic": "Toxic",
    "style": "Style",
}
_SENSITIVE: frozenset[KindName] = frozenset({"toxic"})


def page_data(record: RunRecord) -> dict[str, Json]:
    """Turns a run into everything that its page shows.

    Args:
        record: What the run stored.

    Returns:
        A `Page` as an object that `json.dumps(..., allow_nan=False)` accepts: NaN has become null.
    """
    data = strict(page_record(record))
    assert isinstance(data, dict), "a record is an object"
    return data


def page_record(record: RunRecord) -> Page:
    """Turns a run into the records of its page."""
    context = Context(record, Examples(record.corpus))
    sections = [
        Section(name=name, menu=kind.menu, data=data)
        for name, kind in section_kinds().items()
        if (data := kind.make(context)) is not None
    ]
    return Page(
        format=FORMAT,
        title=record.title,
        model=record.model,
        top_k=record.top_k,
        kinds=[
            Kind(name=name, label=_LABELS[name], is_sensitive=name in _SENSITIVE) for name in KINDS
        ],
        verdicts=[Verdict(name=name, is_shown=name == "shown") for name in get_args(VerdictName)],
        methods=context.methods,
        sections=sections,
        examples=context.examples.records(sensitive_ids=_planted_for_sensitive(record)),
    )


def _planted_for_sensitive(record: RunRecord) -> frozenset[str]:
    """Ids of the examples that were planted for behaviors whose texts are masked."""
    sensitive = [b.id for b in record.behaviors if b.kind in _SENSITIVE]
    return frozenset().union(*(record.gold.get(i, frozenset()) for i in sensitive))
