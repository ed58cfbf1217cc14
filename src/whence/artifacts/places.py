"""Where an artifact may be written, locks, and the replacement of an old artifact by a new one.

Beside a directory NAME stand, while it is made, `.NAME.partial` (what is being filled) and
`.NAME.lock`; while an old artifact is replaced, `.NAME.replaced`. In what is being filled,
`.progress` holds what only a resumed build needs; it goes after the directory has its name.
"""

import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from whence.artifacts.files import clear_disk_errors, is_cached, lock, locked_file
from whence.errors import ArtifactError

MANIFEST = "manifest.json"
PROGRESS = ".progress"
FORMAT = 1
_REPLACED = "replaced"


def beside(directory: Path, what: str) -> Path:
    """Names a hidden neighbor of an artifact: its `partial`, `lock` or `replaced`."""
    return directory.parent / f".{directory.name}.{what}"


def resolve(directory: Path, *, replacing: str | None) -> Path:
    """Resolves the place of an artifact that will be made, and refuses one that cannot have it.

    Nothing is created or changed.

    Args:
        directory: What the user named; links are followed.
        replacing: The kind of a finished artifact that may be replaced there, such as "index";
            None if anything there may go.

    Returns:
        The absolute place.

    Raises:
        ArtifactError: It is a file, the current directory or one that holds it, a mount point, or
            a directory with something in it that no finished artifact of this kind lists; it lies
            within an artifact of this kind; or it cannot be written.
    """
    with clear_disk_errors(directory):
        place = Path(os.path.realpath(directory))
        _mode(beside(place, _REPLACED))  # Its name is the longest.
        mode = _mode(place)
    if mode is not None and not stat.S_ISDIR(mode):
        raise ArtifactError(f"{directory} is no directory.", "Choose another place.")
    here = Path.cwd()
    if place == here or place in here.parents:
        raise ArtifactError(
            f"{directory} is the current directory, or holds it, and would be replaced.",
            "Name a new directory.",
        )
    if mode is not None and os.path.ismount(place):
        raise ArtifactError(
            f"{directory} is a mount point, which cannot be replaced.", "Name a directory in it."
        )
    parent = next(p for p in place.parents if _mode(p) is not None)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ArtifactError(
            f"{directory} cannot be written, because {parent} is no directory that you may write "
            "to.",
            _elsewhere(place),
        )
    if replacing is not None:
        _check_enclosing(directory, place, kind=replacing)
        if mode is not None:
            check_replaceable(place, kind=replacing)
    return place


def _elsewhere(place: Path) -> str:
    return "Name another folder in WHENCE_CACHE." if is_cached(place) else "Choose another place."


def _check_enclosing(directory: Path, place: Path, *, kind: str) -> None:
    """Refuses a place within an artifact of the same kind: it would go when that is made again.

    Raises:
        ArtifactError: A finished one, or one that is being made, has a name above this place.
    """
    for outer in place.parents:
        found, begun = _record(outer), key_of(beside(outer, "partial")) if outer.name else None
        if kind in (found and found["kind"], begun and begun[0]):
            raise lies_within(directory, outer, kind=kind)


def lies_within(place: object, outer: object, *, kind: str) -> ArtifactError:
    """The error of a place within another artifact of the same kind."""
    return ArtifactError(
        f"{place} lies within the {kind} {outer}, and would go when that is made again.",
        "Choose another place.",
    )


def holds_another(place: object, inner: object, *, kind: str) -> ArtifactError:
    """The error of an artifact that would be replaced, and within which another was made."""
    return ArtifactError(
        f"{place} holds another {kind}, {inner}, which would go with it.",
        f"Move {inner} away, or choose another place.",
    )


