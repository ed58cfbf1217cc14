"""Objects of a bucket (`s3://`, `gs://`) as local files, copied once.

They are copied into the user's cache under a hash of address and versions, so that what was
replaced is copied again. A copy has its name only when it is whole; one that was interrupted goes
on at the object at which it stopped. What an artifact's manifest lists is compared with it.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from whence.artifacts import (
    MANIFEST,
    SMALL_BYTES,
    FileRecord,
    beside,
    bucket_cache,
    exclusive,
    parse_record,
    sha256_of,
)
from whence.buckets.address import (
    Stored,
    address_of,
    connect,
    counting,
    digest,
    list_folder,
    one_sentence,
    stored,
)
from whence.buckets.built import UploadLog, built_folder
from whence.errors import CorpusError, WhenceError, shown
from whence.progress import SILENT, Progress, Task

# In the place of a manifest while an artifact is uploaded.
MARK = ".unfinished.json"


def fetch(source: str) -> Path:
    """Copies what an address names, unless it was copied before.

    Args:
        source: Such as `s3://bucket/train.jsonl.gz`, or a folder whose files are all copied.

    Returns:
        The local file or folder.

    Raises:
        CorpusError: Nothing is there, it may not be read, or the file system's package is missing.
    """
    with one_sentence(source, as_error=CorpusError):
        system, path = connect(source)
        name = PurePosixPath(path).name

        def objects() -> dict[str, Stored]:
            system.invalidate_cache()
            if not system.isdir(path):
                return {name: stored(system, system.info(path))}
            return {f"{name}/{file}": found for file, found in _files(system, path).items()}

        return _copies(system, source, objects, as_error=CorpusError, progress=SILENT) / name


def local_folder(
    place: str | Path, *, kind: str, as_error: type[WhenceError], progress: Progress = SILENT
) -> Path:
    """Makes the folder of a finished artifact of what a user names: a path, or an address.

    Args:
        place: A path, which is returned as it is, or an address, which is copied.
        kind: What the artifact is, such as "index".
        as_error: The class of what is raised.
        progress: Reports progress.

    Returns:
        The path. A copy holds what the manifest lists, each file compared with its digest.

    Raises:
        WhenceError: No finished artifact of this kind is there, an object is not as the manifest
            says, or it cannot be read; of the class `as_error`.
    """
    address = address_of(place)
    if address is None:
        return Path(place)
    with one_sentence(address, as_error=as_error):
        system, path = connect(address)
        files = _listed_files(system, path, address, kind=kind, as_error=as_error)
        name = PurePosixPath(path).name

        def objects() -> dict[str, Stored]:
            found = list_folder(system, path)
            if lacking := sorted({MANIFEST, *files} - set(found)):
                raise as_error(
                    f"{shown(address)} lacks {lacking[0]}.", f"Build the {kind} there again."
                )
            return {f"{name}/{file}": found[file] for file in (*files, MANIFEST)}

        digests = {f"{name}/{file}": record for file, record in files.items()}
        folder = _copies(
            system, address, objects, as_error=as_error, progress=progress, digests=digests
        )
    return folder / name


def _files(system: Any, path: str) -> dict[str, Stored]:
    """Lists the files directly in a folder, hidden ones left out.

    Raises:
        FileNotFoundError: There are none.
    """
    found = {
        Path(entry["name"]).name: stored(system, entry)
        for entry in sorted(system.ls(path, detail=True), key=lambda entry: entry["name"])
        if entry["type"] == "file" and not Path(entry["name"]).name.startswith(".")
    }
    if not found:
        raise FileNotFoundError(path)
    return found


def _listed_files(
    system: Any, path: str, address: str, *, kind: str, as_error: type[WhenceError]
) -> dict[str, FileRecord]:
    """Reads which files an artifact in a bucket has.

    Raises:
        WhenceError: It is not there, unfinished, of another kind, or its manifest is damaged.
    """
    found = list_folder(system, path)
    where = shown(address)
    if MANIFEST not in found:
        if MARK in found:
            raise as_error(
                f"The {kind} {where} is unfinished.", "Run the same build again; it resumes."
            )
        if not found:
            raise as_error(f"There is no {kind} {where}.", "Check bucket and path.")
        raise as_error(
            f"{where} has no {MANIFEST}, so it is no finished {kind} of whence.",
            "Check the path; what another tool made is to be copied to this machine first.",
        )
    record = parse_record(system.cat_file(found[MANIFEST].path))
    try:
        files = {
            name: FileRecord(file["bytes"], file["sha256"])
            for name, file in (record or {})["files"].items()
        }
    except (KeyError, TypeError, ValueError):
        files = None
    if record is None or files is None or not all(map(_is_within, files)):
        raise as_error(
            f"{where}/{MANIFEST} is damaged, or of another version of whence.",
            f"Build the {kind} there again.",
        )
    if record["kind"] != kind:
        raise as_error(f"{where} holds a {record['kind']}, and no {kind}.", "Check the path.")
    return files


def _is_within(name: str) -> bool:
    """Whether the name of a file leads to no other folder."""
    return not {"..", "/"} & {*PurePosixPath(name).parts}


def _copies(
    system: Any,
    address: str,
    objects: Callable[[], Mapping[str, Stored]],
    *,
    as_error: type[WhenceError],
    progress: Progress,
    digests: Mapping[str, FileRecord] | None = None,
) -> Path:
    """Copies objects into a folder of the cache, unless it holds all of them.

    Args:
        system: The file system.
        address: What the user named.
        objects: Lists the objects by their names in the folder.
        as_error: The class of what is raised where they change meanwhile, or are not as listed.
        progress: Reports progress.
        digests: What a manifest says of them.
    """
    wanted, known = objects(), digests or {}
    versions = [(name, found.version) for name, found in sorted(wanted.items())]
    folder = bucket_cache() / digest(address, versions)
    if _are_whole(folder, wanted, known):
        return folder
    built = built_folder(address)
    log = UploadLog(built)
    with exclusive(folder, wait=True), one_sentence(address, as_error=as_error):
        if _are_whole(folder, wanted, known):
            return folder
        partial = beside(folder, "partial")
        if folder.exists():  # Somebody has removed or changed a part of it.
            shutil.rmtree(partial, ignore_errors=True)
            folder.rename(partial)
        total = sum(found.num_bytes for found in wanted.values())
        with progress.task(f"Copying {shown(address)}", total=total, unit="bytes") as task:
            for name, found in wanted.items():
                target, record = partial / name, known.get(name)
                if _is_whole(target, found, record) or (
                    record is not None
                    and log.has(name.removeprefix(f"{built.name}/"), record.sha256, found)
                    and _link(built.parent / name, target, record)
                ):
                    task.advance(found.num_bytes)
                else:
                    _copy(system, found, target, task)
                    _compare(target, address, record, as_error)
        if objects() != wanted:
            shutil.rmtree(partial)
            raise as_error(
                f"{shown(address)} was changed while it was copied.", "Run the same command again."
            )
        partial.rename(folder)
    return folder


def _link(source: Path, target: Path, record: FileRecord) -> bool:
    """Gives a second name to a file of this machine.

    Returns:
        Whether it is there, and as a manifest says.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.hardlink_to(source)
        if sha256_of(target) == record.sha256:
            return True
        target.unlink()
    except OSError:  # Such as that of a file system without second names.
        pass
    return False


