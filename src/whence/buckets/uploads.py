"""A finished artifact written into a bucket, its manifest last, so that none is seen half.

It is built in the user's cache and uploaded from there. While objects are written, a mark stands in
the place of the manifest: it lists what whence writes, so that nothing else is ever replaced. An
upload that was interrupted goes on at the object at which it stopped.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from whence.artifacts import (
    FORMAT,
    MANIFEST,
    exclusive,
    holds_another,
    lies_within,
    parse_record,
    read_manifest,
)
from whence.buckets.address import (
    Stored,
    connect,
    counting,
    list_folder,
    one_sentence,
    stored,
)
from whence.buckets.built import UploadLog
from whence.buckets.copies import MARK
from whence.errors import ArtifactError, shown
from whence.progress import SILENT, Progress, Task


def check_address(address: str, *, kind: str) -> None:
    """Refuses a folder of a bucket that an artifact cannot have, before any work; changes nothing.

    Raises:
        ArtifactError: It cannot be listed, or holds something that whence did not write.
    """
    with one_sentence(address, as_error=ArtifactError, to="written"):
        system, path = connect(address)
        _own_objects(system, path, address, kind=kind)


def reserve(address: str, *, kind: str) -> None:
    """Writes the mark of an unfinished artifact, and so shows that the bucket can be written.

    A finished artifact there stays until its successor is uploaded.

    Raises:
        ArtifactError: See `check_address`; or it cannot be written.
    """
    with one_sentence(address, as_error=ArtifactError, to="written"):
        system, path = connect(address)
        _write_mark(system, path, kind=kind, names=_own_objects(system, path, address, kind=kind))


def upload(address: str, directory: Path, *, kind: str, progress: Progress = SILENT) -> None:
    """Uploads a finished artifact: its files, and then its manifest.

    Objects that this function has uploaded before, and that nobody has replaced since, stay. An old
    artifact there can no longer be read as soon as the first object is replaced, and its other
    objects go before the manifest is written.

    Args:
        address: The folder in the bucket. One machine at a time may write it.
        directory: The artifact.
        kind: What it is, such as "index".
        progress: Reports progress.

    Raises:
        ArtifactError: It cannot be written, holds something that whence did not write, or was
            changed by another meanwhile.
    """
    with exclusive(directory), one_sentence(address, as_error=ArtifactError, to="written"):
        system, path = connect(address)
        found = _own_objects(system, path, address, kind=kind)
        manifest = (directory / MANIFEST).read_bytes()
        files = read_manifest(directory).files or {}
        log = UploadLog(directory)
        missing = [
            name for name, file in files.items() if not log.has(name, file.sha256, found.get(name))
        ]
        obsolete = sorted(set(found) - {*files, MANIFEST, MARK})
        is_same = MANIFEST in found and system.cat_file(found[MANIFEST].path) == manifest
        if missing or obsolete or not is_same:
            _write_mark(system, path, kind=kind, names={*found, *files})
            if MANIFEST in found:
                system.rm_file(found[MANIFEST].path)
            total = sum(file.bytes for file in files.values())
            with progress.task(f"Uploading {shown(address)}", total=total, unit="bytes") as task:
                task.advance(total - sum(files[name].bytes for name in missing))
                for name in missing:
                    log.add(
                        name,
                        files[name].sha256,
                        _upload(system, directory / name, f"{path}/{name}", task),
                    )
            for name in obsolete:
                system.rm_file(found[name].path)
            now = list_folder(system, path)
            if not all(log.has(name, file.sha256, now.get(name)) for name, file in files.items()):
                raise _changed(address)
            system.pipe_file(f"{path}/{MANIFEST}", manifest)
        if missing or obsolete or not is_same or MARK in found:
            system.rm_file(f"{path}/{MARK}")


def _upload(system: Any, source: Path, path: str, task: Task) -> Stored:
    system.put_file(str(source), path, callback=counting(task))
    system.invalidate_cache()
    written = stored(system, system.info(path))
    if written.num_bytes != source.stat().st_size:
        raise OSError(f"{path} was cut short")
    return written


def _changed(address: str) -> ArtifactError:
    return ArtifactError(
        f"{shown(address)} was changed while it was written.",
        "Let one machine at a time write it, and run the same command again.",
    )


def _write_mark(system: Any, path: str, *, kind: str, names: Collection[str]) -> None:
    files = {name: {} for name in sorted({*names} - {MANIFEST, MARK})}
    record = {"format": FORMAT, "kind": kind, "key": "", "files": files}
    system.pipe_file(f"{path}/{MARK}", json.dumps(record).encode())


def _own_objects(system: Any, path: str, address: str, *, kind: str) -> Mapping[str, Stored]:
    """Lists what lies in a folder of a bucket, all of it written by whence.

    Raises:
        ArtifactError: An artifact of another kind is there, or something that no record lists, or
            the folder lies within an artifact of the same kind; or it is being written.
    """
    found = list_folder(system, path)
    where, known = shown(address), set()
    _check_enclosing(system, path, address, kind=kind)
    for name in (MANIFEST, MARK):
        if name not in found:
            continue
        try:
            record = parse_record(system.cat_file(found[name].path))
        except FileNotFoundError:
            raise _changed(address) from None
        if record is None:
            continue
        if record["kind"] != kind:
            raise ArtifactError(
                f"{where} holds a {record['kind']}, and not the {kind} that would replace it.",
                "Choose another place.",
            )
        known |= {name, *record["files"]}
    if found and not known:
        raise ArtifactError(
            f"{where} was not made by whence: it has no {MANIFEST} that lists its files.",
            "Choose another place, or remove it yourself.",
        )
    if other := sorted(set(found) - known):
        for name in other:
            inner, _, file = name.rpartition("/")
            if (
                file in (MANIFEST, MARK)
                and (_record(system, found[name].path) or {}).get("kind") == kind
            ):
                raise holds_another(where, f"{where}/{inner}", kind=kind)
        raise ArtifactError(
            f"{where} holds {other[0]}, which whence did not write, so it is not replaced.",
            f"Move {other[0]} away, or choose another place.",
        )
    return found


def _check_enclosing(system: Any, path: str, address: str, *, kind: str) -> None:
    """Refuses a folder within an artifact of the same kind, finished or not.

    Raises:
        ArtifactError: One has a name above this folder.
    """
    outer, where = path, address
    while (outer := outer.rpartition("/")[0]).count("/"):
        where = where.rpartition("/")[0]
        for name in (MANIFEST, MARK):
            if (_record(system, f"{outer}/{name}") or {}).get("kind") == kind:
                raise lies_within(shown(address), shown(where), kind=kind)


def _record(system: Any, path: str) -> Mapping[str, Any] | None:
    """Reads an artifact's record; None where there is none that these credentials may read."""
    try:
        return parse_record(system.cat_file(path))
    except (FileNotFoundError, PermissionError):
        return None
