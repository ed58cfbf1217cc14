"""The file of rows while it is filled, block by block, so that a kill loses at most one block.

`gradients.bin` is allocated whole before it has its name. A block's rows are written and flushed
before its mark, which also holds its losses and a digest of its rows; a mark's name is a hash of
what is in the block. Zero stays the row of an example that has no gradient. A batch is written by
another thread while the next one is computed.
"""

import errno
import functools
import hashlib
import io
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from whence.artifacts import alone, progress_directory, write_bytes, write_text
from whence.errors import GradientError
from whence.gradients.index.factors import Layout, rows_file, stored_width, write_layout
from whence.gradients.index.files import number_type
from whence.gradients.index.manifest import INFO
from whence.gradients.index.search import let_go
from whence.gradients.passes.batches import Distinct, Pass
from whence.gradients.passes.capture import not_finite
from whence.progress import Progress

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    Block = list[NDArray[np.int64]]

MARKS = "blocks"
Rows = np.memmap[tuple[int, int], np.dtype[Any]]


class BatchRows(NamedTuple):
    """A batch's rows and losses in nats, on the device that computes them, perhaps still."""

    rows: "Float[Tensor, 'batch numbers']"
    losses: "Float[Tensor, ' batch']"


def marks_directory(partial: Path) -> Path:
    """Names the directory of the marks of an index that is being built."""
    return progress_directory(partial) / MARKS


def is_written(partial: Path, block: "Block") -> bool:
    """Whether a block's rows are on the disk."""
    return _read_mark(marks_directory(partial), block) is not None


def is_allocated(path: Path, shape: tuple[int, int], storage: str) -> bool:
    """Whether a file of rows [examples, numbers] is there with all its bytes."""
    num_bytes = number_type(storage).itemsize * shape[0] * shape[1]
    return path.is_file() and path.stat().st_size == num_bytes


def allocate(
    partial: Path,
    num_examples: int,
    sizes: Mapping[str, int],
    storage: str,
    layout: Layout | None = None,
) -> Rows:
    """Opens the file of rows, and makes it, with its marks forgotten, where it is not whole."""
    path, marks = partial / rows_file(layout), marks_directory(partial)
    shape = (num_examples, stored_width(layout, sizes))
    dtype = number_type(storage)
    num_bytes = dtype.itemsize * shape[0] * shape[1]
    with alone(partial):
        if not is_allocated(path, shape, storage):
            shutil.rmtree(marks, ignore_errors=True)
            _reserve(path, num_bytes)
        marks.mkdir(parents=True, exist_ok=True)
    if layout is not None:
        write_layout(partial, layout, num_rows=num_examples, dtype=storage)
        return np.memmap(path, dtype=dtype, mode="r+", shape=shape)
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
    left = [block for block in blocks if not is_written(partial, block)]
    if len(left) < len(blocks):
        done = len(blocks) - len(left)
        progress.note(f"{done} of {len(blocks)} blocks of rows were written before.")
    total = sum(todo.num_tokens(block) for block in left)
    with (
        Path(str(rows.filename)).open("r+b") as file,
        progress.task("Gradients of the examples", total=total, unit="tokens") as task,
        _behind() as run_behind,
    ):
        writer = _Writer(file, rows.dtype, marks_directory(partial), todo)
        for block in left:
            for batch, computed in zip(block, compute_all(block), strict=True):
                run_behind(functools.partial(writer.write, block, batch, computed))
                task.advance(todo.num_tokens([batch]))


class _Writer:
    """Writes batches in their order, and a block's mark after its last one.

    The file is not mapped: with a row the system would map a megabyte and more around it, and count
    that as memory.
    """

    def __init__(self, file: BinaryIO, dtype: "np.dtype[Any]", marks: Path, todo: Pass) -> None:
        self._file, self._dtype, self._marks, self._todo = file, dtype, marks, todo
        self._copies = _Copies(todo.distinct)
        self._losses: list[NDArray[np.float32]] = []
        self._digest = 0

    def write(self, block: "Block", batch: "NDArray[np.int64]", computed: BatchRows) -> None:
        """Waits for a batch's rows, and writes them."""
        found = computed.rows.float().cpu().numpy()
        values = np.ascontiguousarray(_rounded(found, self._dtype, self._todo, batch))
        stored = values.view(np.uint8)
        for place, row in zip(batch, stored, strict=True):
            for number in self._copies.of(int(place)):
                self._file.seek(int(number) * stored.shape[1])
                self._file.write(row.data)
        self._losses.append(computed.losses.float().cpu().numpy())
        self._digest = zlib.crc32(stored.data, self._digest)
        if batch is block[-1]:
            self._end(block)

    def _end(self, block: "Block") -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate(self._losses), allow_pickle=False)
        np.save(buffer, np.uint32(self._digest), allow_pickle=False)
        write_bytes(_mark(self._marks, block), buffer.getvalue())
        self._losses, self._digest = [], 0


