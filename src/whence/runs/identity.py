"""Fingerprints of models, kept beside a run, so that its keys are known without loading weights.

A model's fingerprint is a hash of its weights, which takes loading them. What identifies the place
that they are loaded from (file names, sizes and times, or a testbed's inputs) is cheap. A changed
identity is loaded and hashed again; equal weights then still give the same keys.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from whence.artifacts import fingerprint, versions, write_json
from whence.models.files import model_folder
from whence.models.load import RANDOM_WEIGHTS
from whence.settings import ModelSettings

FILE = "fingerprints.json"
_PATTERNS = ("config.json", "*.safetensors", "*.index.json", "pytorch_model*.bin")


class Fingerprints:
    """What was computed before, in one file of a run's cache."""

    def __init__(self, cache: Path) -> None:
        self._path = cache / FILE

    def of(self, identity: Mapping[str, Any], load: Callable[[], str]) -> str:
        """Looks a fingerprint up, or loads the model to compute it.

        Args:
            identity: What determines the weights, without loading them.
            load: Loads the model, and gives its fingerprint.
        """
        key, known = fingerprint(dict(identity), versions()), self._read()
        if key not in known:
            known[key] = load()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, known)
        return known[key]

    def _read(self) -> dict[str, str]:
        try:
            return json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}  # It only saves time.


def model_identity(settings: ModelSettings) -> dict[str, Any]:
    """Lists the files that a model of a folder or the Hub is loaded from, and how.

    Raises:
        ModelError: There is no such model.
    """
    folder = model_folder(settings.name, revision=settings.revision)
    files = sorted(path for pattern in _PATTERNS for path in folder.glob(pattern))
    # The Hub's cache names folders by commit.
    return {
        "folder": str(folder),
        "dtype": settings.dtype,
        "files": [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files],
    }


def initial_identity(settings: ModelSettings) -> dict[str, Any]:
    """Lists what determines the untrained model that `initial` names.

    Raises:
        ModelError: There is no such model.
    """
    assert settings.initial is not None, "`check` has seen that there is one"
    if settings.initial == RANDOM_WEIGHTS:
        return {"drawn": RANDOM_WEIGHTS, **model_identity(settings)}
    if Path(settings.initial).expanduser().is_dir():
        place = {"name": settings.initial, "revision": None}
    else:
        place = {"revision": settings.initial}
    return model_identity(settings.model_copy(update=place))
