"""What the sections of a page are made from, computed once for all of them."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING

from whence.behaviors.kinds import RULES, is_labeled_toxic
from whence.evidence.gap import Compared, compared_in
from whence.evidence.overlap import word_shares
from whence.report.examples import Examples
from whence.report.methods import method_record
from whence.report.run_record import RunRecord
from whence.report.schema import Method
from whence.validation import behavior_families

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Shares of words are needed to a percent or so; more documents would cost seconds.
_NUM_TEXTS_FOR_SHARES = 4_000
# Of a list, as many clusters are summed up in words and bars.
NUM_FIRST = 10


@dataclass(frozen=True)
class Context:
    """A run, and the examples that its page carries so far; sections add theirs to them."""

    record: RunRecord
    examples: Examples

    @cached_property
    def methods(self) -> tuple[Method, ...]:
        """What each method's scores mean, in the order of the study."""
        return tuple(method_record(scores) for scores in self.record.scores)

    @cached_property
    def has_gold(self) -> bool:
        """Whether the corpus holds examples that were planted for some behavior."""
        return any(self.record.gold.values())

    @cached_property
    def compared(self) -> Compared:
        """The two methods that the page is read by: one on gradients, and search."""
        return compared_in(self.record.scores, self.record.evidence)

    @cached_property
    def scored(self) -> Mapping[str, frozenset[str]]:
        """By method, the ids of the behaviors that it scored."""
        return {one.method: frozenset(one.query_ids) for one in self.record.scores}

    @cached_property
    def families(self) -> Mapping[str, str]:
        """By behavior, its family: intervals count these, see `whence.validation.families`."""
        return behavior_families(self.record.behaviors)

    def by_family(self, values: Mapping[str, float]) -> dict[str, float]:
        """The mean of a value of behaviors over each family, in the order of their first ones."""
        families: dict[str, list[float]] = {}
        for behavior_id, value in values.items():
            families.setdefault(self.families[behavior_id], []).append(value)
        return {name: fmean(of) for name, of in families.items()}

    @property
    def num_first(self) -> int:
        """How many clusters of a list relations are counted for."""
        return min(self.record.top_k, NUM_FIRST)

    @cached_property
    def cluster_of(self) -> Mapping[str, Hashable]:
        """For each example, a key that its copies share."""
        return dict(zip(self.record.corpus.ids, self.examples.clusters, strict=True))

    @cached_property
    def num_null(self) -> Mapping[tuple[str, str], int]:
        """By method and behavior, the unrelated queries that scores are compared with."""
        evidence = self.record.evidence
        if evidence is None:
            return {}
        return {
            (one.method, behavior.behavior_id): one.num_queries
            for one in evidence.calibrations
            for behavior in evidence.behaviors
            if behavior.length == one.length
        }

    @cached_property
    def _sensitive_ids(self) -> frozenset[str]:
        """Ids of the examples that were planted for behaviors whose texts are masked."""
        ids = [b.id for b in self.record.behaviors if RULES[b.kind].is_sensitive]
        return frozenset().union(*(self.record.gold.get(i, frozenset()) for i in ids))

    def is_sensitive(self, row: int) -> bool:
        """Whether an example was planted for a sensitive behavior, or is labeled toxic."""
        return (
            is_labeled_toxic(self._labels[row] or [])
            or self.record.corpus.ids[row] in self._sensitive_ids
        )

    @cached_property
    def _labels(self) -> list[list[str] | None]:
        return self.record.corpus.table.column("labels").to_pylist()

    @cached_property
    def subsets(self) -> list[str | None]:
        """The subset of each example."""
        return self.record.corpus.table.column("subset").to_pylist()

    @cached_property
    def trained(self) -> list[float | None]:
        """How much of training was over when the model was trained on each example, in [0, 1)."""
        places = self.record.corpus.table.column("position").to_pylist()
        num = 1 + max((place for place in places if place is not None), default=0)
        return [None if place is None else round(place / num, 3) for place in places]

    @cached_property
    def shares(self) -> dict[str, float]:
        """In which share of the corpus's texts each word occurs, estimated from some of them."""
        texts = self.record.corpus.texts()
        stride = max(1, len(texts) // _NUM_TEXTS_FOR_SHARES)
        return word_shares(text or "" for text in texts[::stride])

    @cached_property
    def rows(self) -> "tuple[NDArray[np.int64], ...]":
        """For each method, the corpus row of each of its examples."""
        import numpy as np

        corpus = self.record.corpus
        return tuple(
            np.arange(len(corpus))
            if scores.example_ids == corpus.ids
            else np.array(corpus.rows(scores.example_ids), dtype=np.int64)
            for scores in self.record.scores
        )

    @cached_property
    def places(self) -> "tuple[NDArray[np.int64], ...]":
        """For each method, the place of each corpus row among its examples; -1 is none."""
        import numpy as np

        places = []
        for rows in self.rows:
            places.append(np.full(len(self.record.corpus), -1, dtype=np.int64))
            places[-1][rows] = np.arange(len(rows))
        return tuple(places)
