"""Reader of score folders that `bergson score` wrote.

`scores.bin` has one record per row of the training set, in which each query's score stands beside a
flag that says whether it was written; `info.json` holds the record's layout. Read as plain numbers,
the flags and the padding would be taken for scores.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from whence.corpus.paths import find_place, one_sentence
from whence.errors import ArtifactError

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class ScoreFolder(NamedTuple):
    """Scores as Bergson has them; NaN where none was written.

    `candidates` says which row of the training set each column is, where only some were scored.
    `higher_is_better` is None where the folder does not say.
    """

    values: "Float[np.ndarray, 'queries rows']"
    candidates: "Int[np.ndarray, ' rows'] | None"
    higher_is_better: bool | None


def is_score_folder(path: Path) -> bool:
    """Tells whether a path looks like what `bergson score` writes."""
    is_folder = find_place(path, as_error=ArtifactError) == "folder"
    return is_folder and find_place(path / "scores.bin", as_error=ArtifactError) == "file"


def read_score_folder(path: Path) -> ScoreFolder:
    """Reads a folder of scores, one per query and document.

    Raises:
        ArtifactError: It is broken, cut short, has a score for each token, or scores that are no
            finite numbers of float32; or its candidates are not distinct rows.
    """
    info = _read_info(path)
    if info.get("attribute_tokens"):
        raise ArtifactError(
            f"{path} has a score for each token, not for each document.",
            "Score without `attribute_tokens`.",
        )
    layout, num_rows, num_queries = _layout(path, info)
    with one_sentence(path / "scores.bin", as_error=ArtifactError):
        size = (path / "scores.bin").stat().st_size
    if size != num_rows * layout.itemsize:
        raise ArtifactError(
            f"{path / 'scores.bin'} has {size:,} bytes instead of {num_rows * layout.itemsize:,}.",
            "Let Bergson finish, or score again.",
        )
    values = np.full((num_queries, num_rows), np.nan)
    if size:
        stored = np.memmap(path / "scores.bin", dtype=layout, mode="r", shape=(num_rows,))
        for query in range(num_queries):
            written = np.asarray(stored[f"written_{query}"], dtype=np.bool_)
            values[query, written] = stored[f"score_{query}"][written].astype(np.float64)
            if np.isnan(values[query, written]).any():
                raise ArtifactError(
                    f"{path / 'scores.bin'} has a NaN among the scores of query {query}.",
                    "Score again; a gradient may have been infinite.",
                )
    candidates = None
    if find_place(path / "candidates.npy", as_error=ArtifactError) == "file":
        candidates = _read_candidates(path / "candidates.npy", num_rows=num_rows)
    return ScoreFolder(
        as_float32(values, where=path / "scores.bin"), candidates, _orientation(path)
    )


def as_float32(
    values: "Float[np.ndarray, 'queries rows']", *, where: Path
) -> "Float[np.ndarray, 'queries rows']":
    """Stores scores in float32, in which they are compared; NaN stays undefined.

    Raises:
        ArtifactError: None is a number, or one is infinite or not within the range of float32.
    """
    known = values[~np.isnan(values)]
    if not known.size:
        raise ArtifactError(
            f"{where} has no score that is a number.", "Check the file; nothing can be ranked."
        )
    limits = np.finfo(np.float32)
    size = np.abs(known)
    odd = known[(size > limits.max) | ((size < limits.smallest_subnormal) & (size > 0))]
    if odd.size:
        raise ArtifactError(
            f"{where} has the score {odd[0]:g}, which float32 cannot hold.",
            "Leave infinite scores out, or multiply all scores by one number.",
        )
    return values.astype(np.float32)


def _read_info(path: Path) -> dict[str, Any]:
    place = path / "info.json"
    try:
        info = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} has no info.json.", "Check the path.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(place, f"{type(error).__name__}: {error}") from None
    if not isinstance(info, dict):
        raise _unreadable(place, f"it holds a {type(info).__name__}")
    return info


def _layout(path: Path, info: dict[str, Any]) -> tuple[np.dtype[Any], int, int]:
    """Reads how a row is laid out, with as many rows and queries as there are."""
    import ml_dtypes  # noqa: F401 - makes numpy know bfloat16

    place = path / "info.json"
    try:
        counts = (info["num_rows"], info["num_scores"])
        layout: np.dtype[Any] = np.dtype(info["dtype"])
        names = set(layout.names or ())
    except (ValueError, KeyError, TypeError, OverflowError, SyntaxError) as error:
        raise _unreadable(place, f"{type(error).__name__}: {error}") from None
    for count in counts:
        if type(count) is not int or count < 0:
            raise _unreadable(place, f"{count!r} is no number of rows or queries")
    num_rows, num_queries = counts
    missing = (
        num_queries * 2 > len(names)
        or not {f"{part}_{query}" for part in ("written", "score") for query in range(num_queries)}
        <= names
    )
    if missing or layout.hasobject or not num_queries:
        raise _unreadable(place, f"its fields are not those of {num_queries} queries")
    kinds = [layout[f"score_{query}"] for query in range(num_queries)]
    if any(kind.kind not in "fV" or kind.shape for kind in kinds):
        raise _unreadable(place, "its scores are no floating-point numbers")
    return layout, num_rows, num_queries


def _unreadable(place: Path, why: str) -> ArtifactError:
    return ArtifactError(f"{place} cannot be read ({why}).", "Score again with Bergson.")


def _read_candidates(path: Path, *, num_rows: int) -> "Int[np.ndarray, ' rows']":
    remedy = "Score again, or leave the file out if every row was scored."
    try:
        with path.open("rb") as file:
            found = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ArtifactError(f"{path} cannot be read ({reason}).", remedy) from None
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise ArtifactError(
            f"{path} holds {found.dtype} of {found.ndim} axes, and not the numbers of rows.", remedy
        )
    if len(found) != num_rows:
        raise ArtifactError(
            f"{path} has {len(found):,} rows, and {num_rows:,} were scored.", remedy
        )
    if len(found) and (int(found.min()) < 0 or int(found.max()) > np.iinfo(np.int64).max):
        raise ArtifactError(f"{path} has the row {int(found.min())}, which does not exist.", remedy)
    numbers, counts = np.unique(found, return_counts=True)
    if (counts > 1).any():
        raise ArtifactError(f"{path} has the row {int(numbers[counts > 1][0])} twice.", remedy)
    return found.astype(np.int64)


def _orientation(path: Path) -> bool | None:
    """Reads what the run's own settings say; None where there are none."""
    import yaml

    try:
        config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
        commands = [command or {} for step in config["steps"] for command in step.values()]
        found = [command["score_cfg"] for command in commands if "score_cfg" in command]
        # Bergson leaves out what has its default, and its default is that higher is better.
        return bool(found[0].get("higher_is_better", True)) if found else None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        yaml.YAMLError,
    ):
        return None
