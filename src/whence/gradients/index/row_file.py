"""The file of rows while it is filled, block by block, so that a kill loses at most one block.

`gradients.bin` is allocated whole before it has its name. A block's rows are written and flushed
before its mark, which also holds its losses; a mark's name is a hash of what is in the block. Zero
stays the row of an example that has no gradient.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from whence.artifacts import alone, progress_directory, write_bytes, write_text
from whence.errors import GradientError
from whence.gradients.index.files import number_type
from whence.gradients.index.manifest import GRADIENTS, INFO
from whence.gradients.index.search import let_go
from whence.gradients.passes.batches import Distinct, Pass
from whence.progress import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Block = list[NDArray[np.int64]]

MARKS = "blocks"
Rows = np.memmap[tuple[int, int], np.dtype[Any]]


class BatchRows(NamedTuple):
    """A batch's rows [batch, numbers] and losses in nats."""

    rows: "NDArray[np.float32]"
    losses: "NDArray[np.float32]"


def marks_directory(partial: Path) -> Path:
    """Names the directory of the marks of an index that is being built."""
    return progress_directory(partial) / MARKS


def is_written(partial: Path, block: "Block") -> bool:
    """Whether a block's rows are on the disk."""
    return _mark(marks_directory(partial), block).is_file()


def allocate(partial: Path, num_examples: int, sizes: Mapping[str, int], storage: str) -> Rows:
    """Opens `gradients.bin`, and makes it, with its marks forgotten, where it is not whole."""
    path, marks = partial / GRADIENTS, marks_directory(partial)
    shape = (num_examples, sum(sizes.values()))
    dtype = number_type(storage)
    num_bytes = dtype.itemsize * shape[0] * shape[1]
    with alone(partial):
        if not path.is_file() or path.stat().st_size != num_bytes:
            shutil.rmtree(marks, ignore_errors=True)
            _reserve(path, num_bytes)
        marks.mkdir(parents=True, exist_ok=True)
    info = {
        "attribute_tokens": False,
        "num_items": num_examples,
        "num_grads": num_examples,
        "grad_sizes": dict(sizes),
        "base_dtype": storage,
    }
    # Not sorted: the order of the modules is the order of the columns.
    write_text(partial / INFO, json.dumps(info, indent=2))
    return np.memmap(path, dtype=dtype, mode="r+", shape=shape)


def _reserve(path: Path, num_bytes: int) -> None:
    """Makes a file of zeros whose every byte has its place on the disk before it has its name.

    A hole in a mapped file would end the process with a bus error when the disk is full.
    """
    unnamed = path.with_name(f".{path.name}.partial")
    try:
        with unnamed.open("wb") as file:
            file.truncate(num_bytes)
            if num_bytes and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, num_bytes)
        unnamed.replace(path)
    except OSError:
        unnamed.unlink(missing_ok=True)
        raise


def write_blocks(
    rows: Rows,
    partial: Path,
    todo: Pass,
    blocks: "Sequence[Block]",
    compute_all: "Callable[[Sequence[NDArray[np.int64]]], Iterator[BatchRows]]",
    progress: Progress,
) -> None:
    """Computes and writes the rows of some blocks, but for those that are written already.

    Args:
        rows: The open file.
        partial: The directory of the index that is being built.
        todo: The pass that the blocks belong to.
        blocks: What to write.
        compute_all: Computes batches, in their order.
        progress: Reports progress.

    Raises:
        GradientError: A gradient is NaN or infinite, or too large for the file's type.
    """
    copies, marks = _Copies(todo.distinct), marks_directory(partial)
    left = [block for block in blocks if not is_written(partial, block)]
    if len(left) < len(blocks):
        done = len(blocks) - len(left)
        progress.note(f"{done} of {len(blocks)} blocks of rows were written before.")
    total = sum(todo.num_tokens(block) for block in left)
    with progress.task("Gradients of the examples", total=total, unit="tokens") as task:
        for block in left:
            losses = []
            for batch, computed in zip(block, compute_all(block), strict=True):
                values = _rounded(computed.rows, rows.dtype, todo, batch)
                for place, row in zip(batch, values, strict=True):
                    rows[copies.of(int(place))] = row
                losses.append(computed.losses)
                task.advance(todo.num_tokens([batch]))
            rows.flush()
            let_go(rows)
            buffer = io.BytesIO()
            np.save(buffer, np.concatenate(losses), allow_pickle=False)
            write_bytes(_mark(marks, block), buffer.getvalue())


def read_losses(todo: Pass, blocks: "Sequence[Block]", partial: Path) -> "NDArray[np.float32]":
    """Reads the examples' losses in nats; NaN for an example of fewer than two tokens."""
    marks = marks_directory(partial)
    losses = np.full(len(todo.lengths), np.nan, dtype=np.float32)
    for block in blocks:
        losses[np.concatenate(block)] = np.load(_mark(marks, block), allow_pickle=False)
    return losses[todo.distinct.of_example]


def _rounded(
    values: "NDArray[np.float32]", dtype: "np.dtype[Any]", todo: Pass, batch: "NDArray[np.int64]"
) -> "NDArray[Any]":
    """Rounds rows to the type they are stored in, and refuses those that it cannot hold."""
    if dtype == values.dtype:
        return values
    with np.errstate(over="ignore"):
        rounded = values.astype(dtype)
    if (bad := np.flatnonzero(~np.isfinite(rounded.astype(np.float32)).all(axis=1))).size:
        raise GradientError(
            f"The gradient of example `{todo.example_id(int(batch[int(bad[0])]))}` is too large "
            f"for {dtype.name}.",
            "Store it as bfloat16 or float32.",
        )
    return rounded


def _mark(marks: Path, block: "Block") -> Path:
    """The file that says that a block is written; its name is a hash of what is in the block."""
    digest = hashlib.sha256(b"".join(batch.tobytes() for batch in block))
    return marks / f"{digest.hexdigest()[:20]}.npy"


class _Copies:
    """Finds the rows of all examples with the same tokens."""

    def __init__(self, distinct: Distinct) -> None:
        self._order = np.argsort(distinct.of_example, kind="stable")
        counts = np.bincount(distinct.of_example, minlength=len(distinct.rows))
        self._ends = np.cumsum(counts)
        self._starts = self._ends - counts

    def of(self, place: int) -> "NDArray[np.int64]":
        """The examples' rows, for one place among the distinct ones."""
        return self._order[self._starts[place] : self._ends[place]]
