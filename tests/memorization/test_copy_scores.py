"""Scores of exact and near copies: sums and shares of what was planted, and controls at chance."""

import numpy as np
import pytest

from whence.memorization.attribution import Named, PoolScores
from whence.memorization.copies import CLASSES
from whence.memorization.copy_scores import copy_scores
from whence.memorization.pool import Pool
from whence.memorization.shares import Ranking
from whence.memorization.targets import Targets

COSINE, RANDOM = Named("cosine", 9), Named("random", None)
# Self, two exact, a continuation, three near, a weak near copy, and four that are no copies.
ROW = ["self", "exact", "exact", "continuation", *["near"] * 3, "weak-near", *[None] * 4]


def _ranking(values: dict[Named, np.ndarray], num: int) -> Ranking:
    row = [-1 if c is None else CLASSES.index(c) for c in ROW]  # pyright: ignore[reportArgumentType]
    places = np.arange(num)
    return Ranking(
        PoolScores(values),
        np.array([row] * num, dtype=np.int8),
        np.zeros((num, len(row)), dtype=bool),
        Pool(np.arange(len(row)), np.ones(len(row)), len(row)),
        np.arange(len(row)),
        Targets(places, ("memorized",) * (num - 1) + ("same family",), places, places),
    )


def test_a_planted_worth_and_share_are_found_and_a_random_order_gives_equal_copies() -> None:
    rng = np.random.default_rng(0)
    num = 41
    worth = np.array([1, 1, 1, 1, 0.4, 0.4, 0.4, 9, 5, 5, 5, 5])
    scale = rng.uniform(0.5, 2, (num, 1))
    ranking = _ranking(
        {COSINE: scale * worth + rng.normal(0, 0.05, (num, 12)), RANDOM: rng.random((num, 12))},
        num,
    )
    families = [f"f{i // 2}" for i in range(num)]
    cosine, random = copy_scores(ranking, families, np.arange(num) + 100)
    assert len(cosine.targets) == num - 1  # Controls are left out.
    assert cosine.targets[3].window == 103
    assert (cosine.targets[3].num_exact, cosine.targets[3].num_near) == (4, 3)
    assert cosine.targets[3].exact_sum == pytest.approx(ranking.scores.values[COSINE][3, :4].sum())
    # Of 4 exact copies and 3 near ones worth 0.4 of one each.
    _holds(cosine.near_in_exact, 0.4, width=0.05)
    _holds(cosine.exact_share, 4 / 5.2, width=0.05)
    _holds(random.near_in_exact, 1.0, width=0.5)
    assert cosine.near_in_exact.n == 20


def test_windows_without_a_copy_of_both_classes_and_scores_that_are_undefined_do_not_count() -> (
    None
):
    values = np.ones((7, 12))
    values[0, :4] = np.nan
    values[1, 4] = np.nan
    (found,) = copy_scores(_ranking({COSINE: values}, 7), ["a"] * 7, np.arange(7))
    assert [one.window for one in found.targets] == [1, 2, 3, 4, 5]
    assert found.targets[0].num_near == 2
    assert found.near_in_exact.value == 1.0
    assert found.near_in_exact.interval is None  # One family.
    (none,) = copy_scores(_ranking({COSINE: values * np.nan}, 7), ["a"] * 7, np.arange(7))
    assert none.targets == ()
    assert none.exact_share.value is None


def _holds(found, value: float, *, width: float) -> None:
    assert found.interval is not None
    assert found.interval.low <= value <= found.interval.high
    assert found.interval.high - found.interval.low < width
