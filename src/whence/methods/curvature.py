"""The curvature of stored, projected gradients, and its inverse powers.

Rows are projected gradients, in one block of columns for each module. The curvature is the second
moment of the rows (the empirical Fisher matrix, or uncentered autocorrelation),

    R = (1/N) Σ_i w_i² g_i g_iᵀ,

block by block; what lies between two modules is assumed to be zero. With eigenvalues λ_i and
eigenvectors u_i of a block, its damped power is

    (R + δ λ̄)^p = Σ_i u_i (λ_i + δ λ̄)^p u_iᵀ,        λ̄ = mean of the block's eigenvalues.

Moments are summed and decomposed in float64.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.errors import GradientError
from whence.methods.rows import GradientRows

if TYPE_CHECKING:
    from jaxtyping import Float


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

    def power(self, exponent: float, *, damping: float) -> WholePower:
        """Computes the damped power of the block.

        Raises:
            GradientError: The block is zero, so that it has no inverse at any damping.
        """
        # Rounding gives a positive semidefinite matrix eigenvalues slightly below zero.
        shifted = np.maximum(self.values, 0) + damping * max(self.values.mean(), 0)
        if exponent < 0 and not (shifted > 0).all():
            raise GradientError(
                f"{int((shifted <= 0).sum())} of {len(shifted)} directions of a module have no "
                "curvature, so that it cannot be inverted.",
                "Set a `damping` above 0, or leave out modules whose gradients are zero.",
            )
        return WholePower((self.vectors * shifted**exponent) @ self.vectors.T)


Moments = dict[str, "Float[np.ndarray, 'numbers numbers']"]


def second_moments(
    rows: GradientRows, *, weights: "Float[np.ndarray, ' examples'] | None" = None
) -> Moments:
    """Computes the examples' R, block by block.

    Args:
        rows: The rows.
        weights: A factor for each row; 1 by default. NaN leaves an example out.

    Returns:
        One symmetric matrix per module; N counts the examples that have a gradient.

    Raises:
        GradientError: No example has a gradient.
    """
    found = {name: np.zeros((size, size)) for name, size in rows.sizes.items()}
    count = 0
    for part, piece in rows.pieces():
        kept = piece.any(axis=1)
        factors = np.ones(len(piece)) if weights is None else weights[part]
        kept &= ~np.isnan(factors)
        # The factor scales a row, not its square: TRAK's φ_i is a gradient divided by (1 − p_i).
        scaled = piece[kept] * factors[kept, None].astype(np.float32)
        count += len(scaled)
        for name, columns in rows.columns.items():
            found[name] += scaled[:, columns].T @ scaled[:, columns]
    if not count:
        raise GradientError(
            "No example has a gradient, so there is no curvature.",
            "Give examples of at least two tokens.",
        )
    return {name: values / count for name, values in found.items()}


def query_moments(rows: GradientRows, chosen: "np.ndarray") -> Moments:
    """Computes the R of some queries; `chosen` marks them."""
    asked = rows.queries[chosen].astype(np.float64)
    return {
        name: asked[:, columns].T @ asked[:, columns] / len(asked)
        for name, columns in rows.columns.items()
    }


def damped_power(moments: Moments, exponent: float, *, damping: float) -> dict[str, WholePower]:
    """Computes (R + δ λ̄)^p of each block, such as the inverse (−1) or whitening (−1/2).

    Cost: about 10 d³ operations for a block of d columns.
    """
    return {
        name: Block(*np.linalg.eigh(values)).power(exponent, damping=damping)
        for name, values in moments.items()
    }


def mixing_weight(reference: Moments, examples: Moments, *, share: float) -> float:
    """Chooses λ of λ R_eval + (1 − λ) R_train, so that the sorted spectra cross at one place.

    Args:
        reference: R_eval, of queries that are not scored.
        examples: R_train.
        share: The place, as a share of all d eigenvalues; k = round(share · d), at least 1.

    Returns:
        λ = σ_train[k] / (σ_eval[k] + σ_train[k]), in [0, 1]; the larger, the more the directions
        that all queries share are held down.

    Source:
        Chang et al., arXiv 2410.17413, where k is 1,000 of 65,536: a share of .015. A fixed k would
        hold down a sixth of the space of a small projection.
    """
    k, pair = 0, []
    for moments in (reference, examples):
        spectrum = np.concatenate([np.linalg.eigvalsh(values) for values in moments.values()])
        k = max(1, round(share * len(spectrum)))
        pair.append(max(float(np.sort(spectrum)[::-1][k - 1]), 0.0))
    evaluated, trained = pair
    if not evaluated + trained:
        raise GradientError(
            f"Both curvatures are zero at place {k}, so that no mixture is marked.",
            "Give `trackstar.mixing` as a number.",
        )
    return trained / (evaluated + trained)
