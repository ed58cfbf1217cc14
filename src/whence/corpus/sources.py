"""Where does this corpus come from, and which reader reads it?"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from whence.corpus import arrow, jsonl, mmap, parquet, text
from whence.corpus.documents import Document, Row, documents
from whence.corpus.hub import read_hub
from whence.errors import CorpusError
from whence.remote import is_repository_id
from whence.settings import CorpusSettings

Format = Literal["jsonl", "parquet", "arrow", "text", "mmap"]
_SUFFIXES: dict[Format, tuple[str, ...]] = {
    "jsonl": tuple(kind + pack for kind in (".jsonl", ".ndjson") for pack in ("", ".gz", ".zst")),
    "parquet": (".parquet",),
    "arrow": (".arrow",),
    "text": (".txt",),
    "mmap": (".bin",),
}


class Source(NamedTuple):
    """Documents that are read as they are asked for.

    `num_documents` is None where only reading them all would tell. Where the source is a memory
    map, `map_rows` is its number of rows, whichever of them are read, and `is_whole_map` says
    whether all of its shards are there.
    """

    documents: Iterator[Document]
    name: str
    num_documents: int | None = None
    map_rows: int | None = None
    is_whole_map: bool = True


def open_source(settings: CorpusSettings) -> Source:
    """Finds the reader of a source by its format, its place and its name.

    What exists here is read from here; any other name that has the form of a Hub id is looked for
    on the Hub.

    Raises:
        CorpusError: There is no such source, or it holds nothing that can be read.
    """
    path = Path(settings.source).expanduser()
    if settings.format != "hub" and path.exists():
        kind = settings.format if settings.format != "auto" else _recognize(path)
        if kind == "mmap":
            return _map(mmap.local_parts(path), settings, name=path.name)
        return _files(path, kind, settings)
    looks_like_file = settings.source.endswith(sum(_SUFFIXES.values(), ()))
    if is_repository_id(settings.source) and not looks_like_file:
        if settings.format == "mmap":
            parts = mmap.hub_parts(settings.source, revision=settings.revision)
            return _map(parts, settings, name=settings.source)
        if settings.format in ("auto", "hub"):
            found = read_hub(settings)
            rows = (Row(values, settings.source) for values in found.rows)
            return Source(documents(rows, settings), settings.source, found.num_rows)
    raise CorpusError(
        f"There is no file or folder {settings.source!r}.",
        "Check the path; a Hub dataset is named like `NeelNanda/pile-10k`.",
    )


def _recognize(path: Path) -> Format:
    if path.is_dir() and arrow.is_saved_dataset(path):
        return "arrow"
    names = [file.name for file in path.iterdir()] if path.is_dir() else [path.name]
    found: list[Format] = [
        kind
        for kind, suffixes in _SUFFIXES.items()
        if any(name.endswith(suffixes) for name in names)
    ]
    if len(found) == 1:
        return found[0]
    known = ", ".join(sum(_SUFFIXES.values(), ()))
    if not found:
        raise CorpusError(
            f"{path} is not a file of a known kind, nor a folder with some.",
            f"Known endings are {known}; for another ending say the `format`.",
        )
    raise CorpusError(
        f"{path} holds files of several formats: {', '.join(found)}.", "Say which `format` to read."
    )


def _files(path: Path, kind: Format, settings: CorpusSettings) -> Source:
    files = _list(path, kind, settings)
    counts = [parquet.num_parquet_rows(file) for file in files] if kind == "parquet" else [None]
    readers: dict[str, Callable[[Path], Iterable[dict[str, Any]]]] = {
        "jsonl": jsonl.read_jsonl,
        "text": text.read_text,
        "parquet": lambda file: parquet.read_parquet(file, settings),
        "arrow": lambda file: arrow.read_arrow(file, settings),
    }
    rows = (Row(values, file.name) for file in files for values in readers[kind](file))
    known = [count for count in counts if count is not None]
    return Source(
        documents(rows, settings),
        path.name,
        sum(known) if len(known) == len(counts) else None,
    )


def _list(path: Path, kind: Format, settings: CorpusSettings) -> list[Path]:
    if path.is_file():
        return [path]
    if kind == "arrow" and arrow.is_saved_dataset(path):
        return arrow.saved_files(path, split=settings.split)
    files = sorted(file for file in path.iterdir() if file.name.endswith(_SUFFIXES[kind]))
    # The Hub's convention: train-00000-of-00002.parquet, test.jsonl …
    of_split = [f for f in files if re.match(rf"{re.escape(settings.split)}[-._]", f.name)]
    if not files:
        raise CorpusError(
            f"{path} holds no file that ends in {' or '.join(_SUFFIXES[kind])}.",
            "Check the folder and the `format`.",
        )
    return of_split or files


def _map(parts: list[mmap.Part], settings: CorpusSettings, *, name: str) -> Source:
    num_rows = mmap.num_map_rows(parts, where=name)
    wanted = settings.num_rows or settings.max_documents
    if wanted is None and settings.source == name and not Path(name).exists():
        raise CorpusError(
            f"The memory map {name!r} has {num_rows:,} rows, and nothing says how many to fetch.",
            "Set `num_rows`, and `first_row` if not from the beginning.",
        )
    stop = num_rows if wanted is None else settings.first_row + wanted
    if settings.first_row >= num_rows or (settings.num_rows is not None and stop > num_rows):
        raise CorpusError(
            f"Rows {settings.first_row:,} to {stop - 1:,} were asked for, but {name} has "
            f"{num_rows:,} rows.",
            "Choose `first_row` and `num_rows` within it; Pythia's step s reads the rows from "
            "1,024 · (s - 1) on.",
        )
    rows = range(settings.first_row, min(stop, num_rows))
    read = (Row(row, name) for row in mmap.read_map(parts, rows=rows, where=name))
    # A map has columns of its own; the settings' column names are for other formats.
    plain = CorpusSettings(source=settings.source)
    is_whole = mmap.is_whole_map(parts)
    return Source(documents(read, plain), name, len(rows), num_rows, is_whole)
