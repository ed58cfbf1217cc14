"""Builds an index of every example's gradient, so that a kill loses at most one block of it.

Distinct examples are computed in blocks of batches (`row_file`); several processes may each write a
share of the blocks. What belongs beside the rows is written at the end (`finish`).
"""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from whence.artifacts import building, check_place, exclusive, filling
from whence.errors import SettingsError
from whence.gradients.index.collector import collecting, gradient_sizes, new_processor
from whence.gradients.index.engine_build import build_by_engine
from whence.gradients.index.exactness import deviation
from whence.gradients.index.finish import finish_index, index_inputs, open_current, stands
from whence.gradients.index.format import Index, open_index
from whence.gradients.index.manifest import KIND
from whence.gradients.index.row_file import (
    BatchRows,
    allocate,
    is_written,
    read_losses,
    write_blocks,
)
from whence.gradients.passes.batches import Pass, affordable_tokens, check_fits, pad, plan_pass
from whence.gradients.passes.blocks import BLOCK_TOKENS, group_batches
from whence.gradients.passes.capture import gradient_dtype, not_finite
from whence.gradients.passes.correction import correction_scales, scales_digest
from whence.gradients.passes.loss import Precision, batch_tokens
from whence.gradients.passes.workers import worker_count, working
from whence.models import coverage
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel
from whence.settings import IndexSettings

if TYPE_CHECKING:
    from bergson.gradients import GradientProcessor
    from numpy.typing import NDArray

    from whence.gradients.index.row_file import Block, Rows
    from whence.gradients.passes.correction import Scales
    from whence.models.second_moments import SecondMoments

MAX_SHARES = 1_000_000


class RowPass(NamedTuple):
    """A pass over a corpus that computes rows: its batches, and what computes one of them.

    `sizes` are the numbers per module in the order of the columns; `compute_rows` opens, for a
    model that no other worker uses, the function that computes a batch.
    """

    todo: Pass
    sizes: Mapping[str, int]
    num_workers: int
    processor: "GradientProcessor"
    compute_rows: (
        "Callable[[LoadedModel], AbstractContextManager[Callable[[NDArray[np.int64]], BatchRows]]]"
    )


def build_index(
    model: LoadedModel,
    corpus: Corpus,
    directory: Path,
    settings: IndexSettings,
    *,
    shard: tuple[int, int] | None = None,
    second_moments: "SecondMoments | None" = None,
    reference: "Callable[[], LoadedModel] | None" = None,
    progress: Progress = SILENT,
) -> Index | None:
    """Builds an index of every example's gradient, in Bergson's format, with the examples beside.

    The rows are those that `bergson build` would write for the same tokens. An index that was
    finished before from the same inputs is opened, with the examples' texts and origins brought up
    to date; one that was interrupted resumes.

    Args:
        model: The model, whose state is restored afterwards.
        corpus: The examples; an example's loss is that of its tokens' cross-entropies, in nats.
        directory: The index's place.
        settings: Modules, projection and types. A `projection_dim` of None stores gradients whole:
            `plan` chooses one that fits the disk budget.
        shard: (k, n): compute only the k-th of n shares of the work, k from 0. Processes that share
            the file system may each compute one, with equal settings; the last to end finishes the
            index, and so does the same call without a shard, which also computes what was left.
        second_moments: The optimizer's, by parameter name: gradients are divided by their roots
            before they are projected. Only queries that are corrected likewise (`query_rows`) may
            be compared with such rows.
        reference: Loads the same model in float32, for one whose weights are of another type: the
            index then states how far its rows are from those in float32.
        progress: Reports progress.

    Returns:
        The index; None where shares of others are still missing.

    Raises:
        GradientError: A gradient is NaN or infinite.
        CorpusError: An example does not fit the model.
        ModelError: The model has no such modules.
        ArtifactError: The place cannot be written, or another process is building there.
        SettingsError: There is no such share, or the settings do not go with it or with second
            moments.
        MissingEngineError: Bergson cannot be imported.

    Cost:
        One forward and backward pass over the distinct examples; examples · modules ·
        projection_dim² · 4 bytes of disk (2 for the half types); memory for the model and a batch.
    """
    _check_options(settings, shard, second_moments)
    covered = coverage(model, modules=settings.modules, include_bias=settings.include_bias)
    modules = tuple(covered.modules)
    if settings.by_engine:
        return build_by_engine(model, corpus, directory, settings, modules, progress=progress)
    scales = correction_scales(model, modules, second_moments, include_bias=settings.include_bias)
    inputs = index_inputs(model, corpus, settings, modules, correction=scales_digest(scales))
    finished = open_current(directory, model, corpus, inputs, progress)
    if finished is not None:
        return finished
    check_place(directory, kind=KIND)
    check_fits(model, corpus)
    todo = plan_rows(model, corpus, settings, modules, scales=scales)
    build = _Build(
        model,
        corpus,
        Path(os.path.realpath(directory)),
        settings,
        inputs,
        todo,
        group_batches(todo.todo.batches, todo.todo.lengths, block_tokens=BLOCK_TOKENS),
        progress,
    )
    measured = functools.partial(
        deviation,
        model,
        corpus,
        settings,
        modules=modules,
        processor=todo.processor,
        scales=scales,
        reference=reference,
    )
    with ExitStack() as stack:
        if shard is not None:
            if not build.write_share(*shard):
                # Where another process has just finished the index, its marks are gone.
                return open_current(directory, model, corpus, inputs, progress)
            stack.enter_context(exclusive(build.directory, wait=True))
            if stands(build.directory, inputs):
                return open_index(directory, model=model)
        with building(
            build.directory, kind=KIND, inputs=inputs, resume=True, is_locked=shard is not None
        ) as partial:
            apart = measured()
            if apart is not None:
                progress.note(str(apart))
            build.finish(partial, {"deviation": apart and apart._asdict()})
    return open_index(directory, model=model)


