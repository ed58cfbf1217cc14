"""Do labels separate rows of descriptors? PERMANOVA, Kruskal-Wallis and a left-out classifier.

Everything counts families: labels are permuted family by family, a family is left out as a whole,
and a test of one descriptor has one value per family. Descriptors are compared by their ranks.

Source:
    PERMANOVA: Anderson, "A new method for non-parametric multivariate analysis of variance",
    Austral Ecology 2001, with Euclidean distances of ranks. The classifier is linear discriminant
    analysis with equal priors and shrinkage, as `sklearn.discriminant_analysis` has it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int
    from numpy.typing import NDArray

# The weight of a multiple of the identity in the covariance: descriptors of one group are nearly
# copies of each other.
SHRINKAGE = 0.1
# A descriptor that fewer behaviors of some kind have would tell kinds apart by who has it.
_MIN_DEFINED = 0.9


class Permanova(NamedTuple):
    """The pseudo-F of a partition, the share of variance R² between groups, and p = (b+1)/(B+1)."""

    f: float
    r2: float
    p: float


class Separation(NamedTuple):
    """How well a left-out classifier tells labels.

    `is_right` says so of each row, `accuracy` is the mean over labels of the share that is right,
    `permuted` holds the same for permuted labels, and `p` = (b + 1) / (B + 1).
    """

    is_right: "NDArray[np.bool_]"
    accuracy: float
    permuted: "NDArray[np.float64]"
    p: float


def rank_features(
    values: "Float[np.ndarray, 'rows columns']", labels: "Int[np.ndarray, ' rows']"
) -> "Float[np.ndarray, 'rows used']":
    """Ranks each column in (0, 1), and leaves out the columns that say nothing.

    Args:
        values: Descriptors; NaN is undefined.
        labels: What is to be told apart.

    Returns:
        Mean ranks of ties, less one half and over the number of defined values. A row without a
        value is in the middle, 0.5. Columns are left out that do not vary, and those that are
        undefined in more than a tenth of the rows of some label: that they are would tell it.
    """
    import numpy as np
    from scipy.stats import rankdata

    columns = []
    for column in values.T:
        defined = np.isfinite(column)
        share = min(defined[labels == label].mean() for label in np.unique(labels))
        if share < _MIN_DEFINED or len(np.unique(column[defined])) < 2:
            continue
        ranked = np.full(len(column), 0.5)
        ranked[defined] = (rankdata(column[defined]) - 0.5) / defined.sum()
        columns.append(ranked)
    return np.stack(columns, axis=1) if columns else np.zeros((len(values), 0))


def permuted_labels(
    labels: "Int[np.ndarray, ' rows']",
    families: "Int[np.ndarray, ' rows']",
    rng: "np.random.Generator",
    *,
    num: int,
) -> "Int[np.ndarray, 'permutations rows']":
    """Permutes labels among families: all rows of one family and label get one new label."""
    import numpy as np

    first, unit = _units(labels, families)
    of_unit = labels[first]
    return np.stack([rng.permutation(of_unit)[unit] for _ in range(num)])


def _units(
    labels: "Int[np.ndarray, ' rows']", families: "Int[np.ndarray, ' rows']"
) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """The first row of each family and label, and to which of them each row belongs."""
    import numpy as np

    _, first, unit = np.unique(
        np.stack([families, labels]), axis=1, return_index=True, return_inverse=True
    )
    return first, unit.ravel()


def permanova(
    features: "Float[np.ndarray, 'rows columns']",
    labels: "Int[np.ndarray, ' rows']",
    families: "Int[np.ndarray, ' rows']",
    permuted: "Int[np.ndarray, 'permutations rows']",
) -> Permanova:
    """Tests whether families of one label are nearer to each other than those of different labels.

    F = (SS_between / (a - 1)) / (SS_within / (n - a)), of squared Euclidean distances between the
    mean rows of n families. With a row for each behavior, labels that have a few large families
    would be told apart from one another too often.

    Args:
        features: From `rank_features`.
        labels: 0 to a - 1.
        families: As in `permuted_labels`.
        permuted: From `permuted_labels`.

    Returns:
        NaN throughout where nothing varies, or there is one label.
    """
    import numpy as np

    first, unit = _units(labels, families)
    means = np.zeros((len(first), features.shape[1]))
    np.add.at(means, unit, features)
    means /= np.bincount(unit)[:, None]
    labels, permuted = labels[first], permuted[:, first]
    n, num_labels = len(means), int(labels.max(initial=0)) + 1
    centered = means - means.mean(axis=0)
    total = float((centered**2).sum())
    if not total > 0 or num_labels < 2 or n <= num_labels:
        return Permanova(float("nan"), float("nan"), float("nan"))
    between = _between(centered, labels[None], num_labels)[0]
    others = _between(centered, permuted, num_labels)
    # F grows with the share between groups, so that the share decides alike. Equal partitions may
    # differ in their last digit.
    reached = int((others >= between * (1 - 1e-12)).sum())
    within = max(total - between, 0.0)
    ratio = (between / (num_labels - 1)) / (within / (n - num_labels)) if within else float("inf")
    return Permanova(float(ratio), float(between / total), (reached + 1) / (len(permuted) + 1))


def _between(
    centered: "NDArray[np.float64]", labels: "NDArray[np.int64]", num_labels: int
) -> "NDArray[np.float64]":
    """The sum of squares between groups, Σ_k n_k |mean_k|², of each row of labels."""
    import numpy as np

    total = np.zeros(len(labels))
    for label in range(num_labels):
        member = (labels == label).astype(np.float64)
        sums = member @ centered
        sizes = np.maximum(member.sum(axis=1), 1)
        total += (sums**2).sum(axis=1) / sizes
    return total


class KruskalWallis(NamedTuple):
    """H over families, its p-value, and the effect size ε² = H / (n - 1), in [0, 1]."""

    h: float
    p: float
    epsilon2: float
    n: int


def kruskal_wallis(
    values: "Float[np.ndarray, ' rows']",
    labels: "Int[np.ndarray, ' rows']",
    families: "Int[np.ndarray, ' rows']",
) -> KruskalWallis:
    """Tests whether a descriptor differs between labels; each family has one value, its mean.

    Returns:
        NaN where fewer than two labels have a value, or all values are equal.
    """
    import numpy as np
    from scipy.stats import kruskal

    defined = np.isfinite(values)
    groups = []
    for label in np.unique(labels):
        rows = np.flatnonzero(defined & (labels == label))
        if len(rows):
            _, number = np.unique(families[rows], return_inverse=True)
            groups.append((np.bincount(number, values[rows]) / np.bincount(number)).tolist())
    together = [value for group in groups for value in group]
    if len(groups) < 2 or len(set(together)) < 2:
        return KruskalWallis(float("nan"), float("nan"), float("nan"), len(together))
    h, p = kruskal(*groups)
    return KruskalWallis(float(h), float(p), float(h / (len(together) - 1)), len(together))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for a false discovery rate; an undefined one is NaN and does not count."""
    import numpy as np
    from scipy.stats import false_discovery_control

    p = np.asarray(p_values, dtype=np.float64)
    defined = np.isfinite(p)
    q = np.full(len(p), np.nan)
    if defined.any():
        q[defined] = false_discovery_control(p[defined])
    return q.tolist()


