"""How strong a score is by chance: the same examples' scores for unrelated queries.

Each example is standardized over the null queries, because examples differ in how strongly they
react to anything; a query standardized over its examples would have heavy tails instead.

    z(q, i) = (s(q, i) - mean_i) / max(deviation_i, floor)

A z is compared with the null's at the same rank in the same pool: the k-th largest z of a query
with the k-th largest z of each null query, which is itself standardized over the other ones. Maxima
grow with the pool, so that a threshold holds for one corpus and one rank.

Queries of different lengths have scores of different spread, so that each length class of queries
has a null of its own.

A large z says "not chance". It does not say "learned": an untrained model's scores, and those of
plain search, separate copies from chance as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from whence.evidence.proponents import proponents, shared_ranks
from whence.records import Scores

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from numpy.typing import NDArray

# Of the null's k-th largest z, for k up to this rank.
NUM_RANKS = 50
LEVEL = 0.95
# Below this share of all positive deviations, an example's own is not trusted: where it is 0 or
# nearly so, any score would be infinitely far from chance.
_FLOOR_SHARE = 0.05
MIN_QUERIES = 20


@dataclass(frozen=True)
class Null:
    """One method's scores for unrelated queries, ready to standardize others.

    Attributes:
        method: The method.
        num_queries: Null queries.
        means: Per example; NaN where fewer than two null scores are defined.
        deviations: Per example, floored; NaN likewise.
        floor: The least deviation, in the scores' unit.
        largest: Null queries × ranks: the k-th largest z of each; -inf where it has fewer.
    """

    method: str
    num_queries: int
    means: "Float[np.ndarray, ' examples']"
    deviations: "Float[np.ndarray, ' examples']"
    floor: float
    largest: "Float[np.ndarray, 'queries ranks']"

    def standardize(
        self, values: "Float[np.ndarray, '... examples']"
    ) -> "Float[np.ndarray, '... examples']":
        """Computes z: deviations above the example's mean score for unrelated queries.

        Args:
            values: Scores of the same method and examples.

        Returns:
            Of the same shape, without unit; higher is further from chance. NaN where undefined.
        """
        return (values - self.means) / self.deviations

    def tail(self, z: float, *, rank: int) -> float:
        """Computes how often chance alone gives so large a z at its rank.

        Args:
            z: The k-th largest z of a query.
            rank: k, from 1; one beyond `NUM_RANKS` is compared with that rank, which is stricter.

        Returns:
            (1 + null queries whose k-th largest z is at least this) / (1 + null queries), a p-value
            in (0, 1]; NaN where z is.
        """
        import numpy as np

        if np.isnan(z):
            return float("nan")
        column = self.largest[:, min(rank, self.largest.shape[1]) - 1]
        return float((1 + (column >= z).sum()) / (1 + self.num_queries))

    def threshold(self, *, rank: int, level: float = LEVEL) -> float:
        """Computes the z that a null query's k-th largest reaches with probability 1 - `level`."""
        import numpy as np

        column = self.largest[:, min(rank, self.largest.shape[1]) - 1]
        return float(np.quantile(column, level, method="higher"))


def calibrate(scores: Scores, classes: Sequence[str]) -> dict[str, Null]:
    """Learns from a method's scores for unrelated queries how strong a score is by chance.

    Args:
        scores: One method's, with `null_values`.
        classes: The length class of each null query.

    Returns:
        By length class. One is missing where it has fewer than `MIN_QUERIES` null queries, or none
        of their scores vary: the method ranks every query alike, or does not score null queries.

    Cost:
        A sort of null queries × examples.
    """
    import numpy as np

    if scores.null_values is None:
        return {}
    found = {}
    for name in dict.fromkeys(classes):
        rows = [row for row, other in enumerate(classes) if other == name]
        if len(rows) >= MIN_QUERIES:
            null = _of_class(scores.method, np.asarray(scores.null_values[rows], np.float64))
            if null is not None:
                found[name] = null
    return found


def _of_class(method: str, values: "NDArray[np.float64]") -> Null | None:
    import numpy as np

    values = np.where(np.isfinite(values), values, np.nan)
    defined = np.isfinite(values)
    counts = defined.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(defined, values, 0).sum(axis=0) / counts
        squares = np.where(defined, values - means, 0) ** 2
        sums = squares.sum(axis=0)
        deviations = np.sqrt(sums / (counts - 1))
    deviations[counts < 2] = np.nan
    positive = deviations[deviations > 0]
    if not len(positive):
        return None
    floor = float(np.quantile(positive, _FLOOR_SHARE))
    # A null query is standardized over the others: Welford's update run backwards.
    with np.errstate(invalid="ignore", divide="ignore"):
        rest = means - (values - means) / (counts - 1)
        variances = np.maximum(sums - (values - means) * (values - rest), 0) / (counts - 2)
        others = (values - rest) / np.maximum(np.sqrt(variances), floor)
    others[:, counts < 3] = np.nan
    return Null(
        method=method,
        num_queries=len(values),
        means=means,
        deviations=np.maximum(deviations, floor),
        floor=floor,
        largest=_largest(others, NUM_RANKS),
    )


class Judged(NamedTuple):
    """How far a score is from chance: its z, and how often chance gives as much at its rank.

    Both are None for an example whose z is undefined.
    """

    z: float | None
    tail: float | None


def judge(
    null: Null, values: "Float[np.ndarray, ' examples']", places: Sequence[int]
) -> list[Judged]:
    """Judges some examples of a query by their rank among all of them.

    Args:
        null: Of the method, for the query's length class.
        values: The method's scores of all examples for the query.
        places: Which examples.
    """
    z = null.standardize(values)
    chosen = z[list(places)]
    # A z of 0 is a rank like any other, unlike a score of 0.
    return [
        Judged(value, null.tail(value, rank=rank)) if rank else Judged(None, None)
        for value, rank in zip(chosen.tolist(), shared_ranks(z, chosen).tolist(), strict=True)
    ]


def hub_counts(scores: Scores, *, k: int) -> "NDArray[np.int64]":
    """Counts for each example in how many null queries it is among the first k proponents.

    An example that is a proponent of many unrelated queries is a hub: that it is one of another
    query says little.

    Args:
        scores: One method's, with `null_values`; without them every count is 0.
        k: How many proponents count.
    """
    import numpy as np

    counts = np.zeros(len(scores.example_ids), dtype=np.int64)
    if scores.null_values is not None:
        of_nulls = replace(scores, values=scores.null_values)
        for query in range(len(scores.null_values)):
            counts[proponents(of_nulls, query, k=k)] += 1
    return counts


def _largest(values: "NDArray[np.float64]", k: int) -> "NDArray[np.float64]":
    """Sorts the k largest of each row, descending; -inf stands where there are fewer."""
    import numpy as np

    found = np.where(np.isfinite(values), values, -np.inf)
    k = min(k, found.shape[1])
    return -np.sort(-np.partition(found, found.shape[1] - k, axis=1)[:, found.shape[1] - k :])
