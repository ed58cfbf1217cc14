"""How are queries multiplied with every row of an index that may be larger than memory?

Rows are read block by block, and every block is multiplied with all queries at once, so an index is
read once however many queries there are. Lengths of rows do not depend on the query: they are kept
beside the rows when an index is built, and computed on the way for one of Bergson's.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from whence.errors import IndexFormatError
from whence.gradients.index import GRADIENTS, Index, number_type
from whence.progress import SILENT, Progress

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

# A block stays in the cache between reading and multiplying.
BLOCK_BYTES = 4 * 2**20
NORMS = "norms.npy"


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
        progress: Who watches.

    Raises:
        IndexFormatError: A row is NaN or infinite.

    Cost:
        One reading of `gradients.bin` at the speed of the disk; memory for three blocks of at most
        `BLOCK_BYTES`, and the products.
    """
    import torch

    columns = torch.from_numpy(np.ascontiguousarray(asked.T, dtype=np.float32))
    dots = np.empty((len(asked), index.num_examples), dtype=np.float32)
    known = stored_norms(index)
    norms = np.empty(index.num_examples, dtype=np.float32) if known is None else known
    with progress.task("Index", total=index.num_examples, unit="examples") as task:
        for part, rows in row_blocks(
            index.path,
            num_rows=index.num_examples,
            width=sum(index.grad_sizes.values()),
            dtype=index.dtype,
        ):
            found = (rows @ columns).numpy()
            if known is None:
                norms[part] = row_norms(rows)
            good = np.isfinite(found).all(axis=1) & np.isfinite(norms[part])
            if (bad := np.flatnonzero(~good)).size:
                raise IndexFormatError(
                    f"Row {part.start + int(bad[0])} of {index.path} is NaN or infinite.",
                    "Build the index again.",
                )
            dots[:, part] = found.T
            task.advance(len(rows))
    return RowProducts(dots, norms)


def save_norms(directory: Path, *, num_rows: int, width: int, dtype: str) -> None:
    """Measures every row of an index that is being built, block by block, and keeps the lengths."""
    norms = np.empty(num_rows, dtype=np.float32)
    for part, rows in row_blocks(directory, num_rows=num_rows, width=width, dtype=dtype):
        norms[part] = row_norms(rows)
    np.save(directory / NORMS, norms, allow_pickle=False)


def row_norms(rows: "Float[Tensor, 'rows numbers']") -> "NDArray[np.float32]":
    """Measures rows; squares of large numbers overflow float32, so their sum is in float64."""
    import torch

    return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).float().numpy()


def stored_norms(index: Index) -> "NDArray[np.float32] | None":
    """Reads the rows' lengths; None where they were not kept.

    Raises:
        IndexFormatError: They are not those of this index.
    """
    path = index.path / NORMS
    if index.manifest is None or not path.is_file():
        return None
    try:
        norms = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise IndexFormatError(
            f"{path} cannot be read ({error}).", "Build the index again."
        ) from None
    if norms.shape != (index.num_examples,):
        raise IndexFormatError(
            f"{path} has {norms.size:,} lengths for {index.num_examples:,} rows.",
            "Build the index again.",
        )
    return norms


def row_blocks(
    directory: Path, *, num_rows: int, width: int, dtype: str
) -> "Iterator[tuple[slice, Float[Tensor, 'rows numbers']]]":
    """Reads an index's rows block by block, in float32; a block is overwritten by the next.

    While a block is used, another thread reads the one behind it.
    """
    import torch

    if not num_rows:
        return
    # Read and not mapped: pages of a map count as memory until someone else needs them. numpy does
    # not know bfloat16, and torch takes no type of another package's.
    is_bfloat = dtype == "bfloat16"
    size = min(num_rows, max(1, BLOCK_BYTES // (4 * width)))
    parts = [slice(at, min(at + size, num_rows)) for at in range(0, num_rows, size)]
    kind = np.uint16 if is_bfloat else number_type(dtype)
    # Memory that is asked for anew costs more here than all the arithmetic.
    buffers, exact = np.empty((2, size, width), dtype=kind), torch.empty(size, width)
    with (directory / GRADIENTS).open("rb", buffering=0) as file, ThreadPoolExecutor(1) as reader:

        def read(number: int) -> "NDArray[Any]":
            part = parts[number]
            block = buffers[number % 2, : part.stop - part.start]
            _read_into(file, block.data.cast("B"))
            return block

        ahead = reader.submit(read, 0)
        for number, part in enumerate(parts):
            rows = torch.from_numpy(ahead.result())
            if number + 1 < len(parts):
                ahead = reader.submit(read, number + 1)
            if dtype != "float32":
                rows = rows.view(torch.bfloat16) if is_bfloat else rows
                rows = exact[: len(rows)].copy_(rows)
            yield part, rows


def _read_into(file: RawIOBase, room: memoryview) -> None:
    """Reads until the room is full; one call may give less."""
    while len(room):
        count = file.readinto(room)
        if not count:
            raise IndexFormatError("The index ends before its last row.", "Build the index again.")
        room = room[count:]
