"""An index of gradients, opened only if its files agree with each other and with its manifest.

An index is a directory in Bergson's format: `gradients.bin` (examples × numbers, row-major),
`info.json` (its shape and modules) and `processor_config.yaml` (how gradients were projected). With
factorized rows it is one of our own: `factors.bin` and `factors.json` stand for the first two.
Ours adds a manifest with the digest of every file, and the examples themselves; an index that
`bergson build` made has neither.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.artifacts import damage, partial_directory
from whence.artifacts.places import key_of
from whence.corpus.store import read_corpus
from whence.errors import IndexFormatError
from whence.gradients.index.checks import (
    check_kind,
    check_lengths,
    check_manifest,
    check_size,
    check_version,
    table,
)
from whence.gradients.index.factors import (
    ExpandedRows,
    Layout,
    read_layout,
    rows_file,
    stored_width,
)
from whence.gradients.index.files import (
    Projection,
    foreign_corpus,
    number_type,
    read_bergson_config,
    read_info,
    read_processor,
)
from whence.gradients.index.manifest import (
    KIND,
    REBUILD,
    IndexManifest,
    read_index_manifest,
)
from whence.records import Corpus, LoadedModel
from whence.settings import ModelSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Index:
    """An index whose files were checked. `manifest` is None where Bergson itself made it."""

    path: Path
    grad_sizes: Mapping[str, int]
    num_examples: int
    dtype: str
    projection: Projection
    loss_reduction: str
    manifest: IndexManifest | None
    layout: Layout | None = None

    @property
    def width(self) -> int:
        """The stored numbers of a row."""
        return stored_width(self.layout, self.grad_sizes)

    @property
    def rank(self) -> int | None:
        """The rank of factorized rows; None where rows are whole."""
        return self.manifest.inputs.rank if self.manifest else None

    @property
    def modules(self) -> tuple[str, ...]:
        """The attributed layers, in the order of the columns."""
        return tuple(self.grad_sizes)

    @property
    def projection_dim(self) -> int | None:
        """Rows and columns that each module's gradient is projected to; None: not projected."""
        return self.projection.dim or None

    @property
    def projection_seed(self) -> int | None:
        """The seed of the projection."""
        return self.projection.seed

    @property
    def include_bias(self) -> bool:
        """Whether the biases of the layers are attributed too."""
        return self.projection.include_bias

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the model it was made with; None where that is not known."""
        return self.manifest.inputs.model if self.manifest else None

    @property
    def correction(self) -> str | None:
        """A hash of what gradients were multiplied with; None where they were left as they are."""
        return self.manifest.inputs.correction if self.manifest else None

    @property
    def deviation(self) -> dict[str, object] | None:
        """How far rows are from those in float32 (`Deviation`); None where it was not measured."""
        return self.manifest.details.deviation if self.manifest else None

    @property
    def agreement(self) -> dict[str, object] | None:
        """How well factorized rows agree with whole ones (`Agreement`); None of whole rows."""
        return self.manifest.details.agreement if self.manifest else None

    @property
    def model_settings(self) -> ModelSettings | None:
        """What loads the model it was made with; None where that is not known.

        Raises:
            IndexFormatError: The model's folder is no longer where it was, seen from the index.
        """
        place = self.manifest.details.model if self.manifest else None
        return place.settings(self.path) if place else None

    @cached_property
    def gradients(self) -> "NDArray[Any]":
        """The rows, mapped and not read, in the order of the examples.

        Factorized rows are multiplied out where they are looked at (`ExpandedRows`).
        """
        if self.layout is not None:
            return ExpandedRows(  # pyright: ignore[reportReturnType]
                self.path / rows_file(self.layout),
                num_rows=self.num_examples,
                dtype=self.dtype,
                layout=self.layout,
            )
        shape = (self.num_examples, self.width)
        return np.memmap(
            self.path / rows_file(None), dtype=number_type(self.dtype), mode="r", shape=shape
        )

    @cached_property
    def corpus(self) -> Corpus:
        """The examples, in the order of the rows.

        Of an index that Bergson made, ids are row numbers, and texts and tokens are there only if
        Bergson was told to keep them.

        Raises:
            CorpusError: They are not those that the index was built with.
            IndexFormatError: They are of another number, or cannot be read.
        """
        if self.manifest is None:
            return foreign_corpus(self.path, self.num_examples)
        corpus = read_corpus(self.path)
        if corpus.fingerprint != self.manifest.inputs.corpus:
            raise IndexFormatError(
                f"The examples in {self.path} are not those that its rows were computed from.",
                REBUILD,
            )
        return corpus

    @property
    def ids(self) -> tuple[str, ...]:
        """The examples' ids, in the order of the rows."""
        return self.corpus.ids


def open_index(directory: Path, *, model: LoadedModel | None = None) -> Index:
    """Opens an index that `build_index` or `bergson build` made, and checks what is quick to check.

    Of an index with a manifest, every file has the size that it lists, and a small one its digest;
    the shape, projection and type agree with what the manifest says went in; and the lengths of a
    few rows are those that were stored. `whence verify-index` compares every byte.

    Args:
        directory: The index.
        model: Refuse the index if it was made with another model.

    Raises:
        IndexFormatError: It is missing, unfinished, damaged, of another version or kind, or was
            made with another model.

    Cost:
        Reading the small files and a few rows.
    """
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


def check_model(index: Index, model: LoadedModel) -> None:
    """Refuses to compare gradients of two models.

    Raises:
        IndexFormatError: The index was made with another model.
    """
    if index.fingerprint not in (None, model.fingerprint):
        assert index.manifest is not None
        raise IndexFormatError(
            f"{index.path} was made with {index.manifest.details.model_name} "
            f"({index.fingerprint}), not with {model.label} ({model.fingerprint}).",
            "Use that model, or build an index with this one.",
        )


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
