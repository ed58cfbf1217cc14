"""Builds an index of every example's gradient, so that a kill loses at most one block of it.

Distinct examples are computed in blocks of batches (`row_file`); several processes may each write a
share of the blocks (`shares`). What belongs beside the rows is written at the end (`finish`).
"""

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from whence.artifacts import (
    building,
    check_place,
    damage,
    exclusive,
    filling,
    fingerprint,
    is_current,
    key_of,
    partial_directory,
    read_manifest,
)
from whence.errors import ArtifactError, SettingsError
from whence.gradients.index.agreement import measure_agreement
from whence.gradients.index.collector import Collect, collecting, gradient_shapes, new_processor
from whence.gradients.index.engine_build import build_by_engine
from whence.gradients.index.exactness import deviation
from whence.gradients.index.factors import Layout, factorize, rows_file, stored_width
from whence.gradients.index.finish import finish_index, index_inputs, open_current, stands
from whence.gradients.index.format import Index
from whence.gradients.index.manifest import KIND
from whence.gradients.index.opening import open_index
from whence.gradients.index.row_file import (
    BatchRows,
    allocate,
    altered_blocks,
    foreign_marks,
    is_allocated,
    is_written,
    read_losses,
    write_blocks,
)
from whence.gradients.index.shares import (
    Division,
    ShareReport,
    agreed_division,
    ranges,
    read_division,
    report_shares,
)
from whence.gradients.passes.batches import (
    Pass,
    affordable_tokens,
    check_fits,
    model_device,
    pad,
    plan_pass,
)
from whence.gradients.passes.blocks import BLOCK_TOKENS, group_batches
from whence.gradients.passes.capture import gradient_dtype, not_finite
from whence.gradients.passes.correction import correction_scales, scales_digest
from whence.gradients.passes.fitting import Halving, device_memory, fitting_tokens
from whence.gradients.passes.loss import batch_tokens
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

    `sizes` are the numbers per module in the order of the columns, and `layout` their factors where
    rows are factorized; `compute_rows` opens, for a model that no other worker uses, the function
    that computes a batch.
    """

    todo: Pass
    division: Division
    sizes: Mapping[str, int]
    layout: Layout | None
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
    job = _job(model, corpus, directory, settings, second_moments, progress)
    if settings.by_engine:
        return build_by_engine(model, corpus, directory, settings, job.modules, progress=progress)
    finished = open_current(directory, model, corpus, job.inputs, progress)
    if finished is not None:
        return finished
    check_place(directory, kind=KIND)
    check_fits(model, corpus)
    build = _planned(job, None)
    with ExitStack() as stack:
        if shard is not None:
            if not build.write_share(*shard):
                # Where another process has just finished the index, its marks are gone.
                return open_current(directory, model, corpus, job.inputs, progress)
            stack.enter_context(exclusive(job.directory, wait=True))
            if stands(job.directory, job.inputs):
                return open_index(directory, model=model)
        with building(
            job.directory, kind=KIND, inputs=job.inputs, resume=True, is_locked=shard is not None
        ) as partial:
            build = build.begin(partial)
            build.write(partial, build.blocks)
            build.finish(partial, reference)
    return open_index(directory, model=model)


def merge_index(
    model: LoadedModel,
    corpus: Corpus,
    directory: Path,
    settings: IndexSettings,
    *,
    second_moments: "SecondMoments | None" = None,
    reference: "Callable[[], LoadedModel] | None" = None,
    progress: Progress = SILENT,
) -> Index:
    """Finishes an index whose shares are all written, and computes no row of it.

    Every block's rows are compared with the digest that was taken when they were computed. An index
    that is finished already is compared with its manifest, byte by byte.

    Args:
        model: See `build_index`, as all that follows.
        corpus: The examples.
        directory: The index's place.
        settings: Those of the shares.
        second_moments: Those of the shares.
        reference: For rows in reduced precision, of which a few are compared with float32.
        progress: Reports progress.

    Raises:
        ArtifactError: Shares lack blocks, or the file does not hold what they have computed (those
            blocks are computed again by their shares), or another process is building there.
        SettingsError: Bergson's own build has no shares.

    Cost:
        Two readings of the rows.
    """
    _check_options(settings, (0, 1), second_moments)
    job = _job(model, corpus, directory, settings, second_moments, progress)
    check_fits(model, corpus)
    # Ends what a killed process left undone between the last file and the index's name.
    is_current(job.directory, kind=KIND, inputs=job.inputs)
    with exclusive(job.directory):
        if _is_finished(job):
            if not stands(job.directory, job.inputs):
                raise ArtifactError(
                    f"{directory} was changed after it was written.",
                    "`whence verify-index` lists what is damaged; remove it and build it again.",
                )
            return open_index(directory, model=model)
        build, partial = _unfinished(job), partial_directory(job.directory)
        _refuse(build, [b for b in build.blocks if not build.is_written(partial, b)], "lacks")
        with building(
            job.directory, kind=KIND, inputs=job.inputs, resume=True, is_locked=True
        ) as partial:
            rows = build.open_rows(partial)
            altered = altered_blocks(rows, partial, build.rows.todo, build.blocks, progress)
            _refuse(build, altered, "has lost, on the way to the disk,")
            build.finish(partial, reference)
    return open_index(directory, model=model)


def missing_shares(
    model: LoadedModel,
    corpus: Corpus,
    directory: Path,
    settings: IndexSettings,
    *,
    num_shares: int,
    second_moments: "SecondMoments | None" = None,
) -> ShareReport:
    """Lists which of so many shares of an index lack blocks; nothing is changed.

    Raises:
        ArtifactError: An index with other settings is being built there.
        SettingsError: There cannot be so many shares.
    """
    _check_options(settings, (0, num_shares), second_moments)
    job = _job(model, corpus, directory, settings, second_moments, SILENT)
    check_fits(model, corpus)
    build, partial = _unfinished(job), partial_directory(job.directory)
    return report_shares(
        [build.is_written(partial, block) for block in build.blocks],
        num_shares=num_shares,
        is_finished=_is_finished(job),
        num_foreign=foreign_marks(partial, build.blocks),
    )


@dataclass(frozen=True)
class _Job:
    """What is built and where. `directory` is resolved."""

    model: LoadedModel
    corpus: Corpus
    directory: Path
    settings: IndexSettings
    modules: tuple[str, ...]
    scales: "Scales | None"
    inputs: Mapping[str, object]
    progress: Progress


def _job(
    model: LoadedModel,
    corpus: Corpus,
    directory: Path,
    settings: IndexSettings,
    second_moments: "SecondMoments | None",
    progress: Progress,
) -> _Job:
    covered = coverage(model, modules=settings.modules, include_bias=settings.include_bias)
    modules = tuple(covered.modules)
    scales = correction_scales(model, modules, second_moments, include_bias=settings.include_bias)
    inputs = index_inputs(model, corpus, settings, modules, correction=scales_digest(scales))
    place = Path(os.path.realpath(directory))
    return _Job(model, corpus, place, settings, modules, scales, inputs, progress)


def _planned(job: _Job, division: Division | None) -> "_Build":
    """Plans the blocks of an index; by the model and this machine where no division is given."""
    rows = plan_rows(
        job.model, job.corpus, job.settings, job.modules, scales=job.scales, division=division
    )
    if division is None and job.settings.set_batch_size is None:
        device = model_device(job.model)
        if device_memory(device) is not None:
            job.progress.note(f"{rows.division.num_tokens:,} tokens at once fit {device}.")
    blocks = group_batches(rows.todo.batches, rows.todo.lengths, block_tokens=BLOCK_TOKENS)
    return _Build(job, rows, blocks)


def _unfinished(job: _Job) -> "_Build":
    """Plans the blocks of an index as the processes that have begun it do.

    Raises:
        ArtifactError: Another index is being built there.
    """
    partial = partial_directory(job.directory)
    found = key_of(partial)
    if found not in (None, (KIND, fingerprint(KIND, dict(job.inputs)))):
        raise ArtifactError(
            f"{partial} holds an unfinished build with other settings.",
            "Give the settings, the model and the corpus of that build.",
        )
    division = read_division(partial)
    is_ours = division is not None and division.setting == job.settings.set_batch_size
    return _planned(job, division if is_ours else None)


def _is_finished(job: _Job) -> bool:
    """Whether an index of these inputs stands there, as far as sizes and small files say."""
    try:
        manifest = read_manifest(job.directory)
    except ArtifactError:
        return False
    is_same = manifest.key == fingerprint(KIND, dict(job.inputs))
    return is_same and damage(job.directory, manifest.files) is None


def _refuse(build: "_Build", blocks: "Sequence[Block]", what: str) -> None:
    """Names the shares that blocks belong to.

    Raises:
        ArtifactError: There are any.
    """
    if not blocks:
        return
    places = {id(block): place for place, block in enumerate(build.blocks)}
    num_shares, directory = build.rows.division.num_shares, build.job.directory
    shares, remedy = "", "Run the same build again: it resumes."
    if num_shares is not None:
        lacking = sorted({places[id(block)] % num_shares for block in blocks})
        one = "shard" if len(lacking) == 1 else "shards"
        shares = f", those of {one} {ranges(lacking)} of {num_shares}"
        remedy = f"Run with `--shard {lacking[0]}/{num_shares}`" + (
            " and so on for each of them, then merge." if len(lacking) > 1 else ", then merge."
        )
    raise ArtifactError(
        f"{directory} {what} {len(blocks)} of {len(build.blocks)} blocks of rows{shares}.", remedy
    )


def plan_rows(
    model: LoadedModel,
    corpus: Corpus,
    settings: IndexSettings,
    modules: Sequence[str],
    *,
    scales: "Scales | None" = None,
    division: Division | None = None,
) -> RowPass:
    """Plans the pass that computes an index's rows.

    Args:
        model: The model.
        corpus: The examples.
        settings: Projection, precision, collector, batch size.
        modules: Names of the attributed layers in the base model.
        scales: What gradients are multiplied with before they are projected.
        division: How other processes cut the corpus into batches; by default this one chooses.
    """
    processor = new_processor(
        projection_dim=settings.projection_dim,
        projection_seed=settings.projection_seed,
        include_bias=settings.include_bias,
    )
    shapes = gradient_shapes(model, modules, processor)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    layout = None if settings.rank is None else Layout.of(shapes, settings.rank)
    is_bergsons = settings.collector == "bergson"
    limit = affordable_tokens if is_bergsons else batch_tokens
    held = sum(sizes.values())
    if scales is not None:
        held = max(held, *(values.numel() for values in scales.values()))
    num_workers = 1 if is_bergsons else worker_count(model)
    how: dict[str, Any] = {
        "collector": settings.collector,
        "precision": settings.precision,
        "scales": scales,
        "reduction": settings.loss_reduction,
    }
    if division is None:
        tokens = _token_batch_size(
            model, corpus, settings, lambda: collecting(model, modules, processor, **how)
        )
        division = Division(settings.set_batch_size, limit(model, tokens), num_workers)
    todo = plan_pass(
        model,
        corpus,
        token_batch_size=division.num_tokens,
        num_weights=held,
        num_workers=division.num_workers,
    )
    compute_rows = functools.partial(
        computing_rows,
        todo=todo,
        modules=modules,
        processor=processor,
        layout=layout,
        **how,
    )
    return RowPass(todo, division, sizes, layout, num_workers, processor, compute_rows)


@contextmanager
def computing_rows(
    model: LoadedModel,
    *,
    todo: Pass,
    modules: Sequence[str],
    processor: "GradientProcessor",
    layout: Layout | None = None,
    **how: Any,
) -> "Iterator[Callable[[NDArray[np.int64]], BatchRows]]":
    """Opens a function that computes the rows and losses of one batch.

    Args:
        model: The model.
        todo: The pass that the batch belongs to.
        modules: Names of the attributed layers.
        processor: Bergson's record of how gradients are projected.
        layout: The columns of factorized rows.
        how: What else `collecting` takes.

    Raises:
        GradientError: A gradient that is to be factorized is NaN or infinite; raised by the
            function.
    """
    import torch

    memory = device_memory(model_device(model))
    with collecting(model, modules, processor, **how) as collect:

        def compute(batch: "NDArray[np.int64]") -> BatchRows:
            found = collect(pad(todo.sequences(batch), context_length=model.context_length))
            values = torch.cat(list(found.rows.values()), dim=1)
            if layout is not None:
                # What is not finite has no factors.
                if (bad := (~values.isfinite().all(dim=1)).nonzero()).numel():
                    raise not_finite(todo.example_id(int(batch[int(bad[0])])))
                values = factorize(found.rows, layout)
            return BatchRows(values, found.losses)

        yield Halving(
            compute,
            lambda halves: BatchRows(*map(torch.cat, zip(*halves, strict=True))),
            size=lambda batch: len(batch) * int(todo.lengths[batch].max()),
            release=memory.release if memory else lambda: None,
        )


def _token_batch_size(
    model: LoadedModel,
    corpus: Corpus,
    settings: IndexSettings,
    collect_with: "Callable[[], AbstractContextManager[Collect]]",
) -> int:
    """Chooses the tokens of a batch: as set, what the device holds, or what suits a CPU's cache."""
    memory = device_memory(model_device(model))
    if settings.set_batch_size is not None or memory is None or not len(corpus):
        return settings.token_batch_size
    longest = corpus.input_ids(int(corpus.lengths.argmax()))
    if len(longest) < 2:
        return settings.token_batch_size
    with collect_with() as collect:

        def run(tokens: int) -> None:
            sequences = [longest] * max(1, tokens // len(longest))
            collect(pad(sequences, context_length=model.context_length)).losses.cpu()

        return fitting_tokens(run, memory)


@dataclass(frozen=True)
class _Build:
    """One index while it is built, with its blocks in order."""

    job: _Job
    rows: RowPass
    blocks: "Sequence[Block]"

    def begin(self, partial: Path, *, num_shares: int | None = None) -> "_Build":
        """Makes the file of rows, and divides the work as those do who have begun it."""
        self.open_rows(partial)
        own = self.rows.division._replace(num_shares=num_shares)
        division = agreed_division(partial, own)
        if division._replace(num_shares=None) == own._replace(num_shares=None):
            return replace(self, rows=self.rows._replace(division=division))
        return _planned(self.job, division)

    def write_share(self, number: int, of: int) -> bool:
        """Writes a share of the blocks; returns whether all blocks of the index are written."""
        job = self.job
        with filling(job.directory, kind=KIND, inputs=job.inputs) as partial:
            build = self.begin(partial, num_shares=of)
            build.write(partial, build.blocks[number::of])
        return all(is_written(partial, block) for block in build.blocks)

    def is_written(self, partial: Path, block: "Block") -> bool:
        """Whether a block can be used; not if the file that had its rows is gone."""
        layout, storage = self.rows.layout, self.job.settings.storage
        shape = (len(self.job.corpus), stored_width(layout, self.rows.sizes))
        path = partial / rows_file(layout)
        return is_allocated(path, shape, storage) and is_written(partial, block)

    def open_rows(self, partial: Path) -> "Rows":
        """Opens the file of rows, and makes it where it is not whole."""
        job = self.job
        rows = self.rows
        storage = job.settings.storage
        return allocate(partial, len(job.corpus), rows.sizes, storage, rows.layout)

    def write(self, partial: Path, blocks: "Sequence[Block]") -> None:
        """Writes those of some blocks that are left."""
        job, todo, rows = self.job, self.rows.todo, self.open_rows(partial)
        with working(
            job.model, self.rows.compute_rows, num_workers=self.rows.num_workers
        ) as compute_all:
            write_blocks(rows, partial, todo, blocks, compute_all, job.progress)
        rows.flush()

    def finish(self, partial: Path, reference: "Callable[[], LoadedModel] | None") -> None:
        """Writes what stands beside the rows, all of which are written."""
        job = self.job
        apart = deviation(
            job.model,
            job.corpus,
            job.settings,
            modules=job.modules,
            processor=self.rows.processor,
            scales=job.scales,
            reference=reference,
        )
        agreement = None
        if self.rows.layout is not None:
            agreement = measure_agreement(
                job.model,
                job.corpus,
                job.settings,
                modules=job.modules,
                processor=self.rows.processor,
                scales=job.scales,
                layout=self.rows.layout,
            )
        for measured in (apart, agreement):
            if measured is not None:
                job.progress.note(str(measured))
        self.rows.processor.save(partial)
        finish_index(
            partial,
            job.directory,
            job.model,
            job.corpus,
            losses=read_losses(self.rows.todo, self.blocks, partial),
            grad_sizes=self.rows.sizes,
            dtype=job.settings.storage,
            details={
                "model_dtype": job.model.dtype,
                "num_distinct": len(self.rows.todo.distinct.rows),
                "gradient_dtype": str(gradient_dtype(job.model)).removeprefix("torch."),
                "deviation": apart and apart._asdict(),
                **({} if agreement is None else {"agreement": agreement._asdict()}),
            },
            layout=self.rows.layout,
        )


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
