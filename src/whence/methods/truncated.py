"""Truncated curvature of stored rows: its largest eigenvalues, and one mean for all others.

Of a block R = (1/N) Σ_i g_i g_iᵀ of d columns the r largest eigenvalues λ_i, with eigenvectors in
the columns of V (d × r), are computed without R itself: from random directions Q on, each pass over
the rows multiplies

    R Q = (1/N) Σ_i g_i (g_iᵀ Q),

and the last one's Qᵀ R Q is decomposed. The trace of R is known exactly, so the other d − r
eigenvalues are replaced by their mean t. With s = δ λ̄, as for the whole matrix,

    trace R = (1/N) Σ_i |g_i|²,      λ̄ = trace R / d,      t = (trace R − Σ λ_i) / (d − r),

    (R + s)^p ≈ (t + s)^p I + V diag((λ_i + s)^p − (t + s)^p) Vᵀ,

which is exact where the other eigenvalues are equal. No matrix of d × d numbers is made.

Source: Halko, Martinsson and Tropp, "Finding Structure with Randomness", arXiv 0909.4061,
algorithms 4.4 (subspace iteration) and 5.3 (eigenvalues). Few directions for the curvature of
factorized gradients are from LoRIF, arXiv 2601.21929, which keeps the largest singular values and
inverts by the identity of Woodbury. That is t = 0: what is left out has no curvature but the
damping. Here the mean keeps the trace, so that directions that were left out are not favored by a
small δ, and the same formula holds for the power −1/2 of TrackStar. Both are measured in
docs/large-indexes.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.methods.curvature import no_gradient, no_inverse
from whence.methods.rows import GradientRows

if TYPE_CHECKING:
    from jaxtyping import Float

# More directions than are kept, for the accuracy of the last ones.
OVERSAMPLING = 10
PASSES = 6
SEED = 0
# A sum of d squares in float64 is this near to its value, in parts of itself.
ROUNDING = 1e-12


class Reference(NamedTuple):
    """The part of queries in R = λ R_eval + (1 − λ) R_train: their rows, and λ in [0, 1]."""

    rows: "Float[np.ndarray, 'queries numbers']"
    weight: float


class TruncatedPower(NamedTuple):
    """A power of one module's curvature: factors of kept directions, `rest` for all others."""

    vectors: "Float[np.ndarray, 'numbers rank']"
    factors: "Float[np.ndarray, ' rank']"
    rest: float

    def apply(
        self, values: "Float[np.ndarray, 'rows numbers']"
    ) -> "Float[np.ndarray, 'rows numbers']":
        """Multiplies rows with the power, in about 4 d r operations per row."""
        kept = (values @ self.vectors) * (self.factors - self.rest)
        return self.rest * values + kept @ self.vectors.T


@dataclass(frozen=True)
class TruncatedBlock:
    """One module's curvature.

    Attributes:
        values: The r largest eigenvalues, descending, none below zero.
        vectors: Their eigenvectors, in columns, in float64.
        trace: The sum of all d eigenvalues.
    """

    values: "Float[np.ndarray, ' rank']"
    vectors: "Float[np.ndarray, 'numbers rank']"
    trace: float

    @property
    def kept(self) -> float:
        """The sum of the eigenvalues that are kept."""
        return float(self.values.sum())

    @property
    def rest(self) -> float:
        """The mean of the eigenvalues that are not kept; at least 0."""
        size, rank = self.vectors.shape
        left = self.trace - self.kept
        return left / (size - rank) if left > ROUNDING * self.trace else 0.0

    def power(self, exponent: float, *, damping: float) -> TruncatedPower:
        """Computes the damped power of the block.

        Raises:
            GradientError: A direction is zero, so that it has no inverse.
        """
        size, rank = self.vectors.shape
        shift = damping * self.trace / size
        factors, rest = self.values + shift, self.rest + shift
        if exponent < 0:
            num_zero = int((factors <= 0).sum()) + (size - rank) * (rest <= 0)
            if num_zero:
                raise no_inverse(num_zero, size)
        return TruncatedPower(self.vectors, factors**exponent, rest**exponent)


def truncated_blocks(
    rows: GradientRows,
    modules: Iterable[str],
    *,
    rank: int,
    reference: Reference | None = None,
) -> dict[str, TruncatedBlock]:
    """Computes the largest eigenvalues of the examples' R, all modules in the same passes.

    Args:
        rows: The rows.
        modules: Those whose curvature is wanted, each with more than `rank` columns.
        rank: How many eigenvalues of each module are kept, r.
        reference: Queries whose second moment is mixed in.

    Returns:
        One block per module, the same at every call.

    Raises:
        GradientError: No example has a gradient.

    Cost:
        `PASSES` readings of the rows; in each about 4 d r operations per row and module. Memory for
        2 d r numbers per module, and a piece of the rows.
    """
    generator = np.random.default_rng(SEED)
    bases = {}
    for name in modules:
        width = min(rank + OVERSAMPLING, rows.sizes[name])
        bases[name] = np.linalg.qr(generator.standard_normal((rows.sizes[name], width)))[0]
    images, traces = _multiply(rows, bases, reference)
    for _ in range(PASSES - 1):
        bases = {name: np.linalg.qr(image)[0] for name, image in images.items()}
        images, _ = _multiply(rows, bases, reference)
    return {
        name: TruncatedBlock(*_largest(bases[name], images[name], rank), traces[name])
        for name in bases
    }


def _multiply(
    rows: GradientRows,
    bases: "dict[str, Float[np.ndarray, '_ _']]",
    reference: Reference | None,
) -> "tuple[dict[str, Float[np.ndarray, '_ _']], dict[str, float]]":
    """Multiplies R with each module's directions; also computes each module's trace of R."""
    images = {name: np.zeros_like(basis) for name, basis in bases.items()}
    traces, columns = dict.fromkeys(bases, 0.0), rows.columns

    def add(values: "Float[np.ndarray, 'rows numbers']", weight: float) -> None:
        for name, basis in bases.items():
            part = values[:, columns[name]].astype(np.float64)
            images[name] += part.T @ (weight * (part @ basis))
            traces[name] += weight * float(np.vdot(part, part))

    count = 0
    for _, piece in rows.pieces():
        count += int(piece.any(axis=1).sum())
        add(piece, 1.0)
    if not count:
        raise no_gradient()
    weight = 0.0 if reference is None else reference.weight
    images = {name: image * ((1 - weight) / count) for name, image in images.items()}
    traces = {name: trace * ((1 - weight) / count) for name, trace in traces.items()}
    if reference is not None:
        add(reference.rows, weight / len(reference.rows))
    return images, traces


def _largest(
    basis: "Float[np.ndarray, 'numbers width']",
    image: "Float[np.ndarray, 'numbers width']",
    rank: int,
) -> "tuple[Float[np.ndarray, ' rank'], Float[np.ndarray, 'numbers rank']]":
    """Computes the largest eigenvalues and eigenvectors of R within a basis; `image` is R basis."""
    within = basis.T @ image
    values, vectors = np.linalg.eigh((within + within.T) / 2)
    # Rounding gives a positive semidefinite matrix eigenvalues slightly below zero.
    return np.maximum(values[::-1][:rank], 0), basis @ vectors[:, ::-1][:, :rank]
