"""Doses, equivalents and forgetting agree with the definitions, written out as plain loops."""

import math

import numpy as np
import pytest

from whence.memorization.dose import (
    dose_curve,
    dose_means,
    exact_equivalent,
    extraction_by_dose,
    forgetting,
    half_lives,
    placement_differences,
)


def _names(num: int, prefix: str = "f") -> list[str]:
    return [f"{prefix}{i}" for i in range(num)]


def _response(copies: np.ndarray) -> np.ndarray:
    """A curve of the usual shape: flat, steep from about eight copies on, flat."""
    return -6 + 6 / (1 + np.exp(-(np.log2(1 + copies) - 4) * 1.5))


def test_a_dose_curve_is_the_min_max_of_means() -> None:
    rng = np.random.default_rng(0)
    copies = rng.integers(0, 9, 60)
    values = rng.normal(0.2 * copies, 1.0)
    curve = dose_curve(copies, values)
    doses = sorted(set(copies.tolist()))
    for place, fitted in enumerate(curve.values):
        plain = max(
            min(
                np.mean([v for c, v in zip(copies, values, strict=True) if low <= c <= high])
                for high in doses[place:]
            )
            for low in doses[: place + 1]
        )
        assert fitted == pytest.approx(plain)


def test_the_order_of_sequences_does_not_matter_and_unknown_ones_are_left_out() -> None:
    rng = np.random.default_rng(1)
    copies, values = rng.integers(0, 9, 40), rng.normal(size=40)
    turned = rng.permutation(40)
    more = np.append(values, np.nan), np.append(copies, 3)
    for curve in (
        dose_curve(copies[turned], values[turned]),
        dose_curve(more[1], more[0]),
    ):
        assert curve.values == pytest.approx(dose_curve(copies, values).values)
    with pytest.raises(ValueError, match="no values"):
        dose_curve(np.array([1]), np.array([np.nan]))


def test_reading_the_curve_backward_undoes_reading_it_forward() -> None:
    doses = np.array([0, 1, 2, 4, 8, 16, 32, 64])
    curve = dose_curve(doses, _response(doses))
    for copies in (0, 0.5, 3, 5.5, 20, 63, 64):
        assert curve.copies_for(curve.at(copies)) == pytest.approx(copies)
    assert math.isnan(curve.at(65))
    assert curve.copies_for(curve.values[-1] + 1) == math.inf
    assert curve.copies_for(curve.values[0] - 1) == 0


def test_a_level_part_stands_for_its_middle() -> None:
    curve = dose_curve(np.array([0, 3, 15, 63]), np.array([0.0, 1.0, 1.0, 2.0]))
    assert curve.copies_for(1.0) == pytest.approx(7)  # log2 of 4 and of 16: 8, less one.
    assert curve.copies_for(1.0 - 1e-9) == pytest.approx(3)
    assert curve.copies_for(1.0 + 1e-9) == pytest.approx(15)


def test_a_known_worth_of_near_copies_is_recovered() -> None:
    rng = np.random.default_rng(2)
    copies = np.repeat([0, 1, 2, 4, 8, 16, 32, 64, 128], 8)
    values = _response(copies) + rng.normal(0, 0.2, len(copies))
    for worth in (0.1, 0.4, 0.8):
        near = _response(np.array([48 * worth])) + rng.normal(0, 0.2, 8)
        found = exact_equivalent(
            copies,
            values,
            families=_names(len(copies)),
            near_values=near,
            near_families=_names(8, "n"),
            num_near_copies=48,
            generator=np.random.default_rng(3),
        )
        assert found.rho.value == pytest.approx(worth, rel=0.25)
        assert found.rho.interval is not None
        assert found.rho.interval.low < worth < found.rho.interval.high
        assert found.rho.n == 8
        assert found.share_above == 0


def test_a_response_above_the_curve_has_no_worth_and_one_below_it_has_none_either() -> None:
    copies = np.repeat([0, 8, 64], 4)
    values = np.repeat([-6.0, -3.0, -1.0], 4)

    def rho(near: float, num: int = 4):
        return exact_equivalent(
            copies,
            values,
            families=_names(12),
            near_values=np.full(num, near),
            near_families=_names(num, "n"),
            num_near_copies=32,
            generator=np.random.default_rng(0),
        )

    assert rho(-0.5).rho.value is None
    assert rho(-0.5).share_above == 1
    assert rho(-6.5).rho.value == 0
    assert rho(-3.0).rho.value == pytest.approx(8 / 32)
    assert rho(-3.0, num=2).rho.interval is None


def test_families_widen_the_interval_of_a_worth() -> None:
    rng = np.random.default_rng(4)
    copies = np.repeat([0, 2, 8, 32, 128], 8)
    values = _response(copies)
    near = np.repeat(_response(np.array([20.0])) + rng.normal(0, 0.6, 4), 6)
    widths = []
    for names in (_names(24), [f"n{i // 6}" for i in range(24)]):
        found = exact_equivalent(
            copies,
            values,
            families=_names(len(copies)),
            near_values=near,
            near_families=names,
            num_near_copies=48,
            generator=np.random.default_rng(5),
        )
        assert found.rho.interval is not None
        widths.append(found.rho.interval.high - found.rho.interval.low)
    assert widths[1] > 1.5 * widths[0]


