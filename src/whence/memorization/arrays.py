"""Named arrays in one file, as stages of this room keep them."""

import io
import zipfile
from pathlib import Path

import numpy as np

from whence.artifacts import write_bytes
from whence.errors import ArtifactError


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Writes arrays of numbers as one compressed file, in one piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads what `save_arrays` wrote.

    Raises:
        ArtifactError: The file is missing or broken.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}).", "Make it again.") from None


def find_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """Reads arrays of an unfinished stage; None where they were not saved whole."""
    try:
        return read_arrays(path)
    except ArtifactError:
        return None
