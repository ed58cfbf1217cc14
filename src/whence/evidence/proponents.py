"""Proponents and opponents of a query, and the ranks of examples.

Every list of hits, and every count over proponents, goes through these functions, so that ties,
undefined scores and zeros are treated in one way:

- a proponent has a positive score, an opponent a negative one; an example whose score is 0 or
  undefined is neither;
- among equal scores the order is that of the corpus, and they share a rank;
- an infinite score, which is a sum that left the range of float32, is undefined.
"""

from typing import TYPE_CHECKING

from whence.errors import SettingsError
from whence.records import Corpus, Hit, Hits, Scores
from whence.settings import MOST

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from numpy.typing import NDArray


def hits(scores: Scores, query: int, corpus: Corpus, k: int, *, num_unseen: int = 0) -> Hits:
    """Lists the proponents and opponents of a query, with what the corpus knows of them.

    Args:
        scores: One method's scores.
        query: The row of the query in `scores.values`.
        corpus: The corpus that holds the scored examples.
        k: How many proponents, and how many opponents, at most.
        num_unseen: Of a search that scores only the best and the worst examples: how many have a
            score in between. They count in the opponents' ranks.

    Returns:
        At most `k` of each; fewer where fewer scores are positive or negative.

    Raises:
        SettingsError: `k` is less than 1.
    """
    check_count(k)
    return Hits(
        _records(scores, query, proponents(scores, query, k=k), corpus, num_above=0),
        _records(scores, query, opponents(scores, query, k=k), corpus, num_above=num_unseen),
    )


def check_count(k: int) -> None:
    """Refuses a number of hits that lists nothing.

    Raises:
        SettingsError: `k` is less than 1, or larger than any setting.
    """
    if not 1 <= k <= MOST:
        raise SettingsError(
            f"{k} is no number of examples to list.", "Choose 1 or more with `--top-k` or `k`."
        )


def proponents(scores: Scores, query: int, *, k: int | None = None) -> "NDArray[np.int64]":
    """Selects the examples with the highest positive scores.

    Args:
        scores: One method's scores.
        query: The row of the query in `scores.values`.
        k: How many at most; all by default.

    Returns:
        Rows of examples, best first; ties keep corpus order. Empty where no score is positive.
    """
    import numpy as np

    values = scores.values[query]
    return _largest(values, np.flatnonzero(np.isfinite(values) & (values > 0)), k)


def opponents(scores: Scores, query: int, *, k: int | None = None) -> "NDArray[np.int64]":
    """Selects the examples with the most negative scores.

    Args:
        scores: One method's scores.
        query: The row of the query in `scores.values`.
        k: How many at most; all by default.

    Returns:
        Rows of examples, most negative first; ties keep corpus order. Empty where no score is
        negative: a method without signs has no opponents.
    """
    import numpy as np

    values = scores.values[query]
    return _largest(-values, np.flatnonzero(np.isfinite(values) & (values < 0)), k)


def ranking(scores: Scores, query: int, *, k: int | None = None) -> "NDArray[np.int64]":
    """Orders the examples that have a rank, whatever the sign of their score.

    Args:
        scores: One method's scores.
        query: The row of the query in `scores.values`.
        k: How many at most; all by default.

    Returns:
        Rows of examples, best first; ties keep corpus order. For comparing rankings as a whole;
        its first rows are proponents only where their scores are positive.
    """
    import numpy as np

    values = scores.values[query]
    return _largest(values, np.flatnonzero(_is_ranked(values)), k)


def ranks(
    scores: Scores, query: int, *, rows: "NDArray[np.int64] | None" = None
) -> "NDArray[np.int64]":
    """Ranks examples under one method.

    Args:
        scores: One method's scores.
        query: The row of the query in `scores.values`.
        rows: Which examples to rank, among all; by default each.

    Returns:
        1 for the highest score; equal scores share the best rank of theirs, as in sports. 0 stands
        for an example without a rank: its score is undefined, or 0 in a query without negative
        scores.
    """
    import numpy as np

    values = scores.values[query]
    selected = slice(None) if rows is None else rows
    return np.where(_is_ranked(values)[selected], shared_ranks(values, values[selected]), 0)


def shared_ranks(
    values: "Float[np.ndarray, ' examples']", chosen: "Float[np.ndarray, ' chosen']"
) -> "NDArray[np.int64]":
    """Ranks some values among all of a query: 1 is the largest, and equal ones share a rank.

    Returns:
        One more than how many finite values are larger; 0 for one that is not finite.
    """
    import numpy as np

    ascending = np.sort(values[np.isfinite(values)])
    num_greater = len(ascending) - np.searchsorted(ascending, chosen, side="right")
    return np.where(np.isfinite(chosen), num_greater + 1, 0).astype(np.int64)


def _is_ranked(values: "NDArray[np.float32]") -> "NDArray[np.bool_]":
    """Marks the examples that a query's scores order.

    Where no score is negative, a 0 is left out: BM25 and n-gram overlap give it to every example
    that shares nothing with the query, so that there is no order among these.
    """
    import numpy as np

    ranked = np.isfinite(values)
    if not (values[ranked] < 0).any():
        ranked &= values != 0
    return ranked


def _records(
    scores: Scores, query: int, rows: "NDArray[np.int64]", corpus: Corpus, *, num_above: int
) -> tuple[Hit, ...]:
    ids = [scores.example_ids[row] for row in rows]
    return tuple(
        Hit(
            rank=int(rank) + num_above,
            score=float(scores.values[query, row]),
            id=found["id"],
            subset=found["subset"],
            position=found["position"],
            labels=tuple(found["labels"] or ()),
            text=found["text"],
        )
        for row, rank, found in zip(
            rows, ranks(scores, query, rows=rows), corpus.records(corpus.rows(ids)), strict=True
        )
    )


def _largest(
    values: "NDArray[np.float32]", rows: "NDArray[np.int64]", k: int | None
) -> "NDArray[np.int64]":
    """Selects the k of some rows with the largest values; sorts only those that may be among them.

    The partition finds the k-th largest value, and every row that reaches it is sorted: all its
    ties take part, so that the corpus order among them holds.
    """
    import numpy as np

    if k is not None and k < len(rows):
        if k == 0:
            return rows[:0]
        among = values[rows]
        rows = rows[among >= np.partition(among, len(rows) - k)[len(rows) - k]]
    return rows[np.argsort(-values[rows], kind="stable")][:k]
