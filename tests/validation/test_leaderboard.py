"""What may be said of a method, and what may not."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import false_discovery_control
from tests.validation.banks import made_up_bank, own_of, scores_from

from whence.statistics import benjamini_hochberg
from whence.validation.lds import Predicted, predict, predict_at_random
from whence.validation.leaderboard import (
    ALL,
    FALSE_DISCOVERY_RATE,
    PLAIN,
    RANDOM_METHOD,
    REFERENCES,
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
    assert "same" in said
    assert not any(s.startswith("Of ") for s in board.sentences)
    alike = measure(**{SEARCH: 1.0, UNTRAINED: 1.0, "one": 1.0, "other": 1.0})
    quiet = leaderboard([alike], tuple(alike.methods), KINDS).sentences
    assert quiet[-1].startswith("Of 2 other pairs of a method and a measure nothing is claimed")


def test_methods_are_compared_with_the_plain_gradient_too_and_no_pair_counts_twice():
    gain = measure(**{SEARCH: 1.0, UNTRAINED: 1.5, PLAIN: 2.0, "more": 2.5, "less": 1.75})
    board = leaderboard([gain], tuple(gain.methods), KINDS)
    assert verdicts(board, "more", PLAIN)["fact"] == "better"
    assert verdicts(board, "less", PLAIN)["fact"] == "worse"
    assert verdicts(board, PLAIN, SEARCH)["fact"] == "better"
    pairs = [frozenset((c.method, c.reference)) for c in board.comparisons if c.kind == ALL]
    assert frozenset((PLAIN, UNTRAINED)) in pairs
    assert len([pair for pair in pairs if pair == {PLAIN, SEARCH}]) == 1
    said = {s.split(",")[0]: s for s in board.sentences}
    assert "better than gradient_cosine on all queries together, fact" in said["more"]
    assert "better than both bm25 and gradient_cosine_initial on all" in said["less"]
    assert "worse than gradient_cosine on all" in said["less"]


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


def test_of_fewer_than_six_families_nothing_is_claimed():
    gain = measure(**{SEARCH: 1.0, UNTRAINED: 1.5, "good": 9.0})
    five = {q: f"family {i % 5}" for i, q in enumerate(KINDS)}
    six = {q: f"family {i % 6}" for i, q in enumerate(KINDS)}
    few, enough = (
        leaderboard([gain], tuple(gain.methods), KINDS, families=known) for known in (five, six)
    )
    assert set(verdicts(few, "good", SEARCH).values()) == {"too few queries"}
    assert verdicts(enough, "good", SEARCH)["fact"] == "better"
    assert verdicts(enough, "good", SEARCH)["toxic"] == "too few queries"
    assert all(c.adjusted_p_value is None for c in few.comparisons)


def test_p_values_are_adjusted_for_all_comparisons_of_the_board():
    gain = measure(**{SEARCH: 1.0, UNTRAINED: 1.5, "good": 2.0, "middle": 1.25, "same": 1.0})
    board = leaderboard([gain, replace(gain, name="again")], tuple(gain.methods), KINDS)
    found = [c for c in board.comparisons if c.p_value is not None]
    assert [c.adjusted_p_value for c in found] == pytest.approx(
        false_discovery_control([c.p_value for c in found])
    )
    assert any(f"over all {len(found)} comparisons" in s for s in board.sentences)


def equal_board(rng, *, num_methods: int = 17):
    """Methods of equal worth by two measures, on families of four kinds."""
    kinds = {f"q{i:02d}": ("fact", "memorized", "toxic", "style")[i % 4] for i in range(48)}
    families = {q: f"{kind} {int(q[1:]) // 8}" for q, kind in kinds.items()}
    methods = [*REFERENCES, *(f"m{i}" for i in range(num_methods - 3))]
    shared = {name: rng.normal(size=num_methods) for name in set(families.values())}
    values = {
        method: {q: shared[families[q]][i] + rng.normal() for q in kinds}
        for i, method in enumerate(methods)
    }
    truth = rng.normal(size=(48, 60))
    outcomes = truth + rng.normal(size=(48, 60)) + rng.normal(size=60)
    predicted = {
        method: Predicted(
            method,
            tuple(kinds),
            truth + rng.normal(size=60) + rng.normal(size=truth.shape),
            outcomes,
            own_removed=True,
            num_regressors=(0,) * 48,
        )
        for method in methods
    }
    measures = [PerQuery("gain", "nats", "nothing", values), Correlated("LDS", predicted)]
    return measures, methods, kinds, families


@pytest.mark.slow
def test_of_equal_methods_hardly_any_board_says_that_one_is_better_than_any_reference():
    """Of seventeen equal methods, on some kind by some measure, at most 5 % of boards claim one.

    A claim is a method that is better than BM25, the untrained baseline or gradient cosine. Were
    each reference's comparisons adjusted alone, 7 % of these boards would make one.
    """
    rng = np.random.default_rng(0)
    claims, apart, naive = 0, 0, 0
    for _ in range(200):
        measures, methods, kinds, families = equal_board(rng)
        board = leaderboard(measures, methods, kinds, families=families)
        # Fourteen methods against three references, and these against each other.
        assert len(board.comparisons) == 2 * 5 * (14 * 3 + 4)
        assert {one.reference for one in board.comparisons} == {*REFERENCES}
        claims += any(one.verdict == "better" for one in board.comparisons)
        apart += any(_claims_alone(board, reference) for reference in REFERENCES)
        naive += any(
            one.difference.interval is not None and one.difference.interval.low > 0
            for one in board.comparisons
        )
    assert claims <= 0.05 * 200
    assert apart > 0.05 * 200, "three adjustments apart from each other would claim too much"
    assert naive > 0.5 * 200, "without the adjustment most boards would claim something"


def _claims_alone(board, reference: str) -> bool:
    """Whether a method is better than one reference if its comparisons were the only ones."""
    tested = [
        one for one in board.comparisons if one.reference == reference and one.p_value is not None
    ]
    adjusted = benjamini_hochberg([one.p_value for one in tested])
    return any(
        one.difference.value > 0 and p <= FALSE_DISCOVERY_RATE
        for one, p in zip(tested, adjusted, strict=True)
    )


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
        predict_at_random(bank.query_ids, bank, own=own, own_removed=True),
    )
    board = leaderboard([removed], tuple(scores), dict.fromkeys(bank.query_ids, "fact"))
    assert verdicts(board, "truth", SEARCH)[ALL] == "better"
    control = next(f.control for f in board.figures if f.method == "truth").estimate
    assert abs(control.value) < 0.05
    skill = {f.method: f.no_skill_p_value for f in board.figures if f.kind == ALL}
    assert skill["truth"] == pytest.approx(1 / 200)
    assert skill[RANDOM_METHOD] > 0.01
