"""How is an index built so that a kill loses at most one block of it?

`gradients.bin` is allocated whole before it has its name. Distinct examples are taken in blocks of
batches; a block's rows are written and flushed before its mark, which also holds its losses. Marks
go after the index has its name. Zero stays the row of an example that has no gradient.
"""

import functools
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from whence.artifacts import (
    alone,
    building,
    check_place,
    exclusive,
    filling,
    is_current,
    progress_directory,
    write_bytes,
    write_json,
    write_text,
)
from whence.corpus.store import save_corpus
from whence.errors import GradientError, SettingsError
from whence.gradients.batches import (
    Distinct,
    Pass,
    affordable_tokens,
    check_fits,
    pad,
    plan_pass,
)
from whence.gradients.blocks import BLOCK_TOKENS, group_batches
from whence.gradients.capture import LOSS_REDUCTION, Reduction, gradient_dtype, not_finite
from whence.gradients.collector import Collector, collecting, gradient_sizes, new_processor
from whence.gradients.correction import correction_scales, scales_digest
from whence.gradients.engine import engine_version
from whence.gradients.exactness import deviation
from whence.gradients.index import (
    CORRECTION,
    DEVIATION,
    GRADIENTS,
    INFO,
    Index,
    number_type,
    open_index,
)
from whence.gradients.loss import Precision, batch_tokens
from whence.gradients.search import let_go, save_norms
from whence.gradients.workers import worker_count, working
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from whence.models.second_moments import SecondMoments

MARKS = "blocks"
Storage = Literal["float32", "float16", "bfloat16"]
Rows = np.memmap[Any, Any]


class Taken(NamedTuple):
    """A batch's rows [batch, numbers] and losses in nats."""

    rows: "NDArray[np.float32]"
    losses: "NDArray[np.float32]"


