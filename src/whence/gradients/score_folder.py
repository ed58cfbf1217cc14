"""Which scores are in a folder that `bergson score` wrote?

`scores.bin` has one record per row of the training set, in which each query's score stands beside a
flag that says whether it was written; `info.json` holds the record's layout. Read as plain numbers,
the flags and the padding would be taken for scores.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

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
    return path.is_dir() and (path / "scores.bin").is_file()


def read_score_folder(path: Path) -> ScoreFolder:
    """Reads a folder of scores, one per query and document.

    Raises:
        ArtifactError: It is broken, cut short, or has a score for each token.
    """
    import ml_dtypes  # noqa: F401 - makes numpy know bfloat16

    try:
        info: dict[str, Any] = json.loads((path / "info.json").read_text(encoding="utf-8"))
        layout = np.dtype(info["dtype"])
        num_rows, num_queries = int(info["num_rows"]), int(info["num_scores"])
        size = (path / "scores.bin").stat().st_size
    except FileNotFoundError as error:
        missing = Path(error.filename or "info.json").name
        raise ArtifactError(f"{path} has no {missing}.", "Check the path.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path / 'info.json'} cannot be read ({type(error).__name__}: {error}).",
            "Score again with Bergson.",
        ) from None
    if info.get("attribute_tokens"):
        raise ArtifactError(
            f"{path} has a score for each token, not for each document.",
            "Score without `attribute_tokens`.",
        )
    if size != num_rows * layout.itemsize:
        raise ArtifactError(
            f"{path / 'scores.bin'} has {size:,} bytes instead of {num_rows * layout.itemsize:,}.",
            "Let Bergson finish, or score again.",
        )
    values = np.full((num_queries, num_rows), np.nan, dtype=np.float32)
    if size:
        stored = np.memmap(path / "scores.bin", dtype=layout, mode="r", shape=(num_rows,))
        for query in range(num_queries):
            written = np.asarray(stored[f"written_{query}"], dtype=np.bool_)
            values[query, written] = stored[f"score_{query}"][written].astype(np.float32)
    candidates = None
    if (path / "candidates.npy").is_file():
        candidates = np.load(path / "candidates.npy", allow_pickle=False).astype(np.int64)
    return ScoreFolder(values, candidates, _orientation(path))


def _orientation(path: Path) -> bool | None:
    """Reads what the run's own settings say; None where there are none."""
    import yaml

    try:
        config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
        commands = [command or {} for step in config["steps"] for command in step.values()]
        found = [command["score_cfg"] for command in commands if "score_cfg" in command]
        # Bergson leaves out what has its default, and its default is that higher is better.
        return bool(found[0].get("higher_is_better", True)) if found else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return None