def plan_rows(
    model: LoadedModel,
    corpus: Corpus,
    settings: IndexSettings,
    modules: Sequence[str],
    *,
    scales: "Scales | None" = None,
) -> RowPass:
    """Plans the pass that computes an index's rows.

    Args:
        model: The model.
        corpus: The examples.
        settings: Projection, precision, collector, batch size.
        modules: Names of the attributed layers in the base model.
        scales: What gradients are multiplied with before they are projected.
    """
    processor = new_processor(
        projection_dim=settings.projection_dim,
        projection_seed=settings.projection_seed,
        include_bias=settings.include_bias,
    )
    sizes = gradient_sizes(model, modules, processor)
    is_bergsons = settings.collector == "bergson"
    limit = affordable_tokens if is_bergsons else batch_tokens
    held = sum(sizes.values())
    if scales is not None:
        held = max(held, *(values.numel() for values in scales.values()))
    num_workers = 1 if is_bergsons else worker_count(model)
    todo = plan_pass(
        model,
        corpus,
        token_batch_size=limit(model, settings.token_batch_size),
        num_weights=held,
        num_workers=num_workers,
    )
    compute_rows = functools.partial(
        computing_rows,
        todo=todo,
        modules=modules,
        processor=processor,
        collector=settings.collector,
        precision=cast("Precision", settings.precision),
        scales=scales,
        reduction=settings.loss_reduction,
    )
    return RowPass(todo, sizes, num_workers, processor, compute_rows)


@contextmanager
def computing_rows(
    model: LoadedModel,
    *,
    todo: Pass,
    modules: Sequence[str],
    processor: "GradientProcessor",
    **how: Any,
) -> "Iterator[Callable[[NDArray[np.int64]], BatchRows]]":
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

        def take(batch: "NDArray[np.int64]") -> BatchRows:
            found = collect(pad(todo.sequences(batch), context_length=model.context_length))
            values = torch.cat(list(found.rows.values()), dim=1).float().cpu().numpy()
            if (bad := np.flatnonzero(~np.isfinite(values).all(axis=1))).size:
                raise not_finite(todo.example_id(int(batch[int(bad[0])])))
            return BatchRows(values, found.losses.float().cpu().numpy())

        yield take


@dataclass(frozen=True)
class _Build:
    """One index while it is built. `directory` is resolved."""

    model: LoadedModel
    corpus: Corpus
    directory: Path
    settings: IndexSettings
    inputs: Mapping[str, object]
    rows: RowPass
    blocks: "Sequence[Block]"
    progress: Progress

    def write_share(self, number: int, of: int) -> bool:
        """Writes a share of the blocks; returns whether all blocks of the index are written."""
        with filling(self.directory, kind=KIND, inputs=self.inputs) as partial:
            self._write(partial, self.blocks[number::of])
        return all(is_written(partial, block) for block in self.blocks)

    def finish(self, partial: Path, details: Mapping[str, object]) -> None:
        """Writes the blocks that are left, and everything else."""
        rows = self._write(partial, self.blocks)
        self.rows.processor.save(partial)
        rows.flush()
        about = {
            "model_dtype": self.model.dtype,
            "num_distinct": len(self.rows.todo.distinct.rows),
            "gradient_dtype": str(gradient_dtype(self.model)).removeprefix("torch."),
        }
        finish_index(
            partial,
            self.directory,
            self.model,
            self.corpus,
            losses=read_losses(self.rows.todo, self.blocks, partial),
            grad_sizes=self.rows.sizes,
            dtype=self.settings.storage,
            details=about | dict(details),
        )

    def _write(self, partial: Path, blocks: "Sequence[Block]") -> "Rows":
        rows = allocate(partial, len(self.corpus), self.rows.sizes, self.settings.storage)
        with working(
            self.model, self.rows.compute_rows, num_workers=self.rows.num_workers
        ) as compute_all:
            write_blocks(rows, partial, self.rows.todo, blocks, compute_all, self.progress)
        return rows


def _check_options(
    settings: IndexSettings,
    shard: tuple[int, int] | None,
    second_moments: "SecondMoments | None",
) -> None:
    if shard is not None and not 0 <= shard[0] < shard[1] <= MAX_SHARES:
        raise SettingsError(
            f"There is no share {shard[0]} of {shard[1]}.",
            f"Shares are counted from 0, as in 0/4, and are at most {MAX_SHARES:,}.",
        )
    if shard is not None and settings.by_engine:
        raise SettingsError(
            "Bergson's own build, which `fsdp`, int8 and int4 need, has no `shard`.",
            "Leave one of them out.",
        )
    if second_moments is not None and settings.collector == "bergson":
        raise SettingsError(
            "The collector `bergson` does not divide by second moments.",
            "Choose the collector `whence`.",
        )
