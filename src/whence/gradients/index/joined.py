"""Several indexes searched as one: the same model and settings, and examples that differ.

A corpus too large for one place is indexed in parts, on as many machines. Inner products are those
of one index of all examples, in the order of the parts.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.errors import IndexFormatError
from whence.records import Corpus

if TYPE_CHECKING:
    from whence.gradients.index.format import Index

SAME = "Build all parts with the same model and settings."


class Parts(NamedTuple):
    """Indexes that belong together, and all their examples in order."""

    indexes: "tuple[Index, ...]"
    corpus: Corpus


def join_indexes(indexes: "Sequence[Index]") -> Parts:
    """Joins indexes whose rows are comparable.

    Args:
        indexes: At least one. The types that rows are stored in, and their ranks, may differ.

    Raises:
        IndexFormatError: Two differ in the model, the modules, the projection, the loss or the
            correction, or have an example of the same id.
    """
    first, *others = indexes
    for other in others:
        for what, ours, theirs in zip(_WHAT, _facts(first), _facts(other), strict=True):
            if ours != theirs:
                raise IndexFormatError(
                    f"{first.label} and {other.label} differ in {what} ({_short(ours)} and "
                    f"{_short(theirs)}), so their scores cannot be ranked together.",
                    SAME,
                )
    return Parts(tuple(indexes), _joined_corpus(indexes))


_WHAT = (
    "the model",
    "the dimensions of the projection",
    "the seed of the projection",
    "the projection",
    "the attributed modules",
    "the numbers of their modules",
    "the loss",
    "the correction",
)


def _facts(index: "Index") -> tuple[object, ...]:
    return (
        index.fingerprint,
        index.projection.dim or None,
        index.projection.seed,
        tuple(index.projection)[2:],
        sorted(index.grad_sizes),
        dict(index.grad_sizes),
        index.loss_reduction,
        index.correction,
    )


def _short(value: object) -> str:
    if isinstance(value, list):
        return f"{len(value)} modules"
    if isinstance(value, dict):
        return f"{sum(value.values()):,} numbers"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _joined_corpus(indexes: "Sequence[Index]") -> Corpus:
    import pyarrow as pa

    first, *others = [index.corpus for index in indexes]
    if not others:
        return first
    seen: dict[str, Index] = {}
    for index in indexes:
        for name in index.ids:
            if (other := seen.setdefault(name, index)) is not index:
                raise IndexFormatError(
                    f"The example `{name}` is in {other.label} and in {index.label}.",
                    "Give the examples of all parts ids that differ, or leave one of them out.",
                )
    columns = first.table.column_names
    shares = [corpus.searched_fraction for corpus in (first, *others)]
    return replace(
        first,
        name=", ".join(dict.fromkeys(corpus.name for corpus in (first, *others))),
        table=pa.concat_tables([first.table, *(c.table.select(columns) for c in others)]),
        num_empty=sum(corpus.num_empty for corpus in (first, *others)),
        searched_fraction=shares[0] if len(set(shares)) == 1 else None,
    )


def part_slices(indexes: "Sequence[Index]") -> list[slice]:
    """Where each part's examples are among all."""
    ends = np.cumsum([index.num_examples for index in indexes]).tolist()
    return [slice(end - index.num_examples, end) for index, end in zip(indexes, ends, strict=True)]
