"""A histogram of one query's scores, over whatever range they have."""

from typing import TYPE_CHECKING, NamedTuple

from whence.report.encode import significant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NUM_BINS = 48
# Float32 has nine significant digits: fewer would make nearly equal scores equal.
_DIGITS = 9


class Histogram(NamedTuple):
    """How many scores lie in each of some bins of equal width between `low` and `high`.

    All equal scores, and one score alone, are one bin with `low` = `high`.
    """

    low: float
    high: float
    counts: tuple[int, ...]


def histogram(values: "NDArray[np.float32]", *, num_bins: int = NUM_BINS) -> Histogram | None:
    """Counts the finite scores of a query in bins of equal width.

    Args:
        values: Scores; those that are NaN or infinite are left out.
        num_bins: How many bins, where the scores differ.

    Returns:
        The histogram, whose counts add up to the number of finite scores; None for no scores.
    """
    import numpy as np

    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        return None
    low, high = float(finite.min()), float(finite.max())
    # Halves, so that a range wider than the largest number stays finite.
    width = high / 2 - low / 2
    if width == 0:
        counts = np.array([len(finite)])
    else:
        places = (finite / 2 - low / 2) / width * num_bins
        bins = np.minimum(places.astype(np.int64), num_bins - 1)
        counts = np.bincount(bins, minlength=num_bins)
    edges = (significant(low, _DIGITS), significant(high, _DIGITS))
    return Histogram(edges[0] or 0.0, edges[1] or 0.0, tuple(counts.tolist()))
