"""Sources of a corpus: which reader opens a file, a folder or a Hub dataset."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from whence.buckets import fetch, is_address
from whence.corpus import arrow, jsonl, mmap, parquet, text
from whence.corpus.documents import Documents, Row, documents
from whence.corpus.hub import read_hub
from whence.corpus.paths import find_place, natural_order, one_sentence, shown
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
# What a folder of training data may hold that is not read: said, so that "all" is not claimed.
_OTHER_DATA = (".json", ".csv", ".tsv", ".gz", ".zst", ".xz", ".bz2", ".zip", ".tar")
# The Hub's words for splits, in the names of files.
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_LONGEST_HUB_ID = 200


class Source(NamedTuple):
    """Documents that are read lazily.

    `num_documents` is None where only reading them all would tell. `left_out` names what else a
    folder holds, and `num_files` how many of its files are read. Where the source is a memory map,
    `map_rows` is its number of rows, whichever of them are read, `row_tokens` their length where
    all have the same, and `is_whole_map` says whether all of its shards are there.
    """

    documents: Documents
    name: str
    num_documents: int | None = None
    map_rows: int | None = None
    row_tokens: int | None = None
    is_whole_map: bool = True
    num_files: int = 1
    left_out: tuple[str, ...] = ()


def open_source(settings: CorpusSettings) -> Source:
    """Finds the reader of a source by its format, its place and its name.

    What exists here is read from here; any other name that has the form of a Hub id is looked for
    on the Hub. Objects of a bucket (`s3://`, `gs://`) are copied first.

    Raises:
        CorpusError: There is no such source, or it holds nothing that can be read.
    """
    if not settings.source:
        raise CorpusError("The corpus has no source: its name is empty.", "Name a file or folder.")
    if is_address(settings.source):
        local = settings.model_copy(update={"source": str(fetch(settings.source))})
        return open_source(local)
    path = _expanded(settings.source)
    if settings.format != "hub" and find_place(path) is not None:
        kind = settings.format if settings.format != "auto" else _recognize(path)
        if kind == "mmap":
            parts, index = mmap.local_parts(path), mmap.index_file(path)
            found = mmap.open_map(parts, settings, where=path.name, index=index)
            return _map(found, settings)
        return _files(path, kind, settings)
    looks_like_file = settings.source.endswith(sum(_SUFFIXES.values(), ()))
    is_short = len(settings.source) <= _LONGEST_HUB_ID
    if is_short and is_repository_id(settings.source) and not looks_like_file:
        if settings.format == "mmap":
            parts = mmap.hub_parts(settings.source, revision=settings.revision)
            found = mmap.open_map(parts, settings, where=settings.source)
            return _map(found, settings, is_remote=True)
        if settings.format in ("auto", "hub"):
            found = read_hub(settings)
            rows = (Row(values, settings.source) for values in found.rows)
            return Source(documents(rows, settings), settings.source, found.num_rows)
    raise CorpusError(
        f"There is no file or folder {shown(settings.source)!r}.",
        "Check the path; a Hub dataset is named like `NeelNanda/pile-10k`.",
    )


def _expanded(source: str) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError:  # of a user that does not exist
        return Path(source)


def _recognize(path: Path) -> Format:
    if path.is_dir() and arrow.is_saved_dataset(path):
        return "arrow"
    names = [file.name for file in _entries(path)] if path.is_dir() else [path.name]
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
            f"{shown(path)} is not a file of a known kind, nor a folder with some.",
            f"Known endings are {known}; for another ending say the `format`.",
        )
    raise CorpusError(
        f"{shown(path)} holds files of several formats: {', '.join(found)}.",
        "Say which `format` to read.",
    )


def _entries(folder: Path) -> list[Path]:
    """Lists what a folder holds, hidden files left out, in natural order."""
    with one_sentence(folder):
        return sorted(
            (entry for entry in folder.iterdir() if not entry.name.startswith(".")),
            key=natural_order,
        )


def _files(path: Path, kind: Format, settings: CorpusSettings) -> Source:
    files, left_out = _list(path, kind, settings)
    counts = [parquet.num_parquet_rows(file) for file in files] if kind == "parquet" else [None]
    max_bytes = int(settings.max_line_mb * 2**20)
    readers: dict[str, Callable[[Path], Iterable[dict[str, object]]]] = {
        "jsonl": lambda file: jsonl.read_jsonl(file, max_bytes=max_bytes),
        "text": lambda file: text.read_text(file, max_bytes=max_bytes),
        "parquet": lambda file: parquet.read_parquet(file, settings),
        "arrow": lambda file: arrow.read_arrow(file, settings),
    }
    rows = (Row(values, shown(file.name)) for file in files for values in readers[kind](file))
    known = [count for count in counts if count is not None]
    return Source(
        documents(rows, settings),
        shown(path.name or path.resolve().name),
        sum(known) if len(known) == len(counts) else None,
        num_files=len(files),
        left_out=tuple(map(shown, left_out)),
    )


def _list(path: Path, kind: Format, settings: CorpusSettings) -> tuple[list[Path], list[str]]:
    """Lists the files to read, in natural order, and the names of other data beside them."""
    if find_place(path) == "file":
        return [path], []
    if kind == "arrow" and arrow.is_saved_dataset(path):
        return arrow.saved_files(path, split=settings.split), []
    entries = _entries(path)
    files = [entry for entry in entries if entry.name.endswith(_SUFFIXES[kind])]
    if not files:
        raise CorpusError(
            f"{shown(path)} holds no file that ends in {' or '.join(_SUFFIXES[kind])}.",
            "Check the folder and the `format`.",
        )
    chosen = _of_split(files, settings.split, path)
    for file in chosen:
        if find_place(file) != "file":
            raise CorpusError(f"{shown(file)} is no file, or is not there.", "Move it away.")
    return chosen, [entry.name for entry in entries if entry not in chosen and _is_data(entry)]


def _of_split(files: list[Path], split: str, folder: Path) -> list[Path]:
    """Chooses the files of a split, where their names say of which split they are.

    Raises:
        CorpusError: The names do, and none is of that split.
    """
    if not split:
        return files
    same = next((words for words in _SPLITS.values() if split in words), (split,))
    named = [file for file in files if _has_word(file.name, *same)]
    if named:
        return named
    others = [word for words in _SPLITS.values() for word in words]
    plain = [file for file in files if not _has_word(file.name, *others)]
    if split in _SPLITS["train"] and plain:
        return plain
    names = ", ".join(shown(file.name) for file in files[:5])
    raise CorpusError(
        f"No file in {shown(folder)} is of the split {split!r} by its name; there are: {names}.",
        'Choose the `split` of one of them, or `split = ""` to read them all.',
    )


def _has_word(name: str, *words: str) -> bool:
    # train-00000-of-00002.parquet, test.jsonl, pile_val.jsonl.zst, dev2.jsonl …
    words_re = "|".join(map(re.escape, words))
    return re.search(rf"(?:^|[-._ ])(?:{words_re})\d*[-._ ]", name, re.IGNORECASE) is not None


def _is_data(entry: Path) -> bool:
    endings = (*sum(_SUFFIXES.values(), ()), *_OTHER_DATA)
    try:
        if not entry.is_dir():
            return entry.name.endswith(endings)
        return any(inner.name.endswith(endings) for inner in entry.iterdir())
    except OSError:
        return True


def _map(found: mmap.MemoryMap, settings: CorpusSettings, *, is_remote: bool = False) -> Source:
    name, num_rows = found.where, found.num_rows
    wanted = settings.num_rows or settings.max_documents
    if wanted is None and is_remote:
        raise CorpusError(
            f"The memory map {name!r} has {num_rows:,} rows, and nothing says how many to fetch.",
            "Set `num_rows`, and `first_row` if not from the beginning.",
        )
    stop = num_rows if wanted is None else settings.first_row + wanted
    if settings.first_row >= num_rows or (settings.num_rows is not None and stop > num_rows):
        raise CorpusError(
            f"Rows {settings.first_row:,} to {stop - 1:,} were requested, but {name} has "
            f"{num_rows:,} rows.",
            "Choose `first_row` and `num_rows` within it; Pythia's step s reads the rows from "
            "1,024 · (s - 1) on.",
        )
    rows = range(settings.first_row, min(stop, num_rows))
    read = (Row(row, name) for row in mmap.read_map(found, rows=rows))
    # A map has columns of its own; the settings' column names are for other formats.
    plain = CorpusSettings(source=settings.source)
    return Source(
        documents(read, plain), name, len(rows), num_rows, found.row_tokens, found.is_whole
    )
