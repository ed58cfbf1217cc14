"""Checks of an index that are quick: do its files agree with each other and with its manifest?"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.errors import IndexFormatError
from whence.gradients.index.engine import SUPPORTED_VERSION
from whence.gradients.index.files import Info, number_type
from whence.gradients.index.format import Index
from whence.gradients.index.manifest import (
    FACTORS,
    FACTORS_INFO,
    GRADIENTS,
    INFO,
    NORMS,
    PROCESSOR,
    REBUILD,
    IndexManifest,
    modules_of,
)
from whence.records import LoadedModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


PROJECTION_VERSION = 2
NUM_SAMPLED, SAMPLED_BYTES = 16, 16 * 2**20


def table(run: Mapping[str, object], name: str) -> Mapping[str, Any]:
    """Reads a table of Bergson's configuration; empty where there is none."""
    found = run.get(name)
    return found if isinstance(found, Mapping) else {}


def check_kind(index: Index, info: Info, run: Mapping[str, object]) -> None:
    """Refuses an index of something else than one gradient of the cross-entropy per example.

    Raises:
        IndexFormatError: It is one.
    """
    settings, prepared = table(run, "index_cfg"), table(run, "preprocess_cfg")
    reason = (
        ("it has a row per token" if info.is_per_token else None)
        or ("its projection mixes modules" if _is_global(index) else None)
        or ("its rows were normalized" if prepared.get("unit_normalize") else None)
        or ("its rows were preconditioned" if prepared.get("hessian_path") else None)
        or ("its rows were summed up" if prepared.get("aggregation", "none") != "none" else None)
        or ("its loss is not the cross-entropy" if settings.get("loss_fn", "ce") != "ce" else None)
    )
    if reason:
        raise IndexFormatError(
            f"{index.label} cannot be queried here, because {reason}.",
            "Build it with Bergson's defaults but the projection.",
        )


def _is_global(index: Index) -> bool:
    return index.projection.target != "per_module"


def check_version(index: Index, run: Mapping[str, object]) -> None:
    """Refuses an index of another version of Bergson, or of its projections.

    Raises:
        IndexFormatError: It is one.
    """
    made_with = index.manifest.versions.get("bergson") if index.manifest else run.get("version")
    if made_with not in (None, SUPPORTED_VERSION):
        raise IndexFormatError(
            f"{index.label} was made with Bergson {made_with}, and this is for "
            f"{SUPPORTED_VERSION}.",
            REBUILD,
        )
    found = index.projection.version
    if index.projection_dim and found != PROJECTION_VERSION:
        raise IndexFormatError(
            f"{index.label} was projected with version {found} of Bergson's matrices, and version "
            f"{SUPPORTED_VERSION} makes version {PROJECTION_VERSION}.",
            REBUILD,
        )


def check_size(index: Index) -> None:
    """Refuses rows of another number or width than the files beside them say.

    Raises:
        IndexFormatError: They are.
    """
    if dim := index.projection_dim:
        wrong = [name for name, size in index.grad_sizes.items() if size != dim**2]
        if wrong:
            raise IndexFormatError(
                f"{index.path} says in {PROCESSOR} that gradients are projected to {dim} x {dim} "
                f"numbers, and in {INFO} that {wrong[0]} has {index.grad_sizes[wrong[0]]}.",
                REBUILD,
            )
    expected = index.num_examples * index.width * number_type(index.dtype).itemsize
    name, info = _names(index)
    try:
        found = (index.path / name).stat().st_size
    except FileNotFoundError:
        raise IndexFormatError(f"{index.path} has no {name}.", REBUILD) from None
    if found != expected:
        raise IndexFormatError(
            f"{index.path / name} has {found:,} bytes instead of {expected:,}: it is "
            f"{'truncated' if found < expected else f'not the one that {info} describes'}.",
            REBUILD,
        )


def _names(index: Index) -> tuple[str, str]:
    """Names the file of the rows, and the one that describes it."""
    return (GRADIENTS, INFO) if index.layout is None else (FACTORS, FACTORS_INFO)


def check_manifest(index: Index, manifest: IndexManifest) -> None:
    """Refuses files that are not of the index that the manifest describes.

    Raises:
        IndexFormatError: One is not.
    """
    inputs, details = manifest.inputs, manifest.details
    _, info = _names(index)
    layout = index.layout
    ranks = (
        {min(inputs.rank or 0, *m[:2]) - m.rank for m in layout.modules.values()} if layout else {0}
    )
    stated = [
        (info, "modules", list(modules_of(manifest).items()), list(index.grad_sizes.items())),
        (info, "number of rows", details.num_examples, index.num_examples),
        (info, "type", details.dtype, index.dtype),
        (info, "rank", {0}, ranks),
        (PROCESSOR, "projection_dim", inputs.projection_dim, index.projection_dim),
        (PROCESSOR, "projection_seed", inputs.projection_seed, index.projection_seed),
        (PROCESSOR, "include_bias", inputs.include_bias, index.include_bias),
    ]
    for name, what, expected, found in stated:
        if expected != found:
            raise IndexFormatError(
                f"{index.path / name} does not have the {what} of the index's manifest.", REBUILD
            )


def check_lengths(index: Index) -> None:
    """Compares the lengths of a few rows, at equal distances, with those that were stored.

    Raises:
        IndexFormatError: One differs.

    Cost:
        Reading at most `NUM_SAMPLED` rows; of rows of many megabytes, two.
    """
    norms = stored_norms(index)
    if norms is None or not index.num_examples:
        return
    row_bytes = index.width * number_type(index.dtype).itemsize
    count = min(index.num_examples, max(2, min(NUM_SAMPLED, SAMPLED_BYTES // row_bytes)))
    name, _ = _names(index)
    for row in np.linspace(0, index.num_examples - 1, count).astype(int):
        with np.errstate(over="ignore"):
            length = np.float32(np.linalg.norm(np.asarray(index.gradients[row], dtype=np.float64)))
        if not np.isclose(length, norms[row], rtol=1e-5, atol=0):
            raise IndexFormatError(
                f"Row {row} of {index.path / name} has the length {length:.6g} instead of "
                f"{norms[row]:.6g}, so one of {name} and {NORMS} was changed.",
                REBUILD,
            )


def stored_norms(index: Index) -> "NDArray[np.float32] | None":
    """Reads the rows' lengths; None where they were not stored.

    Raises:
        IndexFormatError: They are not those of this index.
    """
    path = index.path / NORMS
    if index.manifest is None or not path.is_file():
        return None
    try:
        norms = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise IndexFormatError(f"{path} cannot be read ({error}).", REBUILD) from None
    if norms.shape != (index.num_examples,) or norms.dtype != np.float32:
        raise IndexFormatError(
            f"{path} has {norms.size:,} lengths of {norms.dtype} for {index.num_examples:,} rows.",
            REBUILD,
        )
    return norms


def check_model(index: Index, model: LoadedModel) -> None:
    """Refuses to compare gradients of two models.

    Raises:
        IndexFormatError: The index was made with another model.
    """
    if index.fingerprint not in (None, model.fingerprint):
        assert index.manifest is not None
        raise IndexFormatError(
            f"{index.label} was made with {index.manifest.details.model_name} "
            f"({index.fingerprint}), not with {model.label} ({model.fingerprint}).",
            "Use that model, or build an index with this one.",
        )
