"""Reader of Arrow files, and of folders written by `datasets.save_to_disk`.

The files are read with pyarrow alone: a saved dataset is Arrow files and JSON, and nothing in it
has to be executed or unpickled.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whence.corpus.batches import rows_of
from whence.corpus.documents import needed_columns
from whence.corpus.paths import shown
from whence.errors import CorpusError
from whence.settings import CorpusSettings

_STATE, _SPLITS = "state.json", "dataset_dict.json"
_FILE_MAGIC = b"ARROW1"
_STREAM_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def is_saved_dataset(folder: Path) -> bool:
    """Tells whether `datasets.save_to_disk` wrote this folder."""
    return (folder / _STATE).is_file() or (folder / _SPLITS).is_file()


def saved_files(folder: Path, *, split: str) -> list[Path]:
    """Lists the Arrow files of a saved dataset, or of one split of a saved dictionary, in order.

    Raises:
        CorpusError: There is no such split, or a file of the dataset is missing.
    """
    if (folder / _SPLITS).is_file():
        splits = _read_json(folder / _SPLITS).get("splits", [])
        splits = splits if isinstance(splits, list) else []
        if split not in splits:
            raise CorpusError(
                f"{shown(folder)} has no split {split!r}; its splits are: "
                f"{', '.join(map(str, splits))}.",
                "Choose one of them.",
            )
        folder = folder / split
    listed = _read_json(folder / _STATE).get("_data_files", [])
    # Only the name is used, so that a saved dataset cannot point at files outside its folder.
    try:
        files = [folder / Path(entry["filename"]).name for entry in listed]
    except (TypeError, KeyError):
        raise CorpusError(
            f"{folder / _STATE} does not list the files of a saved dataset.",
            "Save the dataset again.",
        ) from None
    for file in files:
        if not file.is_file():
            raise CorpusError(
                f"{folder} is not whole: its {_STATE} names {file.name}, which is missing.",
                "Copy or save the dataset again.",
            )
    return files


def read_arrow(path: Path, settings: CorpusSettings) -> Iterator[dict[str, object]]:
    """Reads the rows of one Arrow file, and of its columns only those that a corpus needs.

    Raises:
        CorpusError: The file is not whole Arrow data, or lacks a column that the settings name.
    """
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            for batch in _batches(source, path):
                columns = needed_columns(batch.schema.names, settings)
                yield from rows_of(batch.select(columns))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        detail = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise CorpusError(
            f"{shown(path)} is not a whole Arrow file ({detail}).",
            "Copy or save the dataset again.",
        ) from None


def _batches(source: Any, path: Path) -> Iterator[Any]:
    import pyarrow as pa

    head = source.read(len(_FILE_MAGIC))
    source.seek(0)
    if head == _FILE_MAGIC:
        reader = pa.ipc.open_file(source)
        yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
        return
    # A stream that was cut between two batches reads without complaint; its end mark is missing.
    source.seek(max(0, source.size() - len(_STREAM_END)))
    if source.read(len(_STREAM_END)) != _STREAM_END:
        raise CorpusError(f"{shown(path)} is cut short, or is not an Arrow file.", "Save it again.")
    source.seek(0)
    yield from pa.ipc.open_stream(source)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorpusError(
            f"{path} cannot be read ({error}).", "Copy or save the dataset again."
        ) from None
    return value if isinstance(value, dict) else {}