def build_index(
    model: LoadedModel,
    corpus: Corpus,
    directory: Path,
    *,
    modules: Sequence[str],
    projection_dim: int | None,
    projection_seed: int,
    token_batch_size: int,
    collector: Collector = "whence",
    precision: Precision = "float32",
    storage: Storage = "float32",
    shard: tuple[int, int] | None = None,
    second_moments: "SecondMoments | None" = None,
    include_bias: bool = False,
    loss_reduction: Reduction = LOSS_REDUCTION,
    reference: "Callable[[], LoadedModel] | None" = None,
    progress: Progress = SILENT,
) -> Index | None:
    """Builds an index of every example's gradient, in Bergson's format, with the examples beside.

    The rows are those that `bergson build` would write for the same tokens. An index that was
    finished before from the same inputs is opened; one that was interrupted goes on.

    Args:
        model: The model, whose state is restored afterwards.
        corpus: The examples; an example's loss is that of its tokens' cross-entropies, in nats.
        directory: The index's place.
        modules: Names of the attributed layers in the base model.
        projection_dim: Rows and columns that each module's gradient is projected to; None stores
            gradients whole.
        projection_seed: The projection's seed.
        token_batch_size: The most tokens in a batch, padding included.
        collector: Who takes the gradients, ours or Bergson's own hooks; see `collecting`.
        precision: `mixed` multiplies the output layer in bfloat16, where the device can.
        storage: The numbers' type on disk; what is computed does not depend on it.
        shard: (k, n): take only the k-th of n shares of the work, k from 0. Processes that share
            the file system may each take one, with equal settings; who ends last finishes the
            index, and so does the same call without a shard, which also takes what was left.
        second_moments: The optimizer's, by parameter name: gradients are divided by their roots
            before they are projected. Only queries that are corrected likewise (`query_rows`) may
            be compared with such rows.
        include_bias: Attribute the biases of the layers too.
        loss_reduction: An example's loss is the sum over its tokens, or their mean.
        reference: Loads the same model in float32, for one whose weights are of another type: the
            index says then how far its rows are from those in float32.
        progress: Who watches.

    Returns:
        The index; None where shares of others are still missing.

    Raises:
        GradientError: A gradient is NaN or infinite.
        CorpusError: An example does not fit the model.
        ArtifactError: The place cannot be written.
        SettingsError: There is no such share.
        MissingEngineError: Bergson cannot be imported.

    Cost:
        One forward and backward pass over the distinct examples; examples · modules ·
        projection_dim² · 4 bytes of disk (2 for the half types); memory for the model and a batch.
    """
    if shard is not None and not 0 <= shard[0] < shard[1]:
        raise SettingsError(
            f"There is no share {shard[0]} of {shard[1]}.", "Shares are counted from 0, as in 0/4."
        )
    inputs = {
        "model": model.fingerprint,
        "corpus": corpus.fingerprint,
        "modules": sorted(modules),
        "projection_dim": projection_dim,
        "projection_seed": projection_seed,
        "loss_reduction": loss_reduction,
        "collector": collector,
        "precision": precision,
        "storage": storage,
        "bergson": engine_version(),
    }
    if include_bias:
        inputs["include_bias"] = True
    scales = correction_scales(model, modules, second_moments, include_bias=include_bias)
    if scales is not None:
        inputs[CORRECTION] = scales_digest(scales)
    if (finished := open_current(directory, model, inputs)) is not None:
        return finished
    check_place(directory, kind="index")
    check_fits(model, corpus)
    processor = new_processor(
        projection_dim=projection_dim, projection_seed=projection_seed, include_bias=include_bias
    )
    sizes = gradient_sizes(model, modules, processor)
    limit = affordable_tokens if collector == "bergson" else batch_tokens
    held = sum(sizes.values())
    if scales is not None:
        held = max(held, *(values.numel() for values in scales.values()))
    num_workers = 1 if collector == "bergson" else worker_count(model)
    todo = plan_pass(
        corpus,
        token_batch_size=limit(model, token_batch_size),
        num_weights=held,
        num_workers=num_workers,
    )
    blocks = group_batches(todo.batches, todo.lengths, block_tokens=BLOCK_TOKENS)

    how: dict[str, Any] = {
        "modules": modules,
        "processor": processor,
        "collector": collector,
        "precision": precision,
        "scales": scales,
        "reduction": loss_reduction,
    }

    def fill(partial: Path, numbers: Sequence[int]) -> Rows:
        rows = _allocate(partial, len(corpus), sizes, storage)
        opened = functools.partial(taking_rows, todo=todo, **how)
        with working(model, opened, num_workers=num_workers) as take_all:
            _fill(rows, todo, [blocks[n] for n in numbers], _marks(partial), take_all, progress)
        return rows

    with ExitStack() as stack:
        if shard is not None:
            with filling(directory, kind="index", inputs=inputs) as partial:
                fill(partial, range(len(blocks))[shard[0] :: shard[1]])
            if not all(_mark(_marks(partial), block).is_file() for block in blocks):
                # Where another process has just finished the index, its marks are gone.
                return open_current(directory, model, inputs)
            stack.enter_context(exclusive(directory, wait=True))
            if is_current(directory, kind="index", inputs=inputs):
                return open_index(directory, model=model)
        with building(
            directory, kind="index", inputs=inputs, resume=True, is_locked=shard is not None
        ) as partial:
            apart = deviation(model, corpus, reference=reference, storage=storage, **how)
            if apart is not None:
                progress.note(str(apart))
            rows = fill(partial, range(len(blocks)))
            processor.save(partial)
            save_corpus(corpus, partial)
            save_dataset(corpus, _losses(todo, blocks, _marks(partial)), partial)
            write_json(
                partial / "details.json",
                {
                    "model_name": model.name,
                    "model_dtype": model.dtype,
                    "num_distinct": len(todo.distinct.rows),
                    "gradient_dtype": str(gradient_dtype(model)).removeprefix("torch."),
                    DEVIATION: apart and apart._asdict(),
                },
            )
            rows.flush()
            width = sum(sizes.values())
            save_norms(partial, num_rows=len(corpus), width=width, dtype=storage)
    return open_index(directory, model=model)


def open_current(directory: Path, model: LoadedModel, inputs: Mapping[str, Any]) -> Index | None:
    """Opens the index that was made from the same inputs; None where none is whole."""
    if not is_current(directory, kind="index", inputs=inputs):
        return None
    return open_index(directory, model=model)


def _marks(partial: Path) -> Path:
    """The directory of the marks of an index that is being built."""
    return progress_directory(partial) / MARKS