def _copy(system: Any, found: Stored, target: Path, task: Task) -> None:
    """Copies an object to a file that has its name only when all of it is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    arriving = target.with_name(f".{target.name}.partial")
    system.get_file(found.path, str(arriving), callback=counting(task))
    if arriving.stat().st_size != found.num_bytes:
        arriving.unlink()
        raise OSError(f"{found.path} was cut short")
    arriving.replace(target)


def _compare(
    target: Path, address: str, record: FileRecord | None, as_error: type[WhenceError]
) -> None:
    """Refuses a file that is not as a manifest says.

    Raises:
        WhenceError: Its digest is another one.
    """
    if record is not None and sha256_of(target) != record.sha256:
        target.unlink()
        raise as_error(
            f"{shown(address)} has another {target.name} than its {MANIFEST} lists.",
            "Wait where it is being written; otherwise build it again.",
        )


def _are_whole(folder: Path, wanted: Mapping[str, Stored], known: Mapping[str, FileRecord]) -> bool:
    return all(_is_whole(folder / name, found, known.get(name)) for name, found in wanted.items())


def _is_whole(target: Path, found: Stored, record: FileRecord | None) -> bool:
    """Whether a copy has the size of its object and, where that is quickly read, its digest."""
    try:
        if target.stat().st_size != found.num_bytes:
            return False
    except OSError:
        return False
    if record is None or found.num_bytes > SMALL_BYTES:
        return True
    return sha256_of(target) == record.sha256
