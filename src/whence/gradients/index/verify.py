"""Compares every byte of an index with the digests of its manifest."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from whence.artifacts import MANIFEST, FileRecord, read_manifest
from whence.buckets import local_folder
from whence.errors import ArtifactError, CorpusError, IndexFormatError
from whence.gradients.index.manifest import KIND, read_index_manifest
from whence.gradients.index.opening import open_index
from whence.progress import SILENT, Progress, Task

_CHUNK = 8 * 2**20


class IndexReport(NamedTuple):
    """What a comparison found.

    `has_digests` is False of an index that Bergson made, of which only shape and sizes could be
    checked. `damage` holds one clause for each file that is not as it was written; `num_bytes`
    were compared.
    """

    has_digests: bool
    num_files: int
    num_bytes: int
    damage: tuple[str, ...]


def verify_index(place: str | Path, *, progress: Progress = SILENT) -> IndexReport:
    """Reads a whole index, with what was made within it, and compares it with its digests.

    Of an index in a bucket the copy is read, once it is certain that no object has changed since.

    Raises:
        IndexFormatError: There is no index, it is unfinished, its manifest is damaged, or it is
            one of Bergson's that cannot be opened.

    Cost:
        One reading of every file.
    """
    directory = local_folder(place, kind=KIND, as_error=IndexFormatError, progress=progress)
    manifest = read_index_manifest(directory)
    if manifest is None:
        open_index(directory)
        return IndexReport(False, 0, 0, ())
    listed: dict[Path, Mapping[str, FileRecord]] = {directory: manifest.files}
    damage: list[str] = []
    for path in sorted(directory.glob(f"*/{MANIFEST}")):
        try:
            listed[path.parent] = _files(path.parent)
        except ArtifactError as error:
            damage.append(error.problem.rstrip("."))
    sizes = [file.bytes for files in listed.values() for file in files.values()]
    with progress.task("Comparing", total=sum(sizes), unit="bytes") as task:
        for place, files in listed.items():
            damage += _damage(place, files, task)
    if not damage:
        damage += _disagreement(directory)
    return IndexReport(True, len(sizes), sum(sizes), tuple(damage))


def _files(directory: Path) -> Mapping[str, FileRecord]:
    """Reads what the manifest of an artifact within the index lists.

    Raises:
        ArtifactError: It cannot be read, or lists no files.
    """
    files = read_manifest(directory).files
    if files is None:
        raise ArtifactError(f"{directory / MANIFEST} lists no files.", "Remove it.")
    return files


def _damage(place: Path, files: Mapping[str, FileRecord], task: Task) -> Iterator[str]:
    for name, known in sorted(files.items()):
        path = place / name
        digest, size = hashlib.sha256(), 0
        try:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    task.advance(len(chunk))
        except FileNotFoundError:
            yield f"{path} is missing"
            continue
        except OSError as error:
            yield f"{path} cannot be read ({error.strerror})"
            continue
        if size != known.bytes:
            yield f"{path} has {size:,} bytes instead of {known.bytes:,}"
        elif digest.hexdigest() != known.sha256:
            yield f"{path} was changed after it was written"


def _disagreement(directory: Path) -> list[str]:
    """Looks for files that are as they were written and yet do not belong together."""
    try:
        assert open_index(directory).corpus is not None
    except (IndexFormatError, CorpusError) as error:
        return [error.problem.rstrip(".")]
    return []
