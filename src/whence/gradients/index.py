"""What is in an index, and can it be trusted?

An index is a directory in Bergson's format: `gradients.bin` (examples × numbers, row-major),
`info.json` (its shape and modules) and `processor_config.yaml` (how gradients were projected).
Ours adds a manifest and the examples themselves; an index that `bergson build` made has neither.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.artifacts import MANIFEST, partial_directory, read_manifest
from whence.corpus.examples import schema
from whence.corpus.store import TABLE, read_corpus
from whence.errors import ArtifactError, IndexFormatError
from whence.gradients.engine import SUPPORTED_VERSION
from whence.records import Corpus, LoadedModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROJECTION_VERSION = 2
CORRECTION = "correction"
DEVIATION = "deviation"
GRADIENTS, INFO, PROCESSOR = "gradients.bin", "info.json", "processor_config.yaml"
_REBUILD = "Build the index again."


@dataclass(frozen=True)
class Index:
    """An index whose files were checked. `manifest` is None where Bergson itself made it."""

    path: Path
    grad_sizes: Mapping[str, int]
    num_examples: int
    dtype: str
    projection: Mapping[str, Any]
    loss_reduction: str
    manifest: Mapping[str, Any] | None

    @property
    def modules(self) -> tuple[str, ...]:
        """The attributed layers, in the order of the columns."""
        return tuple(self.grad_sizes)

    @property
    def projection_dim(self) -> int | None:
        """Rows and columns that each module's gradient is projected to; None: not projected."""
        return self.projection["projection_dim"] or None

    @property
    def projection_seed(self) -> int | None:
        """The seed of the projection."""
        return self.projection["projection_seed"]

    @property
    def include_bias(self) -> bool:
        """Whether the biases of the layers are attributed too."""
        return bool(self.projection["include_bias"])

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the model it was made with; None where that is not known."""
        return self.manifest["inputs"]["model"] if self.manifest else None

    @property
    def correction(self) -> str | None:
        """A hash of what gradients were multiplied with; None where they were left as they are."""
        return self.manifest["inputs"].get(CORRECTION) if self.manifest else None

    @property
    def deviation(self) -> dict[str, Any] | None:
        """How far rows are from those in float32 (`Deviation`); None where that was not asked."""
        return self.manifest["details"].get(DEVIATION) if self.manifest else None

    @property
    def model_settings(self) -> dict[str, Any]:
        """Name, revision and dtype of the model it was made with; empty where that is not known."""
        if self.manifest is None:
            return {}
        details = self.manifest["details"]
        base, at, revision = details["model_name"].rpartition("@")
        found = {"name": base, "revision": revision} if at else {"name": revision}
        # Before the type was kept, only an index of float32 could be asked.
        return found | {"dtype": details.get("model_dtype", "float32")}

    @cached_property
    def gradients(self) -> "NDArray[Any]":
        """The rows, mapped and not read, in the order of the examples."""
        shape = (self.num_examples, sum(self.grad_sizes.values()))
        return np.memmap(
            self.path / GRADIENTS, dtype=number_type(self.dtype), mode="r", shape=shape
        )

    @cached_property
    def corpus(self) -> Corpus:
        """The examples, in the order of the rows.

        Of an index that Bergson made, ids are row numbers, and texts and tokens are there only if
        Bergson was told to keep them.
        """
        if self.manifest is not None:
            return read_corpus(self.path)
        return _foreign_corpus(self.path, self.num_examples)

    @property
    def ids(self) -> tuple[str, ...]:
        """The examples' ids, in the order of the rows."""
        return self.corpus.ids


def open_index(directory: Path, *, model: LoadedModel | None = None) -> Index:
    """Opens an index that `build_index` or `bergson build` made, and checks that it is whole.

    Args:
        directory: The index.
        model: Refuse the index if it was made with another model.

    Returns:
        The index; nothing but its small files has been read.

    Raises:
        IndexFormatError: It is missing, unfinished, truncated, of another version or kind, or was
            made with another model.
    """
    if not directory.is_dir():
        raise _missing(directory)
    info, projection = _read_info(directory), _read_processor(directory)
    manifest = _read_manifest(directory)
    run = _read_bergson_config(directory)
    index = Index(
        path=directory,
        grad_sizes=info["grad_sizes"],
        num_examples=info["num_grads"],
        dtype=info["base_dtype"],
        projection=projection,
        loss_reduction=_loss_reduction(manifest, run),
        manifest=manifest,
    )
    _check_kind(index, info, run)
    _check_version(index, run)
    _check_size(index)
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
            f"{index.path} was made with {index.manifest['details']['model_name']} "
            f"({index.fingerprint}), not with {model.label} ({model.fingerprint}).",
            "Use that model, or build an index with this one.",
        )


def _missing(directory: Path) -> IndexFormatError:
    if partial_directory(directory).is_dir():
        return IndexFormatError(
            f"The index {directory} is unfinished.", "Run the same build again: it goes on."
        )
    if (unfinished := Path(f"{directory}.part")).is_dir():
        return IndexFormatError(
            f"`bergson build` has not finished {unfinished}.", "Let it finish, or run it again."
        )
    return IndexFormatError(f"There is no index {directory}.", "Check the path.")


