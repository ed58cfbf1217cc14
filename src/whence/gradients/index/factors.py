"""Factorized rows: of each module's gradient the best approximation of low rank.

A module's projected gradient is a matrix G of a × b numbers. With its r largest singular values,

    G ≈ Ĝ = U Vᵀ = Σ_k u_k v_kᵀ,      u_k = √σ_k · left vector,   v_k = √σ_k · right vector,

which are r (a + b) numbers instead of a b: for 16 × 16 dimensions an eighth at r = 1. No matrix of
rank r is nearer to G. An inner product with a query's whole gradient Q needs no Ĝ,

    ⟨Q, Ĝ⟩ = Σ_k u_kᵀ Q v_k,          |Ĝ|² = Σ_kl (u_k · u_l) (v_k · v_l).

A row holds, module by module, the vectors u_1 … u_r and then v_1 … v_r.

Source: LoRIF, arXiv 2601.21929; here with exact singular values, and queries that stay whole.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from whence.artifacts import write_json
from whence.errors import IndexFormatError
from whence.gradients.index.files import TYPES, Info, number_type
from whence.gradients.index.manifest import FACTORS, FACTORS_INFO, REBUILD

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

FORMAT = 1
CHUNK = 160_000


class Factors(NamedTuple):
    """One module's matrix of `outputs` × `inputs` numbers, as a product of rank `rank`."""

    outputs: int
    inputs: int
    rank: int

    @property
    def width(self) -> int:
        """Stored numbers."""
        return self.rank * (self.outputs + self.inputs)


@dataclass(frozen=True)
class Layout:
    """What the columns of factorized rows are: modules in their order."""

    modules: Mapping[str, Factors]

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]], rank: int) -> "Layout":
        """Lays out matrices of these shapes; none has a rank above its smaller side."""
        return cls({name: Factors(a, b, min(rank, a, b)) for name, (a, b) in shapes.items()})

    @cached_property
    def width(self) -> int:
        """Stored numbers per row."""
        return sum(module.width for module in self.modules.values())

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The numbers of each module's whole matrix."""
        return {name: module.outputs * module.inputs for name, module in self.modules.items()}


def factorize(
    rows: "Mapping[str, Float[Tensor, 'batch numbers']]", layout: Layout
) -> "Float[Tensor, 'batch width']":
    """Computes the best approximation of each module's matrix.

    Args:
        rows: Finite gradients, flattened, by module.
        layout: The columns.

    Cost:
        A singular value decomposition per example and module.
    """
    import torch

    parts = []
    for name, (outputs, inputs, rank) in layout.modules.items():
        matrices = rows[name].float().unflatten(1, (outputs, inputs))
        left, values, right = torch.linalg.svd(matrices, full_matrices=False)
        roots = values[:, :rank, None].sqrt()
        parts += [(left.mT[:, :rank] * roots).flatten(1), (right[:, :rank] * roots).flatten(1)]
    return torch.cat(parts, dim=1)


def expand(rows: "Float[Tensor, 'rows width']", layout: Layout) -> "Float[Tensor, 'rows numbers']":
    """Multiplies the factors out: rows as wide as whole ones."""
    import torch

    return torch.cat([(u.mT @ v).flatten(1) for u, v in _sides(rows, layout)], dim=1)


