"""Scores on disk: one array and one record."""

import io
import json
from pathlib import Path

import numpy as np

from whence.artifacts import write_bytes, write_json
from whence.errors import ArtifactError
from whence.records import UNKNOWN, Scores

VALUES, NULLS, PLAINS, RECORD = "scores.npy", "nulls.npy", "plains.npy", "scores.json"


def save_scores(scores: Scores, directory: Path) -> None:
    """Writes `scores.npy` (float32, queries × examples, NaN undefined) and `scores.json`.

    Scores for null queries, where there are any, stand in `nulls.npy`, and those for the plain
    counterparts of behaviors in `plains.npy`.

    Args:
        scores: What to write.
        directory: Where; it is made if it does not exist, and other files in it are left alone.

    Raises:
        ArtifactError: The place cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, values in (
        (VALUES, scores.values),
        (NULLS, scores.null_values),
        (PLAINS, scores.plain_values),
    ):
        if values is not None:
            buffer = io.BytesIO()
            np.save(buffer, np.asarray(values, dtype=np.float32), allow_pickle=False)
            write_bytes(directory / name, buffer.getvalue())
    write_json(
        directory / RECORD,
        {
            "method": scores.method,
            "family": scores.family,
            "higher_means": scores.higher_means,
            "query_ids": list(scores.query_ids),
            "example_ids": list(scores.example_ids),
            "settings": dict(scores.settings),
            "seconds": scores.seconds,
            **({"plain_ids": list(scores.plain_ids)} if scores.plain_ids else {}),
        },
    )


def load_scores(directory: Path) -> Scores:
    """Reads what `save_scores` wrote.

    Raises:
        ArtifactError: A file is missing or cut short, or the two do not belong together.
    """
    try:
        record = json.loads((directory / RECORD).read_text(encoding="utf-8"))
        values = np.load(io.BytesIO((directory / VALUES).read_bytes()), allow_pickle=False)
        nulls, plains = (_array(directory / name) for name in (NULLS, PLAINS))
        scores = Scores(
            method=record["method"],
            query_ids=tuple(record["query_ids"]),
            example_ids=tuple(record["example_ids"]),
            values=values,
            settings=record["settings"],
            seconds=record["seconds"],
            # Scores that were stored without them make no claim.
            family=record.get("family", "unknown"),
            higher_means=record.get("higher_means", UNKNOWN),
            null_values=nulls,
            plain_ids=tuple(record.get("plain_ids", ())),
            plain_values=plains,
        )
    except FileNotFoundError as error:
        missing = Path(error.filename or RECORD).name
        raise ArtifactError(
            f"{directory} has no {missing}.", "Check the path, or make the scores again."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ArtifactError(
            f"The scores in {directory} cannot be read ({reason}).", "Make them again."
        ) from None
    if values.shape != (len(scores.query_ids), len(scores.example_ids)):
        raise ArtifactError(
            f"The scores in {directory} have shape {values.shape}, which does not fit their ids.",
            "Make them again.",
        )
    for array in (values, nulls, plains):
        if array is not None:
            array.setflags(write=False)
    return scores


def _array(path: Path) -> "np.ndarray | None":
    """Reads an array; None where there is no such file."""
    if not path.exists():
        return None
    return np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
