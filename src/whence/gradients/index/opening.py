"""Opening an index: only if its files agree with each other and with its manifest."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whence.artifacts import damage, partial_directory
from whence.artifacts.places import key_of
from whence.buckets import address_of, local_folder
from whence.errors import IndexFormatError
from whence.gradients.index.checks import (
    check_kind,
    check_lengths,
    check_manifest,
    check_model,
    check_size,
    check_version,
    table,
)
from whence.gradients.index.factors import read_layout
from whence.gradients.index.files import read_bergson_config, read_info, read_processor
from whence.gradients.index.format import Index
from whence.gradients.index.manifest import KIND, REBUILD, IndexManifest, read_index_manifest
from whence.progress import SILENT, Progress
from whence.records import LoadedModel


def open_index(
    place: str | Path, *, model: LoadedModel | None = None, progress: Progress = SILENT
) -> Index:
    """Opens an index that `build_index` or `bergson build` made, and checks what is quick to check.

    Of an index with a manifest, every file has the size that it lists, and a small one its digest;
    the shape, projection and type agree with what the manifest says went in; and the lengths of a
    few rows are those that were stored. `whence verify-index` compares every byte.

    Args:
        place: The index's directory, or its address in a bucket, from which it is copied first.
        model: Refuse the index if it was made with another model.
        progress: Reports the progress of a copy.

    Raises:
        IndexFormatError: It is missing, unfinished, damaged, of another version or kind, or was
            made with another model.

    Cost:
        Reading the small files and a few rows.
    """
    directory = local_folder(place, kind=KIND, as_error=IndexFormatError, progress=progress)
    if not os.path.isdir(directory):  # noqa: PTH112  # pathlib raises where a name is too long.
        raise _missing(directory)
    manifest = read_index_manifest(directory)
    if manifest is not None and (clause := damage(directory, manifest.files)):
        raise IndexFormatError(f"{clause}.", REBUILD)
    layout = None
    if manifest is not None and manifest.inputs.rank is not None:
        info, layout = read_layout(directory)
    else:
        info = read_info(directory)
    projection = read_processor(directory)
    run = read_bergson_config(directory)
    index = Index(
        path=directory,
        grad_sizes=info.sizes,
        num_examples=info.num_rows,
        dtype=info.dtype,
        projection=projection,
        loss_reduction=_loss_reduction(manifest, run),
        manifest=manifest,
        layout=layout,
        address=address_of(place),
    )
    check_kind(index, info, run)
    check_version(index, run)
    check_size(index)
    if manifest is not None:
        check_manifest(index, manifest)
        check_lengths(index)
    if model is not None:
        check_model(index, model)
    return index


def _missing(directory: Path) -> IndexFormatError:
    partial = partial_directory(directory)
    if (key_of(partial) or ("",))[0] == KIND:
        return IndexFormatError(
            f"The index {directory} is unfinished.", "Run the same build again; it resumes."
        )
    if os.path.lexists(directory):
        return IndexFormatError(f"{directory} is no directory.", "Check the path.")
    unfinished = f"{directory}.part"
    if os.path.isdir(unfinished):  # noqa: PTH112
        return IndexFormatError(
            f"`bergson build` has not finished {unfinished}.", "Let it finish, or run it again."
        )
    return IndexFormatError(f"There is no index {directory}.", "Check the path.")


def _loss_reduction(manifest: IndexManifest | None, run: Mapping[str, Any]) -> str:
    if manifest is not None:
        return manifest.inputs.loss_reduction
    return table(run, "index_cfg").get("loss_reduction", "sum")
