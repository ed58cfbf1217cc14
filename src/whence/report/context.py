"""What the sections of a page are made from, computed once for all of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from whence.evidence.overlap import word_shares
from whence.records import RunRecord
from whence.report.examples import Examples
from whence.report.methods import method_record
from whence.report.schema import Method

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Shares of words are needed to a percent or so; more documents would cost seconds.
_NUM_TEXTS_FOR_SHARES = 4_000


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
