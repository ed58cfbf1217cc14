"""Tables of token sequences as they are published: Parquet shards of a split, on the Hub or here.

The splits of `EleutherAI/pythia-memorized-evals` are files such as

    data/duped.70m-00000-of-00002-f3c1….parquet

of which only those of the split that is named are fetched: its name has to be whole, because
`duped.12b` is the beginning of `duped.12b.23000`, too.
"""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.corpus.jsonl import read_jsonl
from whence.corpus.paths import find_place, one_sentence, shown
from whence.errors import CorpusError, did_you_mean
from whence.remote import explain, is_repository_id, quiet

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Float, Int

_SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?:-[0-9a-f]+)?\.parquet")
_INTEGERS = re.compile(r"\[?\s*\d+(?:[\s,]+\d+)*\s*,?\s*\]?", re.ASCII)
_MAX_LINE_BYTES = 64 << 20
_KINDS = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".npy", ".csv")


class Columns(NamedTuple):
    """The names of the columns to read; `score` is None where none is needed."""

    indices: tuple[str, ...] = ("index", "Index")
    tokens: tuple[str, ...] = ("tokens", "Tokens")
    score: str | None = None


class Table(NamedTuple):
    """Some rows of a table, in order.

    Attributes:
        where: The file, for messages.
        indices: What the index column holds; None of a file without one.
        tokens: Token ids, rows × length.
        scores: What the score column holds; None where none was named.
    """

    where: str
    indices: "Int[np.ndarray, ' rows'] | None"
    tokens: "Int[np.ndarray, 'rows length']"
    scores: "Float[np.ndarray, ' rows'] | None"


class Source(NamedTuple):
    """The files of a split, and what they are called together."""

    files: tuple[Path, ...]
    name: str


def find_source(source: str, *, split: str | None, revision: str | None) -> Source:
    """Finds the files of a split, and fetches those of a Hub dataset that are not here yet.

    Args:
        source: A file, a folder of Parquet shards, or a Hub dataset id.
        split: Which shards; not needed where all are of one split.
        revision: Of a Hub dataset; all files are of one commit.

    Raises:
        CorpusError: There is no such source or split, a shard is missing, or the Hub cannot be
            reached.
    """
    path = Path(source).expanduser()
    place = find_place(path)
    if place == "file":
        return Source((path,), path.name)
    if place == "folder":
        with one_sentence(path):
            names = sorted(str(file.relative_to(path)) for file in path.rglob("*.parquet"))
        chosen = _of_split(names, split, where=shown(path))
        return Source(tuple(path / name for name in chosen), _named(path.name, split))
    if not is_repository_id(source) or source.endswith(_KINDS):
        raise CorpusError(
            f"There is no file or folder {shown(source)!r}.",
            "Check the path; the published sequences are `EleutherAI/pythia-memorized-evals`.",
        )
    folder, names = _fetch(source, split, revision)
    return Source(tuple(folder / name for name in names), _named(source, split))


def read_tables(source: Source, columns: Columns) -> Iterator[Table]:
    """Reads the files of a source one by one.

    Raises:
        CorpusError: A file is cut short or lacks a column, or sequences have different lengths or
            hold something that is no token id.
    """
    for file in source.files:
        name = shown(file.name)
        if file.name.endswith(".parquet"):
            yield from _read_parquet(file, columns, name)
        elif file.name.endswith(".npy"):
            yield _read_npy(file, columns, name)
        elif file.name.endswith(".csv"):
            yield _from_rows(list(_csv_rows(file, columns, name)), columns, name)
        elif file.name.endswith(_KINDS):
            rows = list(read_jsonl(file, max_bytes=_MAX_LINE_BYTES))
            yield _from_rows(rows, columns, name)
        else:
            raise CorpusError(
                f"{name} is no file of token sequences.",
                f"Known endings are {', '.join(_KINDS)}.",
            )


def _named(name: str, split: str | None) -> str:
    return f"{name} ({split})" if split else name


def _fetch(repo: str, split: str | None, revision: str | None) -> tuple[Path, list[str]]:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.hf_api import RepoFile

    try:
        with quiet():
            commit = HfApi().dataset_info(repo, revision=revision).sha
            tree = HfApi().list_repo_tree(
                repo, repo_type="dataset", revision=commit, recursive=True
            )
            names = sorted(entry.path for entry in tree if isinstance(entry, RepoFile))
            chosen = _of_split(
                [name for name in names if name.endswith(".parquet")],
                split,
                where=f"the dataset {repo!r}",
            )
            folder = snapshot_download(
                repo, repo_type="dataset", revision=commit, allow_patterns=chosen
            )
    except CorpusError:
        raise
    except Exception as error:
        raise explain(
            error, what="dataset", name=repo, revision=revision, as_error=CorpusError
        ) from error
    return Path(folder), chosen


