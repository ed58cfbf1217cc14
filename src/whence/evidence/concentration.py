"""How concentrated attribution is: on few examples, or spread over many.

The measures are of the positive part of null-subtracted scores, z⁺ = max(z, 0), one number per
example or per cluster of copies, and of its shares p = z⁺ / Σ z⁺. Raw scores would measure how much
the examples' scores vary for any query.

All are undefined, NaN, where no z is positive. An example whose z is undefined does not count.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from numpy.typing import NDArray

    Strengths = Float[np.ndarray, " entries"]


def positive_part(z: "Strengths") -> "Strengths":
    """Computes z⁺ = max(z, 0) of the entries whose z is defined; the others are left out."""
    import numpy as np

    return np.maximum(z[np.isfinite(z)], 0.0)


def largest_per_cluster(z: "Strengths", clusters: "NDArray[np.int64]") -> "Strengths":
    """Computes the largest z of each cluster: copies of one text count once, as in a list.

    Args:
        z: Per example; NaN is undefined.
        clusters: Per example, the cluster's number.

    Returns:
        One per cluster that has a defined z, in the order of the clusters' numbers.
    """
    import numpy as np

    defined = np.isfinite(z)
    _, number = np.unique(clusters[defined], return_inverse=True)
    found = np.full(number.max(initial=-1) + 1, -np.inf)
    np.maximum.at(found, number, z[defined])
    return found


def gini(mass: "Strengths") -> float:
    """Computes the Gini coefficient, Σ_i Σ_j |x_i - x_j| / (2 n² mean x), over all n entries.

    Returns:
        0 where all are equal, (n - 1) / n where one has everything.
    """
    import numpy as np

    if not mass.sum() > 0:
        return float("nan")
    n = len(mass)
    # With x sorted ascending, the double sum is 2 Σ_i (2 i - n - 1) x_i.
    weights = 2 * np.arange(1, n + 1) - n - 1
    return float((weights * np.sort(mass)).sum() / (n * mass.sum()))


def entropy(mass: "Strengths") -> float:
    """Computes Shannon's entropy H = -Σ p ln p, in nats."""
    import numpy as np

    if not mass.sum() > 0:
        return float("nan")
    p = mass[mass > 0] / mass.sum()
    return max(0.0, float(-(p * np.log(p)).sum()))


def normalized_entropy(mass: "Strengths") -> float:
    """Computes H / ln n over all n entries: 0 for one entry, 1 where all are equal.

    Returns:
        In [0, 1]; NaN where there is only one entry.
    """
    import math

    return entropy(mass) / math.log(len(mass)) if len(mass) > 1 else float("nan")


def effective_number(mass: "Strengths") -> float:
    """Computes N_eff = 1 / Σ p²: how many entries of equal mass would be as concentrated."""
    total = mass.sum()
    return float(total**2 / (mass**2).sum()) if total > 0 else float("nan")


def perplexity(mass: "Strengths") -> float:
    """Computes exp(H), the effective number that counts small shares more than `effective_number`.

    Returns:
        From 1 to the number of entries.
    """
    import math

    return math.exp(entropy(mass))


def top_share(mass: "Strengths", k: int) -> float:
    """Computes the sum of the k largest shares p.

    Returns:
        In [0, 1]; 1 where there are at most k entries.
    """
    import numpy as np

    total = mass.sum()
    if not total > 0:
        return float("nan")
    k = min(k, len(mass))
    return float(np.partition(mass, len(mass) - k)[len(mass) - k :].sum() / total)


def top_percent_share(mass: "Strengths") -> float:
    """Computes the share of the largest 1 % of all entries, at least one."""
    return top_share(mass, max(1, round(len(mass) / 100)))


def proponent_ratio(z: "Strengths") -> float:
    """Computes ln(Σ max(z, 0) / Σ max(-z, 0)): above 0 where proponents outweigh opponents.

    Returns:
        NaN where no z is positive, or none is negative.
    """
    import math

    above, below = positive_part(z).sum(), positive_part(-z).sum()
    return math.log(above / below) if above > 0 and below > 0 else float("nan")
