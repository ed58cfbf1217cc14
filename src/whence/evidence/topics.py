"""How similar two unrelated texts of one subset are: the threshold above which a topic is shared.

A cosine of .3 is much between news and code, and nothing between two recipes; and a short text
reaches a large one by a single word. So the threshold is learned: from random windows of documents
as long as the query, against random other documents of the same subset.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from whence.corpus.words import search_words
from whence.evidence.word_index import WordIndex

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

QUANTILE = 0.999
_NUM_WINDOWS, _NUM_DOCUMENTS = 40, 100
# Queries of similar length share a threshold: lengths are rounded to a power of two of words.
_SHORTEST, _LONGEST = 4, 256
_MIN_DOCUMENTS = 20


class Topics:
    """Thresholds of the TF-IDF cosine, by subset and length.

    Args:
        words: The index of the corpus.
        texts: The corpus.
        subsets: The subset of each document; None where it is unknown.
        seed: Of the random pairs.
    """

    def __init__(
        self,
        words: WordIndex,
        texts: Sequence[str | None],
        subsets: Sequence[str | None],
        *,
        seed: int,
    ) -> None:
        self._words = words
        self._texts = texts
        self._subsets = subsets
        self._seed = seed
        self._found: dict[tuple[str | None, int], float] = {}

    def threshold(self, text: str, row: int) -> float:
        """Finds what a cosine has to reach so that a query and a document share a topic.

        Args:
            text: The query's text; only its length counts.
            row: The document, whose subset counts.

        Returns:
            The 99.9th percentile of random pairs; NaN, which nothing reaches, where the corpus has
            fewer than 20 documents with words.
        """
        num_words = max(1, len(search_words(text)))
        length = 2 ** round(math.log2(num_words))
        length = min(max(length, _SHORTEST), _LONGEST)
        subset = self._subsets[row]
        if len(self._members.get(subset, ())) < _MIN_DOCUMENTS:
            subset = None
        key = (subset, length)
        if key not in self._found:
            self._found[key] = self._learn(*key)
        return self._found[key]

    def _learn(self, subset: str | None, length: int) -> float:
        import numpy as np

        rows = self._with_words if subset is None else self._members[subset]
        if len(rows) < _MIN_DOCUMENTS:
            return math.nan
        rng = np.random.default_rng([self._seed, length, *(subset or "").encode()])
        cosines = []
        for row in rng.choice(rows, min(_NUM_WINDOWS, len(rows)), replace=False).tolist():
            window = _window(self._texts[row] or "", length, rng)
            others = rng.choice(rows, min(_NUM_DOCUMENTS, len(rows)), replace=False)
            cosines.append(self._words.similarity(window, others[others != row]))
        found = np.concatenate(cosines)
        return float(np.nanquantile(found, QUANTILE, method="higher"))

    @cached_property
    def _members(self) -> "dict[str | None, NDArray[np.int64]]":
        """Documents with words by subset; those of no subset stand under None."""
        import numpy as np

        found: dict[str | None, list[int]] = defaultdict(list)
        for row in self._with_words.tolist():
            found[self._subsets[row]].append(row)
        return {subset: np.array(rows) for subset, rows in found.items()}

    @cached_property
    def _with_words(self) -> "NDArray[np.int64]":
        import numpy as np

        rows = [row for row, text in enumerate(self._texts) if text and text.strip()]
        return np.array(rows, dtype=np.int64)


def _window(text: str, length: int, rng: "np.random.Generator") -> str:
    words = search_words(text)
    start = int(rng.integers(max(1, len(words) - length + 1)))
    return " ".join(words[start : start + length])
