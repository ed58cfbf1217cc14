"""Across behaviors: planted examples found first, agreement of methods, and hubs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from whence.evidence.agreement import hubs, mean_agreements, pair_agreements
from whence.evidence.planted import GoldRate, gold_rate
from whence.records import Scores
from whence.report.behaviors import agreement_records
from whence.report.context import Context
from whence.report.schema import Agreement
from whence.report.sections import SectionKind

_NUM_HUBS = 12
# Of a hub's behaviors, as many are linked.
_NUM_LINKED = 40


@dataclass(frozen=True, kw_only=True)
class HubExample:
    """An example among the first proponents of several behaviors."""

    example: Annotated[int, "its place in the page's `examples`"]
    num_queries: Annotated[int, "behaviors that have it among their first k"]
    num_asked: Annotated[int, "behaviors that the method scored"]
    num_groups: Annotated[int, "kinds of these behaviors"]
    behaviors: Annotated[Sequence[str], "the first of these behaviors, by id"]


@dataclass(frozen=True, kw_only=True)
class Across:
    """What methods have in common over all behaviors."""

    gold_rates: Annotated[
        Sequence[GoldRate] | None,
        "how often the first proponent was planted for the behavior; null where nothing is planted",
    ]
    agreement: Annotated[Sequence[Agreement], "means over behaviors, of every two methods"]
    hubs: Annotated[Mapping[str, Sequence[HubExample]], "by method, most behaviors first"]


def across(page: Context) -> Across | None:
    """Compares methods over all behaviors; None where no method scored any."""
    record = page.record
    if not record.scores:
        return None
    ids = [behavior.id for behavior in record.behaviors]
    rates = [
        gold_rate(scores, record.gold, record.behaviors, record.verifications)
        for scores in record.scores
    ]
    return Across(
        gold_rates=[rate for by_kind in rates for rate in by_kind.values()]
        if page.has_gold
        else None,
        agreement=agreement_records(
            mean_agreements(pair_agreements(record.scores, i, record.top_k) for i in ids),
            digits=6,
        ),
        hubs={scores.method: _hubs(scores, page) for scores in record.scores},
    )


def _hubs(scores: Scores, page: Context) -> list[HubExample]:
    record = page.record
    kinds: dict[str, str] = {behavior.id: behavior.kind for behavior in record.behaviors}
    best = hubs(scores, record.top_k, groups=kinds)[:_NUM_HUBS]
    rows = record.corpus.rows([hub.example_id for hub in best])
    return [
        HubExample(
            example=page.examples.place(row),
            num_queries=hub.num_queries,
            num_asked=hub.num_asked,
            num_groups=hub.num_groups,
            behaviors=hub.query_ids[:_NUM_LINKED],
        )
        for row, hub in zip(rows, best, strict=True)
    ]


SECTION = SectionKind(order=50, menu="Across", make=across)
