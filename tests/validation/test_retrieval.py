"""Average precision and its kin, against definitions written out."""

import numpy as np
import pytest

from whence.records import Scores
from whence.validation.retrieval import chance_precision, retrieval


def scores_of(*rows: list[float]) -> Scores:
    values = np.array(rows, dtype=np.float32)
    return Scores(
        method="m",
        query_ids=tuple(f"q{i}" for i in range(len(values))),
        example_ids=tuple("abcdefghij"[: values.shape[1]]),
        values=values,
    )


def test_every_figure_of_a_small_ranking():
    found = retrieval(
        scores_of([5, 4, 3, 2, -1, -2]),
        {"q0": frozenset("bde")},
        decoys={"q0": frozenset("ac")},
        inert={"q0": frozenset("f")},
        k=2,
    )[0]
    assert found.average_precision == pytest.approx((1 / 2 + 2 / 4 + 3 / 5) / 3)
    assert found.reciprocal_rank == 0.5
    assert found.recall == pytest.approx(1 / 3)
    assert found.is_found is True
    assert found.over_decoys == pytest.approx(1 / 6)  # Only b stands above c.
    assert found.over_inert == 1.0


def test_a_perfect_ranking_has_precision_one():
    found = retrieval(scores_of([9, 8, 1, 0, 0, -1]), {"q0": frozenset("ab")})[0]
    assert (found.average_precision, found.recall) == (1.0, 1.0)


def test_gold_that_is_not_named_counts_zero():
    found = retrieval(scores_of([3, 0, 0, 0]), {"q0": frozenset("ab")}, k=1)[0]
    assert found.average_precision == 0.5
    silent = retrieval(scores_of([0, 0, 0, 0]), {"q0": frozenset("ab")})[0]
    assert (silent.average_precision, silent.reciprocal_rank, silent.is_found) == (0, 0, False)


def test_without_gold_everything_is_undefined():
    found = retrieval(scores_of([1, 2, 3]), {"q0": frozenset("z")})[0]
    assert found[1:] == (0, *[None] * 8)


def test_inert_examples_are_held_against_the_rest_without_gold():
    found = retrieval(
        scores_of([9, 3, 2, 1, 5]),
        {},
        decoys={"q0": frozenset("a")},
        inert={"q0": frozenset("be")},
    )[0]
    assert found.inert_above_rest == 1.0
    assert found.over_inert is None
    silent = retrieval(scores_of([0, 0, 0]), {}, inert={"q0": frozenset("b")})[0]
    assert silent.inert_above_rest == 0.5


@pytest.mark.parametrize(("num_gold", "num_examples"), [(1, 7), (3, 7), (7, 7), (1, 1)])
def test_chance_is_the_mean_over_random_orders(num_gold: int, num_examples: int):
    rng = np.random.default_rng(0)
    gold = {"q0": frozenset("abcdefghij"[:num_gold])}
    values = [
        retrieval(scores_of((1 + rng.permutation(num_examples)).tolist()), gold)[0]
        for _ in range(3000)
    ]
    mean = np.mean([v.average_precision for v in values])
    assert chance_precision(num_gold, num_examples) == pytest.approx(mean, abs=0.02)
