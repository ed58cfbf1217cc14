"""Is this directory whole, and what made it?

Every stage writes one directory. It is filled under a hidden name beside its final place; the
manifest is written last and the directory renamed, so a directory that has its final name is whole.
"""

import errno
import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from whence.errors import ArtifactError

MANIFEST = "manifest.json"
FORMAT = 1
_DISK_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EFBIG,
}


def fingerprint(*parts: Any) -> str:
    """Computes one short hash of everything that went in.

    Args:
        parts: JSON-able values; mappings are hashed in sorted order, bytes as they are.

    Returns:
        Sixteen hexadecimal digits of SHA-256.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Lists the versions that numbers depend on; a package that is absent is left out."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("whence", "bergson", "torch", "transformers", "tokenizers", "bm25s", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_text(path: Path, text: str) -> None:
    """Writes a file so that a reader sees the old content or the new, never a part."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file so that a reader sees the old content or the new, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    with _clear_disk_errors(path):
        partial.write_bytes(data)
        partial.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file in one piece; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_manifest(directory: Path) -> dict[str, Any]:
    """Reads the manifest of a finished artifact.

    Raises:
        ArtifactError: There is no such directory, it is unfinished, or its manifest is broken.
    """
    path = directory / MANIFEST
    if not directory.is_dir():
        raise ArtifactError(f"There is no directory {directory}.", "Check the path.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(
            f"{directory} has no {MANIFEST}, so it is not a finished whence artifact.",
            "Check the path, or run the command that makes it again.",
        ) from None
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}).", "Delete the directory and make it again."
        ) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ArtifactError(
            f"{path} is not a manifest of format {FORMAT}.",
            "It was made by another version of whence; make it again with this one.",
        )
    return manifest


def partial_directory(directory: Path) -> Path:
    """Names the place where an artifact is filled before it is whole."""
    return directory.parent / f".{directory.name}.partial"


@contextmanager
def building(
    directory: Path, *, kind: str, inputs: Mapping[str, Any], resume: bool = False
) -> Iterator[Path]:
    """Fills a directory and gives it its name only when it is whole.

    Args:
        directory: The final place. A finished artifact there is replaced at the end.
        kind: What the artifact is, such as "index".
        inputs: Everything that determines the content; its fingerprint goes into the manifest.
        resume: Keep what an interrupted build with the same inputs left. Otherwise start anew.

    Yields:
        The directory to write into. What the body leaves in `details.json` moves into the manifest.

    Raises:
        ArtifactError: The place cannot be written, or is something that whence did not make.
    """
    partial = partial_directory(directory)
    key = fingerprint(kind, dict(inputs))
    started = datetime.now(UTC)
    with _clear_disk_errors(directory):
        if directory.exists() and not (directory / MANIFEST).is_file() and any(directory.iterdir()):
            raise ArtifactError(
                f"{directory} exists and was not made by whence.", "Choose another place."
            )
        _prepare(partial, key=key, resume=resume)
        yield partial
        details = _details(partial)
        write_json(
            partial / MANIFEST,
            {
                "format": FORMAT,
                "kind": kind,
                "key": key,
                "inputs": dict(inputs),
                "versions": versions(),
                "started": started.isoformat(timespec="seconds"),
                "seconds": round((datetime.now(UTC) - started).total_seconds(), 3),
                "details": details,
            },
        )
        (partial / "key").unlink()
        if directory.exists():
            shutil.rmtree(directory)
        partial.replace(directory)


@contextmanager
def filling(directory: Path, *, kind: str, inputs: Mapping[str, Any]) -> Iterator[Path]:
    """Fills a part of what `building(resume=True)` will finish, beside other processes.

    Yields:
        The directory to write into; it is left as it is.

    Raises:
        ArtifactError: The place cannot be written.
    """
    partial = partial_directory(directory)
    with _clear_disk_errors(directory):
        with exclusive(directory):
            _prepare(partial, key=fingerprint(kind, dict(inputs)), resume=True)
        yield partial


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Keeps other processes on this file system out of what makes or finishes an artifact."""
    if sys.platform == "win32":
        raise ArtifactError("Shards need a system with file locks.", "Build in one process.")
    import fcntl

    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f".{directory.name}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_current(directory: Path, *, kind: str, inputs: Mapping[str, Any]) -> bool:
    """Tells whether a finished artifact stands there that was made from the same inputs."""
    try:
        manifest = read_manifest(directory)
    except ArtifactError:
        return False
    return manifest.get("key") == fingerprint(kind, dict(inputs))


def _prepare(partial: Path, *, key: str, resume: bool) -> None:
    mark = partial / "key"
    if partial.exists() and not (resume and mark.is_file() and mark.read_text() == key):
        shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    mark.write_text(key)


def _details(partial: Path) -> dict[str, Any]:
    path = partial / "details.json"
    if not path.is_file():
        return {}
    details = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    return details


@contextmanager
def _clear_disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise ArtifactError(
            f"{path} cannot be written ({error.strerror or error}).",
            "Free some disk space or choose a place that you may write to.",
        ) from error
