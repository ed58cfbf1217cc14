"""A histogram counts every finite score once, whatever the range."""

import math

import numpy as np
import pytest

from whence.report.histogram import NUM_BINS, histogram

RANGES = {
    "nearly equal": [1, 1.0000001, 1],
    "neighbors": [1, math.nextafter(1, 2)],
    "the whole range of float32": [3e38, -3e38, 0],
    "the whole range of float64": [1.7e308, -1.7e308, 0.0],
    "equal": [0.25] * 7,
    "equal and large": [3e38] * 3,
    "one": [-4.5],
    "zeros": [0.0, -0.0],
    "denormal": [1e-45, 3e-45, 0],
    "undefined among others": [math.nan, 1, 2, math.inf, -math.inf],
    "ordinary": np.random.default_rng(0).normal(size=1000).tolist(),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", RANGES)
def test_every_finite_score_is_in_one_bin(name: str, dtype: type) -> None:
    with np.errstate(over="ignore"):
        values = np.array(RANGES[name], dtype=dtype)
    finite = [float(v) for v in values if math.isfinite(v)]
    found = histogram(values)
    assert found is not None
    assert sum(found.counts) == len(finite)
    assert len(found.counts) == (1 if len(set(finite)) == 1 else NUM_BINS)
    assert found.low == pytest.approx(min(finite), rel=1e-8)
    assert found.high == pytest.approx(max(finite), rel=1e-8)
    if len(found.counts) == NUM_BINS:
        assert found.counts[0]
        assert found.counts[-1]


def test_no_finite_score_has_no_histogram() -> None:
    assert histogram(np.array([np.nan, np.inf], dtype=np.float32)) is None
    assert histogram(np.zeros(0, dtype=np.float32)) is None


def test_bins_are_those_of_numpy_where_numpy_has_some() -> None:
    values = np.random.default_rng(1).normal(size=500)
    found = histogram(values)  # pyright: ignore[reportArgumentType]
    assert found is not None
    assert list(found.counts) == np.histogram(values, bins=NUM_BINS)[0].tolist()