def _allocate(
    directory: Path, num_examples: int, sizes: Mapping[str, int], storage: Storage
) -> Rows:
    """Opens `gradients.bin`, and makes it, with its marks forgotten, where it is not whole."""
    path, marks = directory / GRADIENTS, _marks(directory)
    shape = (num_examples, sum(sizes.values()))
    dtype = number_type(storage)
    num_bytes = dtype.itemsize * shape[0] * shape[1]
    with alone(directory):
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
    write_text(directory / INFO, json.dumps(info, indent=2))
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


def _fill(
    rows: Rows,
    todo: Pass,
    blocks: "Sequence[list[NDArray[np.int64]]]",
    marks: Path,
    take_all: "Callable[[Sequence[NDArray[np.int64]]], Iterator[Taken]]",
    progress: Progress,
) -> None:
    """Writes the rows of some blocks, but for those that are there."""
    copies = _Copies(todo.distinct)
    left = [block for block in blocks if not _mark(marks, block).is_file()]
    if len(left) < len(blocks):
        done = len(blocks) - len(left)
        progress.note(f"{done} of {len(blocks)} blocks of rows were written before.")
    total = sum(todo.num_tokens(block) for block in left)
    with progress.task("Gradients of the examples", total=total, unit="tokens") as task:
        for block in left:
            found = []
            for batch, (taken, losses) in zip(block, take_all(block), strict=True):
                values = _stored(taken, rows.dtype, todo, batch)
                for place, row in zip(batch, values, strict=True):
                    rows[copies.of(int(place))] = row
                found.append(losses)
                task.advance(todo.num_tokens([batch]))
            rows.flush()
            let_go(rows)
            buffer = io.BytesIO()
            np.save(buffer, np.concatenate(found), allow_pickle=False)
            write_bytes(_mark(marks, block), buffer.getvalue())


def _stored(
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


def _mark(marks: Path, block: "list[NDArray[np.int64]]") -> Path:
    """The file that says that a block is written; its name is a hash of what is in the block."""
    digest = hashlib.sha256(b"".join(batch.tobytes() for batch in block))
    return marks / f"{digest.hexdigest()[:20]}.npy"


def _losses(
    todo: Pass, blocks: "Sequence[list[NDArray[np.int64]]]", marks: Path
) -> "NDArray[np.float32]":
    """Reads the examples' losses in nats; NaN for an example of fewer than two tokens."""
    losses = np.full(len(todo.lengths), np.nan, dtype=np.float32)
    for block in blocks:
        losses[np.concatenate(block)] = np.load(_mark(marks, block), allow_pickle=False)
    return losses[todo.distinct.of_example]


@contextmanager
def taking_rows(
    model: LoadedModel, *, todo: Pass, modules: Sequence[str], processor: Any, **how: Any
) -> "Iterator[Callable[[NDArray[np.int64]], Taken]]":
    """Opens a function that computes the rows and losses of one batch.

    Args:
        model: The model.
        todo: The pass that the batch belongs to.
        modules: Names of the attributed layers.
        processor: Bergson's record of how gradients are projected.
        how: What else `collecting` takes.

    Raises:
        GradientError: A gradient is NaN or infinite; raised by the function.
    """
    import torch

    with collecting(model, modules, processor, **how) as collect:

        def take(batch: "NDArray[np.int64]") -> Taken:
            found = collect(pad(todo.sequences(batch), context_length=model.context_length))
            values = torch.cat(list(found.rows.values()), dim=1).float().cpu().numpy()
            if (bad := np.flatnonzero(~np.isfinite(values).all(axis=1))).size:
                raise not_finite(todo.example_id(int(batch[int(bad[0])])))
            return Taken(values, found.losses.float().cpu().numpy())

        yield take


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


def save_dataset(corpus: Corpus, losses: "NDArray[np.float32]", directory: Path) -> None:
    """Writes `data.hf`, from which Bergson's readers take what belongs to each row."""
    import pyarrow as pa
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar

    table = pa.table({"id": list(corpus.ids), "length": corpus.lengths, "loss": losses})
    disable_progress_bar()
    try:
        Dataset(table).save_to_disk(str(directory / "data.hf"))
    finally:
        enable_progress_bar()
