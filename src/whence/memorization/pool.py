"""Pool: the examples that are attributed, with the weights that make it stand for the corpus.

All copies and near copies of a target are in the pool; of weak near copies and of everything else
it holds random samples of known rates. Weighted by one over its rate, a share of the pool estimates
that of the corpus without bias.

Source:
    Horvitz and Thompson, "A Generalization of Sampling Without Replacement from a Finite Universe",
    JASA 1952.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from whence.memorization.copies import CLASSES, Copies, CopyClass
from whence.records import Corpus

if TYPE_CHECKING:
    from jaxtyping import Float, Int

CERTAIN: tuple[CopyClass, ...] = ("self", "exact", "continuation", "near")
NO_COPY = -1


@dataclass(frozen=True)
class Pool:
    """Examples that stand for a corpus.

    Attributes:
        rows: Their rows, ascending.
        weights: How many examples of the corpus each stands for, at least 1.
        num_examples: Examples of the corpus.
        num_unseen: Those among them that come later in training than the model; none is chosen.
    """

    rows: "Int[np.ndarray, ' pool']"
    weights: "Float[np.ndarray, ' pool']"
    num_examples: int
    num_unseen: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the corpus that the model has seen."""
        return len(self.rows) == self.num_examples - self.num_unseen

    def sentence(self) -> str:
        """Says which examples were attributed."""
        seen = f"{self.num_examples - self.num_unseen:,} examples"
        if self.num_unseen:
            seen += f" that the model has seen ({self.num_unseen:,} come later in training)"
        if self.is_whole:
            return f"All {seen} were attributed."
        return (
            f"{len(self):,} of {seen} were attributed: every copy and near copy of a target, and "
            "random samples of the rest, weighted by one over their rates."
        )

    def corpus(self, corpus: Corpus) -> Corpus:
        """The examples as a corpus of their own."""
        share = len(self.rows) / max(1, self.num_examples)
        searched = None if corpus.searched_fraction is None else corpus.searched_fraction * share
        return Corpus(
            name=corpus.name,
            description=corpus.description,
            table=corpus.table.take(pa.array(self.rows)),
            searched_fraction=searched,
        )


def choose_pool(
    copies: Copies,
    corpus: Corpus,
    *,
    num_random: int | Literal["all"],
    num_weak: int,
    seen_by: int | None = None,
    seed: int,
) -> Pool:
    """Chooses examples for some targets.

    Args:
        copies: Of all targets.
        corpus: The examples; those of fewer than two tokens have no gradient and are not chosen.
        num_random: Random examples that are no copy of any target; `all` for every example.
        num_weak: Random examples that are weak near copies of a target and nothing closer.
        seen_by: Only examples that the checkpoint of this step has seen, or whose step is unknown.
        seed: Of the samples.
    """
    lengths = corpus.lengths
    is_seen = np.ones(len(corpus), dtype=bool)
    if seen_by is not None:
        steps = corpus.table.column("step").to_pylist()
        is_seen = np.array([step is None or step <= seen_by for step in steps], dtype=bool)
    num_unseen = int((~is_seen).sum())
    if num_random == "all":
        rows = np.flatnonzero(is_seen)
        return Pool(rows, np.ones(len(rows)), len(corpus), num_unseen)
    rng = np.random.default_rng(seed)
    certain = np.zeros(len(corpus), dtype=bool)
    certain[copies.rows[np.isin(copies.classes, [CLASSES.index(c) for c in CERTAIN])]] = True
    weak = np.zeros(len(corpus), dtype=bool)
    weak[copies.rows[copies.classes == CLASSES.index("weak-near")]] = True
    can_train = is_seen & (lengths >= 2)
    weights = np.where(certain & can_train, 1.0, 0.0)
    for stratum, num in ((weak & ~certain, num_weak), (~weak & ~certain, num_random)):
        members = np.flatnonzero(stratum & can_train)
        drawn = rng.choice(members, min(num, len(members)), replace=False)
        weights[drawn] = len(members) / max(1, len(drawn))
    rows = np.flatnonzero(weights)
    return Pool(rows, weights[rows], len(corpus), num_unseen)


def classes_in(copies: Copies, targets: int, pool: Pool) -> "Int[np.ndarray, 'targets pool']":
    """The class of each pair of target and example, as a place in `CLASSES`; -1 for no copy."""
    place_of = np.full(pool.num_examples, -1, dtype=np.int64)
    place_of[pool.rows] = np.arange(len(pool))
    found = np.full((targets, len(pool)), NO_COPY, dtype=np.int8)
    places = place_of[copies.rows]
    known = places >= 0
    found[copies.windows[known], places[known]] = copies.classes[known]
    return found
