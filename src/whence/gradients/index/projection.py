"""Random projection matrices, bit for bit those of Bergson.

Bergson makes each matrix from the module's name, its side and the seed alone, by the counter-based
generator Philox4x32-10; an entry of a Rademacher matrix is one bit of it. Importing Bergson takes
longer than everything else that a query of a stored index computes, so the common matrices
(`rademacher`, scaled by `jl`) are made here; all others are made by Bergson itself.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; the counters, keys
and the order of the bits are those of `bergson.collector.projection_matrix`, version 2.
"""

import hashlib
import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from whence.gradients.index.engine import require_engine
from whence.gradients.index.files import Projection

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW, _WORD = np.uint64(0xFFFFFFFF), np.uint64(32)
_NUM_ROUNDS = 10
_BITS = 128  # of one output of the generator


def projection_matrix(
    projection: Projection,
    module: str,
    side: Literal["left", "right"],
    *,
    num_columns: int,
    dtype: "torch.dtype",
    device: "torch.device",
) -> "Float[Tensor, 'dim columns']":
    """Makes the matrix that one side of a module's gradients is multiplied with.

    Args:
        projection: How gradients are projected; its `dim` is the number of rows.
        module: The module's name.
        side: `left`, for its outputs, or `right`, for its inputs.
        num_columns: Outputs, or inputs (one more where a bias is attributed).
        dtype: Of the entries.
        device: Where it is used.

    Returns:
        Random entries whose squares have the mean 1 / `dim`; the same in every process.

    Raises:
        MissingEngineError: The kind of matrix needs Bergson, which cannot be imported.
    """
    import torch

    assert projection.dim, "gradients are projected"
    if (projection.kind, projection.scale) != ("rademacher", "jl"):
        require_engine()
        from bergson.collector.collector import create_module_projection_matrix

        return create_module_projection_matrix(
            module,
            side,
            projection.dim,
            num_columns,
            dtype,
            device,
            projection.kind,  # pyright: ignore[reportArgumentType] - Bergson refuses others
            projection.scale,  # pyright: ignore[reportArgumentType]
            projection.seed,
        )
    name = f"{module}/{side}"
    if projection.seed is not None:
        name += f"/seed{projection.seed}"
    signs = _signs(name, projection.dim, num_columns)
    return torch.from_numpy(signs).to(device, dtype) / math.sqrt(projection.dim)


def _signs(name: str, num_rows: int, num_columns: int) -> "NDArray[np.float32]":
    """Makes a matrix of -1 and 1: column c of a row is bit c % 128 of its output c // 128."""
    digest = hashlib.md5(name.encode(), usedforsecurity=False).digest()
    keys = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")
    counters = np.arange(-(-num_columns // _BITS), dtype=np.uint64)
    words = _philox(counters, np.arange(num_rows, dtype=np.uint64)[:, None], keys)
    bits = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little").reshape(num_rows, -1)
    return bits[:, :num_columns].astype(np.float32) * 2 - 1


def _philox(
    counters: "NDArray[np.uint64]", rows: "NDArray[np.uint64]", keys: tuple[int, int]
) -> "NDArray[np.uint32]":
    """Philox4x32-10 of the counters (counter, row, 0, 0): rows × counters × 4 words."""
    first, second = np.broadcast_arrays(counters, rows)
    third = fourth = np.zeros_like(first)
    key, other_key = (np.uint64(key) for key in keys)
    for _ in range(_NUM_ROUNDS):
        product, other = _MULTIPLIERS[0] * first, _MULTIPLIERS[1] * third
        first, second, third, fourth = (
            (other >> _WORD) ^ second ^ key,
            other & _LOW,
            (product >> _WORD) ^ fourth ^ other_key,
            product & _LOW,
        )
        key, other_key = (key + _WEYL[0]) & _LOW, (other_key + _WEYL[1]) & _LOW
    words = np.stack([first, second, third, fourth], axis=-1)
    return np.ascontiguousarray(words.astype("<u4"))
