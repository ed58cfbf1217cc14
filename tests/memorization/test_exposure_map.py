"""Effects of exposure are what plain loops over planted panels give."""

import numpy as np
import pytest
from scipy.stats import t as student

from whence.errors import SettingsError
from whence.memorization.exposure_map import NEVER, exposure_map, pre_exposure
from whence.statistics import Estimate, mean_estimate

STEPS = (0, 10, 20, 40, 80)


def panel(seed: int = 0, num: int = 90):
    rng = np.random.default_rng(seed)
    exposures = rng.integers(1, 80, num)
    exposures[:12] = NEVER
    exposures[12:16] = -1
    families = [f"f{i}" for i in rng.integers(0, 25, num)]
    return rng.normal(-4, 1, (len(STEPS), num)), exposures, families


def seen_by(step: int, exposure: int) -> bool:
    return 0 <= exposure <= step


def test_an_effect_is_the_change_of_the_exposed_minus_that_of_the_not_yet_seen() -> None:
    values, exposures, families = panel()
    found = exposure_map(values, exposures, STEPS, families=families)
    assert found.cohorts == (1, 2, 3, 4)
    for row, exposed in enumerate(found.cohorts):
        cohort = [
            w
            for w, step in enumerate(exposures)
            if seen_by(STEPS[exposed], step) and not seen_by(STEPS[exposed - 1], step)
        ]
        assert found.num_windows[row] == len(cohort)
        assert found.num_families[row] == len({families[w] for w in cohort})
        for at in range(len(STEPS)):
            controls = [
                w
                for w, step in enumerate(exposures)
                if step >= 0 and not seen_by(STEPS[max(at, exposed)], step)
            ]
            assert found.num_controls[row, at] == len(controls)
            before = exposed - 1
            a, b = (
                np.mean([values[at, w] - values[before, w] for w in side])
                for side in (cohort, controls)
            )
            assert found.effects_nats[row, at] == pytest.approx(a - b)
        assert found.effects_nats[row, exposed - 1] == 0


def test_a_lag_is_the_mean_over_cohorts_weighted_by_their_windows() -> None:
    values, exposures, families = panel()
    found = exposure_map(values, exposures, STEPS, families=families)
    assert sorted(found.by_lag) == [-4, -3, -2, 0, 1, 2, 3]
    for lag, estimate in found.by_lag.items():
        rows = [row for row, c in enumerate(found.cohorts) if 0 <= c + lag < len(STEPS)]
        effects = [found.effects_nats[row, found.cohorts[row] + lag] for row in rows]
        expected = np.average(effects, weights=found.num_windows[rows])
        assert estimate.value == pytest.approx(expected), lag


def test_the_error_is_that_of_a_difference_of_two_means_where_each_window_is_a_family() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2, 30))
    exposures = np.array([5] * 11 + [NEVER] * 19)
    found = exposure_map(values, exposures, (0, 10), families=list(range(30))).by_lag[0]
    changes = values[1] - values[0]
    # A mean without one of n values is off by its deviation over n - 1.
    squares = 11 * changes[:11].var() / 10**2 + 19 * changes[11:].var() / 18**2
    error = np.sqrt(29 / 30 * squares)
    assert found.interval is not None
    half = (found.interval.high - found.interval.low) / 2
    assert half == pytest.approx(student.ppf(0.975, 10) * error)
    assert found.n == 11


def planted(rng: np.random.Generator):
    """Windows of 40 families, whose exposure adds .8 nats that halve at each checkpoint after."""
    families = np.repeat(np.arange(40), 3)
    exposures = rng.integers(1, 100, 40)[families]
    own = rng.normal(0, 0.3, (len(STEPS), 40))[:, families]
    values = -5 + np.linspace(0, 1, len(STEPS))[:, None] + own
    values = values + rng.normal(0, 0.3, values.shape)
    for at, step in enumerate(STEPS):
        for window, exposure in enumerate(exposures):
            first = next((c for c, s in enumerate(STEPS) if s >= exposure), len(STEPS))
            if seen_by(step, exposure):
                values[at, window] += 0.8 / 2 ** (at - first)
    return values, exposures, families.tolist()


