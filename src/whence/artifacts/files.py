"""Atomic file writes, file locks, and file-system errors as sentences."""

import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from whence.errors import ArtifactError, WhenceError

_DISK_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EBUSY,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOLCK,
    errno.ESTALE,
    errno.EMFILE,
    errno.ENXIO,
}

_FULL = {errno.ENOSPC, errno.EDQUOT}
# A file system that cannot hold so many bytes more is full.
_LITTLE = 2**16


def user_cache() -> Path:
    """The folder in which this user's copies, and testbeds that had to be trained, are kept.

    `WHENCE_CACHE` names it; otherwise it is `whence` in the user's cache.
    """
    if own := os.environ.get("WHENCE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whence"


def bucket_cache() -> Path:
    """The folder in which objects of buckets are kept, and what is built for a bucket."""
    return user_cache() / "objects"


def is_cached(path: Path) -> bool:
    """Whether a path lies in `bucket_cache`, a place that no user has named in a command."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(bucket_cache()))


def write_text(path: Path, text: str) -> None:
    """Writes a file so that a reader sees the old content or the new, never a part."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file so that a reader sees the old content or the new, never a part.

    Several processes may write the same file: each writes it whole, and the last one stays.

    Raises:
        ArtifactError: It cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    with clear_disk_errors(path), _in_folder(path.parent), locked_file(partial) as file:
        try:
            file.truncate(0)
            file.write(data)
            file.flush()
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        if folder.is_dir():
            raise
        raise ArtifactError(
            f"There is no folder {_short(folder)} to write into.", "Make it, or name another place."
        ) from None


def write_json(path: Path, value: object) -> None:
    """Writes a JSON file in one piece; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


@contextmanager
def new_folder(directory: Path) -> Iterator[None]:
    """Makes a folder for what follows, unless it is there; if that fails, it goes again.

    Raises:
        ArtifactError: It cannot be made.
    """
    with clear_disk_errors(directory):
        new = [path for path in (directory, *directory.parents) if not os.path.lexists(path)]
    try:
        with clear_disk_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):  # Other things may have come into it.
            for path in new:
                path.rmdir()
        raise


def write_new(files: Mapping[Path, str]) -> None:
    """Writes text files where there are none yet: all of them, or none.

    Raises:
        ArtifactError: One of them is there with other content, or cannot be written.
    """
    # What a killed call wrote is what this one would write.
    missing = [path for path, text in files.items() if not _holds(path, text)]
    written: list[Path] = []
    try:
        for path in missing:
            write_text(path, files[path])
            written.append(path)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _holds(path: Path, text: str) -> bool:
    """Whether a file holds a text; False where there is none.

    Raises:
        ArtifactError: Something else stands there.
    """
    with clear_disk_errors(path):
        if not os.path.lexists(path):
            return False
        if path.is_file() and path.read_bytes() == text.encode():
            return True
    raise ArtifactError(
        f"{_short(path)} exists already.", "Choose another place, or move the file away."
    )


def write_generated(path: Path, text: str) -> None:
    """Writes a text file under a line that says so, for one that people may edit afterwards.

    The line is a comment of TOML, or of SVG in a file of that name.

    Raises:
        ArtifactError: See `check_generated`; or it cannot be written.
    """
    check_generated(path)
    write_text(path, _mark(path, text) + text)


def check_generated(path: Path) -> None:
    """Refuses to replace a file that somebody else wrote, or that was edited since.

    Raises:
        ArtifactError: A file stands there that `write_generated` did not write as it is now.
    """
    with clear_disk_errors(path):
        if path.is_dir():
            raise ArtifactError(f"{path} is a directory.", "Name a file.")
        if not path.exists():
            return
        if not path.is_file():
            raise ArtifactError(f"{path} is no regular file.", "Choose another name.")
        first, _, rest = path.read_bytes().partition(b"\n")
    if first + b"\n" != _mark(path, rest.decode(errors="replace")).encode():
        raise ArtifactError(
            f"{path} exists, and was not written by whence as it is.",
            "Choose another name, or move the file away.",
        )


def _mark(path: Path, text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    said = f"Written by whence ({digest}), which replaces this file only while it is unedited."
    return f"<!-- {said} -->\n" if path.suffix.lower() == ".svg" else f"# {said}\n"


@contextmanager
def locked_file(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[IO[bytes]]:
    """Opens a file, creating it, under an advisory lock that ends with its process.

    The holder may rename or remove the file: whoever waited for it then opens its successor.

    Args:
        path: The file; its content is kept.
        shared: Let others hold it likewise at the same time.
        wait: Wait for the lock. Otherwise `BlockingIOError` is raised where another holds it.
    """
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            lock(file, shared=shared, wait=wait)
            if not _is_at(file, path):
                continue
            yield file
            return
        finally:
            file.close()


def lock(file: IO[bytes] | int, *, shared: bool = False, wait: bool = True) -> None:
    """Locks an open file, or changes the kind of its lock; without effect on Windows.

    Raises:
        BlockingIOError: Another holds it, and `wait` is not set.
    """
    if sys.platform == "win32":
        return
    import fcntl

    fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether a path still leads to an open file."""
    if sys.platform == "win32":
        return True
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


@contextmanager
def clear_disk_errors(path: Path) -> Iterator[None]:
    """Turns what the file system refuses into one sentence about the file that it refused.

    Raises:
        ArtifactError: In the place of such an error.
    """
    try:
        yield
    except WhenceError:
        raise
    except Exception as error:
        reason = _reason(error, path)
        if reason is None:
            raise
        named = error.filename if isinstance(error, OSError) else None
        if named is not None and not _is_near(named, path):
            # What the work reads lies elsewhere.
            raise ArtifactError(
                f"{_short(named)} cannot be used ({reason}).", "Check the path."
            ) from error
        other = "choose a place that you may write to"
        if is_cached(path):
            other = "name another folder in WHENCE_CACHE"
        raise ArtifactError(
            f"{_short(named or path)} cannot be written ({reason}).",
            f"Free some disk space or {other}.",
        ) from error


def _is_near(named: object, path: Path) -> bool:
    """Whether a file that was refused holds the one to be written, lies in it, or is its neighbor.

    Neighbors of NAME are `.NAME.partial`, `.NAME.lock` and the like.
    """
    if not isinstance(named, str | bytes | os.PathLike):
        return True
    found, place = (Path(os.path.realpath(os.fsdecode(p))) for p in (named, path))
    if place.is_relative_to(found):
        return True
    within = found.relative_to(place.parent) if found.is_relative_to(place.parent) else Path()
    return place.name in "".join(within.parts[:1])


def _reason(error: Exception, path: Path) -> str | None:
    """Words why a file could not be written; None where the error is about something else.

    Libraries that write with code of their own raise errors of their own: safetensors, tokenizers
    and PyTorch with the system's words in the text, NumPy and C++ streams without any.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno in _DISK_ERRORS else None
    text = str(error)
    for number in sorted(_FULL):
        if f"(os error {number})" in text or os.strerror(number) in text:
            return os.strerror(number)
    return _lack_of_room(path) if isinstance(error, OSError | RuntimeError) else None


def _lack_of_room(path: Path) -> str | None:
    """Tries whether a little can be written to a file system; words why it cannot."""
    import tempfile

    place = next((p for p in (path, *path.parents) if p.is_dir()), None)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(_LITTLE))
    except OSError as error:
        return os.strerror(error.errno) if error.errno in _FULL else None
    return None


def _short(path: object) -> str:
    text = str(path)
    return text if len(text) <= 200 else f"{text[:100]}…{text[-90:]}"


def files_state(*places: Path) -> str:
    """Computes a hash that changes whenever files are written, without reading them.

    Args:
        places: Files, or folders whose files are meant; where they lie does not count.

    Returns:
        A fingerprint of names, sizes and the times of the last change of content and of state.
    """
    states: list[list[str | int]] = []
    for place in places:
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        for path in files:
            if path.is_file():
                state = path.stat()
                name = path.relative_to(place.parent).as_posix()
                states.append([name, state.st_size, state.st_mtime_ns, state.st_ctime_ns])
    return hashlib.sha256(json.dumps(states).encode()).hexdigest()[:16]
