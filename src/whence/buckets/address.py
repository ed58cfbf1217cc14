"""Addresses of a bucket (`s3://`, `gs://`): what lies there, and errors as one sentence.

Credentials and the endpoint are those that the file system's own package finds (environment,
profile, the machine's role).
"""

import errno
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from whence.artifacts import bucket_cache
from whence.errors import ArtifactError, SettingsError, WhenceError, shown
from whence.progress import Task

_ADDRESS = re.compile(r"(s3|gs)://[^/]+/.+")
_SCHEME = re.compile(r"[A-Za-z][\w+.-]*://")
# What pathlib, or a slip of the finger, makes of an address.
_COLLAPSED = re.compile(r"(s3|gs):/[^/]")
_PACKAGES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs")}
# Names of neighbors of a folder on this machine are longer than its own.
_MOST_BYTES = 200
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}
_UNREACHABLE = {"ConnectionError", "ClientConnectionError", "HTTPClientError", "TimeoutError"}


class Stored(NamedTuple):
    """An object: its path in the store, its size in bytes, and what changes when it is replaced."""

    path: str
    num_bytes: int
    version: str


def is_address(place: str | Path) -> bool:
    """Whether a text names an object, or a folder, of a bucket."""
    return isinstance(place, str) and _ADDRESS.fullmatch(place) is not None


def address_of(place: str | Path) -> str | None:
    """Reads the address of a folder in a bucket; None where a path of this machine is named.

    Raises:
        SettingsError: It begins as an address does, and is none.
    """
    text = str(place).rstrip("/")
    parts = text.split("/")[3:]
    if is_address(place) and parts and all(map(_is_name, parts)):
        if (length := len(parts[-1].encode())) > _MOST_BYTES:
            raise SettingsError(
                f"The name of the folder {shown(parts[-1][:20])}… has {length:,} bytes, and its "
                f"copy on this machine can have at most {_MOST_BYTES}.",
                "Give it a shorter name.",
            )
        return text
    if _SCHEME.match(text) or _COLLAPSED.match(text):
        raise SettingsError(
            f"{shown(str(place))} is no folder in a bucket.",
            "Write it like s3://bucket/folder or gs://bucket/folder, as text and not as a path.",
        )
    return None


def _is_name(part: str) -> bool:
    """Whether a part of an address names a folder, and is nothing that a file system reads in."""
    is_text = not any("\ud800" <= c <= "\udfff" for c in part)
    return is_text and part not in ("", ".", "..") and "?versionId=" not in part


def digest(*parts: object) -> str:
    """Computes twenty hexadecimal digits that name a folder of the cache."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


def connect(address: str) -> tuple[Any, str]:
    """Opens the file system of an address; nothing that it listed before counts.

    Returns:
        The file system, and the path of the address in it.

    Raises:
        ImportError: The file system's package is missing.
    """
    from fsspec.core import url_to_fs

    system, path = url_to_fs(address)
    system.invalidate_cache()
    return system, path


def stored(system: Any, entry: dict[str, Any]) -> Stored:
    """Reads one entry of a listing."""
    version = entry.get("ETag") or entry.get("etag") or system.ukey(entry["name"])
    return Stored(entry["name"], entry["size"], str(version))


def list_folder(system: Any, path: str) -> dict[str, Stored]:
    """Lists all objects below a folder by their names in it, sorted; empty where there are none.

    Raises:
        NotADirectoryError: The path is that of an object.
    """
    system.invalidate_cache()
    found: dict[str, Stored] = {}
    for name, entry in sorted(system.find(path, detail=True).items()):
        if name == path:
            if entry["type"] == "file":
                raise NotADirectoryError(path)
            continue  # It had no objects when it was listed, and has some since.
        # A browser of buckets marks a folder with an empty object of its name and a slash.
        if entry["type"] == "file" and not name.endswith("/"):
            found[name.removeprefix(f"{path}/")] = stored(system, entry)
    return found


def counting(task: Task) -> Any:
    """Makes what a file system calls while it transfers an object, with the bytes that came."""
    from fsspec.callbacks import Callback

    class Count(Callback):
        def relative_update(self, inc: float = 1) -> None:
            task.advance(inc)

    return Count()


@contextmanager
def one_sentence(
    address: str, *, as_error: type[WhenceError], to: Literal["read", "written"] = "read"
) -> Iterator[None]:
    """Puts whatever a file system of buckets raises into one sentence and one remedy.

    Args:
        address: What was to be read or written.
        as_error: The class of what is raised.
        to: What was to be done with it.

    Raises:
        WhenceError: Something was raised; of the class `as_error`, or an ArtifactError where this
            machine's disk is full.
    """
    try:
        yield
    except WhenceError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and _is_local(error):
            raise ArtifactError(
                f"{error.filename or bucket_cache()} cannot be used ({error.strerror}).",
                "Free some disk space, or name another folder in WHENCE_CACHE.",
            ) from error
        raise as_error(*_explain(error, shown(address), to)) from error


def _is_local(error: OSError) -> bool:
    """Whether this machine's disk refused, and not the server."""
    if error.errno in _FULL:
        return True
    return error.filename is not None and not isinstance(error, FileNotFoundError)


def _explain(error: Exception, address: str, to: str) -> tuple[str, str]:
    # A request's own parameters tell a user nothing.
    lines = [*str(error).splitlines(), ""]
    reason = f"{lines[0]} {lines[1]}" if lines[0].endswith(":") else lines[0]
    reason = re.sub(r"\?[^\s\"']+", "", reason).rstrip(". ")[:200]
    kinds = {kind.__name__ for kind in type(error).__mro__}
    package, extra = _PACKAGES[address.split(":")[0]]
    if isinstance(error, ImportError):
        return (
            f"{address} needs the package {package} ({reason}).",
            f"Install it with `pip install 'whence[{extra}]'`.",
        )
    if isinstance(error, FileNotFoundError):
        if "bucket does not exist" in reason:
            return f"There is no bucket {address.split('/')[2]!r}.", "Check its name."
        return f"There is no object or folder {address!r}.", "Check bucket and path."
    if isinstance(error, NotADirectoryError):
        return f"{address} is an object, and no folder.", "Check the path."
    if isinstance(error, PermissionError) or kinds & _NO_CREDENTIALS:
        return (
            f"{address} may not be {to} with these credentials ({reason}).",
            "Check the credentials, and what they permit.",
        )
    if "ParamValidationError" in kinds:
        return f"{address} is no address in a bucket ({reason}).", "Check the bucket's name."
    if kinds & _UNREACHABLE:
        return (
            f"{address} cannot be {to}, because its server cannot be reached ({reason}).",
            "Check the network and the endpoint.",
        )
    return (
        f"{address} cannot be {to} ({type(error).__name__}: {reason}).",
        "Check the credentials and the network, and run the same command again.",
    )