def _read_info(directory: Path) -> dict[str, Any]:
    try:
        info = json.loads((directory / INFO).read_text(encoding="utf-8"))
        # Stores of older versions lack the plain type.
        info.setdefault("base_dtype", "float32")
        sizes = {str(name): int(size) for name, size in info["grad_sizes"].items()}
        return info | {"grad_sizes": sizes, "num_grads": int(info["num_grads"])}
    except FileNotFoundError:
        raise IndexFormatError(
            f"{directory} has no {INFO}, so it is no gradient index.", "Check the path."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IndexFormatError(
            f"{directory / INFO} cannot be read ({type(error).__name__}: {error}).", _REBUILD
        ) from None


def _read_processor(directory: Path) -> dict[str, Any]:
    import yaml

    try:
        config = yaml.safe_load((directory / PROCESSOR).read_text(encoding="utf-8"))
        # A file that lacks a key was written before the key existed.
        defaults = {"projection_version": 1, "projection_seed": None, "include_bias": False}
        return defaults | {"projection_target": "per_module"} | dict(config)
    except FileNotFoundError:
        raise IndexFormatError(
            f"{directory} has no {PROCESSOR}, so its projection is not known.", _REBUILD
        ) from None
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise IndexFormatError(
            f"{directory / PROCESSOR} cannot be read ({reason}).", _REBUILD
        ) from None


def _read_manifest(directory: Path) -> dict[str, Any] | None:
    if not (directory / MANIFEST).is_file():
        if (directory / TABLE).is_file():
            raise IndexFormatError(f"{directory} has lost its {MANIFEST}.", _REBUILD)
        return None
    try:
        manifest = read_manifest(directory)
    except ArtifactError as error:
        raise IndexFormatError(error.problem, error.remedy) from None
    if manifest.get("kind") != "index":
        raise IndexFormatError(
            f"{directory} holds {manifest.get('kind')!r}, not an index.", "Check the path."
        )
    return manifest


def _read_bergson_config(directory: Path) -> dict[str, Any]:
    """Reads how Bergson was told to build; empty where it was called without its command line."""
    import yaml

    path = directory / "config.yaml"
    if not path.is_file():
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        (step,) = config["steps"][-1].values()
        return {**step, "version": config["metadata"]["bergson_version"]}
    except (OSError, ValueError, KeyError, TypeError, IndexError, yaml.YAMLError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise IndexFormatError(f"{path} cannot be read ({reason}).", _REBUILD) from None


def _loss_reduction(manifest: Mapping[str, Any] | None, run: Mapping[str, Any]) -> str:
    if manifest is not None:
        return manifest["inputs"]["loss_reduction"]
    return run.get("index_cfg", {}).get("loss_reduction", "sum")


def _check_kind(index: Index, info: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    asked, prepared = run.get("index_cfg", {}), run.get("preprocess_cfg", {})
    reason = (
        ("it has a row per token" if info.get("attribute_tokens") else None)
        or ("its projection mixes modules" if _is_global(index) else None)
        or ("its rows were normalized" if prepared.get("unit_normalize") else None)
        or ("its rows were preconditioned" if prepared.get("hessian_path") else None)
        or ("its rows were summed up" if prepared.get("aggregation", "none") != "none" else None)
        or ("its loss is not the cross-entropy" if asked.get("loss_fn", "ce") != "ce" else None)
    )
    if reason:
        raise IndexFormatError(
            f"{index.path} cannot be queried here, because {reason}.",
            "Build it with Bergson's defaults but the projection.",
        )


def _is_global(index: Index) -> bool:
    return index.projection["projection_target"] != "per_module"


def _check_version(index: Index, run: Mapping[str, Any]) -> None:
    made_with = index.manifest["versions"].get("bergson") if index.manifest else run.get("version")
    if made_with not in (None, SUPPORTED_VERSION):
        raise IndexFormatError(
            f"{index.path} was made with Bergson {made_with}, and this is for {SUPPORTED_VERSION}.",
            _REBUILD,
        )
    found = index.projection["projection_version"]
    if index.projection_dim and found != PROJECTION_VERSION:
        raise IndexFormatError(
            f"{index.path} was projected with version {found} of Bergson's matrices, and version "
            f"{SUPPORTED_VERSION} makes version {PROJECTION_VERSION}.",
            _REBUILD,
        )


def _check_size(index: Index) -> None:
    numbers = index.num_examples * sum(index.grad_sizes.values())
    expected = numbers * number_type(index.dtype).itemsize
    try:
        found = (index.path / GRADIENTS).stat().st_size
    except FileNotFoundError:
        raise IndexFormatError(f"{index.path} has no {GRADIENTS}.", _REBUILD) from None
    if found != expected:
        raise IndexFormatError(
            f"{index.path / GRADIENTS} has {found:,} bytes instead of {expected:,}: it is "
            f"{'truncated' if found < expected else 'not the one that info.json describes'}.",
            _REBUILD,
        )


def number_type(name: str) -> "np.dtype[Any]":
    """Finds numpy's type for a type's name; bfloat16, which numpy lacks, among them."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def _foreign_corpus(directory: Path, num_examples: int) -> Corpus:
    import pyarrow as pa

    columns: dict[str, Any] = {name: [None] * num_examples for name in schema().names}
    columns["id"] = [str(row) for row in range(num_examples)]
    columns["input_ids"] = columns["labels"] = [[] for _ in range(num_examples)]
    columns["num_truncated_tokens"] = [0] * num_examples
    if (directory / "data.hf").is_dir():
        from datasets import Dataset

        kept = Dataset.load_from_disk(str(directory / "data.hf"))
        columns |= {name: kept[name][:] for name in ("text", "input_ids") if name in kept.features}
    return Corpus(
        name=str(directory),
        description=f"The {num_examples:,} examples of an index that Bergson made.",
        table=pa.table(columns, schema=schema()),
    )
