"""Objects of a bucket (`s3://`, `gs://`) as local files, copied once.

A file or the files directly in a folder are copied into the user's cache under a hash of the
object's address and version, so that an object that was replaced is copied again. Credentials are
those that the file system's own package finds (environment, profile, the machine's role).
"""

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

from whence.errors import CorpusError, shown

_ADDRESS = re.compile(r"(s3|gs)://[^/]+/.+")
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs"}


def is_address(source: str) -> bool:
    """Whether a source names an object, or a folder, of a bucket."""
    return _ADDRESS.fullmatch(source) is not None


def fetch(source: str) -> Path:
    """Copies what an address names, unless it was copied before.

    Args:
        source: Such as `s3://bucket/train.jsonl.gz`, or a folder whose files are all copied.

    Returns:
        The local file or folder.

    Raises:
        CorpusError: Nothing is there, it may not be read, or the file system's package is missing.
    """
    protocol = source.split(":")[0]
    try:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(source)
        is_folder = system.isdir(path)
        objects = _entries(system, path) if is_folder else [system.info(path)]
        version = _version(system, source, objects)
        place = _cache() / f"{version}" / (Path(path).name or protocol)
        if not place.exists():
            _copy(system, objects, place, is_folder=is_folder)
    except ImportError as error:
        raise CorpusError(
            f"{shown(source)} needs the package {_PACKAGES[protocol]} ({error}).",
            f"Install it: `pip install {_PACKAGES[protocol]}`.",
        ) from None
    except FileNotFoundError:
        raise CorpusError(
            f"There is no object or folder {shown(source)!r}.", "Check bucket and path."
        ) from None
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise CorpusError(
            f"{shown(source)} cannot be read ({type(error).__name__}: {reason}).",
            "Check the credentials and the network, or copy it yourself and name the copy.",
        ) from error
    return place


def _entries(system: Any, path: str) -> list[dict[str, Any]]:
    """Lists the files directly in a folder, hidden ones left out.

    Raises:
        FileNotFoundError: There are none.
    """
    found = [
        entry
        for entry in system.ls(path, detail=True, refresh=True)
        if entry["type"] == "file" and not Path(entry["name"]).name.startswith(".")
    ]
    if not found:
        raise FileNotFoundError(path)
    return sorted(found, key=lambda entry: entry["name"])


def _version(system: Any, source: str, objects: list[dict[str, Any]]) -> str:
    """Hashes an address with the versions of its objects (of S3, their entity tags)."""
    parts = [system.protocol, source, *(system.ukey(entry["name"]) for entry in objects)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


def _copy(system: Any, objects: list[dict[str, Any]], place: Path, *, is_folder: bool) -> None:
    """Copies objects to a place that has its name only when all of them are there."""
    partial = place.parent / f".{place.name}.{os.getpid()}.partial"
    (partial if is_folder else partial.parent).mkdir(parents=True, exist_ok=True)
    try:
        for entry in objects:
            target = partial / Path(entry["name"]).name if is_folder else partial
            system.get_file(entry["name"], str(target))
            if target.stat().st_size != entry["size"]:
                raise OSError(f"{entry['name']} was cut short")
        if not place.exists():
            partial.rename(place)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def _cache() -> Path:
    if own := os.environ.get("WHENCE_CACHE"):
        return Path(own) / "objects"
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return user / "whence" / "objects"