def _of_split(names: list[str], split: str | None, *, where: str) -> list[str]:
    """Chooses the shards of one split, and finds out whether all of them are there."""
    if not names:
        raise CorpusError(f"There is no Parquet file in {where}.", "Name the folder of the shards.")
    splits: dict[str, list[str]] = {}
    for name in names:
        shard = _SHARD.fullmatch(Path(name).name)
        splits.setdefault(shard["split"] if shard else Path(name).stem, []).append(name)
    if split is None and len(splits) > 1:
        raise CorpusError(
            f"{_capital(where)} has {len(splits)} splits: {_some(list(splits))}.",
            "Choose one of them with `split`.",
        )
    wanted = next(iter(splits)) if split is None else split
    if wanted not in splits:
        raise CorpusError(
            f"{_capital(where)} has no split {wanted!r}; its splits are {_some(list(splits))}.",
            did_you_mean(wanted, splits, otherwise="Choose one of them."),
        )
    shards = [_SHARD.fullmatch(Path(name).name) for name in splits[wanted]]
    numbers = {int(shard["number"]) for shard in shards if shard}
    for shard in shards:
        count = int(shard["count"]) if shard else 0
        if missing := sorted(set(range(count)) - numbers):
            raise CorpusError(
                f"Shard {missing[0]} of {count} of the split {wanted!r} is not in {where}.",
                "Download it, too; without it no share of the sequences means anything.",
            )
    return splits[wanted]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:] if text.startswith("the ") else text


def _some(names: list[str]) -> str:
    return ", ".join(sorted(names)[:20]) + (", …" if len(names) > 20 else "")


