"""Stored, projected gradients of examples and queries, read in pieces, and their inner products.

Rows have one block of columns for each module. They are never held together.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

# Of a piece of rows in float64.
PIECE_BYTES = 64 << 20


@dataclass(frozen=True)
class GradientRows:
    """Gradients of examples and queries in the same projected coordinates.

    `sizes` maps each module, in the order of the columns, to its number of columns. `examples` may
    be mapped from a disk. An example without a gradient has a row of zeros. `seconds` were spent on
    the queries' rows.
    """

    examples: "Float[np.ndarray, 'examples numbers']"
    queries: "Float[np.ndarray, 'queries numbers']"
    sizes: Mapping[str, int]
    settings: Mapping[str, object] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def columns(self) -> dict[str, slice]:
        """Where each module's columns are."""
        ends = np.cumsum(list(self.sizes.values())).tolist()
        starts = [0, *ends[:-1]]
        return {n: slice(a, b) for n, a, b in zip(self.sizes, starts, ends, strict=True)}

    def pieces(self) -> "Iterator[tuple[slice, Float[np.ndarray, 'rows numbers']]]":
        """Reads the examples' rows, as many at a time as take `PIECE_BYTES` in float64."""
        size = max(1, PIECE_BYTES // (8 * self.examples.shape[1]))
        for start in range(0, len(self.examples), size):
            piece = np.asarray(self.examples[start : start + size], dtype=np.float32)
            yield slice(start, start + len(piece)), piece


class Power(Protocol):
    """A power of one module's curvature: a symmetric matrix, in whatever form."""

    def apply(
        self, values: "Float[np.ndarray, 'rows numbers']"
    ) -> "Float[np.ndarray, 'rows numbers']":
        """Multiplies rows with the matrix, in float64."""
        ...


class Products(NamedTuple):
    """Inner products of transformed rows, and their norms."""

    dots: "Float[np.ndarray, 'queries examples']"
    query_norms: "Float[np.ndarray, ' queries']"
    example_norms: "Float[np.ndarray, ' examples']"


def products(
    rows: GradientRows,
    *,
    queries: Mapping[str, Power] | None = None,
    examples: Mapping[str, Power] | None = None,
) -> Products:
    """Multiplies every query's row with every example's, each side transformed block by block.

    Args:
        rows: The rows.
        queries: A power of each module's curvature for the queries' side; none by default.
        examples: Likewise for the examples' side.
    """
    asked = _transformed(rows.queries, rows, queries)
    dots = np.empty((len(asked), len(rows.examples)))
    norms = np.empty(len(rows.examples))
    for part, piece in rows.pieces():
        found = _transformed(piece, rows, examples)
        dots[:, part] = asked @ found.T
        norms[part] = np.linalg.norm(found, axis=1)
    return Products(dots, np.linalg.norm(asked, axis=1), norms)


def has_gradient(rows: GradientRows) -> "np.ndarray":
    """Tells which examples have a row that is not zero."""
    return np.concatenate([piece.any(axis=1) for _, piece in rows.pieces()])


def _transformed(
    values: "Float[np.ndarray, 'rows numbers']",
    rows: GradientRows,
    powers: Mapping[str, Power] | None,
) -> "Float[np.ndarray, 'rows numbers']":
    values = np.asarray(values, dtype=np.float64)
    if powers is None:
        return values
    blocks = [powers[name].apply(values[:, columns]) for name, columns in rows.columns.items()]
    return np.concatenate(blocks, axis=1)
