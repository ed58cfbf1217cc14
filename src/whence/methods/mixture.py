"""The curvature of stored rows as methods use it: whole or truncated, with queries mixed in.

    R = λ R_eval + (1 − λ) R_train

module by module, where R_train is the second moment of the examples' rows, R_eval that of some
queries' (λ = 0 without them). A module of no more than `rank` columns has its whole matrix, each
larger one its largest eigenvalues alone (`whence.methods.truncated`); without a rank all are whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.errors import GradientError, SettingsError
from whence.methods.curvature import Block, Moments, second_moments
from whence.methods.rows import GradientRows, Power
from whence.methods.truncated import Reference, TruncatedBlock, truncated_blocks

if TYPE_CHECKING:
    from jaxtyping import Float


class Spectrum(NamedTuple):
    """Eigenvalues over all modules, of which the smallest may be unknown.

    `values` are those that are known, descending, `size` is the number of all, and no unknown one
    is above `bound`.
    """

    values: "Float[np.ndarray, ' known']"
    size: int
    bound: float

    def at(self, place: int) -> float:
        """Finds the eigenvalue at a place, from 1 on; at least 0.

        Raises:
            GradientError: It is not known.
        """
        if place <= len(self.values) and self.values[place - 1] >= self.bound:
            return max(float(self.values[place - 1]), 0.0)
        if self.bound <= 0:
            return 0.0
        raise GradientError(
            f"The spectra cross at eigenvalue {place:,} of {self.size:,}, which a truncated "
            "curvature does not have.",
            f"Raise `trackstar.curvature_rank` to {place:,}, or give `trackstar.mixing` as a "
            "number.",
        )


class Curvature(NamedTuple):
    """R, decomposed module by module."""

    blocks: Mapping[str, Block | TruncatedBlock]

    def power(self, exponent: float, *, damping: float) -> dict[str, Power]:
        """Computes (R + δ λ̄)^p of each block, such as the inverse (−1) or whitening (−1/2).

        Raises:
            GradientError: A direction is zero, so that it has no inverse.
        """
        return {name: block.power(exponent, damping=damping) for name, block in self.blocks.items()}

    @property
    def share(self) -> float:
        """The share of the trace, over all modules, that the kept eigenvalues have, in [0, 1]."""
        kept = sum(block.kept for block in self.blocks.values())
        trace = sum(block.trace for block in self.blocks.values())
        return min(kept / trace, 1.0) if trace > 0 else float("nan")


@dataclass(frozen=True)
class RowCurvature:
    """The curvature of a set of rows; the whole matrices among it are summed once.

    Attributes:
        rows: The rows.
        rank: Eigenvalues that are kept of each module, at least 1; None for all.
    """

    rows: GradientRows
    rank: int | None = None

    @cached_property
    def truncated(self) -> tuple[str, ...]:
        """The modules of which only the largest eigenvalues are kept."""
        if self.rank is None:
            return ()
        return tuple(name for name, size in self.rows.sizes.items() if size > self.rank)

    @cached_property
    def moments(self) -> Moments:
        """The whole matrices of all other modules.

        Raises:
            GradientError: No example has a gradient.
        """
        names = [name for name in self.rows.sizes if name not in self.truncated]
        return second_moments(self.rows, modules=names) if names else {}

    def decompose(self, reference: Reference | None = None) -> Curvature:
        """Computes eigenvalues and eigenvectors of R.

        Args:
            reference: Queries whose second moment is mixed in.

        Raises:
            GradientError: No example has a gradient.

        Cost:
            About 10 d³ operations for a whole block of d columns; see `truncated_blocks` for
            others.
        """
        moments = self.moments
        if reference is not None:
            other, weight = self._reference_moments(reference.rows), reference.weight
            moments = {n: weight * other[n] + (1 - weight) * moments[n] for n in moments}
        whole = {name: Block(*np.linalg.eigh(values)) for name, values in moments.items()}
        return Curvature({**whole, **self._leading(reference)})

    def spectrum(self) -> Spectrum:
        """Computes the eigenvalues of R_train."""
        leading = self._leading().values()
        values = [np.linalg.eigvalsh(values) for values in self.moments.values()]
        values += [block.values for block in leading]
        bound = max((float(block.values[-1]) for block in leading), default=0.0)
        return self._spectrum(values, bound=bound)

    def reference_spectrum(self, queries: "Float[np.ndarray, 'queries numbers']") -> Spectrum:
        """Computes the eigenvalues of R_eval: of a large block those of the queries' products."""
        whole = self._reference_moments(queries)
        values = [np.linalg.eigvalsh(values) for values in whole.values()]
        for name in self.truncated:
            part = np.asarray(queries[:, self.rows.columns[name]], dtype=np.float64)
            values += [np.linalg.eigvalsh(part @ part.T / len(part))]
        return self._spectrum(values, bound=0.0)

    def _spectrum(self, values: "list[np.ndarray]", *, bound: float) -> Spectrum:
        size = sum(self.rows.sizes.values())
        return Spectrum(np.sort(np.concatenate(values))[::-1], size, bound)

    def _leading(self, reference: Reference | None = None) -> dict[str, TruncatedBlock]:
        if self.rank is None or not self.truncated:
            return {}
        return truncated_blocks(self.rows, self.truncated, rank=self.rank, reference=reference)

    def _reference_moments(self, queries: "Float[np.ndarray, 'queries numbers']") -> Moments:
        """Computes R_eval of the modules whose matrices are whole."""
        asked = queries.astype(np.float64)
        parts = {name: asked[:, self.rows.columns[name]] for name in self.moments}
        return {name: part.T @ part / len(asked) for name, part in parts.items()}


