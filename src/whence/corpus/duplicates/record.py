"""Which documents of a corpus are duplicates of each other: the stored record.

Similarity is the Jaccard similarity of the sets of 5-grams of two documents. A document of fewer
than 5 tokens has itself as its only n-gram; an empty one is similar to none. Documents with equal
sets are represented by the first of them, so that a text of ten thousand copies has ten thousand
pairs and not fifty million.

Boilerplate is something else and has a number of its own: documents that share one 13-gram, such as
a line of a licence, are connected to very many others by chains of such n-grams, and are not
duplicates for that.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from whence.artifacts import write_json
from whence.errors import CorpusError

SHINGLE_TOKENS = 5
BOILERPLATE_TOKENS = 13
# Clusters are formed at both; pairs are kept from the lower one on.
NEAR, WEAK = 0.8, 0.5
_ROWS, _PAIRS, _RECORD = "rows.parquet", "pairs.parquet", "duplicates.json"
_BY_ROW = ("cluster_80", "cluster_50", "same_tokens", "same_shingles", "shares_boilerplate")
_NUM_LARGEST = 10


class Neighbor(NamedTuple):
    """A similar document: its row, and the Jaccard similarity of the 5-grams, from 0.5 to 1."""

    row: int
    jaccard: float


@dataclass(frozen=True)
class Groups:
    """Groups of documents in numbers: those of at least two, and the sizes of the largest."""

    num_groups: int
    num_documents: int
    largest: tuple[int, ...]

    def to_json(self) -> dict[str, object]:
        """Turns the numbers into what JSON can hold."""
        return {
            "groups": self.num_groups,
            "documents": self.num_documents,
            "largest": list(self.largest),
        }


@dataclass(frozen=True)
class Duplicates:
    """The duplicates of a corpus, by row.

    Attributes:
        cluster_80: The cluster at a similarity of 0.8, by single linkage: its smallest row, which
            is a document's own where it is alone.
        cluster_50: The cluster at a similarity of 0.5.
        same_tokens: The first row of exactly the same tokens; an empty document's own.
        same_shingles: The first row of the same set of 5-grams: the document's representative.
        shares_boilerplate: Whether another document has a 13-gram of this one.
        pairs: Similar documents, pairs × 2, the smaller row first, sorted: every pair of
            representatives with a similarity of at least 0.5, and each other document with its
            representative. `neighbors` gives all.
        jaccard: The exact similarity of each pair, in [0.5, 1].
        largest_chain: Documents in the largest component that shared 13-grams connect; 0 where no
            document shares one.
        is_exact: Whether all pairs were compared. Otherwise MinHash proposed pairs, so that some
            are missing, most of them in large clusters.
    """

    cluster_80: NDArray[np.int32]
    cluster_50: NDArray[np.int32]
    same_tokens: NDArray[np.int32]
    same_shingles: NDArray[np.int32]
    shares_boilerplate: NDArray[np.bool_]
    pairs: NDArray[np.int32]
    jaccard: NDArray[np.float64]
    largest_chain: int
    is_exact: bool

    def __len__(self) -> int:
        return len(self.cluster_80)

    @cached_property
    def size_80(self) -> NDArray[np.int64]:
        """By row, the documents of its cluster at 0.8; 1 where it is alone."""
        return _sizes(self.cluster_80)

    @cached_property
    def size_50(self) -> NDArray[np.int64]:
        """By row, the documents of its cluster at 0.5; 1 where it is alone."""
        return _sizes(self.cluster_50)

    def neighbors(self, row: int) -> list[Neighbor]:
        """Lists all documents similar to one, the most similar first, then by row."""
        own = int(self.same_shingles[row])
        near = {own: 1.0}
        for column in (0, 1):
            for place in self._pairs_of(own, column):
                near[int(self.pairs[place, 1 - column])] = float(self.jaccard[place])
        found = [
            Neighbor(int(member), similarity)
            for representative, similarity in near.items()
            if self.same_shingles[representative] == representative
            for member in self._members_of(representative)
            if member != row
        ]
        return sorted(found, key=lambda neighbor: (-neighbor.jaccard, neighbor.row))

    @property
    def clusters_80(self) -> Groups:
        """The clusters at 0.8 in numbers."""
        return _groups(self.cluster_80)

    @property
    def clusters_50(self) -> Groups:
        """The clusters at 0.5 in numbers."""
        return _groups(self.cluster_50)

    @property
    def copies(self) -> Groups:
        """The groups of documents with exactly the same tokens in numbers."""
        return _groups(self.same_tokens)

    def summary(self) -> str:
        """Sums the clusters up in a sentence or two."""
        similar = f"(Jaccard of {SHINGLE_TOKENS}-grams ≥ {WEAK})"
        weak, near = self.clusters_50, self.clusters_80
        found = f"No two of {len(self):,} documents are similar {similar}."
        if weak.num_groups:
            found = (
                f"{weak.num_documents:,} of {len(self):,} documents are similar to another "
                f"{similar}, in clusters of up to {weak.largest[0]:,}. Clusters: "
                f"{weak.num_groups:,}; at ≥ {NEAR} {near.num_groups:,}, of {near.num_documents:,} "
                "documents."
            )
        return found if self.is_exact else f"{found} Not all pairs were compared."

    def to_json(self) -> dict[str, object]:
        """Sums the record up in what JSON can hold."""
        return {
            "documents": len(self),
            "is_exact": self.is_exact,
            "shingle_tokens": SHINGLE_TOKENS,
            "pairs": len(self.pairs),
            "clusters_80": self.clusters_80.to_json(),
            "clusters_50": self.clusters_50.to_json(),
            "same_tokens": self.copies.to_json(),
            "boilerplate_tokens": BOILERPLATE_TOKENS,
            "shares_boilerplate": int(self.shares_boilerplate.sum()),
            "largest_chain": self.largest_chain,
        }

    def _pairs_of(self, row: int, column: int) -> NDArray[np.int64]:
        values, order = self._sorted_pairs[column]
        return order[np.searchsorted(values, row) : np.searchsorted(values, row, side="right")]

    @cached_property
    def _sorted_pairs(self) -> list[tuple[NDArray[np.int32], NDArray[np.int64]]]:
        orders = [np.argsort(self.pairs[:, column], kind="stable") for column in (0, 1)]
        return [(self.pairs[order, column], order) for column, order in enumerate(orders)]

    def _members_of(self, representative: int) -> NDArray[np.int64]:
        values, order = self._sorted_shingles
        first = np.searchsorted(values, representative)
        return order[first : np.searchsorted(values, representative, side="right")]

    @cached_property
    def _sorted_shingles(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        order = np.argsort(self.same_shingles, kind="stable")
        return self.same_shingles[order], order


def save_duplicates(duplicates: Duplicates, directory: Path) -> None:
    """Writes two Parquet files, and the summary as JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    by_row = pa.table({name: getattr(duplicates, name) for name in _BY_ROW})
    pq.write_table(by_row, directory / _ROWS, compression="zstd")
    pairs = {
        "first": np.ascontiguousarray(duplicates.pairs[:, 0]),
        "second": np.ascontiguousarray(duplicates.pairs[:, 1]),
        "jaccard": duplicates.jaccard,
    }
    pq.write_table(pa.table(pairs), directory / _PAIRS, compression="zstd")
    write_json(directory / _RECORD, duplicates.to_json())


