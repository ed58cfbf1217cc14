"""What the lists of different behaviors have in common: shared clusters, and favored subsets."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from whence.evidence.comparison_record import Enriched, KindOverlap, Overlap
from whence.evidence.descriptors import Attribution
from whence.evidence.kind_tests import benjamini_hochberg, permuted_labels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NUM_PERMUTATIONS = 999


def overlaps(attribution: Attribution) -> tuple[Overlap, ...]:
    """Computes the Jaccard similarity of the first ten clusters of every two behaviors."""
    found = []
    for scores in attribution.scores:
        ids = scores.query_ids
        matrix = _jaccard(attribution, scores.method, ids)
        found += [
            Overlap(scores.method, ids[a], ids[b], float(matrix[a, b]))
            for a in range(len(ids))
            for b in range(a + 1, len(ids))
        ]
    return tuple(found)


def _jaccard(attribution: Attribution, method: str, ids: Sequence[str]) -> "NDArray[np.float64]":
    import numpy as np

    clusters = attribution.duplicates.cluster_80
    member = np.zeros((len(ids), len(clusters)), dtype=np.float32)
    for row, behavior_id in enumerate(ids):
        entries = attribution.entries(method, behavior_id, "cluster")
        rows = attribution.corpus.rows([one.example_id for one in entries])
        member[row, clusters[rows]] = 1
    shared = (member @ member.T).astype(np.float64)
    sizes = member.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return shared / (sizes[:, None] + sizes[None, :] - shared)


def kind_overlaps(
    overlap: Sequence[Overlap],
    kinds: Mapping[str, str],
    families: Mapping[str, str],
    *,
    seed: int,
) -> tuple[KindOverlap, ...]:
    """Compares the overlap within each kind with that between it and others.

    Args:
        overlap: From `overlaps`.
        kinds: From each behavior to its kind.
        families: From each behavior to its family; behaviors of one family are not compared.
        seed: Of the permutations.
    """
    import numpy as np

    found = []
    names = sorted(set(kinds.values()))
    for method in dict.fromkeys(one.method for one in overlap):
        pairs = [one for one in overlap if one.method == method]
        ids = list(dict.fromkeys(name for one in pairs for name in (one.first, one.second)))
        row_of = {name: row for row, name in enumerate(ids)}
        values = np.full((len(ids), len(ids)), np.nan)
        for one in pairs:
            a, b = row_of[one.first], row_of[one.second]
            values[a, b] = values[b, a] = one.jaccard
        _, family = np.unique([families[name] for name in ids], return_inverse=True)
        label = np.array([names.index(kinds[name]) for name in ids])
        values[family[:, None] == family[None, :]] = np.nan
        rng = np.random.default_rng(seed)
        permuted = permuted_labels(label, family, rng, num=NUM_PERMUTATIONS)
        within, between, counts = _means(values, label, len(names))
        others = [_means(values, one, len(names)) for one in permuted]
        differences = np.array([a - b for a, b, _ in others])
        for number, name in enumerate(names):
            observed = within[number] - between[number]
            # Where a deal leaves nothing to compare, it may have reached this: never evidence.
            reached = int((~(differences[:, number] < observed - 1e-12)).sum())
            found.append(
                KindOverlap(
                    method,
                    name,
                    float(within[number]),
                    float(between[number]),
                    int(counts[number]),
                    (1 + reached) / (1 + NUM_PERMUTATIONS) if np.isfinite(observed) else np.nan,
                )
            )
    return tuple(found)


def _means(
    values: "NDArray[np.float64]", label: "NDArray[np.int64]", num_labels: int
) -> tuple["NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.float64]"]:
    """Mean overlap within each label and with the others, and the number of pairs within."""
    import numpy as np

    member = np.zeros((num_labels, len(label)))
    member[label, np.arange(len(label))] = 1
    defined = np.isfinite(values).astype(np.float64)
    sums = member @ np.nan_to_num(values) @ member.T
    counts = member @ defined @ member.T
    own, own_counts = np.diag(sums), np.diag(counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        within = own / own_counts
        between = (sums.sum(axis=1) - own) / (counts.sum(axis=1) - own_counts)
    return within, between, own_counts / 2


def enrichment(
    attribution: Attribution, kinds: Mapping[str, str], *, seed: int
) -> tuple[Enriched, ...]:
    """Compares the subsets of what the behaviors of a kind list with the corpus.

    In a permutation every example of the corpus gets the subset of another one, so that an example
    that many behaviors list counts as one: behaviors that share their lists do not count twice.

    Returns:
        Nothing where an example has no subset, or all have the same.
    """
    import numpy as np

    subsets = attribution.subsets
    names = sorted({name for name in subsets if name is not None})
    if None in subsets or len(names) < 2:
        return ()
    number = np.array([names.index(str(name)) for name in subsets])
    cells = [
        (scores.method, kind)
        for scores in attribution.scores
        for kind in dict.fromkeys(kinds[name] for name in scores.query_ids)
    ]
    listed = {cell: _listed(attribution, kinds, *cell) for cell in cells}
    rng = np.random.default_rng(seed)
    found = _counts(listed, number, len(names))
    above, below = np.zeros(found.shape), np.zeros(found.shape)
    for _ in range(NUM_PERMUTATIONS):
        other = _counts(listed, rng.permutation(number), len(names))
        above += other >= found
        below += other <= found
    p = np.minimum(1, 2 * (1 + np.minimum(above, below)) / (1 + NUM_PERMUTATIONS))
    corpus_share = np.bincount(number, minlength=len(names)) / len(number)
    rows = []
    for method in dict.fromkeys(method for method, _ in cells):
        of_method = [place for place, cell in enumerate(cells) if cell[0] == method]
        q = benjamini_hochberg(p[of_method].ravel().tolist())
        for order, place in enumerate(of_method):
            total = found[place].sum()
            for subset, name in enumerate(names):
                share = found[place, subset] / total if total else np.nan
                rows.append(
                    Enriched(
                        method,
                        cells[place][1],
                        name,
                        int(total),
                        float(share),
                        float(corpus_share[subset]),
                        float(share / corpus_share[subset]),
                        float(p[place, subset]) if total else np.nan,
                        q[order * len(names) + subset] if total else np.nan,
                    )
                )
    return tuple(rows)


def _listed(
    attribution: Attribution, kinds: Mapping[str, str], method: str, kind: str
) -> "NDArray[np.int64]":
    """The rows of all first entries of a kind's behaviors, as often as they are listed."""
    import numpy as np

    ids = [
        one.example_id
        for behavior_id, name in kinds.items()
        if name == kind
        for one in attribution.entries(method, behavior_id, "cluster")
    ]
    return np.array(attribution.corpus.rows(ids), dtype=np.int64)


def _counts(
    listed: Mapping[tuple[str, str], "NDArray[np.int64]"],
    number: "NDArray[np.int64]",
    num_subsets: int,
) -> "NDArray[np.float64]":
    import numpy as np

    found = [np.bincount(number[rows], minlength=num_subsets) for rows in listed.values()]
    return np.stack(found).astype(np.float64)
