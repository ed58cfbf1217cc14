"""One behavior on the page: what was measured of it, and the examples that each method lists."""

from collections.abc import Sequence
from typing import NamedTuple

from whence import records
from whence.evidence import listing
from whence.evidence.agreement import PairAgreement, pair_agreements
from whence.evidence.overlap import Marks, Span, mark_text
from whence.evidence.proponents import ranks
from whence.evidence.style import style_sentences
from whence.records import Scores
from whence.report.context import Context
from whence.report.encode import significant
from whence.report.excerpt import excerpt
from whence.report.histogram import histogram
from whence.report.measurements import measurements
from whence.report.schema import (
    Agreement,
    Behavior,
    BehaviorDetail,
    Copy,
    Entry,
    FirstEntry,
    FirstExample,
    MethodLists,
    MethodResult,
    Query,
    ScoreSplit,
    ShownExample,
    TextRun,
    TieMeasures,
)
from whence.report.spans import query_spans
from whence.report.splits import split_record
from whence.report.sums import Sums, sum_up

# How many copies of a shown text are listed by id.
_NUM_COPIES_LISTED = 20


def behavior_record(behavior: records.Behavior, page: Context) -> Behavior:
    """Collects what was measured of a behavior and which examples each method ties to it.

    Args:
        behavior: The behavior.
        page: The run, and the examples that its page carries so far; new ones are added.
    """
    record = page.record
    verification = record.verifications.get(behavior.id)
    lists = [
        _lists(method, scores.query_ids.index(behavior.id), page)
        for method, scores in enumerate(record.scores)
        if behavior.id in scores.query_ids
    ]
    k = page.num_first
    firsts = list(dict.fromkeys(e.row for one in lists for e in one.proponents[:k]))
    rows = list(dict.fromkeys([*firsts, *(e.row for one in lists for e in one.entries)]))
    copies = [row for one in lists for e in one.entries for row in e.copies]
    placed = {one.scores.method: _placed(one, [*rows, *copies], page) for one in lists}
    gold = record.gold.get(behavior.id, frozenset())
    shown = [
        _shown(behavior, row, placed, page, is_planted=record.corpus.ids[row] in gold)
        for row in rows
    ]
    sums = {one.scores.method: sum_up(one.scores.method, behavior.id, page) for one in lists}
    found = {
        one.scores.method: _method_lists(
            one, behavior.id, rows, placed[one.scores.method], sums[one.scores.method], page
        )
        for one in lists
    }
    return Behavior(
        **behavior.model_dump(exclude={"prompt_ids", "completion_ids", "example", "plain"}),
        plain=behavior.plain,
        is_known_by_tokens=behavior.completion_ids is not None,
        is_forced=behavior.id in record.forced,
        query=_query(behavior, page),
        verification=None if verification is None else measurements(verification),
        not_attributed=None if lists else _reason(verification, page),
        num_planted=len(gold & set(record.corpus.ids)) if page.has_gold else None,
        firsts=[_first_example(one, row, page) for one, row in zip(shown, firsts, strict=False)],
        results={
            name: MethodResult(
                **sums[name].fields(),
                style=_style(name, behavior.id, page),
                first=_first(one.proponents[:k]),
            )
            for name, one in found.items()
        },
        agreement=agreement_records(pair_agreements(record.scores, behavior.id, record.top_k)),
        random_effects=_random_effects(behavior.id, page),
        detail=BehaviorDetail(
            shown=shown,
            lists=found,
            spans=query_spans(
                query_text(behavior, page),
                shown,
                [page.examples.text(row) for row in rows],
                shares=page.shares,
            ),
        ),
    )


def query_text(behavior: records.Behavior, page: Context) -> str:
    """Prompt and completion, one after the other."""
    return behavior.prompt + _completion(behavior, page)


def agreement_records(pairs: tuple[PairAgreement, ...], *, digits: int = 3) -> list[Agreement]:
    """Lays agreements out for the page; undefined becomes None."""
    return [
        Agreement(first=pair.first, second=pair.second, jaccard=significant(pair.jaccard, digits))
        for pair in pairs
    ]


class _Lists(NamedTuple):
    """The proponents and opponents of a query, by the method at place `method`."""

    method: int
    query: int
    scores: Scores
    proponents: list[listing.Entry]
    opponents: list[listing.Entry]

    @property
    def entries(self) -> list[listing.Entry]:
        return [*self.proponents, *self.opponents]


def _lists(method: int, query: int, page: Context) -> _Lists:
    scores, rows, k = page.record.scores[method], page.rows[method], page.record.top_k
    best = listing.proponent_rows(scores, query, rows, k=k)
    worst = listing.opponent_rows(scores, query, rows, k=k)
    clusters = page.examples.clusters
    return _Lists(
        method,
        query,
        scores,
        listing.entries(best, clusters, k=k),
        listing.entries(worst, clusters, k=k),
    )


class _Place(NamedTuple):
    """Rank and score of an example under a method; None is undefined."""

    rank: int | None
    score: float | None


_NOWHERE = _Place(None, None)


def _placed(lists: _Lists, rows: list[int], page: Context) -> dict[int, _Place]:
    """Looks up ranks and scores of some rows of the corpus; the method may not know all."""
    import numpy as np

    unique = np.array(list(dict.fromkeys(rows)), dtype=np.int64)
    places = page.places[lists.method][unique]
    known, places = unique[places >= 0], places[places >= 0]
    return {
        row: _Place(rank or None, significant(score))
        for row, rank, score in zip(
            known.tolist(),
            ranks(lists.scores, lists.query, rows=places).tolist(),
            lists.scores.values[lists.query][places].tolist(),
            strict=True,
        )
    }


