"""An artifact that was built on this machine for a bucket, and what its objects are in the store.

The record lies beside the artifact. It shows which objects are still as they were uploaded: they
need neither be uploaded again nor be copied back to this machine.
"""

import json
from pathlib import Path, PurePosixPath

from whence.artifacts import bucket_cache, write_json
from whence.buckets.address import Stored, digest


def built_folder(address: str) -> Path:
    """Names the place on this machine at which an artifact for a bucket is built.

    It is as deep in the cache as a copy, so that both have the same path to a model's folder.
    """
    return bucket_cache() / f"built-{digest(address)}" / PurePosixPath(address).name


class UploadLog:
    """Of each file of a built artifact its digest, and the version that its object then had.

    Args:
        directory: The artifact.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory.parent / ".uploaded.json"
        try:
            self._entries: dict[str, list[str]] = dict(json.loads(self._path.read_text()))
        except (OSError, ValueError, TypeError):
            self._entries = {}

    def has(self, name: str, sha256: str, found: Stored | None) -> bool:
        """Whether an object is as it was uploaded from a file with this digest."""
        return found is not None and self._entries.get(name) == [sha256, found.version]

    def add(self, name: str, sha256: str, written: Stored) -> None:
        """Records an object that has just been uploaded."""
        self._entries[name] = [sha256, written.version]
        write_json(self._path, self._entries)
