"""Which sequences did Pythia read, and at which step?

Pythia's preshuffled memory map is its training data in training order: rows of 2,049 token ids,
uint16, without anything between them. An optimizer step reads 1,024 rows. Counting rows from 0 and
steps from 1,

    step(i) = i // 1024 + 1,    byte(i) = i * 2049 * 2,

and the checkpoint `stepC` has seen row i iff step(i) <= C, that is, iff i < 1024 * C.

All 2,049 tokens of a row are kept: the model's 2,048 targets are tokens 1 to 2,048 of the row, each
predicted from those before it, and a causal language model's loss shifts the labels itself. Cut to
2,048 tokens a row would lose its last target.

The map is published in shards (`document-00000-of-00020.bin` …), which cut it at arbitrary bytes.
They are read as one file here, without being joined, and from the Hub only the bytes of the rows
asked for are fetched.

Source: https://github.com/EleutherAI/pythia (README, `utils/batch_viewer.py`).
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from whence.errors import CorpusError
from whence.remote import explain

ROW_TOKENS = 2049
ROWS_PER_STEP = 1024
_ROW_BYTES = ROW_TOKENS * 2
_ROWS_PER_READ = 256
_SHARD = re.compile(r"(?P<stem>.*)-(?P<index>\d{5})-of-(?P<last>\d{5})\.bin")


class Part(NamedTuple):
    """A piece of the map: a file, its size, and how to read its bytes from `start` to `stop`."""

    name: str
    num_bytes: int
    read: Callable[[int, int], bytes]


def step_of_row(row: int) -> int:
    """Tells the optimizer step, counted from 1, at which Pythia read a row, counted from 0."""
    return row // ROWS_PER_STEP + 1


def local_parts(path: Path) -> list[Part]:
    """Opens one `.bin` file, or a folder of shards as one map.

    Raises:
        CorpusError: There is no `.bin` file, or a shard is missing.
    """
    files = sorted(path.glob("*.bin")) if path.is_dir() else [path]
    by_name = {file.name: file for file in files}
    names = _in_order(list(by_name), where=str(path)) if path.is_dir() else list(by_name)

    def reader(file: Path) -> Callable[[int, int], bytes]:
        def read(start: int, stop: int) -> bytes:
            with file.open("rb") as opened:
                opened.seek(start)
                return opened.read(stop - start)

        return read

    return [Part(n, by_name[n].stat().st_size, reader(by_name[n])) for n in names]


def hub_parts(repo: str, *, revision: str | None) -> list[Part]:
    """Opens the shards of a Hub dataset as one map; nothing but their names is fetched yet.

    Raises:
        CorpusError: There is no such dataset, it has no `.bin` file, or the Hub is unreachable.
    """
    from huggingface_hub import HfApi, HfFileSystem
    from huggingface_hub.hf_api import RepoFile

    try:
        tree = HfApi().list_repo_tree(repo, repo_type="dataset", revision=revision)
        sizes = {
            entry.path: entry.size
            for entry in tree
            if isinstance(entry, RepoFile) and entry.path.endswith(".bin")
        }
    except Exception as error:
        raise explain(
            error, what="dataset", name=repo, revision=revision, as_error=CorpusError
        ) from error
    files = HfFileSystem()

    def reader(name: str) -> Callable[[int, int], bytes]:
        def read(start: int, stop: int) -> bytes:
            try:
                # Without a cache the library asks for exactly these bytes.
                with files.open(
                    f"datasets/{repo}/{name}", "rb", revision=revision, cache_type="none"
                ) as opened:
                    opened.seek(start)
                    return cast(bytes, opened.read(stop - start))
            except Exception as error:
                raise explain(
                    error, what="dataset", name=repo, revision=revision, as_error=CorpusError
                ) from error

        return read

    names = _in_order(list(sizes), where=f"the dataset {repo!r}")
    return [Part(name, sizes[name], reader(name)) for name in names]


def num_map_rows(parts: list[Part], *, where: str) -> int:
    """Counts the rows of a map, or of the part of it that is there.

    Raises:
        CorpusError: The last row is cut short, so the map is not whole or not of this kind.
    """
    num_bytes = sum(part.num_bytes for part in parts)
    if num_bytes % _ROW_BYTES and is_whole_map(parts):
        raise CorpusError(
            f"{where} has {num_bytes} bytes, which is not a whole number of rows of "
            f"{ROW_TOKENS} tokens of two bytes.",
            "Download it again; if it is another memory map than Pythia's, convert it to JSON "
            "lines with a column of token ids.",
        )
    return num_bytes // _ROW_BYTES


def is_whole_map(parts: list[Part]) -> bool:
    """Tells whether these are all shards of a map, not only the first ones.

    The shards of Pythia's maps are numbered up to the number after `of`, both included; elsewhere
    that number often is how many there are.
    """
    match = _SHARD.fullmatch(parts[-1].name)
    return match is None or int(match["index"]) + 1 >= int(match["last"])


def read_map(parts: list[Part], *, rows: range, where: str) -> Iterator[dict[str, Any]]:
    """Reads some rows of a map.

    Args:
        parts: The pieces of the map, in order.
        rows: Which rows, counted from 0.
        where: What the map is called, for the message.

    Yields:
        `id` (the row as a string), `text` (its 2,049 token ids), `position` (the row) and `step`.

    Raises:
        CorpusError: A piece is shorter than it said.
    """
    import numpy as np

    for first in range(rows.start, rows.stop, _ROWS_PER_READ):
        last = min(first + _ROWS_PER_READ, rows.stop)
        data = _span(parts, first * _ROW_BYTES, last * _ROW_BYTES, where=where)
        tokens = np.frombuffer(data, dtype="<u2").reshape(-1, ROW_TOKENS)
        for row, ids in enumerate(tokens.tolist(), start=first):
            yield {"id": str(row), "text": ids, "position": row, "step": step_of_row(row)}


def _span(parts: list[Part], start: int, stop: int, *, where: str) -> bytes:
    pieces, offset = [], 0
    for part in parts:
        begin, end = max(start, offset), min(stop, offset + part.num_bytes)
        if begin < end:
            piece = part.read(begin - offset, end - offset)
            if len(piece) != end - begin:
                raise CorpusError(
                    f"{part.name} of {where} gave {len(piece)} bytes where {end - begin} were "
                    "asked for.",
                    "Try again; if it stays so, download the file again.",
                )
            pieces.append(piece)
        offset += part.num_bytes
    return b"".join(pieces)


def _in_order(names: list[str], *, where: str) -> list[str]:
    if not names:
        raise CorpusError(f"There is no .bin file in {where}.", "Name the memory map's place.")
    matches = [_SHARD.fullmatch(name) for name in names]
    if len(names) == 1 and matches[0] is None:
        return names
    if None in matches or len({match["stem"] for match in matches if match}) > 1:
        raise CorpusError(
            f"{where} holds several .bin files that are not the shards of one map: "
            f"{', '.join(sorted(names)[:5])}.",
            "Name one file, or a folder with the shards of one map.",
        )
    by_index = {int(match["index"]): match.string for match in matches if match}
    for index in range(max(by_index) + 1):
        if index not in by_index:
            raise CorpusError(
                f"Shard {index} of {where} is missing, so the rows after it cannot be placed.",
                "Download it; the shards from 0 up to the last one needed are enough.",
            )
    return [by_index[index] for index in sorted(by_index)]
