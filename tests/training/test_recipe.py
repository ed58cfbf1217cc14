"""The schedule rises, falls to its share, and keeps checkpoints where Pythia does."""

import pytest

from whence.training import Recipe, learning_rate, num_steps, pythia_like_steps


def test_learning_rate_by_hand():
    recipe = Recipe(peak_learning_rate=2.0, warmup_steps=4, final_fraction=0.1)
    rates = [learning_rate(recipe, step, total_steps=100) for step in range(1, 101)]
    assert rates[1] == pytest.approx(2.0 * 2 / 4 * (0.1 + 0.9 * 0.5 * (1 + 0.99802672842827)))
    assert rates[49] == pytest.approx(2.0 * 0.55)
    assert rates[99] == pytest.approx(0.2)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_no_warmup_starts_near_the_peak():
    recipe = Recipe(peak_learning_rate=1.0, warmup_steps=0)
    assert learning_rate(recipe, 1, total_steps=1000) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("num", "expected"), [(1, 1), (8, 1), (9, 2), (16, 2)])
def test_the_last_batch_may_be_smaller(num, expected):
    assert num_steps(Recipe(batch_size=8), num) == expected


def test_pythia_like_steps():
    assert pythia_like_steps(1300, every=256) == (
        *(0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
        *(768, 1024, 1280, 1300),
    )
    assert pythia_like_steps(5, every=256) == (0, 1, 2, 4, 5)
