"""What does a page say about one behavior?"""

from math import nan
from typing import TYPE_CHECKING, Any, NamedTuple

from whence.evidence.agreement import overlap_matrix
from whence.evidence.overlap import Span, shared_spans, words
from whence.evidence.proponents import opponents, proponents, ranks
from whence.records import Behavior, RunRecord, Scores, Verification
from whence.report.encode import significant
from whence.report.examples import Shown
from whence.report.histogram import histogram

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# How many exact copies of a shown text are listed by id.
_NUM_COPIES_LISTED = 20
# A list walks past exact copies of what it shows, but not through a whole corpus of them.
_MAX_WALK = 500


class Asked(NamedTuple):
    """What every behavior's part of a page is made from."""

    record: RunRecord
    shown: Shown
    shares: dict[str, float]
    has_gold: bool
    # For each method, the corpus row of each of its examples, and the other way round (-1: none).
    rows: "list[NDArray[np.int64]]"
    places: "list[NDArray[np.int64]]"


def ask(record: RunRecord, shown: Shown, *, shares: dict[str, float], has_gold: bool) -> Asked:
    """Finds out at which row of the corpus each method's examples stand."""
    import numpy as np

    rows, places = [], []
    for scores in record.scores:
        same = scores.example_ids == record.corpus.ids
        found = range(len(record.corpus)) if same else record.corpus.rows(scores.example_ids)
        rows.append(np.array(found, dtype=np.int64))
        places.append(np.full(len(record.corpus), -1, dtype=np.int64))
        places[-1][rows[-1]] = np.arange(len(rows[-1]))
    return Asked(record, shown, shares, has_gold, rows, places)


class _Vector(NamedTuple):
    """One method's scores and ranks of the shown examples, by row of the corpus."""

    ranks: dict[int, int]
    scores: dict[int, float]


class _Entry(NamedTuple):
    """One text in a list: its best example and the exact copies further down."""

    row: int
    copies: list[int]


def behavior_data(behavior: Behavior, asked: Asked) -> dict[str, Any]:
    """Collects what was measured of a behavior and which examples each method ties to it.

    Args:
        behavior: The behavior.
        asked: The run, and the examples that its page carries so far; new ones are added.

    Returns:
        `methods` has one object per method, or None where a method was not asked about it.
        `shown` lists the examples that any method shows; `ranks`, `scores`, `marks`, `answers` and
        `is_gold` are parallel to it, `ranks` and `scores` with one number per method.
    """
    record, shown = asked.record, asked.shown
    queries = [_query_row(s, behavior.id) for s in record.scores]
    lists = [_lists(m, query, asked) for m, query in enumerate(queries)]
    used = list(dict.fromkeys(e.row for pair in lists for entries in pair for e in entries))
    place = {row: i for i, row in enumerate(used)}
    named = [*used, *(c for pair in lists for entries in pair for e in entries for c in e.copies)]
    vectors = [_vector(m, query, named, asked) for m, query in enumerate(queries)]
    verification = record.verifications.get(behavior.id)
    marks = [_marks(behavior, verification, shown.text(row), asked) for row in used]
    for row, (spans, _) in zip(used, marks, strict=True):
        shown.offer(row, spans)
    gold = record.gold.get(behavior.id, frozenset())
    present = gold & set(record.corpus.ids) if gold else gold
    return {
        **behavior.model_dump(mode="json", exclude={"prompt_ids", "completion_ids"}),
        "is_known_by_tokens": behavior.completion_ids is not None,
        "is_forced": behavior.id in record.forced,
        "query": _query(behavior, record),
        "verification": None if verification is None else _verification(verification),
        "num_gold": len(present) if asked.has_gold else None,
        "shown": [shown.place(row) for row in used],
        "is_gold": [record.corpus.ids[row] in gold for row in used],
        "ranks": [[0 if v is None else v.ranks.get(row, 0) for v in vectors] for row in used],
        "scores": [
            [None if v is None else significant(v.scores.get(row, nan)) for v in vectors]
            for row in used
        ],
        "marks": [[list(span) for span in spans] for spans, _ in marks],
        "answers": [[[s.start, s.end] for s in answers] for _, answers in marks],
        "methods": [
            None
            if vector is None or query is None
            else {
                "proponents": [_entry(e, place, vector, record) for e in pair[0]],
                "opponents": [_entry(e, place, vector, record) for e in pair[1]],
                **_scored(record.scores[m].values[query]),
            }
            for m, (vector, pair, query) in enumerate(zip(vectors, lists, queries, strict=True))
        ],
        "agreement": _agreement(behavior.id, record),
    }


