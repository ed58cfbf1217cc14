"""Stability: agreement of two rankings, and signal to noise of repeated scores."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from whence.errors import SettingsError
from whence.evidence.agreement import jaccard_at_k
from whence.evidence.proponents import ranking
from whence.records import Scores
from whence.statistics import mean_estimate
from whence.validation.record import Agreement

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

PERSISTENCE = 0.9


def agreement(
    a: Scores,
    b: Scores,
    *,
    families: Mapping[str, str] | None = None,
    k: int = 10,
    name: str = "",
    reference: str = "",
) -> Agreement:
    """Compares the rankings of two methods, seeds, checkpoints or precisions.

    Args:
        a: Scores.
        b: Other scores of the same examples; queries that only one has are left out.
        families: From query id to its family; by default each query is its own.
        k: How many first proponents are compared.
        name: What `a` is called; by default its method.
        reference: What `b` is called; by default its method.

    Returns:
        Means over the shared queries with intervals over their families.

    Raises:
        SettingsError: The two have other examples, or share no query.
    """
    a, b = _aligned(a, b)
    queries = range(len(a.query_ids))
    known = None if families is None else [families.get(q, q) for q in a.query_ids]
    size = len(a.example_ids)
    common = min(k, size) ** 2 / size
    return Agreement(
        method=name or a.method,
        reference=reference or b.method,
        k=k,
        jaccard=mean_estimate(
            [jaccard_at_k(a, b, query=q, k=k) for q in queries], families=known, bounds=(0.0, 1.0)
        ),
        rank_biased_overlap=mean_estimate(
            [rank_biased_overlap(a, b, query=q) for q in queries],
            families=known,
            bounds=(0.0, 1.0),
        ),
        chance_jaccard=common / (2 * min(k, size) - common),
    )


def rank_biased_overlap(
    a: Scores, b: Scores, *, query: int, persistence: float = PERSISTENCE, depth: int = 100
) -> float:
    """Computes how alike two rankings are, the top counting most.

    Args:
        a: Scores.
        b: Scores of the same queries and examples.
        query: The row of the query in both.
        persistence: The chance p of looking one place further; .9 puts 86 % of the weight on the
            first ten places.
        depth: How far down is looked.

    Returns:
        In [0, 1], extrapolated beyond the depth; NaN where either ranks no example.

    Source:
        Webber, Moffat and Zobel, "A Similarity Measure for Indefinite Rankings", ACM TOIS 2010,
        equation 23.
    """
    first = ranking(a, query, k=depth).tolist()
    second = ranking(b, query, k=depth).tolist()
    depth = min(len(first), len(second))
    if not depth:
        return float("nan")
    seen_first: set[int] = set()
    seen_second: set[int] = set()
    # Equation 23 with both lists cut at the same depth: the sum of p^d times the agreement at depth
    # d, and the agreement at the last depth for all places beyond it.
    shared = 0
    total = 0.0
    for place in range(1, depth + 1):
        x, y = first[place - 1], second[place - 1]
        shared += (x == y) + (x in seen_second) + (y in seen_first)
        seen_first.add(x)
        seen_second.add(y)
        total += persistence**place * shared / place
    tail = persistence**depth * shared / depth
    return tail + (1 - persistence) / persistence * total


def signal_to_noise(repeats: Sequence[Scores]) -> "Float[np.ndarray, ' queries']":
    """Compares, for each query, how examples differ with how repetitions of a score differ.

    Args:
        repeats: The same method's scores under two or more projection seeds, or the like; same
            queries and examples, in the same order.

    Returns:
        The variance over examples of their true scores divided by the variance of one score's
        noise, without unit: 0 is all noise. NaN where the noise is exactly zero.

    Raises:
        SettingsError: There are fewer than two, or they do not fit together.

    Source:
        One-way random effects: the variance between examples, less its share of noise, over the
        variance within; negative estimates are 0.
    """
    import numpy as np

    if len(repeats) < 2:
        raise SettingsError(
            f"Noise cannot be computed from {len(repeats)} repetitions.", "Give at least two."
        )
    for other in repeats[1:]:
        if (other.query_ids, other.example_ids) != (repeats[0].query_ids, repeats[0].example_ids):
            raise SettingsError(
                f"The repetitions of {repeats[0].method} have other queries or examples.",
                "Repeat the same study with another seed only.",
            )
    values = np.stack([np.asarray(one.values, dtype=np.float64) for one in repeats])
    # The variance between means of n repetitions holds 1/n of the noise, which is subtracted.
    noise = np.nanmean(np.nanvar(values, axis=0, ddof=1), axis=1)
    between = np.nanvar(np.nanmean(values, axis=0), axis=1, ddof=1)
    signal = np.clip(between - noise / len(repeats), 0.0, None)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(noise > 0, signal / noise, np.nan)


def _aligned(a: Scores, b: Scores) -> tuple[Scores, Scores]:
    from dataclasses import replace

    if a.example_ids != b.example_ids:
        raise SettingsError(
            f"{a.method} and {b.method} score other examples, so their ranks cannot be compared.",
            "Compare runs on the same corpus.",
        )
    shared = tuple(q for q in a.query_ids if q in set(b.query_ids))
    if not shared:
        raise SettingsError(f"{a.method} and {b.method} share no query.", "Compare the same study.")
    aligned = [
        replace(one, query_ids=shared, values=one.values[[one.query_ids.index(q) for q in shared]])
        for one in (a, b)
    ]
    return aligned[0], aligned[1]
