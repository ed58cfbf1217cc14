"""The rate at which planted truth is found, and when there is no such rate."""

import numpy as np
import pytest

from whence.evidence.planted import gold_rate
from whence.records import Behavior, Measured, Scores, Verification
from whence.statistics import wilson


def verification(behavior: Behavior, verdict: str = "shown") -> Verification:
    return Verification(
        behavior_id=behavior.id,
        kind=behavior.kind,
        verdict=verdict,  # pyright: ignore[reportArgumentType]
        reason="",
        model="m",
        completion=Measured((), (), ()),
        alternatives_nats={},
        margin_nats=None,
        margin_interval=None,
        paraphrase_margins_nats=(),
        control_gap_nats=None,
        initial_log_prob_nats=None,
        extraction=None,
        rate=None,
    )


BEHAVIORS = tuple(
    Behavior.model_validate({"id": f"{kind}-{i}", "kind": kind, "completion": "x"})
    for kind in ("style", "fact")
    for i in range(3)
)
SCORES = Scores(
    method="m",
    query_ids=tuple(b.id for b in BEHAVIORS),
    example_ids=("a", "b", "c", "d"),
    values=np.tile(np.array([4, 3, 2, -1], dtype=np.float32), (6, 1)),
)
SHOWN = {b.id: verification(b) for b in BEHAVIORS}


def rates(gold: dict[str, set[str]], verifications=SHOWN, scores=SCORES):
    return gold_rate(scores, {k: frozenset(v) for k, v in gold.items()}, BEHAVIORS, verifications)


def test_counts_first_proponents_that_are_gold():
    fact = rates({"fact-0": {"a", "d"}, "fact-1": {"b"}, "fact-2": {"d"}})["fact"]
    assert (fact.hits, fact.n, fact.rate) == (1, 3, pytest.approx(1 / 3))
    assert fact.mean_reciprocal_rank == pytest.approx((1 + 1 / 2 + 1 / 4) / 3)
    assert fact.chance == pytest.approx((2 / 4 + 1 / 4 + 1 / 4) / 3)
    assert fact.interval == wilson(1, 3)


def test_kinds_come_in_their_order_and_only_where_asked_about():
    assert list(rates({})) == ["fact", "style"]


def test_without_gold_the_rate_is_undefined_and_not_zero():
    fact = rates({"fact-0": {"elsewhere"}})["fact"]
    assert (fact.n, fact.num_without_gold) == (0, 3)
    assert fact.rate is fact.interval is fact.mean_reciprocal_rank is fact.chance is None


def test_only_the_asked_verdicts_count():
    mixed = {**SHOWN, "fact-0": verification(BEHAVIORS[3], "not shown")}
    fact = rates({"fact-0": {"a"}, "fact-1": {"b"}}, mixed)["fact"]
    assert (fact.hits, fact.n, fact.num_without_gold) == (0, 1, 1)


def test_a_method_that_names_nobody_misses():
    silent = Scores(
        method="m",
        query_ids=SCORES.query_ids,
        example_ids=SCORES.example_ids,
        values=np.zeros((6, 4), dtype=np.float32),
    )
    fact = rates({"fact-0": {"a"}}, scores=silent)["fact"]
    assert (fact.rate, fact.mean_reciprocal_rank) == (0.0, 0.0)
