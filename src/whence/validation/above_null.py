"""In how many queries is the first proponent further from chance than an unrelated query's?

The question is `evidence`'s own, and so is its answer: scores are calibrated by the run's null
queries, and a proponent counts where chance gives so large a z at its rank in at most one of twenty
unrelated queries. It says "not chance" and not "influential": an untrained model's scores and those
of plain search are above theirs, too, so that methods are not compared by it.
"""

from whence.evidence import calibrate, judge, length_class, proponents
from whence.records import Scores
from whence.validation.leaderboard import PerQuery
from whence.validation.subject import Subject

ABOVE_NULL = "first above null"
_LEVEL = 0.05
_NO_NULLS = "the run has no null queries; set `evidence.num_null`."


def _uncalibrated(num_null: int) -> str:
    if not num_null:
        return _NO_NULLS
    return (
        f"the run's {num_null} null queries are too few of each length, or its methods rank every "
        "query alike; more texts can be named in `evidence.null_texts`."
    )


def above_null_measure(subject: Subject) -> PerQuery:
    """Measures for every method whether a query's first proponent is above the null.

    Returns:
        1 or 0 for each query; a method that is not calibrated, or that names no proponent, has
        none. The control is the share that chance alone reaches.
    """
    lengths = {query.id: length_class(query) for query in subject.queries}
    classes = [length_class(query) for query in subject.nulls]
    values = {one.method: _of_method(one, lengths, classes) for one in subject.scores}
    found = {method: known for method, known in values.items() if known}
    return PerQuery(
        ABOVE_NULL,
        "share of queries",
        "chance",
        found,
        dict.fromkeys((q for known in found.values() for q in known), _LEVEL),
        undefined=None if found else _uncalibrated(len(subject.nulls)),
        bounds=(0.0, 1.0),
    )


def _of_method(scores: Scores, lengths: dict[str, str], classes: list[str]) -> dict[str, float]:
    if scores.null_values is None or len(scores.null_values) != len(classes):
        return {}
    nulls = calibrate(scores, classes)
    found = {}
    for row, query_id in enumerate(scores.query_ids):
        null = nulls.get(lengths.get(query_id, ""))
        first = proponents(scores, row, k=1).tolist()
        if null is None or not first:
            continue
        (judged,) = judge(null, scores.values[row], first)
        if judged.tail is not None:
            found[query_id] = float(judged.tail <= _LEVEL)
    return found
