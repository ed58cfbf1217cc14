"""Agreement of rankings and noise of scores, against definitions written out."""

import numpy as np
import pytest

from whence.errors import SettingsError
from whence.records import Scores
from whence.validation.stability import agreement, rank_biased_overlap, signal_to_noise


def scores_of(values, *, queries=None, method: str = "m") -> Scores:
    values = np.atleast_2d(np.array(values, dtype=np.float32))
    return Scores(
        method=method,
        query_ids=tuple(queries or (f"q{i}" for i in range(len(values)))),
        example_ids=tuple(f"e{i}" for i in range(values.shape[1])),
        values=values,
    )


def overlap_slowly(a: list[int], b: list[int], p: float) -> float:
    k = len(a)
    shared = [len(set(a[:d]) & set(b[:d])) for d in range(1, k + 1)]
    total = sum(x / d * p**d for d, x in enumerate(shared, 1))
    return shared[-1] / k * p**k + (1 - p) / p * total


@pytest.mark.parametrize("seed", range(5))
def test_rank_biased_overlap_is_its_definition(seed: int):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 30))
    a, b = scores_of(x - 9), scores_of(y - 9)
    expected = overlap_slowly(np.argsort(-x)[:12].tolist(), np.argsort(-y)[:12].tolist(), 0.8)
    found = rank_biased_overlap(a, b, query=0, persistence=0.8, depth=12)
    assert found == pytest.approx(expected)
    assert rank_biased_overlap(a, a, query=0) == pytest.approx(1.0)
    assert rank_biased_overlap(a, b, query=0) == rank_biased_overlap(b, a, query=0)


def test_nobody_named_is_undefined():
    assert np.isnan(rank_biased_overlap(scores_of([0, 0]), scores_of([1, 0]), query=0))


def test_agreement_is_over_shared_queries_in_any_order():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 50))
    a = scores_of(values, queries="abcd")
    b = scores_of(values[::-1][:3], queries="dcb")
    found = agreement(a, b, k=5)
    assert (found.jaccard.value, found.jaccard.n) == (1.0, 3)
    assert found.rank_biased_overlap.value == pytest.approx(1.0)


def test_random_orders_agree_by_chance():
    rng = np.random.default_rng(0)
    a, b = (scores_of(rng.normal(size=(300, 60))) for _ in range(2))
    found = agreement(a, b, k=10)
    assert found.jaccard.value == pytest.approx(found.chance_jaccard, abs=0.02)


def test_other_corpora_and_other_queries_cannot_be_compared():
    with pytest.raises(SettingsError, match="other examples"):
        agreement(scores_of([1, 2]), scores_of([1, 2, 3]))
    with pytest.raises(SettingsError, match="share no query"):
        agreement(scores_of([1, 2], queries="a"), scores_of([1, 2], queries="b"))


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_signal_to_noise_is_the_ratio_of_variances(noise: float):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(3, 4000))
    repeats = [scores_of(truth + noise * rng.normal(size=truth.shape)) for _ in range(3)]
    assert signal_to_noise(repeats) == pytest.approx([1 / noise**2] * 3, rel=0.1)


def test_all_noise_has_about_no_signal_and_no_noise_has_no_ratio():
    rng = np.random.default_rng(0)
    noise = [scores_of(rng.normal(size=(1, 4000))) for _ in range(3)]
    assert signal_to_noise(noise)[0] < 0.05
    assert np.isnan(signal_to_noise([noise[0], noise[0]])[0])
    with pytest.raises(SettingsError, match="1 repetitions"):
        signal_to_noise(noise[:1])


def test_queries_of_one_family_agree_once():
    """Ten capitals are one relation: ten copies of three queries say no more than the three."""
    rng = np.random.default_rng(1)
    values, others = rng.normal(size=(2, 3, 50))
    others += values
    once = agreement(scores_of(values), scores_of(others), k=5)
    copied = [scores_of(np.repeat(one, 10, axis=0)) for one in (values, others)]
    families = {f"q{row}": str(row // 10) for row in range(30)}
    found = agreement(*copied, families=families, k=5)
    for one, other in (
        (found.jaccard, once.jaccard),
        (found.rank_biased_overlap, once.rank_biased_overlap),
    ):
        assert one.interval is not None
        assert other.interval is not None
        assert one.interval[:2] == pytest.approx(other.interval[:2])
    alone = agreement(*copied, k=5).jaccard.interval
    assert alone is not None
    assert found.jaccard.interval is not None
    assert alone.high < found.jaccard.interval.high
