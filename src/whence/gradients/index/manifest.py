"""What an index's manifest states, as a typed record, and how it names the index's model.

A model in a folder is named by its path from the index, so that an index and its model can be
moved together, are found from any working directory, and no user's folders are written down.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from whence.artifacts import MANIFEST, FileRecord, fingerprint, read_manifest_json
from whence.corpus.store import RECORD, TABLE
from whence.errors import ArtifactError, IndexFormatError
from whence.records import LoadedModel
from whence.settings import ModelSettings

GRADIENTS, INFO, PROCESSOR = "gradients.bin", "info.json", "processor_config.yaml"
FACTORS, FACTORS_INFO = "factors.bin", "factors.json"
NORMS = "norms.npy"
KIND = "index"
REBUILD = "Build the index again."


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Place(_Record):
    """Where a model or tokenizer is: a folder, by its path from the index, or a name."""

    name: str | None = None
    folder: str | None = None


class ModelPlace(_Record):
    """What loads an index's model again."""

    model: Place
    revision: str | None
    tokenizer: Place | None
    dtype: Literal["float32", "bfloat16", "float16"]

    def settings(self, directory: Path) -> ModelSettings:
        """Names the model for whoever is in any working directory.

        Args:
            directory: The index.
        """
        return ModelSettings(
            name=_resolved(self.model, directory),
            revision=self.revision,
            tokenizer=_resolved(self.tokenizer, directory) if self.tokenizer else None,
            dtype=self.dtype,
        )


class IndexInputs(_Record):
    """What determined the rows: fingerprints of model and examples, and `IndexSettings.key`."""

    model: str
    corpus: str
    modules: tuple[str, ...]
    projection_dim: int | None
    projection_seed: int
    include_bias: bool
    loss_reduction: Literal["sum", "mean"]
    correction: str | None = None
    rank: int | None = None


class IndexDetails(_Record):
    """The parts of an index: `columns` are the modules with their dimensions, in order."""

    model_name: str
    model: ModelPlace | None
    num_examples: int = Field(ge=0)
    columns: tuple[tuple[str, int], ...]
    dtype: str
    deviation: dict[str, object] | None = None
    agreement: dict[str, object] | None = None


class IndexManifest(_Record):
    """The manifest of an index."""

    key: str
    inputs: IndexInputs
    versions: dict[str, str]
    details: IndexDetails
    files: dict[str, FileRecord]


def read_index_manifest(directory: Path) -> IndexManifest | None:
    """Reads the manifest of a finished index; None where Bergson itself made the index.

    Raises:
        IndexFormatError: There is none although whence made the index, or it is not whole.
    """
    path = directory / MANIFEST
    if not path.is_file():
        if (directory / TABLE).is_file():
            raise IndexFormatError(f"{directory} has lost its {MANIFEST}.", REBUILD)
        return None
    try:
        values = read_manifest_json(directory)
    except ArtifactError as error:
        raise IndexFormatError(error.problem, error.remedy) from None
    if values.get("kind") != KIND:
        raise IndexFormatError(
            f"{directory} holds {values.get('kind')!r}, not an index.", "Check the path."
        )
    try:
        # As JSON, so that lists are tuples and nothing else is converted.
        manifest = IndexManifest.model_validate_json(json.dumps(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise IndexFormatError(
            f"{path} is damaged, or of another version of whence (`{place}`: {first['msg']}).",
            REBUILD,
        ) from None
    is_whole_rows = manifest.inputs.rank is None
    rows = {GRADIENTS, INFO} if is_whole_rows else {FACTORS, FACTORS_INFO}
    required = rows | {PROCESSOR, NORMS, TABLE, RECORD}
    parts = [PurePosixPath(name).parts for name in manifest.files]
    is_whole = manifest.key == fingerprint(KIND, values["inputs"])
    if not is_whole or required - set(manifest.files) or any({"..", "/"} & {*p} for p in parts):
        raise IndexFormatError(f"{path} was changed after it was written.", REBUILD)
    return manifest


def model_place(model: LoadedModel, directory: Path) -> ModelPlace | None:
    """States where an index's model is; None where it was not loaded from a name.

    Args:
        model: The model.
        directory: The index's final place, resolved.
    """
    settings = model.settings
    if settings is None:
        return None
    return ModelPlace(
        model=_place(settings.name, directory),
        revision=settings.revision,
        tokenizer=_place(settings.tokenizer, directory) if settings.tokenizer else None,
        dtype=model.dtype,  # pyright: ignore[reportArgumentType]
    )


def model_label(model: LoadedModel) -> str:
    """Names a model for a reader; of a folder only the last part."""
    settings = model.settings
    if settings is None or _place(settings.name, Path.cwd()).folder is None:
        return model.name
    name = Path(os.path.realpath(Path(settings.name).expanduser())).name
    return f"{name}@{settings.revision}" if settings.revision else name


def _place(name: str, directory: Path) -> Place:
    path = Path(name).expanduser()
    if not path.is_dir():
        return Place(name=name)
    try:
        return Place(folder=Path(os.path.relpath(os.path.realpath(path), directory)).as_posix())
    except ValueError:  # Another drive of Windows.
        return Place(folder=Path(os.path.realpath(path)).as_posix())


def _resolved(place: Place, directory: Path) -> str:
    if place.folder is None:
        return place.name or ""
    folder = Path(os.path.normpath(Path(os.path.realpath(directory)) / place.folder))
    if not folder.is_dir():
        raise IndexFormatError(
            f"{directory} was made with the model in {folder}, which is not there.",
            "Name the model with `--model`.",
        )
    return str(folder)


def modules_of(manifest: IndexManifest) -> Mapping[str, int]:
    """Lists the modules with their numbers, in the order of the columns."""
    return dict(manifest.details.columns)