def _shown(
    behavior: records.Behavior,
    row: int,
    placed: dict[str, dict[int, _Place]],
    page: Context,
    *,
    is_planted: bool,
) -> ShownExample:
    marks = _marks(behavior, page.examples.text(row), page)
    page.examples.add_spans(row, marks.spans)
    return ShownExample(
        example=page.examples.place(row),
        tie=_tie(behavior.id, row, page),
        is_planted=is_planted,
        subset=page.subsets[row],
        trained=page.trained[row],
        spans=_text_runs(marks.spans),
        answers=_text_runs(marks.answers),
        split=_split(behavior.id, row, page),
        effect=_effect(behavior.id, row, page),
        ranks={method: by_row.get(row, _NOWHERE).rank for method, by_row in placed.items()},
    )


def _split(behavior_id: str, row: int, page: Context) -> ScoreSplit | None:
    splits = page.record.splits
    if splits is None:
        return None
    found = splits.find(behavior_id, page.record.corpus.ids[row])
    return split_record(found, splits.layers)


def _effect(behavior_id: str, row: int, page: Context) -> float | None:
    effects = page.record.effects
    found = None if effects is None else effects.find(behavior_id, page.record.corpus.ids[row])
    return None if found is None else significant(found, 3)


def _random_effects(behavior_id: str, page: Context) -> list[float]:
    effects = page.record.effects
    changes = () if effects is None else effects.controls(behavior_id)
    return [found for one in changes if (found := significant(one, 3)) is not None]


def _first_example(shown: ShownExample, row: int, page: Context) -> FirstExample:
    return FirstExample(
        relation=None if shown.tie is None else shown.tie.relation,
        is_planted=shown.is_planted,
        is_sensitive=page.is_sensitive(row),
        subset=shown.subset,
        trained=shown.trained,
        excerpt=excerpt(page.examples.text(row), shown.spans, shown.answers),
    )


def _style(method: str, behavior_id: str, page: Context) -> list[str]:
    evidence = page.record.evidence
    found = None if evidence is None else evidence.style(method, behavior_id)
    return [] if found is None else style_sentences(found)


def _first(entries: Sequence[Entry]) -> list[FirstEntry]:
    return [
        FirstEntry(shown=one.shown, num_hub=one.num_hub, is_only=one.is_only) for one in entries
    ]


def _tie(behavior_id: str, row: int, page: Context) -> TieMeasures | None:
    evidence = page.record.evidence
    found = None if evidence is None else evidence.tie(behavior_id, page.record.corpus.ids[row])
    if found is None:
        return None
    return TieMeasures(
        relation=found.relation,
        detail=found.detail,
        is_templated=found.is_templated,
        longest_run=found.longest_run,
        containment=round(found.containment, 3),
        edit_similarity=_rounded(found.edit_similarity),
        topic_similarity=_rounded(found.topic_similarity),
        topic_threshold=_rounded(found.topic_threshold),
        format=found.format,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _marks(behavior: records.Behavior, text: str, page: Context) -> Marks:
    return mark_text(behavior.prompt, _completion(behavior, page), text, shares=page.shares)


def _completion(behavior: records.Behavior, page: Context) -> str:
    verification = page.record.verifications.get(behavior.id)
    if behavior.completion or verification is None:
        return behavior.completion
    return "".join(verification.completion.tokens)


def _text_runs(spans: tuple[Span, ...]) -> list[TextRun]:
    return [TextRun(start=s.start, end=s.end, num_words=s.num_words) for s in spans]


def _method_lists(
    lists: _Lists,
    behavior_id: str,
    rows: list[int],
    placed: dict[int, _Place],
    sums: Sums,
    page: Context,
) -> MethodLists:
    shown = {row: place for place, row in enumerate(rows)}
    scored = histogram(lists.scores.values[lists.query])
    ids = page.record.corpus.ids

    def entry(found: listing.Entry, *, is_only: bool | None) -> Entry:
        evidence, example_id = page.record.evidence, ids[found.row]
        strength = (
            None
            if evidence is None
            else evidence.strength(lists.scores.method, behavior_id, example_id)
        )
        return Entry(
            shown=shown[found.row],
            score=placed[found.row].score,
            z=None if strength is None or strength.z is None else significant(strength.z, 4),
            tail=None if strength is None else strength.tail,
            num_hub=None if strength is None else strength.num_hub,
            num_copies=len(found.copies),
            num_exact=sum(page.examples.is_same_text(found.row, row) for row in found.copies),
            is_only=is_only,
            copies=[
                Copy(id=ids[row], rank=placed[row].rank, score=placed[row].score)
                for row in found.copies[:_NUM_COPIES_LISTED]
            ],
        )

    return MethodLists(
        proponents=[entry(e, is_only=sums.is_only(ids[e.row])) for e in lists.proponents],
        opponents=[entry(e, is_only=None) for e in lists.opponents],
        num_scored=sum(scored.counts) if scored else 0,
        histogram=scored,
    )


def _query(behavior: records.Behavior, page: Context) -> Query:
    """Which loss stands for the behavior; the run's settings decide, as they did then."""
    settings = page.record.manifest.get("inputs", {}).get("attribution", {})
    if settings.get("contrast") and behavior.alternatives:
        return Query(is_contrast=True, alternative=behavior.alternatives[0])
    return Query(is_contrast=False, alternative=None)


def _reason(verification: records.Verification | None, page: Context) -> str:
    """Why no method scored a behavior."""
    if not page.record.scores:
        return "No method was run."
    if verification is not None and verification.verdict == "not shown":
        return (
            "The model does not show this behavior, so it was not attributed. With --force it is, "
            "and the page says so."
        )
    return "This behavior was not attributed."
