"""Early against late: a planted difference is told, and one of two families or none is not."""

import numpy as np
import pytest

from whence.memorization.early_late import _slope, compare_early_late


def _world(
    rng: np.random.Generator, *, effect: float, num: int = 30
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    families = [f"f{i // 2}" for i in range(2 * num)]
    steps = np.where(np.arange(2 * num) % 2 == 0, 100, 1600)
    before = rng.integers(1, 20, 2 * num)
    content = np.repeat(rng.normal(0, 0.3, num), 2)
    noise = rng.normal(0, 0.1, 2 * num)
    values = content + 0.2 * np.log2(1 + before) + effect * (steps == 100) + noise
    return values, steps, before, families


def test_a_planted_difference_is_told_and_measured() -> None:
    values, steps, before, families = _world(np.random.default_rng(0), effect=0.5)
    found = compare_early_late("x", values, steps, before, families, cut=500)
    assert found.is_told
    assert found.matched.interval is not None
    assert found.matched.interval.low <= 0.5 <= found.matched.interval.high
    # Four doublings from 100 to 1,600.
    assert found.slope.interval is not None
    assert found.slope.interval.low <= -0.5 / 4 <= found.slope.interval.high
    assert found.carried_by is not None
    assert found.carried_by > 5


def test_copies_alone_are_no_effect_of_time() -> None:
    told = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values, steps, before, families = _world(rng, effect=0.0)
        told += compare_early_late("x", values, steps, before, families, cut=500).is_told
    assert told <= 2


def test_a_difference_of_two_families_is_carried_by_two() -> None:
    rng = np.random.default_rng(1)
    families = [f"f{i}" for i in range(14)]
    steps = np.where(np.arange(14) < 5, 100, 1600)
    values = rng.normal(0, 0.02, 14)
    values[:2] += 1.0
    values[2:5] -= 0.05
    found = compare_early_late("x", values, steps, rng.integers(1, 9, 14), families, cut=500)
    assert found.difference is not None
    assert found.difference > 0.2
    assert found.carried_by == 2
    assert not found.is_told


def test_the_raw_difference_weighs_families_equally() -> None:
    values = np.array([1.0, 1.0, 1.0, 0.0, 5.0, 3.0])
    steps = np.array([1, 1, 1, 1, 9, 9])
    families = ["a", "a", "a", "b", "c", "d"]
    found = compare_early_late("x", values, steps, np.arange(6), families, cut=5)
    assert found.difference == pytest.approx(0.5 - 4.0)


def test_one_sided_data_is_undefined() -> None:
    found = compare_early_late("x", np.ones(8), np.full(8, 3), np.arange(8), list(range(8)), cut=5)
    assert found.difference is None
    assert found.placebo_p is None
    assert found.carried_by is None
    assert not found.is_told


def test_the_slope_is_held_with_families_of_very_unequal_size():
    """Plain clustered errors held it in .71 of these simulations."""
    rng = np.random.default_rng(0)
    names = np.repeat(np.arange(15), [30, 20, *[1] * 13])

    def alike(share: float) -> np.ndarray:
        own = rng.normal(size=15)[names]
        return np.sqrt(share) * own + np.sqrt(1 - share) * rng.normal(size=len(names))

    held = []
    for _ in range(300):
        steps, before = 2 ** (8 + alike(0.8).clip(-3, 3)), np.exp(alike(0.8)).round()
        values = 0.5 * np.log2(steps) + alike(0.8)
        interval = _slope(values, steps, before, names.astype(str)).interval
        assert interval is not None
        held.append(interval.low <= 0.5 <= interval.high)
    # 300 simulations: .95 ± .038 (three standard deviations).
    assert np.mean(held) > 0.91


def test_a_slope_is_undefined_where_one_family_alone_tells_onsets_from_copies():
    steps = np.array([100.0, *[200.0] * 12])
    before, names = np.arange(13.0), np.arange(13).astype(str)
    assert _slope(np.arange(13.0), steps, before, names).interval is None
