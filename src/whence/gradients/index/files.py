"""Reads the files of an index in Bergson's format, and refuses what they cannot hold."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from whence.corpus.examples import schema
from whence.errors import IndexFormatError
from whence.gradients.index.manifest import INFO, PROCESSOR, REBUILD
from whence.records import Corpus

TYPES = ("float32", "float16", "bfloat16")
_DATASET = "data.hf"


class Info(NamedTuple):
    """What `info.json` states: `sizes` are numbers per module, in the order of the columns."""

    sizes: dict[str, int]
    num_rows: int
    dtype: str
    is_per_token: bool


class Projection(NamedTuple):
    """How gradients were projected; a `dim` of None or 0 says that they were not.

    `kind` and `scale` name Bergson's types of matrices.
    """

    dim: int | None
    seed: int | None
    include_bias: bool
    target: object
    version: object
    kind: object = "rademacher"
    scale: object = "jl"


def read_info(directory: Path) -> Info:
    """Reads `info.json`.

    Raises:
        IndexFormatError: It is missing, or holds something else.
    """
    path = directory / INFO
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        # Stores of older versions lack the plain type.
        info.setdefault("base_dtype", "float32")
        sizes = {str(name): _count(size, 1) for name, size in info["grad_sizes"].items()}
        num_rows = _count(info["num_grads"], 0)
    except FileNotFoundError:
        raise IndexFormatError(
            f"{directory} has no {INFO}, so it is no gradient index.", "Check the path."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IndexFormatError(
            f"{path} cannot be read ({type(error).__name__}: {error}).", REBUILD
        ) from None
    if info["base_dtype"] not in TYPES or not sizes:
        wrong = "has no modules" if not sizes else f"names the type {info['base_dtype']!r}"
        raise IndexFormatError(
            f"{path} {wrong}; rows are of {', '.join(TYPES[:-1])} or {TYPES[-1]}.", REBUILD
        )
    return Info(sizes, num_rows, info["base_dtype"], bool(info.get("attribute_tokens")))


def read_processor(directory: Path) -> Projection:
    """Reads `processor_config.yaml`: how gradients were projected.

    Raises:
        IndexFormatError: It is missing, or holds something else.
    """
    import yaml

    path = directory / PROCESSOR
    try:
        config = dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        # A file that lacks a key was written before the key existed.
        defaults = {"projection_version": 1, "projection_seed": None, "include_bias": False}
        defaults |= {"projection_type": "normal", "projection_scale": "row_norm"}
        config = defaults | {"projection_target": "per_module"} | config
        dim, seed = (
            None if config[name] is None else _count(config[name], 0)
            for name in ("projection_dim", "projection_seed")
        )
    except FileNotFoundError:
        raise IndexFormatError(
            f"{directory} has no {PROCESSOR}, so its projection is not known.", REBUILD
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise IndexFormatError(f"{path} cannot be read ({_reason(error)}).", REBUILD) from None
    return Projection(
        dim=dim,
        seed=seed,
        include_bias=bool(config["include_bias"]),
        target=config["projection_target"],
        version=config["projection_version"],
        kind=config["projection_type"],
        scale=config["projection_scale"],
    )


def read_bergson_config(directory: Path) -> dict[str, object]:
    """Reads how Bergson was told to build; empty where it was called without its command line.

    Raises:
        IndexFormatError: It cannot be read.
    """
    import yaml

    path = directory / "config.yaml"
    if not path.is_file():
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        (step,) = config["steps"][-1].values()
        return {**step, "version": config["metadata"]["bergson_version"]}
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        RecursionError,
        yaml.YAMLError,
    ) as error:
        raise IndexFormatError(f"{path} cannot be read ({_reason(error)}).", REBUILD) from None


def foreign_corpus(directory: Path, num_examples: int) -> Corpus:
    """Lists the examples of an index that Bergson made: ids are row numbers.

    Texts and tokens are there only if Bergson was told to keep them.

    Raises:
        IndexFormatError: What it kept cannot be read, or is of another number of examples.
    """
    import pyarrow as pa

    columns: dict[str, object] = {name: [None] * num_examples for name in schema().names}
    columns["id"] = [str(row) for row in range(num_examples)]
    columns["input_ids"] = columns["labels"] = [[] for _ in range(num_examples)]
    columns["num_truncated_tokens"] = [0] * num_examples
    path = directory / _DATASET
    try:
        if path.is_dir():
            columns |= _kept(path)
        table = pa.table(columns, schema=schema())
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise IndexFormatError(f"{path} cannot be read ({_reason(error)}).", REBUILD) from None
    return Corpus(
        name=str(directory),
        description=f"The {num_examples:,} examples of an index that Bergson made.",
        table=table,
    )


def number_type(name: str) -> "np.dtype[Any]":
    """Finds numpy's type for a type's name; bfloat16, which numpy lacks, among them."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def _kept(path: Path) -> dict[str, object]:
    from datasets import Dataset

    kept = Dataset.load_from_disk(str(path))
    return {name: kept[name][:] for name in ("text", "input_ids") if name in kept.features}


def _count(value: object, least: int) -> int:
    if type(value) is not int or not least <= value < 2**53:
        raise ValueError(f"{value!r} is no count")
    return value


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