def check_replaceable(directory: Path, *, kind: str) -> None:
    """Refuses to replace a directory unless it is empty or all in it was written by whence.

    Raises:
        ArtifactError: It is no finished artifact of this kind, or something else lies in it, such
            as another artifact of this kind.
    """
    with clear_disk_errors(directory):
        if not any(directory.iterdir()):
            return
        found = _record(directory)
        if found is None and (other := _kind(directory)) is not None and other != kind:
            raise ArtifactError(
                f"{directory} holds a {other}, and not the {kind} that would replace it.",
                "Choose another place.",
            )
        if found is None:
            raise ArtifactError(
                f"{directory} was not made by whence: it has no {MANIFEST} that lists its files.",
                "Choose another place, or remove it yourself.",
            )
        if found["kind"] != kind:
            raise ArtifactError(
                f"{directory} holds a finished {found['kind']}, and not the {kind} that would "
                "replace it.",
                "Choose another place.",
            )
        if (inner := _inner(directory, kind)) is not None:
            raise holds_another(directory, inner, kind=kind)
        if (other := foreign(directory)) is not None:
            raise ArtifactError(
                f"{directory} holds {other}, which whence did not write, so it is not replaced.",
                f"Move {other} away, or choose another place.",
            )


def _inner(directory: Path, kind: str) -> Path | None:
    """Finds an artifact of this kind that was made within another one; None where none was."""
    # A walk goes on where another process removes a directory.
    paths = sorted(Path(path) for path, _, files in os.walk(directory) if MANIFEST in files)
    inner = (path for path in paths if path != directory)
    return next((path for path in inner if (_record(path) or {}).get("kind") == kind), None)


def foreign(directory: Path) -> Path | None:
    """Finds something in a finished artifact that no record lists; None where there is nothing.

    An artifact of another kind that was made within it has its own record.
    """
    found = _record(directory)
    if found is None:
        return next(directory.iterdir(), None)
    listed = {directory / name for name in (*found["files"], MANIFEST)}
    return _foreign(directory, listed)


def _foreign(directory: Path, listed: set[Path]) -> Path | None:
    for path in sorted(directory.iterdir()):
        if path in listed or path.name == PROGRESS:
            continue
        if path.is_symlink() or not path.is_dir():
            if path.name.startswith(".") and path.name.endswith(".lock"):
                continue  # Left by a killed build of an artifact within this one.
            return path
        within = foreign(path) if _record(path) else _foreign(path, listed)
        if within is not None and not _is_unfinished(path):
            return within
    return None


def _is_unfinished(path: Path) -> bool:
    return path.name.startswith(".") and (path / PROGRESS / "key").is_file()


def _record(directory: Path) -> dict[str, Any] | None:
    """Reads a manifest that lists its files; None where there is none of whence's."""
    try:
        return parse_record((directory / MANIFEST).read_bytes())
    except OSError:
        return None


def _kind(directory: Path) -> str | None:
    """The kind that a manifest names, also one that lists no files; None where there is none."""
    try:
        found = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    kind = found.get("kind") if isinstance(found, dict) else None
    return kind if isinstance(kind, str) and kind.isidentifier() else None


def parse_record(text: bytes) -> dict[str, Any] | None:
    """Parses a manifest that lists its files; None where it is none of whence's."""
    try:
        found = json.loads(text.decode())
    except (ValueError, RecursionError):
        return None
    is_ours = (
        isinstance(found, dict)
        and found.get("format") == FORMAT
        and isinstance(found.get("kind"), str)
        and isinstance(found.get("key"), str)
        and isinstance(found.get("files"), dict)
    )
    return found if is_ours else None


