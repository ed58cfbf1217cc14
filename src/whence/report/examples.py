"""The training examples that a page carries, and which part of each text.

Every shown example is carried once, whichever behaviors and methods show it.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from itertools import pairwise

from whence.corpus.duplicates import Duplicates
from whence.evidence.overlap import Span
from whence.records import Corpus
from whence.report.schema import Example, ExampleRange, ExampleTexts

# What a page of ten megabytes holds, packed; texts are cut only where a page would outgrow it.
MAX_TEXT_CHARACTERS = 9_000_000
# Of a few milliseconds to unpack.
_RANGE_CHARACTERS = 300_000


class Examples:
    """The examples that a page shows, numbered in the order in which sections first name them."""

    def __init__(self, corpus: Corpus, duplicates: Duplicates | None = None) -> None:
        self.corpus = corpus
        self._duplicates = duplicates
        self.places: dict[int, int] = {}
        self._texts: dict[int, str] = {}
        self._longest: dict[int, Span] = {}
        hashes = corpus.table.column("hash").to_pylist()
        self._hashes: list[str | None] = hashes
        self._copies = Counter(h for h in hashes if h is not None)

    def place(self, row: int) -> int:
        """The number under which the page carries an example; a new one where it is new."""
        return self.places.setdefault(row, len(self.places))

    def text(self, row: int) -> str:
        """The whole text of an example; empty where it is unknown."""
        if row not in self._texts:
            self._texts[row] = self.corpus.table.column("text")[row].as_py() or ""
        return self._texts[row]

    @cached_property
    def clusters(self) -> Sequence[Hashable]:
        """For each row, a key that its copies share: near copies, too, where these are known."""
        if self._duplicates is not None:
            return self._duplicates.cluster_80.tolist()
        return [row if key is None else key for row, key in enumerate(self._hashes)]

    def is_same_text(self, row: int, other: int) -> bool:
        """Whether two examples have exactly the same text."""
        return self._hashes[row] is not None and self._hashes[row] == self._hashes[other]

    def add_spans(self, row: int, spans: Sequence[Span]) -> None:
        """Records which parts of an example are marked, so that a cut text keeps the longest."""
        known = [self._longest[row]] if row in self._longest else []
        if spans:
            self._longest[row] = max([*known, *spans], key=lambda s: s.num_words)

    def records(
        self,
        *,
        is_sensitive: Callable[[int], bool] = lambda row: False,
        max_characters: int = MAX_TEXT_CHARACTERS,
    ) -> list[Example]:
        """Writes the examples in the order of their numbers.

        Args:
            is_sensitive: Whether an example of the corpus is masked.
            max_characters: How long their texts may be together.

        Returns:
            One record each. `text` starts at character `first_character` of a text of
            `num_characters`.
        """
        rows = list(self.places)
        limit = length_limit([len(self.text(row)) for row in rows], total=max_characters)
        examples = []
        for row, record in zip(rows, self.corpus.records(rows), strict=True):
            text = self.text(row)
            first = self._first_character(row, limit)
            examples.append(
                Example(
                    id=record["id"],
                    text=text[first : first + limit],
                    first_character=first,
                    num_characters=len(text),
                    subset=record["subset"],
                    source=record["source"],
                    position=record["position"],
                    step=record["step"],
                    labels=record["labels"] or [],
                    num_tokens=int(self.corpus.lengths[row]),
                    num_truncated_tokens=record["num_truncated_tokens"],
                    num_copies=self._copies[h] if (h := record["hash"]) else None,
                    num_near=None
                    if self._duplicates is None
                    else int(self._duplicates.size_80[row]),
                    is_sensitive=is_sensitive(row),
                )
            )
        return examples

    def _first_character(self, row: int, limit: int) -> int:
        length = len(self.text(row))
        if length <= limit or row not in self._longest:
            return 0
        return max(0, min(self._longest[row].start - limit // 4, length - limit))


def ranges(examples: Sequence[Example]) -> list[ExampleRange]:
    """Splits examples into ranges that a page unpacks one by one."""
    starts, size = [0], 0
    for place, example in enumerate(examples):
        if size > _RANGE_CHARACTERS:
            starts.append(place)
            size = 0
        size += len(example.text)
    return [
        ExampleRange(
            first=first, num=last - first, texts=ExampleTexts(examples=examples[first:last])
        )
        for first, last in pairwise([*starts, len(examples)])
        if last > first
    ]


def length_limit(lengths: Sequence[int], *, total: int) -> int:
    """Computes the largest length to which texts can be cut so that they fit together.

    Args:
        lengths: The texts' lengths.
        total: How much room there is.

    Returns:
        The limit; where everything fits, the length of the longest text. At least 1.
    """
    room = total
    ordered = sorted(lengths)
    for place, length in enumerate(ordered):
        share = room // (len(ordered) - place)
        if length > share:
            return max(share, 1)
        room -= length
    return max(ordered[-1] if ordered else 0, 1)
