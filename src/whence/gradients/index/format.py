"""An index of gradients on disk.

An index is a directory in Bergson's format: `gradients.bin` (examples × numbers, row-major),
`info.json` (its shape and modules) and `processor_config.yaml` (how gradients were projected). With
factorized rows it is one of our own: `factors.bin` and `factors.json` stand for the first two.
Ours adds a manifest with the digest of every file, and the examples themselves; an index that
`bergson build` made has neither.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.corpus.store import read_corpus
from whence.errors import IndexFormatError
from whence.gradients.index.factors import (
    ExpandedRows,
    Layout,
    rows_file,
    stored_width,
)
from whence.gradients.index.files import (
    Projection,
    foreign_corpus,
    number_type,
)
from whence.gradients.index.manifest import (
    REBUILD,
    IndexManifest,
)
from whence.records import Corpus
from whence.settings import ModelSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Index:
    """An index whose files were checked.

    `manifest` is None where Bergson itself made it, and `address` where it is in no bucket.
    """

    path: Path
    grad_sizes: Mapping[str, int]
    num_examples: int
    dtype: str
    projection: Projection
    loss_reduction: str
    manifest: IndexManifest | None
    layout: Layout | None = None
    address: str | None = None

    @property
    def label(self) -> str:
        """What a user calls the index: its address in a bucket, or its path."""
        return self.address or str(self.path)

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
