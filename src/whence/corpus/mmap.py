"""Reader of memory maps of token ids, Pythia's training order among them.

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

Maps of other training runs have other types and lengths. Megatron and GPT-NeoX write them into an
`.idx` file beside the map, which is read where it is there; otherwise the settings `mmap_dtype` and
`row_length` say them, and a map that cannot be of Pythia's kind is refused.

Source: https://github.com/EleutherAI/pythia (README, `utils/batch_viewer.py`); the `.idx` format is
that of Megatron-LM's `MMapIndexedDataset`.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from whence.corpus.paths import find_place, one_sentence, shown
from whence.errors import CorpusError
from whence.remote import explain, quiet
from whence.settings import CorpusSettings

if TYPE_CHECKING:
    import numpy as np

ROW_TOKENS = 2049
ROWS_PER_STEP = 1024
_ROWS_PER_READ = 256
_BYTES_PER_READ = 4 << 20
_PROBE_TOKENS = 1 << 17
_IDX_MAGIC = b"MMIDIDX\x00\x00"
_IDX_HEADER_BYTES = len(_IDX_MAGIC) + 8 + 1 + 8 + 8
# The codes of Megatron-LM and of GPT-NeoX differ only in those of floats.
_TEXT_BYTES = (9, 10, 12, 13, *range(32, 127))
_IDX_TYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 8: "uint16"}
_SHARD = re.compile(r"(?P<stem>.*)-(?P<index>\d{5})-of-(?P<last>\d{5})\.bin")


class Part(NamedTuple):
    """A piece of the map: a file, its size, and how to read its bytes from `start` to `stop`."""

    name: str
    num_bytes: int
    read: Callable[[int, int], bytes]


@dataclass(frozen=True)
class MemoryMap:
    """A map whose rows are known, but not yet read.

    `row_tokens` is the length of every row; None where they differ, and `spans` says where each
    begins and ends, in tokens. A last row may be shorter where the user chose the length.
    `is_assumed` says that nothing but the size speaks for the type, `is_cut` that the index lists
    more than the shards that are here hold.
    """

    parts: list[Part]
    where: str
    dtype: str
    num_rows: int
    row_tokens: int | None
    spans: "Callable[[int], tuple[int, int]]"
    is_assumed: bool = False
    is_cut: bool = False

    @property
    def is_pythias(self) -> bool:
        """Whether rows have the type and length of Pythia's, so that a row's step is known."""
        return self.dtype == "uint16" and self.row_tokens == ROW_TOKENS

    @property
    def is_whole(self) -> bool:
        """Whether all shards are there, not only the first ones.

        The shards of Pythia's maps are numbered up to the number after `of`, both included;
        elsewhere that number often is how many there are.
        """
        match = _SHARD.fullmatch(self.parts[-1].name)
        return not self.is_cut and (match is None or int(match["index"]) + 1 >= int(match["last"]))


def step_of_row(row: int) -> int:
    """Tells the optimizer step, counted from 1, at which Pythia read a row, counted from 0."""
    return row // ROWS_PER_STEP + 1


def local_parts(path: Path) -> list[Part]:
    """Opens one `.bin` file, or a folder of shards as one map.

    Raises:
        CorpusError: There is no `.bin` file, or a shard is missing.
    """
    is_folder = find_place(path) == "folder"
    with one_sentence(path):
        files = sorted(path.glob("*.bin")) if is_folder else [path]
    for file in files:
        if find_place(file) != "file":
            raise CorpusError(f"There is no file {shown(file)}.", "Check the path.")
    by_name = {file.name: file for file in files}
    names = _in_order(list(by_name), where=shown(path)) if is_folder else list(by_name)
    shard = _SHARD.fullmatch(names[0])
    if shard and int(shard["index"]):
        raise CorpusError(
            f"{shown(path)} is shard {int(shard['index'])} of a map, and where its rows begin is "
            "known only from those before it.",
            "Name the folder that holds all shards, and choose `first_row` and `num_rows`.",
        )

    def reader(file: Path) -> Callable[[int, int], bytes]:
        def read(start: int, stop: int) -> bytes:
            with one_sentence(file), file.open("rb") as opened:
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
        with quiet():
            # A Hub that cannot be reached fails here at once; the tree is tried again for 30 s.
            commit = HfApi().dataset_info(repo, revision=revision).sha
            tree = HfApi().list_repo_tree(repo, repo_type="dataset", revision=commit)
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


def index_file(path: Path) -> Path | None:
    """Finds the `.idx` beside a map, or beside the shards of one; None where there is none."""
    if path.is_dir():
        shards = [_SHARD.fullmatch(file.name) for file in path.glob("*.bin")]
        stems = {shard["stem"] for shard in shards if shard}
        places = [path / f"{stem}.idx" for stem in stems] or list(path.glob("*.idx"))
    else:
        shard = _SHARD.fullmatch(path.name)
        places = [path.with_name(f"{shard['stem']}.idx") if shard else path.with_suffix(".idx")]
    found = [place for place in places if find_place(place) == "file"]
    return found[0] if len(found) == 1 else None


def open_map(
    parts: list[Part], settings: CorpusSettings, *, where: str, index: Path | None = None
) -> MemoryMap:
    """Finds out the type and the rows of a map, or of the part of it that is there.

    Args:
        parts: The pieces of the map, in order.
        settings: `mmap_dtype` and `row_length` go before what the `.idx` says.
        where: What the map is called, for messages.
        index: The `.idx` beside it.

    Raises:
        CorpusError: The last row is cut short, or the `.idx` is broken or of another map.
    """
    num_bytes = sum(part.num_bytes for part in parts)
    listed = _read_index(index) if index is not None else None
    dtype = settings.mmap_dtype or (listed.dtype if listed else "uint16")
    if listed and dtype != listed.dtype:
        raise CorpusError(
            f"`mmap_dtype` is {dtype}, but {shown(listed.path)} says that the tokens are "
            f"{listed.dtype}.",
            "Leave `mmap_dtype` out, or move the `.idx` file away if it is of another map.",
        )
    size = _size(dtype)
    if listed and settings.row_length is None:
        return _indexed(parts, listed, where=where, num_tokens=num_bytes // size)
    row_tokens = settings.row_length or ROW_TOKENS
    found = MemoryMap(
        parts,
        where,
        dtype,
        num_bytes // (row_tokens * size),
        row_tokens,
        lambda row: (row * row_tokens, (row + 1) * row_tokens),
    )
    if settings.row_length is not None and found.is_whole and num_bytes % size == 0:
        # A stream of tokens that the user cuts: what is left makes a last, shorter row.
        num_tokens = num_bytes // size
        return MemoryMap(
            parts,
            where,
            dtype,
            -(-num_tokens // row_tokens),
            row_tokens,
            lambda row: (row * row_tokens, min((row + 1) * row_tokens, num_tokens)),
        )
    if num_bytes % (row_tokens * size) and found.is_whole:
        raise CorpusError(
            f"{where} has {num_bytes} bytes, which is not a whole number of rows of "
            f"{row_tokens:,} tokens of {dtype}.",
            "Download it again; of another memory map than Pythia's, set `mmap_dtype` and "
            "`row_length`, or put its `.idx` file beside it.",
        )
    return replace(found, is_assumed=settings.mmap_dtype is None and listed is None)


def read_map(found: MemoryMap, *, rows: range) -> Iterator[dict[str, object]]:
    """Reads some rows of a map.

    Args:
        found: The map.
        rows: Which rows, counted from 0.

    Yields:
        `id` (the row as a string), `text` (its token ids), `position` (the row) and, of Pythia's
        map, `step`.

    Raises:
        CorpusError: A piece is shorter than it said, or its tokens cannot be of the type that was
            assumed.
    """
    import numpy as np

    size = _size(found.dtype)
    for batch in _reads(found, rows, size):
        spans = [found.spans(row) for row in batch]
        begin = min(start for start, _ in spans)
        end = max(stop for _, stop in spans)
        data = _span(found.parts, begin * size, end * size, where=found.where)
        tokens = np.frombuffer(data, dtype=np.dtype(found.dtype).newbyteorder("<"))
        if found.is_assumed and batch.start == rows.start:
            _refuse_other_types(tokens[-begin % 4 :][:_PROBE_TOKENS], where=found.where)
        for row, (start, stop) in zip(batch, spans, strict=True):
            values: dict[str, object] = {
                "id": str(row),
                "text": tokens[start - begin : stop - begin],
                "position": row,
            }
            yield values | ({"step": step_of_row(row)} if found.is_pythias else {})


def _reads(found: MemoryMap, rows: range, size: int) -> Iterator[range]:
    """Groups rows that follow each other in the file, so that one read fetches a few megabytes."""
    first = rows.start
    while first < rows.stop:
        start, stop = found.spans(first)
        last = first + 1
        while last < rows.stop and last - first < _ROWS_PER_READ:
            following = found.spans(last)
            if following[0] != stop or (following[1] - start) * size > _BYTES_PER_READ:
                break
            stop = following[1]
            last += 1
        yield range(first, last)
        first = last


class _Index(NamedTuple):
    """What an `.idx` file says, in memory maps of its own: `sizes` and `pointers` (bytes) of the
    sequences, and `ends`, the first sequence of each document and one past the last.
    """  # noqa: D205

    path: Path
    dtype: str
    sizes: "np.ndarray"
    pointers: "np.ndarray"
    ends: "np.ndarray"


def _read_index(path: Path) -> _Index:
    import numpy as np

    with one_sentence(path), path.open("rb") as file:
        head = file.read(_IDX_HEADER_BYTES)
        num_bytes = path.stat().st_size
    if not head.startswith(_IDX_MAGIC) or len(head) < _IDX_HEADER_BYTES:
        raise CorpusError(
            f"{shown(path)} is not an index of a memory map as Megatron-LM and GPT-NeoX write it.",
            "Move it away and set `mmap_dtype` and `row_length`.",
        )
    version, code, num_sequences, num_ends = struct.unpack("<QBQQ", head[len(_IDX_MAGIC) :])
    if version != 1 or code not in _IDX_TYPES:
        raise CorpusError(
            f"{shown(path)} says version {version} and type {code}, which are not read here.",
            "Move it away and set `mmap_dtype` and `row_length`.",
        )
    expected = _IDX_HEADER_BYTES + num_sequences * 12 + num_ends * 8
    if num_bytes < expected or not num_sequences or num_ends < 2:
        raise CorpusError(
            f"{shown(path)} has {num_bytes:,} bytes instead of {expected:,} for its "
            f"{num_sequences:,} sequences.",
            "Download it again, or move it away and set `mmap_dtype` and `row_length`.",
        )

    def part(dtype: str, offset: int, size: int) -> "np.ndarray":
        return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=(size,))

    pointers = _IDX_HEADER_BYTES + num_sequences * 4
    return _Index(
        path,
        _IDX_TYPES[code],
        part("<i4", _IDX_HEADER_BYTES, num_sequences),
        part("<i8", pointers, num_sequences),
        part("<i8", pointers + num_sequences * 8, num_ends),
    )


def _indexed(parts: list[Part], listed: _Index, *, where: str, num_tokens: int) -> MemoryMap:
    """Takes a map's rows from its index: one for each document."""
    size = _size(listed.dtype)
    num_sequences = len(listed.sizes)
    ends = listed.ends
    end = int(listed.pointers[-1]) // size + int(listed.sizes[-1])

    def spans(row: int) -> tuple[int, int]:
        first, last = int(ends[row]), int(ends[row + 1])
        if not 0 <= first <= last <= num_sequences:
            raise _other_map(listed, where)
        if first == last:
            start = int(listed.pointers[first]) // size if first < num_sequences else end
            return start, start
        start, remainder = divmod(int(listed.pointers[first]), size)
        stop = int(listed.pointers[last - 1]) // size + int(listed.sizes[last - 1])
        if remainder or stop - start != int(listed.sizes[first:last].sum()):
            raise _other_map(listed, where)
        if not 0 <= start <= stop <= end:
            raise _other_map(listed, where)
        return start, stop

    found = MemoryMap(parts, where, listed.dtype, len(ends) - 1, _common_length(listed), spans)
    if end == num_tokens:
        return found
    if num_tokens > end or _SHARD.fullmatch(parts[-1].name) is None:
        raise _other_map(listed, where)
    return replace(found, num_rows=_num_rows_within(found, num_tokens), is_cut=True)


