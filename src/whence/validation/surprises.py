"""Surprising examples: no visible tie, stronger than chance, and a confirmed effect.

A funnel. A pair of behavior and example is tried if a method that uses gradients lists it above the
null, no relation ties it, and text search does not rank it among its first fifth. It is screened by
one step of training on it at the attributed checkpoint, against steps on control examples like it;
what passes is confirmed by another optimizer at another checkpoint, against fresh controls. Holm's
correction counts every pair that was screened. The counts are part of the answer: most candidates
fall, and how they fall says what the ranking holds.

Controls are shared by all candidates: each control is one step, after which all queries are
measured. With n controls no p-value is below 1 / (n + 1), so that m screened candidates need at
least 20 m controls for the smallest adjusted p-value to reach .05.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from whence.artifacts import write_json
from whence.artifacts.stage import Stage
from whence.errors import ArtifactError, CorpusError
from whence.evidence import Evidence
from whence.evidence.proponents import ranks
from whence.evidence.relations import Relation, is_visible
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel, Query, Scores
from whence.statistics import holm
from whence.validation.matching import matched_rows
from whence.validation.tail_patch import Request, StepSettings, tail_patch

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.05
CONTROLS_PER_CANDIDATE = 20
# Screening needs p-values of about .05 only; fewer controls than this resolve none.
_NUM_SCREEN_CONTROLS = 60
SCREEN = StepSettings(optimizer="adamw", learning_rate=1e-4)
CONFIRM = StepSettings(optimizer="sgd", learning_rate=0.1)
# Text search ranks these first: what they have in common with the query can be seen.
_SEARCHED_SHARE = 0.2
_SHORT_RUN = 5
_FILE = "surprises.json"
Fate = Literal["surprising", "failed the screen", "failed the confirmation", "not tried"]


@dataclass(frozen=True)
class Candidate:
    """A pair that has no visible tie and is stronger than chance.

    Attributes:
        behavior_id: The behavior.
        example_id: The example.
        methods: Methods that list it above the null.
        fate: What became of it.
        screen_nats: Change of the completion's log-probability by one step on the example at the
            attributed checkpoint; None where it was not tried.
        screen_p: (1 + controls with at least this change) / (1 + controls).
        confirm_nats: The same at the other checkpoint with the other optimizer.
        confirm_p: Likewise.
        holm_p: `confirm_p` corrected for all screened candidates.
    """

    behavior_id: str
    example_id: str
    methods: tuple[str, ...]
    fate: Fate
    screen_nats: float | None = None
    screen_p: float | None = None
    confirm_nats: float | None = None
    confirm_p: float | None = None
    holm_p: float | None = None


class Step(NamedTuple):
    """One step of the funnel: how many pairs are left."""

    name: str
    num_left: int


@dataclass(frozen=True)
class Surprises:
    """What became of every pair that a gradient method lists.

    Attributes:
        funnel: The steps, each with the pairs that are left.
        candidates: All that have no visible tie and are stronger than chance.
        num_screen_controls: Control examples of the screen.
        num_confirm_controls: Control examples of the confirmation.
        confirm_model: The model of the other checkpoint.
        undefined: Why nothing could be tried; None where something was, or nothing had to be.
    """

    funnel: tuple[Step, ...]
    candidates: tuple[Candidate, ...]
    num_screen_controls: int
    num_confirm_controls: int
    confirm_model: str
    undefined: str | None = None

    @property
    def confirmed(self) -> tuple[Candidate, ...]:
        """The surprising examples."""
        return tuple(one for one in self.candidates if one.fate == "surprising")

    def relation(self, behavior_id: str, example_id: str) -> Relation | None:
        """What a pair is called after the check; None where it was not tried."""
        fate = self._fates.get((behavior_id, example_id), "not tried")
        if fate == "not tried":
            return None
        return "surprising" if fate == "surprising" else "noise"

    @cached_property
    def _fates(self) -> Mapping[tuple[str, str], Fate]:
        return {(one.behavior_id, one.example_id): one.fate for one in self.candidates}


def applied(evidence: Evidence, surprises: Surprises) -> Evidence:
    """Renames the relations of what was checked: `surprising`, or `noise`."""
    fates = {
        (one.behavior_id, one.example_id): relation
        for one in surprises.candidates
        if (relation := surprises.relation(one.behavior_id, one.example_id)) is not None
    }
    return replace(
        evidence,
        ties=tuple(
            replace(tie, relation=fates.get((tie.behavior_id, tie.example_id), tie.relation))
            for tie in evidence.ties
        ),
    )


def surprises_stage(
    evidence: Evidence,
    scores: Sequence[Scores],
    queries: Sequence[Query],
    corpus: Corpus,
    model: LoadedModel,
    other: LoadedModel,
    *,
    evidence_key: str,
    max_candidates: int = 60,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Stage[Surprises]:
    """The funnel, kept while the run keeps the evidence that it is about.

    Args:
        evidence: The run's.
        scores: Its methods' scores; those of `bm25` leave out what text search names, too.
        queries: The queries of the behaviors.
        corpus: The examples.
        model: The attributed model; its weights come back to the bit.
        other: The model of another checkpoint, for the confirmation; likewise.
        evidence_key: The key that the evidence has without scores that were imported, among which
            no candidate is.
        max_candidates: Try so many at most: the strongest, by z.
        seed: Of the controls.
        progress: Reports progress.

    Raises:
        ModelError: A model is not finite after a step; raised when the stage is made.
    """

    def make(place: Path) -> None:
        found = find_surprises(
            evidence,
            scores,
            queries,
            corpus,
            model,
            other,
            max_candidates=max_candidates,
            seed=seed,
            progress=progress,
        )
        write_json(place / _FILE, asdict(found))

    return Stage(
        "surprises",
        1,
        {
            "about": [evidence_key],
            "model": model.fingerprint,
            "other": other.fingerprint,
            "max_candidates": max_candidates,
            "steps": [step.model_dump(mode="json") for step in (SCREEN, CONFIRM)],
            "seed": seed,
        },
        make=make,
        read=read_surprises,
    )


def read_surprises(place: Path) -> Surprises:
    """Reads what `surprises_stage` keeps.

    Raises:
        ArtifactError: It is broken.
    """
    path = place / _FILE
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        candidates = [{**one, "methods": tuple(one["methods"])} for one in value["candidates"]]
        return Surprises(
            **{
                **value,
                "funnel": tuple(Step(*step) for step in value["funnel"]),
                "candidates": tuple(Candidate(**one) for one in candidates),
            }
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}).", "Run `whence surprises` again."
        ) from None


def find_surprises(
    evidence: Evidence,
    scores: Sequence[Scores],
    queries: Sequence[Query],
    corpus: Corpus,
    model: LoadedModel,
    other: LoadedModel,
    *,
    max_candidates: int = 60,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Surprises:
    """Tries every candidate, and counts what falls where; see `surprises_stage`.

    Cost:
        A step, and a measurement of every candidate's query, for each of 20 controls a candidate.
    """
    import numpy as np

    funnel, candidates = _candidates(evidence, scores, corpus)
    tried = candidates[:max_candidates]
    funnel.append(Step("tried", len(tried)))
    rest = candidates[max_candidates:]
    empty = Surprises(tuple(funnel), tuple(candidates), 0, 0, other.label)
    if not tried:
        return empty
    if {model.dtype, other.dtype} != {"float32"}:
        undefined = f"models in {model.dtype} and {other.dtype} lose small steps."
        return replace(empty, undefined=undefined)
    trial = _Trial(queries, corpus, tried, evidence, np.random.default_rng(seed), progress)
    try:
        screened = trial.run(model, tried, SCREEN, num_controls=_NUM_SCREEN_CONTROLS)
        passing = [one for one in tried if screened[_pair(one)].p <= LEVEL]
        num = max(_NUM_SCREEN_CONTROLS, CONTROLS_PER_CANDIDATE * len(tried))
        confirmed = trial.run(other, passing, CONFIRM, num_controls=num) if passing else {}
    except CorpusError as error:
        return replace(empty, undefined=str(error))
    # What failed the screen counts in the correction with a p-value of 1.
    p_values = [confirmed[_pair(one)].p if _pair(one) in confirmed else 1.0 for one in tried]
    judged = [
        _judged(one, screened[_pair(one)], confirmed.get(_pair(one)), p)
        for one, p in zip(tried, holm(p_values), strict=True)
    ]
    num_confirmed = sum(one.fate == "surprising" for one in judged)
    return Surprises(
        funnel=(
            *funnel,
            Step("passed the screen", len(passing)),
            Step("confirmed after correction", num_confirmed),
        ),
        candidates=(*judged, *rest),
        num_screen_controls=_NUM_SCREEN_CONTROLS,
        num_confirm_controls=num if passing else 0,
        confirm_model=other.label,
    )


class _Effect(NamedTuple):
    """A change in nats, and how many of the controls reach it."""

    nats: float
    p: float


class _Trial:
    """Steps on candidates and on controls, measured on the candidates' queries."""

    def __init__(
        self,
        queries: Sequence[Query],
        corpus: Corpus,
        candidates: Sequence[Candidate],
        evidence: Evidence,
        rng: "np.random.Generator",
        progress: Progress,
    ) -> None:
        wanted = {one.behavior_id for one in candidates}
        self._queries = [query for query in queries if query.id in wanted]
        self._corpus = corpus
        self._rng = rng
        self._progress = progress
        # What any method lists for one of these queries, visibly tied or not, is no control.
        self._listed = corpus.rows(
            sorted({tie.example_id for tie in evidence.ties if tie.behavior_id in wanted})
        )

    def run(
        self,
        model: LoadedModel,
        candidates: Sequence[Candidate],
        step: StepSettings,
        *,
        num_controls: int,
    ) -> dict[tuple[str, str], _Effect]:
        """Measures each candidate's effect against that of all controls on its query."""
        rows = dict(
            zip(
                (one.example_id for one in candidates),
                self._corpus.rows([one.example_id for one in candidates]),
                strict=True,
            )
        )
        controls = matched_rows(
            self._corpus,
            self._rng.permutation(sorted(set(rows.values()))).tolist(),
            num=num_controls,
            rng=self._rng,
            excluded=self._listed,
        )
        asked = tuple(query.id for query in self._queries)
        requests = [Request(f"control/{row}", (row,), asked) for row in controls]
        requests += [
            Request(f"candidate/{one.example_id}", (rows[one.example_id],), (one.behavior_id,))
            for one in candidates
        ]
        patches = tail_patch(
            model,
            self._corpus,
            self._queries,
            requests,
            steps=(step,),
            progress=self._progress,
        )
        of_controls: dict[str, list[float]] = {}
        of_candidates: dict[tuple[str, str], float] = {}
        for patch in patches:
            kind, _, example_id = patch.group.partition("/")
            if kind == "control":
                of_controls.setdefault(patch.query_id, []).append(patch.log_prob_change_nats)
            else:
                of_candidates[patch.query_id, example_id] = patch.log_prob_change_nats
        return {
            pair: _Effect(nats, _reached(nats, of_controls[pair[0]]))
            for pair, nats in of_candidates.items()
        }


