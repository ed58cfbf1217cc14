"""What methods name, how far they agree, and which examples everything points to."""

import math

import numpy as np
import pytest

from whence.evidence.agreement import (
    hubness,
    hubs,
    jaccard_at_k,
    mean_agreements,
    pair_agreements,
)
from whence.evidence.proponents import opponents, proponents, ranking, ranks
from whence.records import Scores

NAN = float("nan")


def scores(*rows: list[float], method: str = "m", ids: str | None = None) -> Scores:
    ids = ids or "abcdefghij"[: len(rows[0])]
    return Scores(
        method=method,
        query_ids=tuple(f"q{i}" for i in range(len(rows))),
        example_ids=tuple(ids),
        values=np.array(rows, dtype=np.float32),
    )


def named(s: Scores, query: int = 0, k: int | None = None) -> str:
    return "".join(s.example_ids[row] for row in proponents(s, query, k=k))


def test_proponents_are_the_highest_and_leave_out_the_undefined():
    assert named(scores([0.1, NAN, 3.0, -2.0, 3.0]), k=3) == "cea"


def test_only_a_positive_score_makes_a_proponent():
    assert named(scores([0.0, 2.0, 0.0, 1.0])) == "bd"
    assert named(scores([0.0, 0.0])) == ""
    assert named(scores([0.0, -1.0])) == ""
    assert named(scores([0.0, -1.0, 0.5])) == "c"
    assert named(scores([NAN, NAN])) == ""


@pytest.mark.parametrize("seed", range(20))
def test_the_first_k_are_the_ranking_cut_short(seed: int):
    """Picking without sorting everything must not change the order of ties."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-2, 4, size=40).astype(np.float32)
    values[rng.random(40) < 0.1] = NAN
    s = scores(values.tolist(), ids="x" * 40)
    for k in (0, 1, 5, 39, 60):
        order = [int(i) for i in np.argsort(-values, kind="stable")]
        assert ranking(s, 0, k=k).tolist() == [i for i in order if values[i] == values[i]][:k]
        assert proponents(s, 0, k=k).tolist() == [i for i in order if values[i] > 0][:k]
        worst = [int(i) for i in np.argsort(values, kind="stable") if values[i] < 0]
        assert opponents(s, 0, k=k).tolist() == worst[:k]


def test_opponents_are_negative_and_most_negative_first():
    s = scores([-1.0, 2.0, -3.0, NAN, 0.0])
    assert [s.example_ids[row] for row in opponents(s, 0)] == ["c", "a"]
    assert len(opponents(s, 0, k=1)) == 1
    assert len(opponents(scores([0.0, 1.0]), 0)) == 0


def test_ranks_agree_with_counting():
    rng = np.random.default_rng(0)
    values = rng.integers(-3, 4, size=50).astype(np.float32)
    values[::7] = NAN
    expected = [0 if math.isnan(v) else 1 + int(np.sum(values > v)) for v in values]
    s = scores(values.tolist(), ids="x" * 50)
    assert ranks(s, 0).tolist() == expected
    some = np.array([41, 3, 7])
    assert ranks(s, 0, rows=some).tolist() == [expected[i] for i in some]


def test_a_score_that_says_nothing_has_no_rank():
    assert ranks(scores([0.0, 5.0, 2.0, 0.0, NAN, 2.0]), 0).tolist() == [0, 1, 2, 0, 0, 2]
    assert ranks(scores([0.0, 5.0, -2.0]), 0).tolist() == [2, 1, 3]


def test_jaccard_counts_ids_and_not_rows():
    a, b = scores([3, 2, 1, -1.0], ids="abcd"), scores([-1.0, 3, 2, 1], ids="dcba")
    assert jaccard_at_k(a, b, query=0, k=3) == 1.0
    assert jaccard_at_k(a, b, query=0, k=1) == 0.0
    assert jaccard_at_k(a, b, query=0, k=2) == pytest.approx(1 / 3)


def test_agreement_on_nothing_is_undefined():
    silent, loud = scores([0.0, 0.0]), scores([1.0, 2.0])
    assert math.isnan(jaccard_at_k(silent, silent, query=0, k=2))
    assert jaccard_at_k(silent, loud, query=0, k=2) == 0.0


def test_every_pair_of_methods_that_scored_the_query_is_compared_once():
    rng = np.random.default_rng(1)
    methods = [scores(rng.normal(size=10).tolist(), method=str(i)) for i in range(3)]
    absent = Scores("absent", ("other",), methods[0].example_ids, methods[0].values)
    found = pair_agreements([*methods, absent], "q0", 4)
    assert [(pair.first, pair.second) for pair in found] == [("0", "1"), ("0", "2"), ("1", "2")]
    for first, second, jaccard in found:
        a, b = methods[int(first)], methods[int(second)]
        assert jaccard == jaccard_at_k(a, b, query=0, k=4)


def test_the_row_of_a_query_may_differ_between_methods():
    a = Scores("a", ("p", "q"), ("x", "y"), np.array([[1, 2], [2, 1]], dtype=np.float32))
    b = Scores("b", ("q",), ("x", "y"), np.array([[2, 1]], dtype=np.float32))
    assert pair_agreements([a, b], "q", 1)[0].jaccard == 1
    assert pair_agreements([a, b], "p", 1) == ()


def test_mean_agreement_leaves_out_what_is_undefined():
    silent, loud = scores([0.0, 0.0], [1.0, 2.0], method="a"), scores([0.0, 0.0], [2.0, 1.0])
    pairs = [pair_agreements([silent, loud], query, 1) for query in ("q0", "q1")]
    assert math.isnan(pairs[0][0].jaccard)
    assert mean_agreements(pairs)[0].jaccard == 0.0
    assert math.isnan(mean_agreements(pairs[:1])[0].jaccard)
    assert mean_agreements([]) == ()


def test_hubs_count_queries_and_groups():
    s = scores([3, 2, -1.0], [3, -1.0, 2], [-1.0, 3, 2.5])
    found = hubs(s, 2, groups={"q0": "fact", "q1": "fact", "q2": "style"})
    assert [(h.example_id, h.num_queries, h.num_groups) for h in found] == [
        ("b", 2, 2),
        ("c", 2, 2),
        ("a", 2, 1),
    ]
    assert {h.num_asked for h in found} == {3}
    assert hubs(s, 2, at_least=3) == ()
    assert [h.num_groups for h in hubs(s, 2)] == [2, 2, 2]


def test_hubness_counts_the_most_frequent_example():
    found = hubness(scores([3, 2, 1, 0.5], [3, 1, 2, 0.5], [1, 0.5, 2, 3]), 2)
    assert found.num_queries == 3
    assert found.largest_share == pytest.approx(2 / 3)
    assert found.distinct_share == pytest.approx(4 / 6)
    counts = np.array([2, 1, 2, 1])
    centered = counts - counts.mean()
    assert found.skewness == pytest.approx((centered**3).mean() / counts.std() ** 3)


def test_a_method_that_ignores_the_query_is_all_hubs_and_a_silent_one_has_none():
    assert hubness(scores([3, 2, 1], [3, 2, 1]), 1).largest_share == 1
    silent = hubness(scores([0.0, 0.0], [NAN, NAN]), 1)
    assert silent[2:] == (None, None, None)
    assert hubness(scores([1.0, 2.0], [2.0, 1.0]), 2).skewness is None