def separation(
    features: "Float[np.ndarray, 'rows columns']",
    labels: "Int[np.ndarray, ' rows']",
    families: "Int[np.ndarray, ' rows']",
    permuted: "Int[np.ndarray, 'permutations rows']",
) -> Separation:
    """Tells the label of each row by a classifier that has not seen its family.

    Args:
        features: From `rank_features`; without a column the accuracies are NaN.
        labels: 0 to a - 1.
        families: What is left out together.
        permuted: From `permuted_labels`.

    Cost:
        One solution of columns × columns equations per family and permutation.
    """
    import numpy as np

    if not features.shape[1]:
        nothing = np.full(len(permuted), np.nan)
        return Separation(np.zeros(len(labels), dtype=bool), float("nan"), nothing, float("nan"))
    is_right = leave_family_out(features, labels, families) == labels
    accuracy = balanced_accuracy(is_right, labels)
    others = np.array(
        [
            balanced_accuracy(leave_family_out(features, other, families) == other, other)
            for other in permuted
        ]
    )
    reached = int((others >= accuracy - 1e-12).sum())
    return Separation(is_right, accuracy, others, (reached + 1) / (len(others) + 1))


def balanced_accuracy(is_right: "NDArray[np.bool_]", labels: "Int[np.ndarray, ' rows']") -> float:
    """The mean over labels of the share of rows that is right."""
    import numpy as np

    counts = np.bincount(labels)
    right = np.bincount(labels, weights=is_right)
    return float((right[counts > 0] / counts[counts > 0]).mean())


def leave_family_out(
    features: "Float[np.ndarray, 'rows columns']",
    labels: "Int[np.ndarray, ' rows']",
    families: "Int[np.ndarray, ' rows']",
) -> "Int[np.ndarray, ' rows']":
    """Predicts each row's label by linear discriminant analysis without the row's family.

    All families are solved at once, since hundreds of permutations do this again; equal to
    scikit-learn's `LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE, priors=equal)`.
    A label that is left without a row is never predicted. At least one column is needed.
    """
    import numpy as np

    _, family = np.unique(families, return_inverse=True)
    num_families, num_labels = family.max() + 1, int(labels.max()) + 1
    n, d = features.shape
    # Sums over the rows of each label without each family: counts, vectors and outer products.
    outer = (features[:, :, None] * features[:, None, :]).reshape(n, d * d)
    vectors = np.concatenate([np.ones((n, 1)), features, outer], axis=1)
    inside = np.zeros((num_families * num_labels, vectors.shape[1]))
    np.add.at(inside, family * num_labels + labels, vectors)
    inside = inside.reshape(num_families, num_labels, -1)
    rest = inside.sum(axis=0) - inside
    counts, sums, squares = rest[..., 0], rest[..., 1 : d + 1], rest[..., d + 1 :]
    present = counts > 0.5
    size = np.where(present, counts, 1)[:, :, None]
    means = sums / size
    spread = (squares / size).reshape(num_families, num_labels, d, d)
    spread = spread - means[..., :, None] * means[..., None, :]
    weights = present / present.sum(axis=1, keepdims=True)
    within = (weights[:, :, None, None] * spread).sum(axis=1)
    scale = np.trace(within, axis1=1, axis2=2) / d
    # Where nothing varies within a label, any metric will do.
    scale = np.where(scale > 1e-12, scale, 1.0)
    shrunk = (1 - SHRINKAGE) * within + SHRINKAGE * scale[:, None, None] * np.eye(d)
    weights_of = np.linalg.solve(shrunk, means.transpose(0, 2, 1))
    offset = -0.5 * (means.transpose(0, 2, 1) * weights_of).sum(axis=1)
    offset = np.where(present, offset, -np.inf)
    scores = np.einsum("nd,ndk->nk", features, weights_of[family]) + offset[family]
    return scores.argmax(axis=1)
