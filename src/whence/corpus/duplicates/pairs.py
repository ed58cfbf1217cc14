"""Near-duplicate documents by the Jaccard similarity of their n-grams: exact, or by MinHash.

Two documents can be similar only if they share some of their rarest n-grams. With the n-grams of
all documents in one order, rarest first, let A and B have the Jaccard similarity J >= t. Then they
share at least ceil(t · max(|A|, |B|)) n-grams. Of these, the m first stand within the first
|A| - ceil(t |A|) + m n-grams of A, and likewise of B. So only pairs that share m n-grams within
these prefixes are compared in full, and none is missed; n-grams that thousands of documents hold
stand behind the prefixes, where they cost nothing.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from whence.corpus.duplicates.suffix_array import Incidence
from whence.progress import SILENT, Progress

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# m above: more makes prefixes longer and leaves fewer pairs to compare; measured on the Pile.
_NUM_SHARED = 16
_BLOCK = 1 << 22


class Pairs(NamedTuple):
    """Similar documents: `rows` (pairs × 2, the smaller row first, sorted) and their Jaccard."""

    rows: NDArray[np.int32]
    jaccard: NDArray[np.float64]


class Shingles:
    """The n-grams of each document, rarest first, without those that only one document holds.

    Args:
        incidence: Which document holds which n-gram.
        num_documents: Documents, those without an n-gram among them.

    Attributes:
        sizes: How many different n-grams each document has, those of its own among them.
    """

    def __init__(self, incidence: Incidence, num_documents: int) -> None:
        counts = incidence.num_documents
        self.sizes = np.bincount(incidence.rows, minlength=num_documents)
        is_shared = counts[incidence.ngrams] > 1
        ranks = np.empty(len(counts), dtype=np.int64)
        ranks[np.argsort(counts, kind="stable")] = np.arange(len(counts))
        ranks -= int((counts == 1).sum())
        keys = np.sort(
            incidence.rows[is_shared].astype(np.int64) << 32 | ranks[incidence.ngrams[is_shared]]
        )
        self.rows, self.ngrams = (keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32)
        self.num_shared = np.bincount(self.rows, minlength=num_documents)
        self.starts = np.concatenate(([0], np.cumsum(self.num_shared)))
        self.num_ngrams = int((counts > 1).sum())

    def prefixes(self, lengths: NDArray[np.int64]) -> "csr_matrix":
        """Lays out the first shared n-grams of each document as a sparse matrix of ones."""
        from scipy.sparse import csr_matrix

        places = np.arange(len(self.rows)) - self.starts[self.rows]
        is_in = places < lengths[self.rows]
        kept = np.bincount(self.rows[is_in], minlength=len(self.sizes))
        starts = np.concatenate(([0], np.cumsum(kept)))
        ones = np.ones(int(is_in.sum()), dtype=np.int32)
        shape = (len(self.sizes), self.num_ngrams)
        return csr_matrix((ones, self.ngrams[is_in], starts), shape=shape)


def num_products(shingles: Shingles, threshold: float) -> int:
    """Computes how many multiplications `exact_pairs` needs to propose its pairs."""
    prefixes = shingles.prefixes(_prefix_lengths(shingles, threshold))
    held = np.bincount(prefixes.indices, minlength=1).astype(np.int64)
    return int((held**2).sum())


def exact_pairs(shingles: Shingles, threshold: float, *, progress: Progress = SILENT) -> Pairs:
    """Finds every pair of documents whose Jaccard similarity reaches a threshold.

    Args:
        shingles: The documents' n-grams.
        threshold: The least similarity, above 0.
        progress: Reports progress.

    Returns:
        All pairs with a similarity of at least the threshold, none left out.

    Source:
        The prefix filter of Chaudhuri et al., "A Primitive Operator for Similarity Joins in Data
        Cleaning", ICDE 2006, with the longer prefixes of Wang et al., "Can We Beat the Prefix
        Filtering?", SIGMOD 2012.

    Cost:
        `num_products` multiplications, 10 ns each, in blocks of some 100 MB, and some
        5 µs for each pair that is compared in full.
    """
    least = _least_shared(shingles.sizes, threshold)
    prefixes = shingles.prefixes(_prefix_lengths(shingles, threshold))
    columns = prefixes.T.tocsr()
    whole = shingles.prefixes(shingles.num_shared)
    held = np.diff(columns.indptr)
    total = np.concatenate(([0], np.cumsum(held[prefixes.indices], dtype=np.int64)))
    work = np.diff(total[prefixes.indptr])
    found: list[Pairs] = []
    with progress.task("Comparing documents", total=len(least), unit="documents") as task:
        for first, last in _blocks(work):
            product = (prefixes[first:last] @ columns).tocoo()
            one, other = product.row.astype(np.int64) + first, product.col.astype(np.int64)
            needed = np.minimum(np.maximum(least[one], least[other]), _NUM_SHARED)
            is_near = (one < other) & (product.data >= needed) & _fits(shingles, one, other, least)
            found.append(_confirm(shingles, whole, one[is_near], other[is_near], threshold))
            task.advance(last - first)
    return _joined(found)


def confirmed(shingles: Shingles, pairs: NDArray[np.int64], threshold: float) -> Pairs:
    """Computes the exact Jaccard similarity of proposed pairs; keeps those at a threshold."""
    whole = shingles.prefixes(shingles.num_shared)
    return _joined([_confirm(shingles, whole, pairs[:, 0], pairs[:, 1], threshold)])


def _least_shared(sizes: NDArray[np.int64], threshold: float) -> NDArray[np.int64]:
    # Rounding must not ask for one more than needed.
    return np.ceil(threshold * sizes - 1e-6).astype(np.int64)


def _prefix_lengths(shingles: Shingles, threshold: float) -> NDArray[np.int64]:
    lengths = shingles.sizes - _least_shared(shingles.sizes, threshold) + _NUM_SHARED
    # N-grams that only one document holds stand in front, and are not laid out.
    return np.maximum(lengths - (shingles.sizes - shingles.num_shared), 0)


def _fits(
    shingles: Shingles,
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    least: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether the smaller document has enough n-grams that others hold as well."""
    shared = shingles.num_shared
    return np.minimum(shared[one], shared[other]) >= np.maximum(least[one], least[other])


def _confirm(
    shingles: Shingles,
    whole: "csr_matrix",
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    threshold: float,
) -> Pairs:
    both = np.zeros(len(one), dtype=np.int64)
    for first, last in _blocks(shingles.num_shared[one] + shingles.num_shared[other]):
        rows = whole[one[first:last]].multiply(whole[other[first:last]])
        both[first:last] = np.asarray(rows.sum(axis=1)).ravel()
    jaccard = both / np.maximum(shingles.sizes[one] + shingles.sizes[other] - both, 1)
    is_near = jaccard >= threshold
    rows = np.stack([one[is_near], other[is_near]], axis=1).astype(np.int32)
    return Pairs(rows, jaccard[is_near])


def _blocks(work: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cuts rows into blocks of bounded work, of at least one row each."""
    blocks, first = [], 0
    total = np.concatenate(([0], np.cumsum(work)))
    while first < len(work):
        last = int(np.searchsorted(total, total[first] + _BLOCK, side="right")) - 1
        last = min(max(last, first + 1), len(work))
        blocks.append((first, last))
        first = last
    return blocks


def _joined(parts: list[Pairs]) -> Pairs:
    rows = np.concatenate([np.zeros((0, 2), np.int32), *(part.rows for part in parts)])
    jaccard = np.concatenate([np.zeros(0), *(part.jaccard for part in parts)])
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    return Pairs(rows[order], jaccard[order])