def test_extraction_counts_sequences_and_continuations_as_a_loop_does() -> None:
    rng = np.random.default_rng(6)
    copies = rng.integers(1, 60, 300)
    hits = rng.random(300) < copies / 60
    endings = [f"{c}-{i}" for c, i in zip(copies, rng.integers(0, 3, 300), strict=True)]
    bins = extraction_by_dose(copies, hits, continuations=endings, starts=(1, 2, 6, 51, 80))
    assert [(b.low, b.high) for b in bins] == [(1, 1), (2, 5), (6, 50), (51, 79), (80, 80)]
    for one in bins[:-1]:
        rows = [i for i in range(300) if one.low <= copies[i] <= one.high]
        good = [i for i in rows if hits[i]]
        assert (one.num_extractible, one.sequences.n) == (len(good), len(rows))
        ends = {endings[i] for i in rows}
        assert one.continuations.n == len(ends)
        assert one.continuations.value == pytest.approx(
            sum(any(hits[i] for i in rows if endings[i] == end) for end in ends) / len(ends)
        )
    assert bins[-1].sequences.value is None
    assert bins[-1].continuations.value is None


def test_placements_differ_by_welch() -> None:
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(7)
    values = np.concatenate([rng.normal(0, 1, 12), rng.normal(1, 3, 9)])
    placements = ["uniform"] * 12 + ["early"] * 9
    found = placement_differences(values, placements, reference="uniform")["early"]
    plain = ttest_ind(values[12:], values[:12], equal_var=False).confidence_interval()
    assert found.value == pytest.approx(values[12:].mean() - values[:12].mean())
    assert found.interval is not None
    assert found.interval[:2] == pytest.approx((plain.low, plain.high))
    nothing = placement_differences(
        np.array([np.nan, 1.0]), ["late", "uniform"], reference="uniform"
    )
    assert nothing["late"].value is None


def test_forgetting_follows_each_sequence_from_its_last_copy() -> None:
    rng = np.random.default_rng(8)
    steps = [10 * k for k in range(12)]
    log_probs = rng.normal(-3, 1, (12, 20))
    unseen = rng.normal(-6, 0.2, 12)
    log_probs[:, 3] = -8  # Never learned: nothing that could be kept.
    known = rng.random((12, 20)) < 0.6
    last = rng.integers(0, 115, 20)
    bins = forgetting(
        steps, log_probs, known, unseen=unseen, last_copies=last.tolist(), starts=(1, 21, 60)
    )
    assert [(b.low, b.high) for b in bins] == [(1, 20), (21, 59), (60, 110)]
    for one in bins:
        kept, excess, still = [], [], []
        for i in range(20):
            begin = next((k for k, s in enumerate(steps) if s >= last[i]), None)
            if begin is None:
                continue
            later = [k for k, s in enumerate(steps) if one.low <= s - steps[begin] <= one.high]
            if not later:
                continue
            level = np.mean([log_probs[k, i] - unseen[k] for k in later])
            learned = log_probs[begin, i] - unseen[begin]
            excess.append(level)
            if learned > 0:
                kept.append(level / learned)
            if known[begin, i]:
                still.append(known[later[-1], i])
        assert one.excess_nats.value == pytest.approx(np.mean(excess))
        assert one.kept.value == pytest.approx(np.mean(kept))
        assert one.kept.n == len(kept)
        assert one.extractible.value == pytest.approx(np.mean(still))
        assert one.extractible.n == len(still)


def test_half_lives_of_an_exponential_are_its_own() -> None:
    steps = list(range(0, 400, 4))
    lives = np.array([20.0, 60.0, 1e9])
    last = [40, 80, 40]
    log_probs = np.full((100, 5), -6.0)
    for i, (life, begin) in enumerate(zip(lives, last, strict=True)):
        since = np.maximum(np.array(steps) - begin, 0)
        log_probs[:, i] = -6 + 4 * 0.5 ** (since / life)
    unseen = np.full(100, -6.0)
    found = half_lives(steps, log_probs, unseen=unseen, last_copies=[*last, 40, 400])
    assert found[:2] == pytest.approx(lives[:2], rel=0.02)
    assert found[2] == math.inf
    assert np.isnan(found[3:]).all()  # Never learned; and seen after the last checkpoint.


def test_dose_means_have_intervals_over_families() -> None:
    copies = np.array([4, 4, 4, 4, 4, 4, 1])
    values = np.array([1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 5.0])
    apart = dose_means(copies, values)
    joined = dose_means(copies, values, families=["a", "a", "b", "b", "c", "c", "d"])
    assert list(apart) == [1, 4]
    assert apart[1].interval is None
    assert joined[4].value == apart[4].value == 2
    assert joined[4].interval is not None
    assert apart[4].interval is not None
    assert joined[4].interval.high > apart[4].interval.high
