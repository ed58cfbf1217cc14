"""Atomic directories with a manifest: whole or absent, with versions, digests and a cache key.

An artifact is filled under a hidden name beside its final place; its manifest is written last and
the directory renamed, so a directory that has its final name is whole. The manifest lists every
file with size and digest: what is damaged is made again, and nothing else is ever replaced.
"""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from whence.artifacts.files import (
    bucket_cache,
    check_generated,
    clear_disk_errors,
    is_cached,
    lock,
    new_folder,
    user_cache,
    write_bytes,
    write_generated,
    write_json,
    write_new,
    write_text,
)
from whence.artifacts.manifest import FileRecord, Manifest, read_manifest, read_manifest_json
from whence.artifacts.places import (
    FORMAT,
    MANIFEST,
    PROGRESS,
    beside,
    exclusive,
    holds_another,
    is_unsettled,
    key_of,
    lies_within,
    parse_record,
    prepare,
    remove_partial,
    resolve,
    settle,
    swap,
)
from whence.errors import ArtifactError

__all__ = [
    "FORMAT",
    "MANIFEST",
    "SMALL_BYTES",
    "FileRecord",
    "Manifest",
    "alone",
    "beside",
    "bucket_cache",
    "building",
    "check_generated",
    "check_place",
    "clear_disk_errors",
    "damage",
    "exclusive",
    "filling",
    "fingerprint",
    "holds_another",
    "is_cached",
    "is_current",
    "lies_within",
    "new_folder",
    "parse_record",
    "partial_directory",
    "progress_directory",
    "read_manifest",
    "read_manifest_json",
    "sha256_of",
    "user_cache",
    "versions",
    "write_bytes",
    "write_generated",
    "write_json",
    "write_new",
    "write_text",
]

# Files up to this size are compared with their digests whenever an artifact is opened.
SMALL_BYTES = 4 * 2**20


def fingerprint(*parts: object) -> str:
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
    return dict(_versions())


# Each is read from a package's files, and no process sees them change.
@cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("whence", "bergson", "torch", "transformers", "tokenizers", "bm25s", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return tuple(found.items())


def partial_directory(directory: Path) -> Path:
    """Names the place where an artifact is filled before it is whole."""
    return beside(Path(os.path.realpath(directory)), "partial")


def progress_directory(partial: Path) -> Path:
    """Names the place, within what is being filled, of what only a resumed build needs.

    It is no part of the artifact, and goes after the artifact has its name.
    """
    return partial / PROGRESS


def check_place(directory: Path, *, kind: str) -> None:
    """Refuses a place that an artifact cannot have, before any work for it; changes nothing.

    Raises:
        ArtifactError: See `whence.artifacts.places.resolve`.
    """
    resolve(directory, replacing=kind)


@contextmanager
def building(
    directory: Path,
    *,
    kind: str,
    inputs: Mapping[str, object],
    resume: bool = False,
    is_locked: bool = False,
    is_owned: bool = False,
) -> Iterator[Path]:
    """Fills a directory and gives it its name only when it is whole.

    Args:
        directory: The final place. A finished artifact of the same kind there is replaced at the
            end, if nothing else lies in it.
        kind: What the artifact is, such as "index".
        inputs: Everything that determines the content; its fingerprint goes into the manifest.
        resume: Go on from what an interrupted build with the same inputs left, if that has files
            in its `progress_directory`. Otherwise start anew.
        is_locked: The caller holds `exclusive`.
        is_owned: The place lies within a larger artifact, so that whatever is in it may go.

    Yields:
        The directory to write into. What the body leaves in `details.json` moves into the manifest.

    Raises:
        ArtifactError: The place cannot be written, holds something that whence did not make, or
            another process is filling it.
    """
    replacing = None if is_owned else kind
    place = resolve(directory, replacing=replacing)
    key = fingerprint(kind, dict(inputs))
    started = datetime.now(UTC)
    with ExitStack() as stack:
        if not is_locked:
            stack.enter_context(exclusive(place))
        stack.enter_context(clear_disk_errors(place))
        stack.enter_context(_keeping(place))
        settle(place, kind=kind, key=key, replacing=replacing)
        partial = prepare(place, kind=kind, key=key, resume=resume)
        try:
            yield partial
            _remove_unnamed(partial)
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
                    "files": _files(partial),
                },
            )
        except BaseException:
            # A kill leaves the rest; the next build removes it or goes on from it.
            if not (resume and _has_progress(partial)):
                shutil.rmtree(partial, ignore_errors=True)
            raise
        swap(place, replacing=replacing)


