"""Which examples a method lists for a query: one by one, and by cluster of copies."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from whence.evidence.proponents import opponents, proponents
from whence.records import Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A list walks past copies of what it shows, but not through a whole corpus of them.
MAX_WALK = 500


class Entry(NamedTuple):
    """One text in a list, by rows of the corpus: its best example and the copies of it."""

    row: int
    copies: list[int]


def proponent_rows(scores: Scores, query: int, rows: "NDArray[np.int64]", *, k: int) -> list[int]:
    """Lists corpus rows of a query's proponents, best first, as far as a list walks.

    Args:
        scores: One method's scores.
        query: The row of the query in `scores.values`.
        rows: The corpus row of each scored example.
        k: How many entries the list will have.
    """
    return rows[proponents(scores, query, k=MAX_WALK + k)].tolist()


def opponent_rows(scores: Scores, query: int, rows: "NDArray[np.int64]", *, k: int) -> list[int]:
    """Lists corpus rows of a query's opponents, most negative first; see `proponent_rows`."""
    return rows[opponents(scores, query, k=MAX_WALK + k)].tolist()


def entries(rows: Sequence[int], clusters: Sequence[Hashable], *, k: int) -> list[Entry]:
    """Selects the first k clusters of a list; other members of one stand behind its first.

    Args:
        rows: Rows of the corpus, in the order of the list.
        clusters: The cluster of every row of the corpus.
        k: How many entries.
    """
    found: dict[Hashable, Entry] = {}
    for row in rows:
        key = clusters[row]
        if key in found:
            found[key].copies.append(row)
        elif len(found) < k:
            found[key] = Entry(row, [])
        else:
            break
    return list(found.values())
