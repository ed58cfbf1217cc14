"""The data of a page: one strict JSON object, made from a run.

The page carries this object in packed blocks and offers it for download; `docs/page-data.md`
explains every key.
"""

from whence.behaviors.kinds import RULES, VERDICTS
from whence.evidence.record import LEVEL
from whence.evidence.relations import RELATIONS
from whence.report.context import Context
from whence.report.encode import Json, strict
from whence.report.examples import Examples, ranges
from whence.report.run_record import RunRecord
from whence.report.schema import Kind, Page, Reading, RelationKind, Section, Verdict
from whence.report.sections import section_kinds
from whence.report.sentences import phrase
from whence.report.splits import split_alike

# Raised when the meaning of a key changes.
FORMAT = 5


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
    context = Context(record, Examples(record.corpus, record.duplicates))
    sections = [
        Section(name=name, menu=kind.menu, data=data)
        for name, kind in section_kinds().items()
        if (data := kind.make(context)) is not None
    ]
    examples = context.examples.records(is_sensitive=context.is_sensitive)
    sensitive = {rule.kind for rule in RULES.values() if rule.is_sensitive}
    return Page(
        format=FORMAT,
        title=record.title,
        model=record.model,
        top_k=record.top_k,
        kinds=[
            Kind(
                name=rule.kind,
                label=rule.label,
                meanings={**rule.meanings},
                is_sensitive=rule.is_sensitive,
            )
            for rule in RULES.values()
        ],
        verdicts=[Verdict(name=name, is_shown=name == "shown") for name in VERDICTS],
        relations=[
            RelationKind(
                **kind._asdict(), one=phrase(kind.relation, 1), many=phrase(kind.relation, 2)
            )
            for kind in RELATIONS.values()
        ],
        methods=context.methods,
        reading=Reading(
            **context.compared._asdict(),
            num_first=context.num_first,
            num_null=None if record.evidence is None else record.evidence.num_null,
            largest_tail=round(1 - LEVEL, 6),
            split_method=None if record.splits is None else record.splits.method,
            split_alike=split_alike(context),
            layers=() if record.splits is None else record.splits.layers,
        ),
        sections=sections,
        examples=ranges(examples),
        has_sensitive=any(one.is_sensitive for one in examples)
        or any(behavior.kind in sensitive for behavior in record.behaviors),
    )