def factor_products(
    rows: "Float[Tensor, 'rows width']",
    queries: "Float[Tensor, 'queries numbers']",
    layout: Layout,
) -> "Float[Tensor, 'rows queries']":
    """Computes inner products of factorized rows with whole queries, without `expand`.

    Cost:
        2 r a b operations per row, query and module; memory for `CHUNK` numbers and the products.
    """
    found = rows.new_zeros(len(rows), len(queries))
    asked = queries.split(list(layout.sizes.values()), dim=1)
    for (u, v), flat, module in zip(
        _sides(rows, layout), asked, layout.modules.values(), strict=True
    ):
        # [inputs, outputs · queries], so that what comes out needs no other order.
        matrix = flat.unflatten(1, (module.outputs, module.inputs)).permute(2, 1, 0).flatten(1)
        numbers = module.rank * module.outputs
        # What one product leaves is used while it is in the cache.
        size = max(1, CHUNK // max(1, numbers * len(queries)))
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            one_side = (v[part].flatten(0, 1) @ matrix).view(-1, numbers, len(queries))
            found[part] += one_side.mul_(u[part].flatten(1).unsqueeze(2)).sum(dim=1)
    return found


def factor_norms(rows: "Float[Tensor, 'rows width']", layout: Layout) -> "NDArray[np.float32]":
    """Computes the Euclidean lengths of factorized rows, in float64, as `row_norms` does."""
    import torch

    squares = torch.zeros(len(rows), dtype=torch.float64)
    for part in pieces(len(rows), layout.width):
        for u, v in _sides(rows[part].double(), layout):
            squares[part] += ((u @ u.mT) * (v @ v.mT)).sum(dim=(1, 2))
    # Rounding may leave a square slightly below zero.
    return squares.clamp(min=0).sqrt().float().numpy()


def pieces(num_rows: int, width: int) -> Iterator[slice]:
    """Cuts rows into pieces whose copies in float64 stay in the cache.

    Larger ones do not only cost time: the allocator keeps several of them.
    """
    size = max(1, CHUNK // max(1, width))
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))


def _sides(rows: "Float[Tensor, 'rows width']", layout: Layout) -> "list[tuple[Tensor, Tensor]]":
    """Cuts rows into each module's vectors u [rows, rank, outputs] and v [rows, rank, inputs]."""
    sides, start = [], 0
    for outputs, inputs, rank in layout.modules.values():
        middle, end = start + rank * outputs, start + rank * (outputs + inputs)
        u, v = rows[:, start:middle], rows[:, middle:end]
        sides.append((u.unflatten(1, (rank, outputs)), v.unflatten(1, (rank, inputs))))
        start = end
    return sides


class ExpandedRows:
    """Factorized rows that are multiplied out where they are looked at, as a mapped array would be.

    For what needs whole rows in small pieces, such as their second moments.
    """

    def __init__(self, path: Path, *, num_rows: int, dtype: str, layout: Layout) -> None:
        self._stored = np.memmap(
            path, dtype=number_type(dtype), mode="r", shape=(num_rows, layout.width)
        )
        self._layout = layout
        self.shape = (num_rows, sum(layout.sizes.values()))
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> "NDArray[np.float32]":
        import torch

        stored = np.asarray(self._stored[key], dtype=np.float32)
        rows = torch.from_numpy(np.array(np.atleast_2d(stored)))
        found = expand(rows, self._layout).numpy()
        return found[0] if stored.ndim == 1 else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> "NDArray[Any]":
        return self[:].astype(dtype or self.dtype, copy=False)


def write_layout(directory: Path, layout: Layout, *, num_rows: int, dtype: str) -> None:
    """Writes `factors.json`: the columns of `factors.bin`."""
    write_json(
        directory / FACTORS_INFO,
        {
            "format": FORMAT,
            "num_rows": num_rows,
            "dtype": dtype,
            # Pairs, because a mapping's order is not kept.
            "modules": [[name, *module] for name, module in layout.modules.items()],
        },
    )


def read_layout(directory: Path) -> tuple[Info, Layout]:
    """Reads `factors.json`.

    Raises:
        IndexFormatError: It is missing, or holds something else.
    """
    path = directory / FACTORS_INFO
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT or values["dtype"] not in TYPES:
            raise ValueError("another format")  # noqa: TRY301
        modules = {str(name): Factors(*numbers) for name, *numbers in values["modules"]}
        num_rows = values["num_rows"]
        counts = [num_rows + 1, *(n for module in modules.values() for n in module)]
        if not modules or not all(type(n) is int and n > 0 for n in counts):
            raise ValueError("impossible counts")  # noqa: TRY301
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IndexFormatError(
            f"{path} cannot be read ({type(error).__name__}: {error}).", REBUILD
        ) from None
    layout = Layout(modules)
    return Info(layout.sizes, num_rows, values["dtype"], is_per_token=False), layout


def stored_width(layout: Layout | None, sizes: Mapping[str, int]) -> int:
    """Counts the stored numbers of a row: those of the factors, or of whole matrices."""
    return sum(sizes.values()) if layout is None else layout.width


def rows_file(layout: Layout | None) -> str:
    """Names the file of the rows."""
    from whence.gradients.index.manifest import GRADIENTS

    return GRADIENTS if layout is None else FACTORS