@contextmanager
def filling(directory: Path, *, kind: str, inputs: Mapping[str, object]) -> Iterator[Path]:
    """Fills a part of what `building(resume=True)` will finish, beside other processes.

    Yields:
        The directory to write into; it is left as it is. Short steps that must not overlap with
        those of other processes go into `alone`.

    Raises:
        ArtifactError: The place cannot be written, or other inputs are being filled there.
    """
    place = resolve(directory, replacing=kind)
    key = fingerprint(kind, dict(inputs))
    with exclusive(place, shared=True), clear_disk_errors(place), _keeping(place):
        partial = beside(place, "partial")
        partial.mkdir(exist_ok=True)
        with alone(partial):
            found = key_of(partial)
            if found is not None and found != (kind, key):
                raise ArtifactError(
                    f"{partial} holds an unfinished build with other settings.",
                    "Finish that one, remove it, or choose another place.",
                )
            prepare(place, kind=kind, key=key, resume=found is not None)
        yield partial


@contextmanager
def _keeping(place: Path) -> Iterator[None]:
    """Puts into one sentence that something has removed what is being filled.

    Raises:
        ArtifactError: In the place of an error about a file that is gone.
    """
    partial = beside(place, "partial")
    try:
        yield
    except FileNotFoundError as error:
        named = error.filename
        if not isinstance(named, str | os.PathLike) or not Path(named).is_relative_to(partial):
            raise
        raise ArtifactError(
            f"{os.fspath(named)} was removed while {place} was being made.",
            "Run the same command again, and let nothing else write there.",
        ) from error


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Lets one process at a time do something short in a directory; the others wait."""
    if os.name == "nt":
        yield
        return
    opened = os.open(directory, os.O_RDONLY)
    try:
        lock(opened)
        yield
    finally:
        os.close(opened)


def is_current(directory: Path, *, kind: str, inputs: Mapping[str, object]) -> bool:
    """Tells whether a whole, undamaged artifact stands there that was made from the same inputs.

    What a killed process left undone is ended first: an artifact that only lacked its name gets it.
    """
    key = fingerprint(kind, dict(inputs))
    try:
        place = Path(os.path.realpath(directory))
        if is_unsettled(place):
            with exclusive(place):
                settle(place, kind=kind, key=key, replacing=kind)
                partial = beside(place, "partial")
                # What is being filled to replace an artifact with another key is needed.
                known = [None, (kind, key)] if _has_key(place, key) else [None]
                if (place / MANIFEST).is_file() and key_of(partial) in known:
                    remove_partial(partial)
        manifest = read_manifest(place)
    except (ArtifactError, OSError):
        return False
    return manifest.key == key and damage(place, manifest.files) is None


def _has_key(place: Path, key: str) -> bool:
    try:
        return read_manifest(place).key == key
    except ArtifactError:
        return False


def damage(
    directory: Path, files: Mapping[str, FileRecord] | None, *, whole: bool = False
) -> str | None:
    """Finds a file that is not as the manifest says; None where all are.

    Args:
        directory: A finished artifact.
        files: What its manifest lists; None where it lists nothing.
        whole: Compare every file with its digest, and not only the small ones.

    Returns:
        One clause about the first such file.
    """
    if files is None:
        return f"{directory / MANIFEST} lists no files"
    for name, known in sorted(files.items()):
        path = directory / name
        try:
            found = path.stat().st_size
            if found != known.bytes:
                return f"{path} has {found:,} bytes instead of {known.bytes:,}"
            if (whole or known.bytes <= SMALL_BYTES) and sha256_of(path) != known.sha256:
                return f"{path} was changed after it was written"
        except FileNotFoundError:
            return f"{path} is missing"
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})"
    return None


def _remove_unnamed(partial: Path) -> None:
    """Removes files that a killed process wrote and that have not got their names.

    Listed in the manifest, they would be missing as soon as they are written again.
    """
    for path in partial.rglob(".*.partial"):
        if path.is_file() and PROGRESS not in path.relative_to(partial).parts:
            path.unlink()


def _files(partial: Path) -> dict[str, dict[str, object]]:
    """Lists the files of an artifact with their sizes and digests."""
    return {
        path.relative_to(partial).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        for path in sorted(partial.rglob("*"))
        if path.is_file() and PROGRESS not in path.relative_to(partial).parts
    }


def sha256_of(path: Path) -> str:
    """Computes the SHA-256 digest of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has_progress(partial: Path) -> bool:
    files = (path for path in (partial / PROGRESS).rglob("*") if path.is_file())
    return any(path != partial / PROGRESS / "key" for path in files)


def _details(partial: Path) -> dict[str, object]:
    path = partial / "details.json"
    if not path.is_file():
        return {}
    details = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    return details