def _query_row(scores: Scores, behavior_id: str) -> int | None:
    return scores.query_ids.index(behavior_id) if behavior_id in scores.query_ids else None


def _vector(method: int, query: int | None, rows: list[int], asked: Asked) -> _Vector | None:
    import numpy as np

    if query is None:
        return None
    scores = asked.record.scores[method]
    unique = np.array(list(dict.fromkeys(rows)), dtype=np.int64)
    places = asked.places[method][unique]
    known, places = unique[places >= 0].tolist(), places[places >= 0]
    found = ranks(scores, query, rows=places).tolist()
    values = scores.values[query][places].tolist()
    return _Vector(dict(zip(known, found, strict=True)), dict(zip(known, values, strict=True)))


def _lists(method: int, query: int | None, asked: Asked) -> tuple[list[_Entry], list[_Entry]]:
    if query is None:
        return [], []
    scores, rows, k = asked.record.scores[method], asked.rows[method], asked.record.top_k
    best = rows[proponents(scores, query, k=_MAX_WALK + k)].tolist()
    worst = rows[opponents(scores, query, k=_MAX_WALK + k)].tolist()
    return _distinct(best, asked.shown, k=k), _distinct(worst, asked.shown, k=k)


def _distinct(rows: list[int], shown: Shown, *, k: int) -> list[_Entry]:
    """Takes the first k different texts; exact copies of one stand behind it."""
    found: dict[str | int, _Entry] = {}
    for row in rows:
        key = shown.same_text(row)
        if key in found:
            found[key].copies.append(row)
        elif len(found) < k:
            found[key] = _Entry(row, [])
        else:
            break
    return list(found.values())


def _entry(
    entry: _Entry, place: dict[int, int], vector: _Vector, record: RunRecord
) -> dict[str, Any]:
    return {
        "place": place[entry.row],
        "num_copies": len(entry.copies),
        "copies": [
            [record.corpus.ids[row], vector.ranks[row], significant(vector.scores[row])]
            for row in entry.copies[:_NUM_COPIES_LISTED]
        ],
    }


def _marks(
    behavior: Behavior, verification: Verification | None, text: str, asked: Asked
) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Finds the shared runs, and the places where the whole completion stands."""
    completion = behavior.completion
    if not completion and verification is not None:
        completion = "".join(verification.completion.tokens)
    spans = shared_spans(behavior.prompt + completion, text, shares=asked.shares)
    num_words = len(words(completion).keys)
    answers = shared_spans(completion, text, stop_words=())
    return spans, tuple(s for s in answers if s.num_words == num_words)


def _query(behavior: Behavior, record: RunRecord) -> dict[str, Any]:
    """Says which loss stands for the behavior; the run's settings decide, as they did then."""
    settings = record.manifest.get("inputs", {}).get("attribution", {})
    if settings.get("contrast") and behavior.alternatives:
        return {"form": "contrast", "alternative": behavior.alternatives[0]}
    return {"form": "plain", "alternative": None}


def _verification(verification: Verification) -> dict[str, Any]:
    measured = verification.completion
    return {
        **vars(verification),
        "completion": {
            **vars(measured),
            "log_prob_nats": measured.log_prob_nats,
            "is_greedy": measured.is_greedy,
        },
        "rate": None if verification.rate is None else vars(verification.rate),
    }


def _scored(values: "NDArray[np.float32]") -> dict[str, Any]:
    found = histogram(values)
    return {"num_scored": sum(found.counts) if found else 0, "histogram": found}


def _agreement(behavior_id: str, record: RunRecord) -> list[list[float | None]]:
    """Jaccard@k between the methods that were asked; undefined where one was not."""
    asked = [i for i, s in enumerate(record.scores) if behavior_id in s.query_ids]
    matrix: list[list[float | None]] = [[None] * len(record.scores) for _ in record.scores]
    if not asked:
        return matrix
    scores = [_only(record.scores[i], behavior_id) for i in asked]
    found = overlap_matrix(scores, 0, record.top_k)
    for i, row in zip(asked, found.tolist(), strict=True):
        for j, value in zip(asked, row, strict=True):
            matrix[i][j] = significant(value, 3)
    return matrix


def _only(scores: Scores, query_id: str) -> Scores:
    row = scores.query_ids.index(query_id)
    return Scores(scores.method, (query_id,), scores.example_ids, scores.values[row : row + 1])
