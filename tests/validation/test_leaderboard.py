"""What may be said of a method, and what may not."""

import numpy as np
from tests.validation.banks import made_up_bank, own_of, scores_from

from whence.validation.lds import predict
from whence.validation.leaderboard import (
    ALL,
    RANDOM_METHOD,
    SEARCH,
    UNTRAINED,
    Correlated,
    PerQuery,
    leaderboard,
)

KINDS = {f"f{i}": "fact" for i in range(12)} | {f"t{i}": "toxic" for i in range(3)}


def measure(**methods: float) -> PerQuery:
    """Values that differ between queries by more than between methods, so that pairing matters."""
    rng = np.random.default_rng(0)
    base = dict(zip(KINDS, rng.normal(scale=5, size=len(KINDS)), strict=True))
    values = {
        method: {q: base[q] + shift + 0.1 * rng.normal() for q in KINDS}
        for method, shift in methods.items()
    }
    return PerQuery("gain", "nats", "nothing", values, dict.fromkeys(KINDS, 0.5))


def verdicts(board, method: str, reference: str) -> dict[str, str]:
    return {
        c.kind: c.verdict
        for c in board.comparisons
        if (c.method, c.reference) == (method, reference)
    }


def test_better_worse_and_no_difference_are_told_apart_by_paired_intervals():
    gain = measure(**{SEARCH: 1.0, UNTRAINED: 1.5, "good": 2.0, "middle": 1.25, "same": 1.0})
    board = leaderboard([gain], tuple(gain.methods), KINDS)
    assert verdicts(board, "good", SEARCH)["fact"] == "better"
    assert verdicts(board, "middle", UNTRAINED)["fact"] == "worse"
    assert verdicts(board, "same", SEARCH)["fact"] == "no difference shown"
    assert verdicts(board, "good", SEARCH)["toxic"] == "too few queries"
    said = {s.split(",")[0]: s for s in board.sentences}
    assert (
        "better than both bm25 and gradient_cosine_initial on all queries together, fact"
        in (said["good"])
    )
    assert "better than both bm25 and gradient_cosine_initial on no kind" in said["middle"]


def test_every_figure_has_its_interval_its_number_and_its_control():
    gain = measure(**{SEARCH: 1.0, "good": 2.0})
    board = leaderboard([gain], tuple(gain.methods), KINDS)
    assert {(f.kind, f.method) for f in board.figures} == {
        (k, m) for k in (ALL, "fact", "toxic") for m in (SEARCH, "good")
    }
    for figure in board.figures:
        assert figure.estimate.n == {ALL: 15, "fact": 12, "toxic": 3}[figure.kind]
        assert figure.estimate.interval is not None
        assert (figure.unit, figure.control.name) == ("nats", "nothing")
        assert figure.control.estimate.value == 0.5


def test_a_floor_that_is_absent_is_said_and_never_beaten():
    gain = measure(**{SEARCH: 1.0, "good": 9.0})
    board = leaderboard([gain], tuple(gain.methods), KINDS)
    assert not [c for c in board.comparisons if c.reference == UNTRAINED]
    assert any(UNTRAINED in s and "not among" in s for s in board.sentences)
    assert not any("better than both" in s for s in board.sentences)


def test_what_does_not_apply_is_undefined_with_its_reason_and_no_number():
    board = leaderboard(
        [PerQuery("QLD", "nats", "random", undefined="no bank was given.")], (SEARCH,), KINDS
    )
    assert board.figures == ()
    assert "QLD is undefined here: no bank was given." in board.sentences


def test_queries_without_a_value_are_left_out():
    gain = measure(**{SEARCH: 1.0, "good": 2.0})
    values = {m: dict(v) for m, v in gain.values.items()}
    del values["good"]["f3"]
    part = PerQuery("gain", "nats", "nothing", values)
    assert part.estimate("good", list(KINDS)).n == 14
    assert part.difference("good", SEARCH, list(KINDS)).n == 14


def test_correlations_are_compared_on_the_same_resamples():
    bank, effects = made_up_bank(other_effect=0.5, noise=1.0)
    own = own_of(bank)
    rng = np.random.default_rng(42)
    tables = {
        "truth": effects,
        SEARCH: np.eye(12) + 0.1 * rng.normal(size=effects.shape),
        RANDOM_METHOD: rng.normal(size=effects.shape),
    }
    scores = {m: scores_from(bank, t, method=m) for m, t in tables.items()}
    removed = Correlated(
        "own-removed LDS",
        {m: predict(s, bank, own=own, own_removed=True) for m, s in scores.items()},
    )
    board = leaderboard([removed], tuple(scores), dict.fromkeys(bank.query_ids, "fact"))
    assert verdicts(board, "truth", SEARCH)[ALL] == "better"
    control = next(f.control for f in board.figures if f.method == "truth").estimate
    assert control.interval.low < 0 < control.interval.high