def test_a_planted_effect_and_its_decay_are_recovered_and_placebos_are_zero() -> None:
    rng = np.random.default_rng(3)
    expected = {0: 0.8, 1: 0.4, 2: 0.2, -2: 0.0}
    found: dict[int, list[tuple[float, bool]]] = {lag: [] for lag in expected}
    for _ in range(600):
        values, exposures, families = planted(rng)
        by_lag = exposure_map(values, exposures, STEPS, families=families).by_lag
        for lag, true in expected.items():
            value, interval, _ = by_lag.get(lag, Estimate(None, None, 0))
            if value is not None and interval is not None:
                found[lag].append((value, interval.low <= true <= interval.high))
    for lag, true in expected.items():
        assert len(found[lag]) > 400
        value, covered = np.mean(found[lag], axis=0)
        assert value == pytest.approx(true, abs=0.03), lag
        assert 0.92 < covered < 0.98, lag


def test_windows_of_one_family_are_not_independent() -> None:
    rng = np.random.default_rng(4)
    values, exposures, families = planted(rng)
    apart = exposure_map(values, exposures, STEPS, families=list(range(len(families)))).by_lag[0]
    together = exposure_map(values, exposures, STEPS, families=families).by_lag[0]
    assert together.value == apart.value
    assert together.interval is not None
    assert apart.interval is not None
    assert np.diff(together.interval[:2]) > 1.2 * np.diff(apart.interval[:2])


def test_where_all_were_seen_there_is_no_effect() -> None:
    values = np.zeros((3, 8))
    exposures = np.array([5] * 4 + [15] * 4)
    found = exposure_map(values, exposures, (0, 10, 20), families=list("abcdefgh"))
    assert found.cohorts == (1, 2)
    assert found.effects_nats[0, 1] == 0
    assert np.isnan(found.effects_nats[0, 2])
    assert np.isnan(found.effects_nats[1]).all()
    assert found.by_lag[1] == (None, None, 0)
    # Four families on a side are too few.
    assert found.by_lag[0] == (0.0, None, 4)


def test_what_the_first_checkpoint_had_seen_is_in_no_cohort() -> None:
    values, families = np.zeros((2, 3)), list("abc")
    found = exposure_map(values, np.array([5, 12, NEVER]), (10, 20), families=families)
    assert found.cohorts == (1,)
    assert found.num_windows.tolist() == [1]
    assert found.num_controls.tolist() == [[1, 1]]


def test_windows_reproduced_before_their_first_copy_are_counted_as_a_loop_counts_them() -> None:
    rng = np.random.default_rng(6)
    is_extractible = rng.random((len(STEPS), 60)) < 0.4
    first = rng.integers(-1, 90, 60)
    first[:5] = NEVER
    first[5:8] = 0
    families = [f"f{i}" for i in rng.integers(0, 12, 60)]
    found = pre_exposure(is_extractible, first, STEPS, families=families)
    shares: dict[str, list[bool]] = {}
    for window in range(60):
        before = [c for c, step in enumerate(STEPS) if step < first[window]]
        if first[window] < 0 or not before:
            assert not found.is_tested[window]
            assert not found.is_reproduced[window]
            assert found.checkpoint_steps[window] == -1
            continue
        assert found.is_tested[window]
        assert found.checkpoint_steps[window] == STEPS[before[-1]]
        assert found.is_reproduced[window] == is_extractible[before[-1], window]
        shares.setdefault(families[window], []).append(bool(is_extractible[before[-1], window]))
    expected = mean_estimate([float(np.mean(own)) for own in shares.values()], bounds=(0, 1))
    assert found.share.value == pytest.approx(expected.value)
    assert found.share.interval == pytest.approx(expected.interval)
    few = pre_exposure(is_extractible, first, STEPS, families=["a", "b"] * 30)
    assert few.share.interval is None


def test_a_copy_seen_at_a_checkpoints_own_step_is_not_before_it() -> None:
    is_extractible = np.array([[False], [True]])
    found = pre_exposure(is_extractible, np.array([10]), (5, 10), families=["a"])
    assert found.checkpoint_steps.tolist() == [5]
    assert not found.is_reproduced[0]
    later = pre_exposure(is_extractible, np.array([11]), (5, 10), families=["a"])
    assert later.is_reproduced[0]


def test_steps_that_do_not_ascend_or_fit_are_refused() -> None:
    values = np.zeros((2, 3))
    exposures = np.array([1, 2, 3])
    for steps in ((10, 10), (10, 5)):
        with pytest.raises(SettingsError, match="do not ascend"):
            exposure_map(values, exposures, steps, families=list("abc"))
    with pytest.raises(SettingsError, match="3 checkpoints and 3 windows"):
        exposure_map(values, exposures, (1, 2, 3), families=list("abc"))
    with pytest.raises(SettingsError, match="2 families"):
        pre_exposure(values > 0, exposures, (1, 2), families=list("ab"))
