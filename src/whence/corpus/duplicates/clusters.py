"""Connected components: clusters of similar documents, and what single shared n-grams chain."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from whence.corpus.duplicates.suffix_array import Incidence


def clusters(pairs: NDArray[np.int32], num_documents: int) -> NDArray[np.int32]:
    """Joins documents by single linkage.

    Args:
        pairs: Linked documents, pairs × 2.
        num_documents: All documents.

    Returns:
        By row, the smallest row of its cluster; its own where it is linked with none.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    shape = (num_documents, num_documents)
    links = coo_matrix((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=shape)
    _, labels = connected_components(links, directed=False)
    _, smallest, number = np.unique(labels, return_index=True, return_inverse=True)
    return smallest[number].astype(np.int32)


def linked(keys: Sequence[Iterable[Hashable]]) -> NDArray[np.int32]:
    """Joins things that share a key, directly or through others; see `clusters`.

    Args:
        keys: Of each thing.
    """
    first: dict[Hashable, int] = {}
    pairs = [
        (owner, place)
        for place, own in enumerate(keys)
        for key in own
        if (owner := first.setdefault(key, place)) != place
    ]
    return clusters(np.array(pairs, dtype=np.int32).reshape(-1, 2), len(keys))


def shares_ngram(incidence: Incidence, num_documents: int) -> NDArray[np.bool_]:
    """Tells of each document whether it has an n-gram that another document has as well."""
    shared = incidence.num_documents[incidence.ngrams] > 1
    shares = np.zeros(num_documents, dtype=bool)
    shares[incidence.rows[shared]] = True
    return shares


def chained(incidence: Incidence, num_documents: int) -> NDArray[np.int32]:
    """Joins all documents that a chain of shared n-grams connects; see `clusters`."""
    follows = np.diff(incidence.ngrams) == 0
    rows = incidence.rows
    return clusters(np.stack([rows[:-1][follows], rows[1:][follows]], axis=1), num_documents)