def _reached(nats: float, controls: Sequence[float]) -> float:
    if math.isnan(nats):
        return 1.0
    return (1 + sum(control >= nats for control in controls)) / (1 + len(controls))


def _judged(one: Candidate, screen: _Effect, confirm: _Effect | None, holm_p: float) -> Candidate:
    fate: Fate = "failed the screen"
    if confirm is not None:
        fate = "surprising" if holm_p <= LEVEL else "failed the confirmation"
    return replace(
        one,
        fate=fate,
        screen_nats=screen.nats,
        screen_p=screen.p,
        confirm_nats=None if confirm is None else confirm.nats,
        confirm_p=None if confirm is None else confirm.p,
        holm_p=None if confirm is None else holm_p,
    )


def _pair(one: Candidate) -> tuple[str, str]:
    return one.behavior_id, one.example_id


def _candidates(
    evidence: Evidence, scores: Sequence[Scores], corpus: Corpus
) -> tuple[list[Step], list[Candidate]]:
    """The funnel up to the candidates, which are sorted by their largest z."""
    pairs: dict[tuple[str, str], dict[str, float]] = {}
    listed: set[tuple[str, str]] = set()
    for one in evidence.strengths:
        if evidence.families[one.method] != "gradient" or one.side != "proponents":
            continue
        pair = (one.behavior_id, one.example_id)
        listed.add(pair)
        if one.is_above_null and one.z is not None:
            pairs.setdefault(pair, {})[one.method] = one.z
    funnel = [Step("listed by a gradient method", len(listed)), Step("above the null", len(pairs))]
    ties = {pair: evidence.tie(*pair) for pair in pairs}
    open_pairs = [pair for pair, tie in ties.items() if tie and not is_visible(tie.relation)]
    funnel.append(Step("without a visible tie", len(open_pairs)))
    first = _searched(scores, corpus)
    unseen = [pair for pair in open_pairs if pair[1] not in first.get(pair[0], frozenset())]
    funnel.append(Step("not among the first fifth of text search", len(unseen)))
    apart = [pair for pair in unseen if (tie := ties[pair]) and tie.longest_run < _SHORT_RUN]
    funnel.append(Step(f"without {_SHORT_RUN} tokens in a row in common", len(apart)))
    apart.sort(key=lambda pair: (-max(pairs[pair].values()), pair))
    return funnel, [Candidate(*pair, tuple(sorted(pairs[pair])), "not tried") for pair in apart]


def _searched(scores: Sequence[Scores], corpus: Corpus) -> dict[str, frozenset[str]]:
    """The examples that BM25 ranks among its first fifth, by behavior; none without BM25."""
    import numpy as np

    found: dict[str, frozenset[str]] = {}
    for one in scores:
        if one.method != "bm25":
            continue
        limit = _SEARCHED_SHARE * len(corpus)
        for query, query_id in enumerate(one.query_ids):
            of_query = ranks(one, query)
            rows = np.flatnonzero((of_query > 0) & (of_query <= limit))
            found[query_id] = frozenset(one.example_ids[row] for row in rows.tolist())
    return found