def crossing_place(size: int, *, share: float) -> int:
    """Chooses the place, from 1 on, at which two sorted spectra of so many eigenvalues cross."""
    return max(1, round(share * size))


def check_crossing(
    sizes: Mapping[str, int], rank: int | None, *, share: float, num_examples: int
) -> None:
    """Refuses a truncated curvature that has too few eigenvalues whatever the rows are.

    Args:
        sizes: Numbers per module of the rows that will be computed.
        rank: Eigenvalues that will be kept of each module; None for all.
        share: See `mixing_weight`.
        num_examples: How many rows there will be; of no more than `rank`, none is left out.

    Raises:
        SettingsError: The spectra cross beyond the kept ones.
    """
    if rank is None or num_examples <= rank:
        return
    place, size = crossing_place(sum(sizes.values()), share=share), sum(sizes.values())
    num_kept = sum(min(rank, numbers) for numbers in sizes.values())
    if place > num_kept:
        raise SettingsError(
            f"With `trackstar.curvature_rank = {rank}` {num_kept:,} of {size:,} eigenvalues are "
            f"kept, and `trackstar.mixing = 'crossing'` needs the one at place {place:,}.",
            f"Raise it to {min(place, max(sizes.values())):,}, or give `trackstar.mixing` as a "
            "number.",
        )


def mixing_weight(reference: Spectrum, examples: Spectrum, *, share: float) -> float:
    """Chooses λ of λ R_eval + (1 − λ) R_train, so that the sorted spectra cross at one place.

    Args:
        reference: Of R_eval, of queries that are not scored.
        examples: Of R_train.
        share: The place, as a share of all d eigenvalues; k = round(share · d), at least 1.

    Returns:
        λ = σ_train[k] / (σ_eval[k] + σ_train[k]), in [0, 1]; the larger, the more the directions
        that all queries share are held down.

    Raises:
        GradientError: Both are zero at k, or a truncated spectrum does not reach so far.

    Source:
        Chang et al., arXiv 2410.17413, where k is 1,000 of 65,536: a share of .015. A fixed k would
        hold down a sixth of the space of a small projection.
    """
    place = crossing_place(examples.size, share=share)
    evaluated, trained = reference.at(place), examples.at(place)
    if not evaluated + trained:
        raise GradientError(
            f"Both curvatures are zero at place {place}, so that no mixture is marked.",
            "Give `trackstar.mixing` as a number.",
        )
    return trained / (evaluated + trained)
