"""Collects the evidence of a run: ties and strengths of everything that is listed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from whence.corpus.duplicates import Duplicates
from whence.evidence.listing import entries, opponent_rows, proponent_rows
from whence.evidence.null import Null, calibrate, hub_counts, judge
from whence.evidence.null_queries import length_class
from whence.evidence.record import (
    RANKS,
    BehaviorEvidence,
    Calibration,
    Evidence,
    Side,
    Strength,
)
from whence.evidence.style import StyleContrast, style_contrasts
from whence.evidence.ties import Relater, Tie
from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, Query, Scores

_NUM_HUB = 10


def collect(
    scores: Sequence[Scores],
    behaviors: Sequence[Behavior],
    queries: Sequence[Query],
    nulls: Sequence[Query],
    corpus: Corpus,
    duplicates: Duplicates | None,
    *,
    k: int,
    seed: int = 0,
    like: Relater | None = None,
    progress: Progress = SILENT,
) -> Evidence:
    """Judges every example that some method lists for some behavior.

    Args:
        scores: All methods' scores, with those for null queries.
        behaviors: The behaviors that were scored.
        queries: Their queries, in the same order.
        nulls: The null queries, in the order of `null_values`.
        corpus: The examples.
        duplicates: The corpus's copies and near copies; without them each example is a cluster of
            its own.
        k: How many examples, and how many clusters, a list has.
        seed: Of the random pairs from which thresholds are learned.
        like: A relater of the same corpus, so that its words are not indexed again.
        progress: Reports progress.

    Cost:
        Half a millisecond per behavior and listed example, of which methods share many.
    """
    import numpy as np

    relater = Relater(corpus, behaviors, queries, seed=seed, like=like)
    lengths = {query.id: length_class(query) for query in queries}
    null_lengths = [length_class(query) for query in nulls]
    strengths: list[Strength] = []
    calibrations: list[Calibration] = []
    listed: dict[str, dict[int, None]] = {behavior.id: {} for behavior in behaviors}
    plain_ids = {name for one in scores for name in one.plain_ids} & listed.keys()
    in_style = {name: np.array(relater.in_style(name)) for name in sorted(plain_ids)}
    styles: list[StyleContrast] = []
    for one in scores:
        found = calibrate(one, null_lengths)
        calibrations += [_calibration(null, name) for name, null in found.items()]
        judge = _Strengths(one, found, lengths, corpus, duplicates, k=k)
        for query_id in one.query_ids:
            for row, strength in judge.of(query_id):
                listed[query_id][row] = None
                strengths.append(strength)
        styles += style_contrasts(one, behaviors, in_style, judge.clusters, judge.rows)
    gradient = {one.method for one in scores if one.family == "gradient"}
    is_strong = {
        (s.behavior_id, s.example_id) for s in strengths if s.method in gradient and s.is_above_null
    }
    has_null = {s.behavior_id for s in strengths if s.method in gradient and s.tail is not None}
    ties: list[Tie] = []
    with progress.task("Relating examples", total=len(behaviors), unit="behaviors") as task:
        for behavior in behaviors:
            found = relater.ties(behavior.id, list(listed[behavior.id]))
            is_calibrated = behavior.id in has_null
            ties += [
                replace(tie, relation="unexplained")
                if tie.relation == "noise"
                and (not is_calibrated or (tie.behavior_id, tie.example_id) in is_strong)
                else tie
                for tie in found
            ]
            task.advance()
    return Evidence(
        ties=tuple(ties),
        strengths=tuple(strengths),
        behaviors=tuple(_behavior(one, relater, lengths[one.id]) for one in behaviors),
        calibrations=tuple(calibrations),
        families={one.method: one.family for one in scores},
        num_null=len(nulls),
        styles=tuple(styles),
    )


class _Strengths:
    """Judges one method's lists."""

    def __init__(
        self,
        scores: Scores,
        nulls: Mapping[str, Null],
        lengths: Mapping[str, str],
        corpus: Corpus,
        duplicates: Duplicates | None,
        *,
        k: int,
    ) -> None:
        import numpy as np

        self._scores = scores
        self._nulls = nulls
        self._lengths = lengths
        self._ids = corpus.ids
        self.clusters = range(len(corpus)) if duplicates is None else duplicates.cluster_80.tolist()
        self._k = k
        is_whole = scores.example_ids == corpus.ids
        rows = range(len(corpus)) if is_whole else corpus.rows(scores.example_ids)
        self.rows = np.array(rows, dtype=np.int64)
        self._place_of = {row: place for place, row in enumerate(self.rows.tolist())}
        self._hubs = hub_counts(scores, k=_NUM_HUB) if nulls else None

    def of(self, query_id: str) -> list[tuple[int, Strength]]:
        """Lists the corpus rows that the method lists for a query, each with its strength."""
        query = self._scores.query_ids.index(query_id)
        best = proponent_rows(self._scores, query, self.rows, k=self._k)
        worst = opponent_rows(self._scores, query, self.rows, k=self._k)
        return [
            *self._of_side(query, query_id, "proponents", best),
            *self._of_side(query, query_id, "opponents", worst),
        ]

    def _of_side(
        self, query: int, query_id: str, side: Side, rows: list[int]
    ) -> list[tuple[int, Strength]]:
        first = {e.row: p for p, e in enumerate(entries(rows, self.clusters, k=self._k), start=1)}
        place_in_list = {row: place for place, row in enumerate(rows, start=1)}
        kept = [row for row in rows if place_in_list[row] <= self._k or row in first]
        z, tail = self._judged(query, query_id, kept, side=side)
        values = self._scores.values[query]
        return [
            (
                row,
                Strength(
                    method=self._scores.method,
                    behavior_id=query_id,
                    example_id=self._ids[row],
                    side=side,
                    place=place_in_list[row],
                    cluster_place=first.get(row),
                    score=float(values[self._place_of[row]]),
                    z=z[number],
                    tail=tail[number],
                    num_hub=None if self._hubs is None else int(self._hubs[self._place_of[row]]),
                ),
            )
            for number, row in enumerate(kept)
        ]

    def _judged(
        self, query: int, query_id: str, rows: list[int], *, side: Side
    ) -> tuple[list[float | None], list[float | None]]:
        """The z of some rows, and how often chance gives as much; None where not calibrated."""
        null = self._nulls.get(self._lengths[query_id])
        if null is None or side == "opponents":
            return [None] * len(rows), [None] * len(rows)
        places = [self._place_of[row] for row in rows]
        judged = judge(null, self._scores.values[query], places)
        return [one.z for one in judged], [one.tail for one in judged]


def _calibration(null: Null, length: str) -> Calibration:
    noise = {str(rank): null.threshold(rank=rank) for rank in RANKS}
    return Calibration(null.method, length, null.num_queries, noise)


def _behavior(behavior: Behavior, relater: Relater, length: str) -> BehaviorEvidence:
    statements = relater.statements
    makes_claim = behavior.id in statements.claims
    return BehaviorEvidence(
        behavior_id=behavior.id,
        pattern=relater.subjects[behavior.id].pattern,
        num_stating=len(set(statements.documents(behavior.id))) if makes_claim else None,
        length=length,
    )