def _num_rows_within(found: MemoryMap, num_tokens: int) -> int:
    """Counts the rows that lie in the first shards whole; rows follow each other in the file."""
    low, high = 0, found.num_rows
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if found.spans(middle)[1] <= num_tokens else (low, middle)
    return low


def _common_length(listed: _Index) -> int | None:
    """The length of all documents; None where they differ."""
    import numpy as np

    if len(listed.ends) - 1 != len(listed.sizes):
        return None
    first, block = int(listed.sizes[0]), 1 << 22
    parts = (listed.sizes[at : at + block] for at in range(0, len(listed.sizes), block))
    return first if all(bool(np.all(part == first)) for part in parts) else None


def _other_map(listed: _Index, where: str) -> CorpusError:
    return CorpusError(
        f"{shown(listed.path)} is not the index of {where}: the places that it lists are not those "
        "of its documents.",
        "Put the right `.idx` beside the map, or move it away and set `mmap_dtype` and "
        "`row_length`.",
    )


def _refuse_other_types(probe: "np.ndarray", *, where: str) -> None:
    """Refuses tokens that cannot be uint16, where nothing says of which type they are."""
    import numpy as np

    probe = probe[: len(probe) // 4 * 4]
    if not len(probe):
        return
    # The upper halves of wider tokens are small, or all the same: no vocabulary has more than a few
    # millions.
    low, high = (probe[start::2] for start in (0, 1))
    if _are_halves(low, high):
        wide = "int64" if not probe[2::4].any() and not probe[3::4].any() else "int32"
        raise _implausible(where, f"look like halves of {wide}", wide)
    if _are_halves(high, low):
        raise CorpusError(
            f"The tokens of {where} look like halves of big-endian numbers, which are not read.",
            "Write it again in little-endian order.",
        )
    held = probe.view(np.uint8)
    if held.max() < 128 and np.isin(held, _TEXT_BYTES).all() and len(np.unique(held)) > 8:
        raise CorpusError(
            f"{where} holds text, and no token ids.", "Choose the `format` that it has."
        )


def _are_halves(low: "np.ndarray", high: "np.ndarray") -> bool:
    is_constant = bool((high == high[0]).all()) and not bool((low == low[0]).all())
    return is_constant or int(high.max()) < 64 <= int(low.max())


def _implausible(where: str, why: str, dtype: str) -> CorpusError:
    return CorpusError(
        f"The tokens of {where} {why}, not uint16 as in Pythia's map.",
        f"Set `mmap_dtype` (such as `{dtype}`) and `row_length`, or put its `.idx` file beside it.",
    )


def _size(dtype: str) -> int:
    import numpy as np

    return np.dtype(dtype).itemsize


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
    data = b"".join(pieces)
    if len(data) != stop - start:
        raise CorpusError(
            f"{where} ends before byte {stop:,}, up to which its rows reach.",
            "Download it again, or check `mmap_dtype` and `row_length`.",
        )
    return data


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