@contextmanager
def exclusive(directory: Path, *, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Keeps other processes on this file system out of what makes an artifact.

    Args:
        directory: The artifact's place, resolved.
        shared: Only keep out those that want it for themselves.
        wait: Wait for others. Otherwise their presence is an error.

    Raises:
        ArtifactError: Another process is making it.
    """
    path = beside(directory, "lock")
    with clear_disk_errors(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        try:
            with locked_file(path, shared=shared, wait=wait) as file:
                try:
                    yield
                finally:
                    _leave(path, file, shared=shared)
        except FileNotFoundError as error:
            if error.filename != str(path):
                raise
            raise ArtifactError(
                f"{directory} cannot be written: no file can be made beside it.",
                _elsewhere(directory),
            ) from error
        except BlockingIOError:
            raise ArtifactError(
                f"{directory} is being made by another process.",
                "Wait for it, or choose another place.",
            ) from None


def _leave(path: Path, file: IO[bytes], *, shared: bool) -> None:
    """Removes the file of a lock, unless others hold the lock too."""
    try:
        if shared:
            lock(file, wait=False)
    except BlockingIOError:
        return
    if sys.platform != "win32":
        path.unlink(missing_ok=True)


def prepare(directory: Path, *, kind: str, key: str, resume: bool) -> Path:
    """Makes the directory that is filled before the artifact is whole; the caller holds the lock.

    What an interrupted build with the same key left there is kept, if `resume` is set; what
    another one left is removed.

    Raises:
        ArtifactError: Something that whence did not make is in the way.
    """
    partial = beside(directory, "partial")
    if resume and key_of(partial) == (kind, key):
        return partial
    if not _is_blank(partial):
        remove_partial(partial)
    (partial / PROGRESS).mkdir(parents=True, exist_ok=True)
    (partial / PROGRESS / "key").write_text(json.dumps([kind, key]), encoding="utf-8")
    return partial


def _is_blank(partial: Path) -> bool:
    """Whether nothing was written into a directory but, at most, that something will be."""
    if not partial.is_dir() or partial.is_symlink():
        return False
    return key_of(partial) is None and all(path.name == PROGRESS for path in partial.iterdir())


def key_of(partial: Path) -> tuple[str, str] | None:
    """Reads what is being filled in a directory: kind and key; None where nothing is."""
    try:
        kind, key = json.loads((partial / PROGRESS / "key").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return None
    return kind, key


def remove_partial(partial: Path) -> None:
    """Removes what an interrupted build left.

    Raises:
        ArtifactError: It was not left by a build.
    """
    if not partial.is_dir() or partial.is_symlink():
        if partial.exists() or partial.is_symlink():
            raise ArtifactError(
                f"{partial} is in the way and was not made by whence.", "Move it away."
            )
        return
    if key_of(partial) is None and not _is_blank(partial):
        raise ArtifactError(f"{partial} is in the way and was not made by whence.", "Move it away.")
    shutil.rmtree(partial)


def swap(directory: Path, *, replacing: str | None) -> None:
    """Gives a filled directory its name; an old artifact there goes after the new one stands.

    Args:
        directory: The place.
        replacing: See `resolve`.

    Raises:
        ArtifactError: Something that whence did not write has come into the old one.
    """
    replaced = beside(directory, _REPLACED)
    if directory.exists():
        if replacing is not None:
            check_replaceable(directory, kind=replacing)
        if any(directory.iterdir()):
            directory.rename(replaced)
        else:
            directory.rmdir()
    beside(directory, "partial").rename(directory)
    shutil.rmtree(directory / PROGRESS, ignore_errors=True)
    if replaced.is_dir():
        shutil.rmtree(replaced)


def settle(directory: Path, *, kind: str, key: str, replacing: str | None) -> None:
    """Ends what a killed process left undone between a filled directory and its name.

    The caller holds the lock. A directory that was filled whole gets its name; an old artifact
    that had lost its name gets it back, unless its successor is there.
    """
    partial, replaced = beside(directory, "partial"), beside(directory, _REPLACED)
    if key_of(partial) == (kind, key) and _record(partial) is not None:
        swap(directory, replacing=replacing)
    if replaced.is_dir() and foreign(replaced) is None:
        if directory.exists():
            shutil.rmtree(replaced)
        else:
            replaced.rename(directory)
    if (directory / PROGRESS).is_dir() and _record(directory) is not None:
        shutil.rmtree(directory / PROGRESS)


def is_unsettled(directory: Path) -> bool:
    """Whether a process that made something here was killed, or is still at work."""
    names = ("partial", "replaced", "lock")
    neighbors = [*(beside(directory, name) for name in names), directory / PROGRESS]
    return any(os.path.lexists(path) for path in neighbors)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None
