"""Inner products of queries with all rows of an index that may be larger than memory.

Rows are mapped block by block, and every block is multiplied with all queries at once, so an index
is read once however many queries there are. Lengths of rows do not depend on the query: they are
kept beside the rows when an index is built, and computed on the way for one of Bergson's.
"""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from whence.errors import IndexFormatError
from whence.gradients.index.checks import stored_norms
from whence.gradients.index.factors import (
    Layout,
    factor_norms,
    factor_products,
    pieces,
    rows_file,
)
from whence.gradients.index.files import number_type
from whence.gradients.index.format import Index
from whence.gradients.index.manifest import GRADIENTS, NORMS
from whence.progress import SILENT, Progress

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

BLOCK_BYTES = 16 * 2**20
BLOCKS_AHEAD = 2


class RowProducts(NamedTuple):
    """Inner products of queries and rows, and the rows' lengths."""

    dots: "Float[np.ndarray, 'queries rows']"
    norms: "NDArray[np.float32]"


def multiply_rows(
    index: Index, asked: "Float[np.ndarray, 'queries numbers']", *, progress: Progress = SILENT
) -> RowProducts:
    """Multiplies queries with all rows, in float32 whatever the rows are stored in.

    Args:
        index: The index.
        asked: The queries' gradients in the index's coordinates, modules in its order.
        progress: Reports progress.

    Raises:
        IndexFormatError: A row is NaN or infinite.

    Cost:
        One reading of the rows at the speed of the disk; memory for two blocks of at most
        `BLOCK_BYTES`, and the products.
    """
    import torch

    layout, queries = index.layout, torch.from_numpy(np.ascontiguousarray(asked, dtype=np.float32))
    columns = queries.T.contiguous()
    dots = np.empty((len(asked), index.num_examples), dtype=np.float32)
    known = stored_norms(index)
    norms = np.empty(index.num_examples, dtype=np.float32) if known is None else known
    with progress.task("Index", total=index.num_examples, unit="examples") as task:
        for part, rows in row_blocks(
            index.path,
            num_rows=index.num_examples,
            width=index.width,
            dtype=index.dtype,
            file=rows_file(layout),
        ):
            dense = rows @ columns if layout is None else factor_products(rows, queries, layout)
            found = dense.numpy()
            if known is None:
                norms[part] = row_norms(rows) if layout is None else factor_norms(rows, layout)
            good = np.isfinite(found).all(axis=1) & np.isfinite(norms[part])
            if (bad := np.flatnonzero(~good)).size:
                raise IndexFormatError(
                    f"Row {part.start + int(bad[0])} of {index.label} is NaN or infinite.",
                    "Build the index again.",
                )
            dots[:, part] = found.T
            task.advance(len(rows))
    return RowProducts(dots, norms)


def save_norms(
    directory: Path, *, num_rows: int, width: int, dtype: str, layout: Layout | None = None
) -> None:
    """Measures every row of an index that is being built, block by block, and keeps the lengths."""
    norms = np.empty(num_rows, dtype=np.float32)
    for part, rows in row_blocks(
        directory, num_rows=num_rows, width=width, dtype=dtype, file=rows_file(layout)
    ):
        norms[part] = row_norms(rows) if layout is None else factor_norms(rows, layout)
    np.save(directory / NORMS, norms, allow_pickle=False)


def row_norms(rows: "Float[Tensor, 'rows numbers']") -> "NDArray[np.float32]":
    """Computes the Euclidean lengths of rows.

    Squares of large numbers overflow float32, so their sum is in float64.

    Returns:
        One length per row, at least 0, in float32; infinite where float32 cannot hold it.
    """
    import torch

    lengths = torch.empty(len(rows), dtype=torch.float64)
    for part in pieces(*rows.shape):
        lengths[part] = torch.linalg.vector_norm(rows[part], dim=1, dtype=torch.float64)
    return lengths.float().numpy()


def row_blocks(
    directory: Path,
    *,
    num_rows: int,
    width: int,
    dtype: str,
    file: str = GRADIENTS,
) -> "Iterator[tuple[slice, Float[Tensor, 'rows numbers']]]":
    """Maps an index's rows block by block, in float32; a block is valid until the next.

    While a block is used, the system reads ahead.

    Args:
        directory: The index.
        num_rows: Its rows.
        width: The numbers of a row.
        dtype: Their type.
        file: The file of the rows.

    Raises:
        IndexFormatError: The file ends before its last row.
    """
    import torch

    if not num_rows:
        return
    # numpy does not know bfloat16, and torch takes no type of another package's.
    is_bfloat = dtype == "bfloat16"
    size = min(num_rows, max(1, BLOCK_BYTES // (4 * width)))
    # Allocating new memory costs more here than all the arithmetic.
    exact = torch.empty(size if dtype != "float32" else 0, width)
    with (directory / file).open("rb") as opened:
        kind = np.dtype(np.uint16 if is_bfloat else number_type(dtype))
        if os.fstat(opened.fileno()).st_size < num_rows * width * kind.itemsize:
            raise IndexFormatError("The index ends before its last row.", "Build the index again.")
        # Copied on writing, so that torch may have it; nothing is written.
        stored = np.memmap(opened, dtype=kind, mode="c", shape=(num_rows, width))
        for start in range(0, num_rows, size):
            part = slice(start, min(start + size, num_rows))
            begin, end = (place * width * kind.itemsize for place in (part.start, part.stop))
            if hasattr(os, "posix_fadvise"):
                ahead = begin + BLOCKS_AHEAD * (end - begin)
                os.posix_fadvise(opened.fileno(), ahead, end - begin, os.POSIX_FADV_WILLNEED)
            rows = torch.from_numpy(stored[part])
            if dtype != "float32":
                rows = rows.view(torch.bfloat16) if is_bfloat else rows
                rows = exact[: len(rows)].copy_(rows)
            yield part, rows
            let_go(stored, begin, end)


def let_go(rows: "np.memmap[Any, Any]", begin: int = 0, end: int | None = None) -> None:
    """Takes mapped pages out of the process's memory, where the system can (Linux).

    They stay in the file. Otherwise all that was ever looked at would count as memory until another
    process needs it.

    Args:
        rows: A whole map.
        begin: The first byte.
        end: The byte behind the last; without it, all to the end.
    """
    if hasattr(mmap, "MADV_DONTNEED") and isinstance(rows.base, mmap.mmap):
        begin -= begin % mmap.PAGESIZE
        length = (len(rows.base) if end is None else end) - begin
        rows.base.madvise(mmap.MADV_DONTNEED, begin, length)
