"""The manifest of a finished artifact: what was made, from what, when, and its files."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from whence.artifacts.places import FORMAT, MANIFEST
from whence.errors import ArtifactError

T = TypeVar("T")


@dataclass(frozen=True)
class FileRecord:
    """A file's size, and the SHA-256 of its bytes in hexadecimal digits."""

    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if type(self.bytes) is not int or self.bytes < 0:
            raise ValueError(f"{self.bytes!r} is no number of bytes")
        if not isinstance(self.sha256, str):
            raise ValueError(f"{self.sha256!r} is no digest")  # noqa: TRY004


@dataclass(frozen=True)
class Manifest:
    """What a finished artifact states of itself.

    Attributes:
        kind: What it is, such as "index".
        key: The fingerprint of kind and inputs.
        inputs: What determined the content, as JSON values.
        versions: Of the packages that numbers depend on.
        started: When it was begun, in ISO 8601.
        seconds: How long it took.
        details: What was found while it was made, as JSON values whose form its reader knows.
        files: Every file with its size and digest, by its path; None where none are listed.
    """

    kind: str
    key: str
    inputs: Mapping[str, Any]
    versions: Mapping[str, str]
    started: str
    seconds: float
    details: Mapping[str, Any]
    files: Mapping[str, FileRecord] | None


def read_manifest(directory: Path) -> Manifest:
    """Reads the manifest of a finished artifact.

    Raises:
        ArtifactError: There is no such directory, it is unfinished, or its manifest is broken.
    """
    found = read_manifest_json(directory)
    try:
        files = found.get("files")
        return Manifest(
            kind=field(found, "kind", str),
            key=field(found, "key", str),
            inputs=field(found, "inputs", dict),
            versions=field(found, "versions", dict),
            started=field(found, "started", str),
            seconds=_seconds(found),
            details=field(found, "details", dict),
            files=None if files is None else _files(files),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise damaged(directory, error) from None


def read_manifest_json(directory: Path) -> Mapping[str, Any]:
    """Reads a manifest of any kind as it stands in its file; only its format is checked.

    Raises:
        ArtifactError: There is no such directory, it is unfinished, or its manifest is no JSON of
            this version's format.
    """
    path = directory / MANIFEST
    if not os.path.isdir(directory):  # noqa: PTH112  # pathlib raises where a name is too long.
        raise ArtifactError(f"There is no directory {directory}.", "Check the path.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(
            f"{directory} has no {MANIFEST}, so it is not a finished whence artifact.",
            "Check the path, or run the command that makes it again.",
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}).", "Delete the directory and make it again."
        ) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ArtifactError(
            f"{path} is not a manifest of format {FORMAT}.",
            "It was made by another version of whence; make it again with this one.",
        )
    return manifest


def field(values: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """Reads one field of a manifest.

    Raises:
        KeyError: It is missing.
        ValueError: It is of another type.
    """
    found = values[name]
    if not isinstance(found, kind):
        raise ValueError(f"`{name}` is of the type {type(found).__name__}")  # noqa: TRY004
    return found


def damaged(directory: Path, error: Exception) -> ArtifactError:
    """Words what is wrong with a manifest."""
    why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return ArtifactError(
        f"{directory / MANIFEST} is damaged, or of another version of whence ({why}).",
        "Delete the directory and make it again.",
    )


def _seconds(values: Mapping[str, Any]) -> float:
    found = values["seconds"]
    if type(found) not in (int, float):
        raise ValueError(f"`seconds` is of the type {type(found).__name__}")
    return found


def _files(values: object) -> Mapping[str, FileRecord]:
    if not isinstance(values, dict):
        raise ValueError(f"`files` is of the type {type(values).__name__}")  # noqa: TRY004
    return {name: FileRecord(file["bytes"], file["sha256"]) for name, file in values.items()}