def _read_parquet(file: Path, columns: Columns, where: str) -> Iterator[Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with one_sentence(file), pq.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            index, tokens, score = _find_columns(names, columns, where)
            wanted = [name for name in (index, tokens, score) if name is not None]
            for group in range(opened.metadata.num_row_groups):
                table = opened.read_row_group(group, columns=wanted)
                yield Table(
                    where,
                    _integers(table.column(index), index, where),
                    _matrix(table.column(tokens), tokens, where),
                    None if score is None else _numbers(table.column(score), score, where),
                )
    except (pa.ArrowException, OSError) as error:
        raise _broken(where, "Parquet", error) from None


def _matrix(column: "pa.ChunkedArray", name: str, where: str) -> "Int[np.ndarray, 'rows length']":
    """Lays lists of one length out as a matrix."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_list and not pa.types.is_fixed_size_list(kind):
        raise CorpusError(
            f"The column {name!r} of {where} holds {kind}, and no lists of token ids.",
            "Name a table whose rows are token sequences.",
        )
    if column.null_count:
        raise _null(column, name, where)
    lengths = pc.list_value_length(column).to_numpy()  # pyright: ignore[reportAttributeAccessIssue]
    length = _one_length(lengths, where)
    flat = pc.list_flatten(column)  # pyright: ignore[reportAttributeAccessIssue]
    return _integers(flat, name, where).reshape(-1, length)


def _integers(column: "pa.ChunkedArray", name: str, where: str) -> "Int[np.ndarray, ' rows']":
    import pyarrow as pa

    if column.null_count:
        raise _null(column, name, where)
    if not pa.types.is_integer(column.type):
        raise CorpusError(
            f"The column {name!r} of {where} holds {column.type} where whole numbers are needed.",
            "Write it as integers.",
        )
    return column.to_numpy().astype(np.int64)


def _numbers(column: "pa.ChunkedArray", name: str, where: str) -> "Float[np.ndarray, ' rows']":
    import pyarrow as pa

    kind = column.type
    is_number = pa.types.is_boolean(kind) or pa.types.is_floating(kind) or pa.types.is_integer(kind)
    if column.null_count:
        raise _null(column, name, where)
    if not is_number:
        raise CorpusError(
            f"The column {name!r} of {where} holds {kind} where scores are needed.",
            "Name the column with the share of tokens that a model reproduces.",
        )
    return column.to_numpy().astype(np.float64)


def _read_npy(file: Path, columns: Columns, where: str) -> Table:
    if columns.score is not None:
        raise _missing(columns.score, [], where)
    try:
        with one_sentence(file):
            found = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise _broken(where, "NumPy", error) from None
    if found.ndim != 2 or not np.issubdtype(found.dtype, np.integer) or not found.shape[1]:
        raise CorpusError(
            f"{where} holds an array of {found.dtype} of the shape {found.shape}, and no table of "
            "whole numbers.",
            "Write token ids, one sequence in a row.",
        )
    return Table(where, None, found.astype(np.int64), None)


def _csv_rows(file: Path, columns: Columns, where: str) -> Iterator[dict[str, object]]:
    try:
        with one_sentence(file), file.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            _, tokens, score = _find_columns(list(reader.fieldnames or ()), columns, where)
            for row in reader:
                if None in row or None in row.values():
                    raise CorpusError(
                        f"Line {reader.line_num} of {where} has another number of cells than its "
                        "head.",
                        "Write the file again; if it is the last line, the file may be cut short.",
                    )
                cells: dict[str, object] = dict(row)
                for name, value in row.items():
                    if name == tokens:
                        cells[name] = _cell(value, where, reader.line_num)
                    elif name == score or name in columns.indices:
                        cells[name] = _number(value)
                yield cells
    except (csv.Error, UnicodeDecodeError) as error:
        raise _broken(where, "CSV", error) from None


def _cell(text: str, where: str, line: int) -> list[int]:
    if not _INTEGERS.fullmatch(text.strip()):
        raise CorpusError(
            f"Line {line} of {where} has {text[:40]!r} where token ids are needed.",
            "Write them as whole numbers, such as [510, 5347] or 510 5347.",
        )
    return [int(part) for part in re.findall(r"\d+", text)]


def _number(text: str) -> object:
    if text in ("True", "False"):
        return text == "True"
    try:
        return json.loads(text)
    except ValueError:
        return text


def _from_rows(rows: list[dict[str, object]], columns: Columns, where: str) -> Table:
    """Makes a table of rows that were read one by one."""
    import pyarrow as pa

    if not rows:
        return Table(where, None, np.zeros((0, 0), dtype=np.int64), None)
    index, tokens, score = _find_columns(list(rows[0]), columns, where)
    arrays: dict[str, pa.ChunkedArray] = {}
    for name in (index, tokens, score):
        if name is None:
            continue
        for number, row in enumerate(rows, start=1):
            if name not in row:
                raise CorpusError(
                    f"Row {number} of {where} has no {name!r}, but the first row has.",
                    "Give every row that column, or leave the row out.",
                )
        try:
            arrays[name] = pa.chunked_array([pa.array([row[name] for row in rows])])
        except (pa.ArrowException, OverflowError) as error:
            raise CorpusError(
                f"The column {name!r} of {where} holds values of different kinds "
                f"({_first_line(error)}).",
                "Write whole numbers, and lists of them.",
            ) from None
    return Table(
        where,
        _integers(arrays[index], index, where),
        _matrix(arrays[tokens], tokens, where),
        None if score is None else _numbers(arrays[score], score, where),
    )


def _one_length(lengths: "Int[np.ndarray, ' rows']", where: str) -> int:
    if not len(lengths):
        return 1
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest != longest or not shortest:
        raise CorpusError(
            f"The sequences of {where} have {shortest} to {longest} tokens.",
            "Cut them to one length of at least one token; a window needs its prompt and its "
            "continuation whole.",
        )
    return shortest


def _find_columns(names: list[str], columns: Columns, where: str) -> tuple[str, str, str | None]:
    found = []
    for wanted in (columns.indices, columns.tokens):
        name = next((name for name in wanted if name in names), None)
        if name is None:
            raise _missing(wanted[0], names, where)
        found.append(name)
    score = columns.score
    if score is not None and score not in names:
        raise _missing(score, names, where)
    return found[0], found[1], score


def _missing(name: str, names: list[str], where: str) -> CorpusError:
    has = f"its columns are: {', '.join(sorted(names)[:30])}" if names else "it has no columns"
    return CorpusError(
        f"{where} has no column {name!r}; {has}.",
        did_you_mean(name, names, otherwise="Name a table with `index` and `tokens`."),
    )


def _null(column: "pa.ChunkedArray", name: str, where: str) -> CorpusError:
    rows = f"{column.null_count:,} row{'s' if column.null_count > 1 else ''}"
    return CorpusError(
        f"The column {name!r} of {where} is empty in {rows}.", "Leave such rows out."
    )


def _broken(where: str, kind: str, error: Exception) -> CorpusError:
    return CorpusError(
        f"{where} is not a whole {kind} file ({_first_line(error)}).",
        "Download or write the file again.",
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