@contextmanager
def _behind() -> "Iterator[Callable[[Callable[[], None]], None]]":
    """Opens a function that runs calls in another thread, in order, while its caller goes on.

    At most one is not done; what one raises is raised by the next, or at the end.
    """
    with ThreadPoolExecutor(1) as pool:
        running: list[Future[None]] = []

        def run(call: "Callable[[], None]") -> None:
            if running:
                running.pop().result()
            running.append(pool.submit(call))

        yield run
        if running:
            running.pop().result()


def altered_blocks(
    rows: Rows, partial: Path, todo: Pass, blocks: "Sequence[Block]", progress: Progress
) -> "list[Block]":
    """Finds written blocks whose rows in the file are not those that were computed.

    A process on another host may have left its mark and lost its rows. The marks of such blocks
    are removed, so that they are computed again.

    Args:
        rows: The open file.
        partial: The directory of the index that is being built.
        todo: The pass that the blocks belong to.
        blocks: What to compare; all of them have marks.
        progress: Reports progress.

    Cost:
        One reading of the file.
    """
    copies, marks = _Copies(todo.distinct), marks_directory(partial)
    altered = []
    with progress.task("Comparing rows", total=len(blocks), unit="blocks") as task:
        for block in blocks:
            mark, digest, is_same = _read_mark(marks, block), 0, True
            for batch in block:
                places = [copies.of(int(place)) for place in batch]
                values = np.ascontiguousarray(rows[[place[0] for place in places]])
                digest = zlib.crc32(values.view(np.uint8).data, digest)
                # Bytes, because a row may be stored in a type that has no comparison.
                is_same &= all(
                    rows[row].tobytes() == value.tobytes()
                    for place, value in zip(places, values, strict=True)
                    for row in place[1:]
                )
            let_go(rows)
            if not is_same or mark is None or mark.digest not in (None, digest):
                _mark(marks, block).unlink(missing_ok=True)
                altered.append(block)
            task.advance()
    return altered


def foreign_marks(partial: Path, blocks: "Sequence[Block]") -> int:
    """Counts written blocks that are none of these, since batches were formed otherwise."""
    marks = marks_directory(partial)
    own = {_mark(marks, block).name for block in blocks}
    return sum(path.name not in own for path in marks.glob("*.npy"))


class _Mark(NamedTuple):
    """What a mark holds: losses in nats, and the rows' digest; None from an older version."""

    losses: "NDArray[np.float32]"
    digest: int | None


def _read_mark(marks: Path, block: "Block") -> _Mark | None:
    """Reads a block's mark; None where there is none, or one that the system lost a part of.

    Marks are not flushed to the disk one by one, so that a machine may go down before one is there.
    """
    path, num_rows = _mark(marks, block), sum(len(batch) for batch in block)
    try:
        with path.open("rb") as file:
            losses = np.load(file, allow_pickle=False)
            is_older = file.tell() == path.stat().st_size
            digest = None if is_older else int(np.load(file, allow_pickle=False))
    except (FileNotFoundError, ValueError, EOFError):
        return None
    is_whole = losses.shape == (num_rows,) and losses.dtype == np.float32
    return _Mark(losses, digest) if is_whole else None


def read_losses(todo: Pass, blocks: "Sequence[Block]", partial: Path) -> "NDArray[np.float32]":
    """Reads the examples' losses in nats; NaN for an example of fewer than two tokens.

    Raises:
        FileNotFoundError: A block has no mark.
    """
    marks = marks_directory(partial)
    losses = np.full(len(todo.lengths), np.nan, dtype=np.float32)
    for block in blocks:
        mark = _read_mark(marks, block)
        if mark is None:
            path = str(_mark(marks, block))
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        losses[np.concatenate(block)] = mark.losses
    return losses[todo.distinct.of_example]


def _rounded(
    values: "NDArray[np.float32]", dtype: "np.dtype[Any]", todo: Pass, batch: "NDArray[np.int64]"
) -> "NDArray[Any]":
    """Rounds rows to the type they are stored in.

    Raises:
        GradientError: A row is NaN or infinite, or too large for the type.
    """
    if (bad := _first_bad(values)) is not None:
        raise not_finite(todo.example_id(int(batch[bad])))
    if dtype == values.dtype:
        return values
    with np.errstate(over="ignore"):
        rounded = values.astype(dtype)
    if (bad := _first_bad(rounded.astype(np.float32))) is not None:
        raise GradientError(
            f"The gradient of example `{todo.example_id(int(batch[bad]))}` is too large for "
            f"{dtype.name}.",
            "Store it as bfloat16 or float32.",
        )
    return rounded


def _first_bad(values: "NDArray[np.float32]") -> int | None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    return int(bad[0]) if bad.size else None


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