def read_duplicates(directory: Path) -> Duplicates:
    """Reads what `save_duplicates` wrote.

    Raises:
        CorpusError: A file is missing or broken.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(directory / _ROWS)
        pairs = pq.read_table(directory / _PAIRS)
        record = json.loads((directory / _RECORD).read_text(encoding="utf-8"))
        return Duplicates(
            **{name: rows.column(name).to_numpy() for name in _BY_ROW},
            pairs=np.stack([pairs.column(i).to_numpy() for i in ("first", "second")], axis=1),
            jaccard=pairs.column("jaccard").to_numpy(),
            largest_chain=record["largest_chain"],
            is_exact=record["is_exact"],
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        detail = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise CorpusError(
            f"The duplicates in {directory} cannot be read ({detail}).", "Make them again."
        ) from None


def _sizes(cluster: NDArray[np.int32]) -> NDArray[np.int64]:
    return np.bincount(cluster, minlength=len(cluster))[cluster]


def _groups(cluster: NDArray[np.int32]) -> Groups:
    sizes = np.bincount(cluster, minlength=1)
    sizes = np.sort(sizes[sizes > 1])[::-1]
    largest = tuple(int(size) for size in sizes[:_NUM_LARGEST])
    return Groups(len(sizes), int(sizes.sum()), largest)
