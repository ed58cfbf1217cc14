"""Random controls that are like some given examples in subset and length."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from whence.errors import CorpusError
from whence.records import Corpus

if TYPE_CHECKING:
    import numpy as np

# Candidates of the same subset that are closest in length, among which one is drawn.
_NUM_CLOSEST = 10


def matched_rows(
    corpus: Corpus,
    rows: Sequence[int],
    *,
    num: int,
    rng: "np.random.Generator",
    excluded: Sequence[int] = (),
) -> tuple[int, ...]:
    """Draws random examples that are like some given ones in subset and length.

    For each, one of the given examples is chosen in turn, and one of the ten of its subset
    that are closest to it in length is drawn. Where a subset has no other example, the whole corpus
    is searched.

    Args:
        corpus: Where to draw from.
        rows: The examples to be like.
        num: How many to draw; all different.
        rng: Draws them.
        excluded: Rows that are not drawn, beside `rows` themselves.

    Returns:
        Rows of the corpus, in the order drawn.

    Raises:
        CorpusError: The corpus has too few other examples.
    """
    import numpy as np

    subsets = np.array(corpus.table.column("subset").to_pylist(), dtype=object)
    free = corpus.lengths > 1
    free[list(rows)] = False
    free[list(excluded)] = False
    if not rows or int(free.sum()) < num:
        raise CorpusError(
            f"{num} random controls were requested from {corpus.name}, which has {int(free.sum())} "
            f"examples beside the {len(rows)} that they should be like.",
            "Ask for fewer, or search a larger corpus.",
        )
    controls: list[int] = []
    for turn in range(num):
        like = rows[turn % len(rows)]
        candidates = np.flatnonzero(free & (subsets == subsets[like]))
        if not len(candidates):
            candidates = np.flatnonzero(free)
        distance = np.abs(corpus.lengths[candidates] - corpus.lengths[like])
        closest = candidates[np.argsort(distance, kind="stable")[:_NUM_CLOSEST]]
        row = int(rng.choice(closest))
        free[row] = False
        controls.append(row)
    return tuple(controls)
