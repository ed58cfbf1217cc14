"""The curvature of stored, projected gradients, and its inverse powers.

Rows are projected gradients, in one block of columns for each module. The curvature is the second
moment of the rows (the empirical Fisher matrix, or uncentered autocorrelation),

    R = (1/N) Σ_i w_i² g_i g_iᵀ,

block by block; what lies between two modules is assumed to be zero. With eigenvalues λ_i and
eigenvectors u_i of a block, its damped power is

    (R + δ λ̄)^p = Σ_i u_i (λ_i + δ λ̄)^p u_iᵀ,        λ̄ = mean of the block's eigenvalues.

Moments are summed and decomposed in float64.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.errors import GradientError
from whence.methods.rows import GradientRows

if TYPE_CHECKING:
    from jaxtyping import Float


def no_gradient() -> GradientError:
    """The error of rows that are all zero."""
    return GradientError(
        "No example has a gradient, so there is no curvature.",
        "Give examples of at least two tokens.",
    )


def no_inverse(num_zero: int, size: int) -> GradientError:
    """The error of a module of `size` columns, `num_zero` of whose eigenvalues are zero."""
    return GradientError(
        f"{num_zero} of {size} directions of a module have no curvature, so that it cannot be "
        "inverted.",
        "Set a `damping` above 0, or leave out modules whose gradients are zero.",
    )


class WholePower(NamedTuple):
    """A power of one module's curvature, as a matrix in float64."""

    matrix: "Float[np.ndarray, 'numbers numbers']"

    def apply(
        self, values: "Float[np.ndarray, 'rows numbers']"
    ) -> "Float[np.ndarray, 'rows numbers']":
        """Multiplies rows with the matrix, in 2 d² operations per row."""
        return values @ self.matrix


class Block(NamedTuple):
    """One module's curvature: eigenvalues, ascending, and eigenvectors in columns, in float64."""

    values: "Float[np.ndarray, ' numbers']"
    vectors: "Float[np.ndarray, 'numbers numbers']"

    @property
    def trace(self) -> float:
        """The sum of the eigenvalues."""
        return float(self.values.sum())

    @property
    def kept(self) -> float:
        """As `trace`: no eigenvalue is left out."""
        return self.trace

    def power(self, exponent: float, *, damping: float) -> WholePower:
        """Computes the damped power of the block.

        Raises:
            GradientError: The block is zero, so that it has no inverse at any damping.
        """
        # Rounding gives a positive semidefinite matrix eigenvalues slightly below zero.
        shifted = np.maximum(self.values, 0) + damping * max(self.values.mean(), 0)
        if exponent < 0 and not (shifted > 0).all():
            raise no_inverse(int((shifted <= 0).sum()), len(shifted))
        return WholePower((self.vectors * shifted**exponent) @ self.vectors.T)


Moments = dict[str, "Float[np.ndarray, 'numbers numbers']"]


def second_moments(
    rows: GradientRows,
    *,
    weights: "Float[np.ndarray, ' examples'] | None" = None,
    modules: Iterable[str] | None = None,
) -> Moments:
    """Computes the examples' R, block by block.

    Args:
        rows: The rows.
        weights: A factor for each row; 1 by default. NaN leaves an example out.
        modules: Those whose curvature is wanted; all by default.

    Returns:
        One symmetric matrix per module; N counts the examples that have a gradient.

    Raises:
        GradientError: No example has a gradient.
    """
    names, columns = list(rows.sizes if modules is None else modules), rows.columns
    found = {name: np.zeros((rows.sizes[name], rows.sizes[name])) for name in names}
    count = 0
    for part, piece in rows.pieces():
        kept = piece.any(axis=1)
        factors = np.ones(len(piece)) if weights is None else weights[part]
        kept &= ~np.isnan(factors)
        # The factor scales a row, not its square: TRAK's φ_i is a gradient divided by (1 − p_i).
        scaled = piece[kept] * factors[kept, None].astype(np.float32)
        count += len(scaled)
        for name in names:
            block = scaled[:, columns[name]]
            found[name] += block.T @ block
    if not count:
        raise no_gradient()
    return {name: values / count for name, values in found.items()}


def damped_power(moments: Moments, exponent: float, *, damping: float) -> dict[str, WholePower]:
    """Computes (R + δ λ̄)^p of each block, such as the inverse (−1) or whitening (−1/2).

    Cost: about 10 d³ operations for a block of d columns.
    """
    return {
        name: Block(*np.linalg.eigh(values)).power(exponent, damping=damping)
        for name, values in moments.items()
    }
