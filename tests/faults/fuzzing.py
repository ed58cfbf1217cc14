"""Bad inputs of every kind, each with what must become of it.

A case changes a folder that holds a model, a corpus, a study, two indexes and a finished run, and
then runs a command there. Its oracle says whether the input is bad; it is never asked of whence.
Draws are from a generator with a fixed seed, so that every run of the suite tries the same inputs.
"""

import gzip
import inspect
import json
import math
import os
import random
import re
import shutil
import tomllib
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import annotated_types
import tomli_w
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from tests.faults.forking import Done, whence
from tests.faults.studies import write_memorization

_CORPUS = re.compile(r"new(/stages(/(corpus|model\.\w+)-[0-9a-f]{8}(/[^.].*)?)?)?")
Change = Callable[[Path], object]
LONG = "n" * 300
INDEX = ("index", "new", "--model", "model", "--corpus", "corpus.jsonl", "--projection-dim", "3")
QUERY = ("query", "idx", "--prompt", "the capital of france is", "--completion", " paris")
IMPORT = ("--method", "theirs", "--orientation", "higher")


@dataclass(frozen=True)
class Case:
    """A change of the folder, a command, and whether the oracle calls the input good.

    Of some inputs it cannot say (None): they may be refused or not, but never in another way. A new
    run may keep the corpus where that had to be read to know that something else does not fit.
    """

    name: str
    change: Change
    command: tuple[str, ...]
    is_good: bool | None = False
    keeps_corpus: bool = False


def prepare(folder: Path, tiny: Path) -> Path:
    """Makes the folder that each case changes a copy of."""
    shutil.copytree(tiny, folder)
    write_memorization(folder)
    _write_sequences(folder)
    again = [*INDEX, "--projection-seed", "1"]
    for command in (
        ("run", "study.toml", "--out", "run"),
        ("idx" if word == "new" else word for word in INDEX),
        ("idx2" if word == "new" else word for word in again),
    ):
        done = whence(*command, folder=folder, timeout=600)
        assert done.code == 0, done.stderr
    _write_scores(folder)
    return folder


def _write_sequences(folder: Path) -> None:
    """Writes a list of sequences, and a study of them that scans and attributes only."""
    (folder / "sequences.jsonl").write_bytes(_sequence_lines(_sequence_rows()))
    values = tomllib.loads((folder / "memorization.toml").read_text())
    values["sequences"]["source"] = "sequences.jsonl"
    del values["causes"], values["recipe"]
    (folder / "sequences.toml").write_text(tomli_w.dumps(values))


def _sequence_rows() -> list[dict[str, Any]]:
    return [{"index": 1000 + i, "tokens": [3 + (i + n) % 20 for n in range(50)]} for i in range(4)]


def _sequence_lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _write_scores(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = {"example_id": "fact/france", "proponent_ids": ["d1"], "proponent_scores": [1.0]}
    (folder / "scores.jsonl").write_text(json.dumps(row) + "\n")
    rows = [{"query": "fact/france", "example": f"d{i}", "score": float(i)} for i in range(5)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "scores.parquet")


def attempt(case: Case, base: Path, folder: Path) -> list[str]:
    """Runs a case in a copy of a folder; returns what is wrong with what came of it."""
    shutil.copytree(base, folder, symlinks=True)
    case.change(folder)
    before = snapshot(folder)
    done = whence(*case.command, folder=folder, timeout=300)
    wrong = judge(done, is_good=case.is_good)
    if done.code == 2 and (changed := snapshot(folder).items() ^ before.items()):
        names = {name for name, _ in changed}
        if case.keeps_corpus:
            names = {name for name in names if not _CORPUS.fullmatch(name)}
        if names:
            wrong.append(f"changed {sorted(names)[:5]}")
    shutil.rmtree(folder)
    return [f"{case.name}: {' '.join(case.command)}: {fault}" for fault in wrong]


def judge(done: Done, *, is_good: bool | None) -> list[str]:
    """What is wrong with how a command ended."""
    last = "\n".join(done.stderr.splitlines()[-4:])[-600:]
    wrong = []
    if done.code not in ((0, 2) if is_good is None else (0,) if is_good else (2,)):
        wrong.append(f"exit code {done.code}\n{last}")
    if "Traceback" in done.stderr or "Warning" in done.stderr:
        wrong.append(f"more than a sentence\n{last}")
    if done.code == 2:
        lines = done.stderr.splitlines()
        said = [number for number, line in enumerate(lines) if line.startswith("whence: ")]
        if len(said) != 1 or len(lines) != said[0] + 2:
            wrong.append(f"not one line of problem and one of remedy\n{last}")
        elif not all(line.rstrip("`)").endswith((".", "?")) for line in lines[-2:]):
            wrong.append(f"no sentences\n{last}")
        elif any(len(line) > 1200 for line in lines[-2:]):
            wrong.append(f"a very long sentence\n{last}")
    return wrong


def snapshot(folder: Path) -> dict[str, object]:
    """Every entry below a folder, with its content."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        is_file = path.is_file() and not path.is_symlink()
        found[path.relative_to(folder).as_posix()] = path.read_bytes() if is_file else None
    return found


# Settings and behaviors


def fits(annotation: Any, bounds: list[Any], value: object) -> bool:
    """Whether a value of TOML is of a type and within its bounds: the oracle of settings."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        inner, *more = typing.get_args(annotation)
        limits = [m for one in more for m in getattr(one, "metadata", [one])]
        return fits(inner, [*bounds, *limits], value)
    if origin in (typing.Union, types.UnionType):
        return any(fits(one, bounds, value) for one in typing.get_args(annotation))
    if origin is Literal:
        return isinstance(value, str) and value in typing.get_args(annotation)
    if origin is tuple:
        inner = typing.get_args(annotation)[0]
        return isinstance(value, list) and all(fits(inner, [], one) for one in value)
    if annotation is type(None):
        return False
    if annotation is float:
        is_number = type(value) in (int, float) and abs(value) < 1e308  # pyright: ignore
        return is_number and _is_within(value, bounds)
    if annotation in (int, str, bool):
        return type(value) is annotation and _is_within(value, bounds)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return isinstance(value, dict)
    raise TypeError(annotation)


def _is_within(value: Any, bounds: list[Any]) -> bool:
    checks = {
        annotated_types.Ge: lambda b: value >= b.ge,
        annotated_types.Gt: lambda b: value > b.gt,
        annotated_types.Le: lambda b: value <= b.le,
        annotated_types.Lt: lambda b: value < b.lt,
        annotated_types.MinLen: lambda b: len(value) >= b.min_length,
        annotated_types.MaxLen: lambda b: len(value) <= b.max_length,
    }
    return all(checks[type(b)](b) for b in bounds if type(b) in checks)


VALUES: tuple[object, ...] = (
    *(True, 3, 2.5, "nonsense", "", math.nan, math.inf, -math.inf, -1, 0, 2**70, 10**400),
    *([], [[]], ["x"], [1.5], [True], {}, {"a": 1}, "10"),
)


def leaves(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every setting of a record and of those within it: its path and its field."""
    for name, field in model.model_fields.items():
        inner = [
            one
            for one in (field.annotation, *typing.get_args(field.annotation))
            if isinstance(one, type) and issubclass(one, BaseModel)
        ]
        yield (*path, name), field
        if inner:
            yield from leaves(inner[0], (*path, name))


def unfit(field: FieldInfo) -> list[object]:
    """The values that a setting must refuse."""
    return [v for v in VALUES if not fits(field.annotation, list(field.metadata), v)]


def studies(draw: random.Random) -> Iterator[Case]:
    """Studies with a setting of a wrong type or out of bounds, an unknown key, or no TOML."""
    from whence.settings import StudySettings

    command = ("run", "study.toml", "--out", "new")
    tables = set()
    for path, field in leaves(StudySettings):
        for value in draw.sample(unfit(field), 2):
            yield Case(f"{path} = {str(value)[:20]}", _set("study.toml", path, value), command)
        tables.add(path[:-1])
    for table in sorted(tables):
        yield Case(f"{table} unknown", _set("study.toml", (*table, "nonsense"), 1), command)
    for path in (("title",), ("model",), ("model", "name"), ("corpus", "source"), ("behaviors",)):
        yield Case(f"{path} missing", _set("study.toml", path, None), command)
    for name, change in texts("study.toml", draw):
        yield Case(f"study {name}", change, command)


def texts(name: str, draw: random.Random) -> Iterator[tuple[str, Change]]:
    """Changes that make of a TOML file none."""

    def put(data: bytes) -> Change:
        return lambda folder: (folder / name).write_bytes(data)

    def cut(folder: Path) -> None:
        data = (folder / name).read_bytes()
        while True:
            part = data[: draw.randrange(len(data))] + b'"'
            try:
                tomllib.loads(part.decode())
            except ValueError:
                break
        (folder / name).write_bytes(part)

    yield "empty", put(b"")
    yield "no text", put(bytes(range(256)))
    yield "UTF-16", put('title = "x"'.encode("utf-16"))
    yield "NUL", put(b'title = "\0"')
    yield "twice", put(b'title = "x"\ntitle = "y"')
    yield "digits", put(b"top_k = " + b"9" * 5000)
    yield "nested", put(b"title = " + b"[" * 3000 + b"]" * 3000)
    yield "list", put(b"[1, 2]")
    for number in range(4):
        yield f"cut {number}", cut
    yield "FIFO", lambda folder: ((folder / name).unlink(), os.mkfifo(folder / name))
    yield "loop", lambda folder: ((folder / name).unlink(), (folder / name).symlink_to(name))
    yield "folder", lambda folder: ((folder / name).unlink(), (folder / name).mkdir())
    yield "missing", lambda folder: (folder / name).unlink()


def _nothing(folder: Path) -> None:
    del folder


def _put(name: str, data: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(data)


def _copy(source: str, target: str) -> Change:
    return lambda folder: shutil.copy(folder / source, folder / target)


def _set(name: str, path: tuple[str | int, ...], value: object) -> Change:
    def change(folder: Path) -> None:
        values: Any = tomllib.loads((folder / name).read_text())
        here = values
        for part in path[:-1]:
            here = here[part] if isinstance(part, int) else here.setdefault(part, {})
        if value is None:
            del here[path[-1]]
        else:
            here[path[-1]] = value
        (folder / name).write_text(tomli_w.dumps(values))

    return change


def behaviors(draw: random.Random) -> Iterator[Case]:
    """Files of behaviors with fields of a wrong type, missing, or contradicting each other."""
    from whence.records import Behavior

    command = ("verify", "behaviors.toml", "--model", "model")
    for (field,), info in ((path, field) for path, field in leaves(Behavior)):
        for value in draw.sample(unfit(info), 3):
            change = _set("behaviors.toml", ("behavior", 0, field), value)
            yield Case(f"{field} = {str(value)[:20]}", change, command)
    for field, value in (
        *(("id", None), ("kind", None), ("completion", None), ("nonsense", 1)),
        *(("id", "fact/false"), ("alternatives", [" paris"]), ("prompt_ids", [1, 2])),
        ("completion_ids", [1]),
    ):
        change = _set("behaviors.toml", ("behavior", 0, field), value)
        yield Case(f"{field} = {value}", change, command)
    for field in ("prompt_ids", "completion_ids"):
        for ids in ([-1], [10**6], [2**31], [2**70], [1.0], ["1"]):
            change = _set("behaviors.toml", ("behavior", 2, field), ids)
            yield Case(f"{field} = {ids}", change, command)
    yield Case("no tokens", _set("behaviors.toml", ("behavior", 2, "completion_ids"), []), command)
    yield Case(
        "a prompt that is cut",
        _set("behaviors.toml", ("behavior", 2, "prompt_ids"), [2] * 500),
        command,
        is_good=True,  # The verdict says so.
    )
    yield Case("none", _set("behaviors.toml", ("behavior",), []), command)
    for name, change in texts("behaviors.toml", draw):
        yield Case(f"behaviors {name}", change, command)


# Files of a corpus


def _documents(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "corpus.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def corpora(draw: random.Random) -> Iterator[Case]:
    """Corpora of each format: cut, flipped, of another encoding, with odd values."""
    yield from _lines()
    yield from _packed(draw)
    yield from _tables(draw)
    yield from _maps()


def _corpus(name: str, file: str, data: bytes | Change, *flags: str, is_good: bool = False) -> Case:
    command = tuple(file if word == "corpus.jsonl" else word for word in INDEX) + flags

    def change(folder: Path) -> None:
        if callable(data):
            data(folder / file)
        else:
            (folder / file).write_bytes(data)

    return Case(f"{file} {name}", change, command, is_good)


def _lines() -> Iterator[Case]:
    row = b'{"id": "a", "text": "the dog saw a cat"}\n'
    for name, data, is_good in (
        ("empty", b"", False),
        ("blank lines only", b"\n\n\n", False),
        ("good", row, True),
        ("blank lines between", b"\n" + row + b"\n\n", True),
        ("no end of line", row[:-1], True),
        ("carriage returns", row.replace(b"\n", b"\r\n"), True),
        ("byte order mark", b"\xef\xbb\xbf" + row, True),
        ("cut", row + row.replace(b'"a"', b'"b"')[:-9], False),
        ("a list", b"[1, 2]\n", False),
        ("a number", b"7\n", False),
        ("null", b"null\n", False),
        ("UTF-16", row.decode().encode("utf-16"), False),
        ("Latin-1", '{"text": "café"}\n'.encode("latin-1"), False),
        ("NUL bytes", bytes(100), False),
        ("deep", b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", False),
        ("digits", b'{"text": ' + b"9" * 10_000 + b"}\n", False),
        ("text a number", b'{"text": 7}\n', False),
        ("text a list of texts", b'{"text": ["a", "b"]}\n', False),
        ("text an object", b'{"text": {"a": 1}}\n', False),
        ("tokens too large", b'{"text": [99999999]}\n', False),
        ("tokens negative", b'{"text": [-1, 3]}\n', False),
        ("tokens beyond 64 bits", b'{"text": [1, %d]}\n' % 2**70, False),
        ("no text", b'{"id": "a"}\n', False),
        ("ids twice", row + row, False),
        ("half a surrogate in an id", b'{"id": "\\ud800", "text": "a b"}\n', False),
        ("half a surrogate in a text", b'{"id": "a", "text": "the \\ud800 dog"}\n', True),
        ("position infinite", b'{"text": "the dog", "position": Infinity}\n', False),
        ("position huge", b'{"text": "the dog", "position": %d}\n' % 2**70, False),
        ("position text", b'{"text": "the dog", "position": "first"}\n', False),
        ("step a half", b'{"text": "the dog", "step": 1.5}\n', False),
        ("subset a list", b'{"text": "the dog", "subset": ["a"]}\n', False),
        ("only empty texts", b'{"text": ""}\n', False),
    ):
        yield _corpus(name, "other.jsonl", data, is_good=is_good)
    for name, data, is_good in (
        ("empty", b"", False),
        ("good", b"the dog\n\nsaw a cat\n", True),
        ("Latin-1", "café".encode("latin-1"), False),
        ("UTF-16", "the dog".encode("utf-16"), False),
        ("no ending", b"\xff\xfe\x00", False),
    ):
        yield _corpus(name, "other.txt", data, is_good=is_good)
    for ending in ("csv", "json", "xml", "npy", "pkl", "doc", "tar.gz"):
        yield _corpus("of a format that is not read", f"other.{ending}", b"\x93NUMPY,text\n1,2\n")
    flag = ("--max-line-mb", "0.001")
    yield _corpus("a long line", "other.jsonl", b'{"text": "%s"}\n' % (b"a" * 5000), *flag)


def _packed(draw: random.Random) -> Iterator[Case]:
    import zstandard

    rows = b"".join(b'{"id": "%d", "text": "the dog saw a cat"}\n' % i for i in range(50))
    packings = {"gz": gzip.compress(rows), "zst": zstandard.ZstdCompressor().compress(rows)}
    for ending, whole in packings.items():
        name = f"other.jsonl.{ending}"
        yield _corpus("good", name, whole, is_good=True)
        yield _corpus("twice", name, whole + whole)  # Its ids then occur twice.
        for size in sorted(draw.sample(range(1, len(whole)), 5)):
            yield _corpus(f"cut to {size} of {len(whole)}", name, whole[:size])
        yield _corpus("empty", name, b"")
        yield _corpus("not packed", name, rows, is_good=True)  # The content says how it is packed.
        yield _corpus("packed twice", name, gzip.compress(whole))
        yield _corpus("with something behind", name, whole + b"something")
    # A flipped byte may be one that says nothing, such as the time in gzip's head.
    for place in draw.sample(range(10, len(packings["gz"])), 6):
        yield _corpus(f"flipped at {place}", "other.jsonl.gz", _flip(packings["gz"], place))
    yield _corpus("as the other", "other.jsonl.zst", packings["gz"], is_good=True)
    yield _corpus("as the other", "other.jsonl.gz", packings["zst"], is_good=True)


def _flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]


def _tables(draw: random.Random) -> Iterator[Case]:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    def parquet(table: Any, **options: Any) -> bytes:
        buffer = io.BytesIO()
        pq.write_table(table, buffer, **options)
        return buffer.getvalue()

    table = pa.table({"id": ["a", "b"], "text": ["the dog saw a cat", "the sea"]})
    whole = parquet(table)
    name = "other.parquet"
    yield _corpus("good", name, whole, is_good=True)
    for size in sorted(draw.sample(range(1, len(whole)), 5)):
        yield _corpus(f"cut to {size}", name, whole[:size])
    yield _corpus("empty", name, b"")
    yield _corpus("text", name, b'{"text": "a"}\n')
    for place in sorted(draw.sample(range(len(whole)), 30)):
        data = _flip(whole, place)
        yield _corpus(f"flipped at {place}", name, data, is_good=_is_readable(data))
    for label, odd in (
        ("no rows", table.slice(0, 0)),
        ("no text column", table.drop_columns("text")),
        ("null ids", pa.table({"id": ["a", None], "text": ["x", "y"]})),
        ("numbers", pa.table({"text": [1.5, 2.5]})),
        ("bytes", pa.table({"text": [b"\xff\xfe", b"a"]})),
        ("objects", pa.table({"text": [{"a": 1}]})),
        ("dates", pa.table({"text": pa.array([0], pa.timestamp("s"))})),
        ("nulls", pa.table({"text": pa.array([None, None], pa.string())})),
        ("no type", pa.table({"text": pa.nulls(3)})),
        ("bad text", pa.table({"text": pa.array([b"\xff\xfe\xfd"]).view(pa.string())})),
        ("no column", pa.table({})),
    ):
        yield _corpus(label, name, parquet(odd))
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    arrow = sink.getvalue()
    for size in sorted(draw.sample(range(1, len(arrow)), 5)):
        yield _corpus(f"cut to {size}", "other.arrow", arrow[:size])
    yield _corpus("empty", "other.arrow", b"")


def _is_readable(data: bytes) -> bool:
    """Whether a Parquet file of two rows with ids and texts is one, by Arrow and Python."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
        table.validate(full=True)
        rows = table.to_pylist()
    except (OSError, ValueError, pa.ArrowException):
        return False
    ids = [row.get("id") for row in rows]
    given = [i for i in ids if i not in (None, "")]
    return (
        all(isinstance(row.get("text"), str) and row["text"] for row in rows)
        and all(isinstance(i, str) for i in given)
        and len(set(given)) == len(given)
        and len(given) in (0, len(rows))
        and bool(rows)
    )


def _maps() -> Iterator[Case]:
    import numpy as np

    row = np.full(8, 3, dtype="<u2").tobytes()
    flags = ("--row-length", "8")
    yield _corpus("good", "other.bin", row * 2, *flags, is_good=True)
    yield _corpus("with a shorter last row", "other.bin", row + row[:-2], *flags, is_good=True)
    for name, data, more in (
        ("empty", b"", flags),
        ("half a token", row[:-1], flags),
        ("unknown tokens", b"\xff" * 32, flags),
        ("shorter than a row", row, ()),
        ("rows of nothing", row, ("--row-length", "0")),
        ("rows beyond the end", row, (*flags, "--first-row", "5")),
        ("more rows than there are", row, (*flags, "--num-rows", "5")),
        ("another type", row, ("--row-length", "9", "--mmap-dtype", "int64")),
    ):
        yield _corpus(name, "other.bin", data, *more)

    def indexed(head: bytes) -> Change:
        return lambda path: (path.write_bytes(row), path.with_suffix(".idx").write_bytes(head))

    for name, head in (
        ("empty", b""),
        ("other", b"something else altogether"),
        ("cut", b"MMIDIDX\x00\x00\x01\x00\x00"),
        ("huge", b"MMIDIDX\x00\x00" + (1).to_bytes(8, "little") + b"\x08" + b"\xff" * 16),
    ):
        yield _corpus(f"with an index that is {name}", "other.bin", indexed(head))


# Directories that whence or transformers wrote


def damages(path: str, draw: random.Random) -> Iterator[tuple[str, Change]]:
    """Ways to damage a file, named by a glob of one match."""

    def find(folder: Path) -> Path:
        (found,) = folder.glob(path)
        return found

    def flip(folder: Path) -> None:
        data = find(folder).read_bytes()
        find(folder).write_bytes(_flip(data, draw.randrange(len(data))))

    def cut(folder: Path) -> None:
        data = find(folder).read_bytes()
        find(folder).write_bytes(data[: draw.randrange(len(data))])

    yield "missing", lambda folder: find(folder).unlink()
    yield "cut", cut
    yield "flipped", flip
    yield "a folder", lambda folder: (find(folder).unlink(), find_parent(folder, path))


def find_parent(folder: Path, path: str) -> None:
    """Makes a folder in the place of a file that is gone."""
    *parents, name = path.split("/")
    (parent,) = folder.glob("/".join(parents)) if parents else (folder,)
    (parent / name).mkdir()


def models(draw: random.Random) -> Iterator[Case]:
    """Model directories whose configuration, weights or tokenizer are none, or another's."""
    del draw

    def put(name: str, data: bytes) -> Change:
        return lambda folder: (folder / "model" / name).write_bytes(data)

    def edit(name: str, **values: object) -> Change:
        def change(folder: Path) -> None:
            path = folder / "model" / name
            path.write_text(json.dumps(json.loads(path.read_text()) | values))

        return change

    files = ("config.json", "model.safetensors", "tokenizer.json")
    for name in files:
        yield Case(f"{name} missing", lambda f, n=name: (f / "model" / n).unlink(), INDEX)
        for label, data in (
            *(("empty", b""), ("a list", b"[]"), ("null", b"null"), ("no JSON", b"{")),
            *(("no text", bytes(range(256))), ("empty object", b"{}")),
        ):
            yield Case(f"{name} {label}", put(name, data), INDEX)
        for share in (0.1, 0.5, 0.99):

            def cut(folder: Path, n: str = name, s: float = share) -> None:
                data = (folder / "model" / n).read_bytes()
                (folder / "model" / n).write_bytes(data[: int(s * len(data))])

            yield Case(f"{name} cut to {share}", cut, INDEX)
    for key, values in {
        "model_type": ("nonsense", "llama", "bert", "t5", 7, None, [1]),
        "vocab_size": (1, -1, 0, 2**40, "x", None, 1.5),
        "hidden_size": (0, -32, 33, 2**40, "32", None),
        "num_hidden_layers": (0, 1, 3, -1, 10**9, "2"),
        "num_attention_heads": (0, 3, -4, "x"),
        "max_position_embeddings": (0, 1, -1, "x"),
        "hidden_act": ("nonsense", 3),
        "intermediate_size": (0, 65, -1),
    }.items():
        for value in values:
            yield Case(f"{key} = {value}", edit("config.json", **{key: value}), INDEX)
    for value in (math.nan, math.inf):
        yield Case(f"weights {value}", lambda f, v=value: _spoil(f, v), INDEX)
    yield Case(
        "a folder of nothing", lambda f: (shutil.rmtree(f / "model"), (f / "model").mkdir()), INDEX
    )
    yield Case("the tokenizer of another", _shrink, INDEX)
    yield Case("a file", lambda f: (shutil.rmtree(f / "model"), (f / "model").touch()), INDEX)
    yield Case(
        "a loop", lambda f: (shutil.rmtree(f / "model"), (f / "model").symlink_to("model")), INDEX
    )


def _spoil(folder: Path, value: float) -> None:
    from safetensors.numpy import load_file, save_file

    path = folder / "model" / "model.safetensors"
    tensors = load_file(path)
    name = sorted(n for n in tensors if "dense_h_to_4h.weight" in n)[0]
    spoiled = tensors[name].copy()
    spoiled[0, 0] = value
    save_file(tensors | {name: spoiled}, path, metadata={"format": "pt"})


def _shrink(folder: Path) -> None:
    """Adds a word to the tokenizer that the model has no embedding of, and that a text has."""
    path = folder / "model" / "tokenizer.json"
    values = json.loads(path.read_text())
    words = values["model"]["vocab"]
    words[" dog"] = len(words) + 500
    path.write_text(json.dumps(values))


def indexes(draw: random.Random) -> Iterator[Case]:
    """Indexes with a file missing, cut, flipped, or of another index."""
    names = (
        *("manifest.json", "info.json", "gradients.bin", "norms.npy", "corpus.json"),
        *("examples.parquet", "processor_config.yaml", "normalizers.pth", "hessians.pth"),
        *("hessians_eigen.pth", "data.hf/state.json", "data.hf/dataset_info.json"),
        "data.hf/*.arrow",
    )
    for name in names:
        for label, change in damages(f"idx/{name}", draw):
            if "*" in name and label == "a folder":
                continue
            # What the manifest says of versions and times determines nothing.
            if (name, label) != ("manifest.json", "flipped"):
                yield Case(f"{name} {label}", change, QUERY)
    for name in ("manifest.json", "gradients.bin", "norms.npy", "processor_config.yaml"):
        yield Case(f"{name} of another", _copy(f"idx2/{name}", f"idx/{name}"), QUERY)
    for key, values in {
        "format": (0, 2, "1", None),
        "kind": ("run", None, 3),
        "key": (None, 3),
        "inputs": (None, [], {}),
        "details": (None, [], {}),
        "files": (None, [], {}, {"a": 1}, {"a": {"bytes": -1, "sha256": "x"}}),
        "versions": (None, 3),
    }.items():
        for value in values:

            def edit(folder: Path, k: str = key, v: object = value) -> None:
                path = folder / "idx" / "manifest.json"
                path.write_text(json.dumps(json.loads(path.read_text()) | {k: v}))

            yield Case(f"manifest {key} = {value}", edit, QUERY)
    for data in (b"", b"[]", b"null", b"[" * 100_000, b"\xff\xfe", b'{"format": 1}'):
        yield Case(f"manifest {data[:10]!r}", _put("idx/manifest.json", data), QUERY)


# Stages that `show` reads; the page needs no other.
SHOWN = ("decisions", "verification", "corpus", "scores.")
_STAGES = {
    "corpus": ("corpus.json", "examples.parquet"),
    "coverage": ("coverage.json",),
    "decisions": ("decisions.json",),
    "model.own": ("model.json",),
    "plan": ("plan.json",),
    "products": ("products.npz",),
    "queries": ("queries.json",),
    "scores.bm25": ("scores.npy", "scores.json"),
    "verification": ("verification.json",),
}


def runs(draw: random.Random) -> Iterator[Case]:
    """Runs with a damaged file in a stage: refused where it is read, made again by `run`."""
    for stage, names in _STAGES.items():
        for name in (*names, "manifest.json"):
            place = f"run/stages/{stage}-*/{name}"
            for label, change in damages(place, draw):
                if label == "a folder":
                    continue
                if (name, label) == ("manifest.json", "flipped"):
                    continue
                is_good = not stage.startswith(SHOWN)
                yield Case(f"{stage}/{name} {label}", change, ("show", "run"), is_good)
                again = ("run", "study.toml", "--out", "run")
                yield Case(f"{stage}/{name} {label}", change, again, is_good=True)
    for label, change in damages("run/manifest.json", draw):
        if label != "flipped":
            for command in (("show", "run"), ("report", "run"), ("validate", "run")):
                yield Case(f"manifest {label}", change, command)
    for data in (b"", b"[]", b"null", b"[" * 100_000, b"\xff\xfe", b'{"format": 1}'):
        yield Case(f"manifest {data[:10]!r}", _put("run/manifest.json", data), ("show", "run"))
    yield Case("an index", _nothing, ("show", "idx"))
    yield Case("a run", _nothing, ("query", "run", *QUERY[2:]))
    yield Case(
        "an edited study",
        lambda f: (f / "run" / "study.toml").write_text("x"),
        ("run", "study.toml", "--out", "run"),
    )


def imports(draw: random.Random) -> Iterator[Case]:
    """Scores with odd ids, values or columns, in each format."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    def lines(*rows: object) -> bytes:
        return "".join(json.dumps(row) + "\n" for row in rows).encode()

    good = {"example_id": "fact/france", "proponent_ids": ["d1"], "proponent_scores": [1.0]}
    for name, data, is_good in (
        ("good", lines(good), True),
        (
            "good, with opponents",
            lines(good | {"opponent_ids": ["d2"], "opponent_scores": [-1]}),
            True,
        ),
        ("empty", b"", False),
        ("blank", b"\n\n", False),
        ("a list", b"[1]\n", False),
        ("cut", lines(good)[:-5], False),
        ("UTF-16", lines(good).decode().encode("utf-16"), False),
        ("no text", bytes(range(256)), False),
        ("deep", b"[" * 100_000 + b"\n", False),
        ("twice with other scores", lines(good, good | {"proponent_scores": [2.0]}), False),
        ("an unknown query", lines(good | {"example_id": "x"}), False),
        ("an unknown example", lines(good | {"proponent_ids": ["x"]}), False),
        ("more ids", lines(good | {"proponent_ids": ["d1", "d2"]}), False),
        ("more scores", lines(good | {"proponent_scores": [1, 2]}), False),
        ("half a surrogate", lines(good).replace(b"d1", b"\\ud800"), False),
        *(
            (f"score {value!r:.20}", lines(good | {"proponent_scores": [value]}), False)
            for value in (math.nan, math.inf, 1e300, 10**400, "1", True, None, [1], {})
        ),
        *((f"without {k}", lines({n: v for n, v in good.items() if n != k}), False) for k in good),
        *(
            (f"{key} {value}", lines(good | {key: value}), False)
            for key in good
            for value in (7, None, "d1", {"d1": 1}, [["d1"]], [None], True)
        ),
    ):
        yield _scores(name, "other.jsonl", data, is_good=is_good)

    def table(values: dict[str, Any]) -> bytes:
        buffer = io.BytesIO()
        pq.write_table(pa.table(values), buffer)
        return buffer.getvalue()

    columns: dict[str, Any] = {"query": ["fact/france"], "example": ["d1"], "score": [1.0]}
    whole = table(columns)
    yield _scores("good", "other.parquet", whole, is_good=True)
    for size in draw.sample(range(1, len(whole)), 4):
        yield _scores(f"cut to {size}", "other.parquet", whole[:size])
    for name, change in (
        *((f"without {k}", {k: None}) for k in columns),
        ("infinite", {"score": [math.inf]}),
        ("text", {"score": ["x"]}),
        ("null", {"score": pa.array([None], pa.float64())}),
        ("numbers for ids", {"example": [1]}),
        ("null ids", {"example": pa.array([None], pa.string())}),
        ("lists", {"score": [[1.0]]}),
        ("unknown", {"example": ["x"]}),
    ):
        values = {k: v for k, v in (columns | change).items() if v is not None}
        yield _scores(name, "other.parquet", table(values))
    for ending in ("csv", "json", "npy", "txt"):
        yield _scores("of a format that is not read", f"other.{ending}", b"query,example,score\n")
    for name in ("bm25", "", "a b", "a/b", "../x", "é!", "1a", LONG):
        command = ("import", "run", "scores.jsonl", "--method", name, "--orientation", "higher")
        yield Case(f"method {name[:20]!r}", _nothing, command)
    yield Case("no orientation", _nothing, ("import", "run", "scores.parquet", "--method", "t"))
    for info in (b"", b"{", b"[]", b"{}", b'{"num_scores": -1, "num_items": 3, "dtype": {}}'):

        def fill(path: Path, data: bytes = info) -> None:
            path.mkdir()
            (path / "info.json").write_bytes(data)
            (path / "scores.bin").write_bytes(bytes(64))

        yield _scores(f"a folder of {info[:12]!r}", "other", fill)


def _scores(name: str, file: str, data: bytes | Change, *, is_good: bool = False) -> Case:
    def change(folder: Path) -> None:
        if callable(data):
            data(folder / file)
        else:
            (folder / file).write_bytes(data)

    return Case(f"{file} {name}", change, ("import", "run", file, *IMPORT), is_good)


# Memorization

MEMORIZATION = ("memorization", "memorization.toml", "--out", "new")
SEQUENCES = ("memorization", "sequences.toml", "--out", "new")
LOCATE = ("locate", "1002", "--sequences")


def memorization(draw: random.Random) -> Iterator[Case]:
    """Studies of memorization with a setting that is wrong, or that fits no other."""
    from whence.memorization.settings import MemorizationStudy

    name = "memorization.toml"
    tables = set()
    for path, field in leaves(MemorizationStudy):
        if path[0] not in ("model", "corpus", "index"):  # Those are of every study.
            value = draw.choice(unfit(field))
            yield Case(f"{path} = {str(value)[:20]}", _set(name, path, value), MEMORIZATION)
        tables.add(path[:-1])
    for table in sorted(tables):
        yield Case(f"{table} unknown", _set(name, (*table, "nonsense"), 1), MEMORIZATION)
    for path, value in (
        *((("title",), None), (("model",), None), (("recipe",), None)),
        *((("checkpoints", "steps"), v) for v in ([6, 0], [0, 0, 6], [-1, 6], [0, 6, 2**70])),
        *((("checkpoints", "name"), v) for v in ("step", "nowhere{step}", "{step}{0}", "model")),
        *((("checkpoints", "last"), v) for v in (3, 2**62)),
        *((("checkpoints", "dense_steps"), v) for v in ([3], [-1], [13])),
        *((("checkpoints", "dense_name"), v) for v in ("x", "step{step}")),
        *((("targets", "attribution_steps"), v) for v in ([5], [12], [-1])),
        *((("causes", "step_checkpoints"), v) for v in ([5], [-6])),
        *((("causes", "since"), v) for v in (0, 5, 12)),
        *((("causes", "num_examples"), v) for v in (7, 0, 10**9)),
        *((("pool", "num_random"), v) for v in (-1, 2**70)),
        *((("recipe", "batch_size"), v) for v in (5, 2**70)),
        *((("recipe", "peak_learning_rate"), v) for v in (0.0, math.inf, 1e300)),
        *((("recipe", "beta1"), v) for v in (1.0, -0.1)),
        *((("sequences", "num_prompt_tokens"), v) for v in (200, 10**9)),
        *((("sequences", "num_completion_tokens"), v) for v in (200, 2**70)),
        *((("sequences", "source"), v) for v in ("nowhere", "", "model", "study.toml", LONG)),
        *((("sequences", "controls"), v) for v in ("nowhere.jsonl", "corpus.jsonl", ".")),
        *((("model", "name"), v) for v in ("nowhere", "", "corpus.jsonl", "n" * 5000)),
        *((("model", "dtype"), v) for v in ("bfloat16", "float16")),
        *((("corpus", "source"), v) for v in ("nowhere", "", "model", "n" * 5000)),
        *((("corpus", "max_documents"), v) for v in (1, 3)),
    ):
        # A corpus of few documents may do.
        is_good = None if path[0] == "corpus" and isinstance(value, int) else False
        change, keeps = _set(name, path, value), path[-1] == "max_documents"
        yield Case(f"{path} = {str(value)[:20]}", change, MEMORIZATION, is_good, keeps)
    for label, change in texts(name, draw):
        yield Case(f"memorization {label}", change, MEMORIZATION)
    yield Case("a study of behaviors", _nothing, ("memorization", "study.toml", "--out", "new"))
    yield Case("a study of memorization", _nothing, ("run", "memorization.toml", "--out", "new"))
    yield Case("in a run of behaviors", _nothing, (*MEMORIZATION[:3], "run"))


def sequences(draw: random.Random) -> Iterator[Case]:
    """Published sequences in each format: cut, empty, of odd values, of another vocabulary."""
    for ending in ("jsonl", "parquet", "csv", "npy"):
        for label, rows, is_good in _sequence_tables():
            data = _sequence_file(rows, ending)
            if data is None or (ending, label) == ("npy", "tokens truths"):
                continue  # NumPy makes numbers of them.
            good = True if ending == "npy" and "index" in label else is_good
            file = f"other.{ending}"
            change = _with_sequences(file, data)
            keeps = label == "index of the corpus"
            yield Case(f"{file} {label}", change, SEQUENCES, good, keeps)
            if ending != "npy" and not any(word in label for word in ("vocab", "short", "corpus")):
                yield Case(f"{file} {label}", change, (*LOCATE, file), good)
    for ending in ("jsonl", "jsonl.gz", "parquet", "csv", "npy"):
        whole = _sequence_file(_sequence_rows(), ending)
        assert whole is not None
        file = f"other.{ending}"
        for data, label in (
            *((whole[:size], f"cut to {size}") for size in draw.sample(range(1, len(whole)), 4)),
            *((b"", "empty"), (bytes(300), "zeros"), (b"\xff\xfe" * 20, "no text")),
            (_flip(whole, draw.randrange(len(whole) // 2)), "flipped"),
        ):
            # A cut may fall between two lines, and a flipped byte may be of a token.
            is_good = None if label.startswith(("cut", "flip")) else False
            yield Case(f"{file} {label}", _with_sequences(file, data), SEQUENCES, is_good)
    for file in ("other.txt", "other", "other.bin"):
        change = _with_sequences(file, _sequence_lines(_sequence_rows()))
        yield Case(f"{file} of a format that is not read", change, SEQUENCES)
    for label, change in (
        ("a folder of nothing", lambda f: (f / "other.parquet").mkdir()),
        ("a pipe", lambda f: os.mkfifo(f / "other.jsonl")),
        ("a loop", lambda f: (f / "other.npy").symlink_to("other.npy")),
        ("missing", _nothing),
    ):
        for file in ("other.parquet", "other.jsonl", "other.npy"):

            def put(folder: Path, change: Change = change, file: str = file) -> None:
                change(folder)
                _set("sequences.toml", ("sequences", "source"), file)(folder)

            yield Case(f"{file} {label}", put, SEQUENCES)
    map_ = _with_map(b"")
    for label, words in (
        *((f"row {row}", ("locate", row)) for row in ("-1", "x", "1e3", str(10**9), str(2**70))),
        ("passes of the standard Pile", ("locate", "3", "--first-pass-rows", "9")),
        *((f"a pass of {n}", _pass(n)) for n in ("0", "-5", str(2**70), "x")),
        *((f"corpus {name!r:.9}", _map(name)) for name in ("nowhere", "", "model", "study.toml")),
        ("an empty map", _map("map.bin")),
        ("no tokenizer", ("locate", "3", "--tokenizer", "nowhere")),
        ("a model's folder without one", ("locate", "3", "--tokenizer", "run")),
    ):
        yield Case(label, map_, words)


def _pass(number: str) -> tuple[str, ...]:
    return ("locate", "3", "--deduplicated", "--first-pass-rows", number)


def _map(name: str) -> tuple[str, ...]:
    return ("locate", "3", "--corpus", name)


def _with_map(data: bytes) -> Change:
    return lambda folder: (folder / "map.bin").write_bytes(data)


def _sequence_tables() -> Iterator[tuple[str, list[Any], bool | None]]:
    """Rows of a list of sequences, and whether they can be read."""

    def changed(key: str, value: object) -> list[dict[str, Any]]:
        rows = _sequence_rows()
        return [*rows[:2], rows[2] | {key: value}, *rows[3:]]

    tokens = _sequence_rows()[2]["tokens"]
    yield "good", _sequence_rows(), True
    yield "more columns", [row | {"more": "x"} for row in _sequence_rows()], True
    yield "none", [], False
    yield "index twice", changed("index", 1001), False
    for value in (-1, 1.5, math.nan, None, "x", 2**70, True, [1]):
        # What is 2.0 or true in a column of numbers may be read as one.
        yield f"index {str(value)[:9]}", changed("index", value), False
    yield "index of the corpus", changed("index", 2), False
    for label, value in (
        ("negative", [-1, *tokens[1:]]),
        ("beyond the vocabulary", [10**6, *tokens[1:]]),
        ("beyond 31 bits in the vocabulary", [2**31, *tokens[1:]]),
        ("beyond 64 bits", [2**70, *tokens[1:]]),
        ("fractions", [0.5, *tokens[1:]]),
        ("not numbers", [math.nan, *tokens[1:]]),
        ("null", [None, *tokens[1:]]),
        ("texts", ["3", *tokens[1:]]),
        ("truths", [True] * 50),
        ("fewer", tokens[:-1]),
        ("more", [*tokens, 3]),
        ("none at all", []),
        ("a number", 3),
        ("a text", " ".join(map(str, tokens)) + "x"),
        ("lists", [tokens]),
        ("null for all", None),
    ):
        yield f"tokens {label}", changed("tokens", value), False
    for key in ("index", "tokens"):
        rows = [{k: v for k, v in row.items() if k != key} for row in _sequence_rows()]
        yield f"no {key}", rows, False
    short = [row | {"tokens": row["tokens"][:20]} for row in _sequence_rows()]
    yield "short sequences", short, False


def _sequence_file(rows: list[Any], ending: str) -> bytes | None:
    """Writes rows in a format; None where it has no such values."""
    import csv
    import io

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    if ending == "jsonl":
        return _sequence_lines(rows)
    if ending == "jsonl.gz":
        return gzip.compress(_sequence_lines(rows))
    if ending == "csv":
        text = io.StringIO()
        names = list(rows[0]) if rows else ["index", "tokens"]
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()
    try:
        if ending == "parquet":
            names = list(rows[0]) if rows else ["index", "tokens"]
            pq.write_table(pa.table({n: [row[n] for row in rows] for n in names}), buffer)
        else:
            np.save(buffer, np.array([row["tokens"] for row in rows]), allow_pickle=False)
    except (pa.ArrowException, ValueError, OverflowError, KeyError):
        return None
    return buffer.getvalue()


def _with_sequences(file: str, data: bytes) -> Change:
    def change(folder: Path) -> None:
        (folder / file).write_bytes(data)
        _set("sequences.toml", ("sequences", "source"), file)(folder)

    return change


# Flags

_BASE: dict[str, tuple[str, ...]] = {
    "index": INDEX,
    "query": QUERY,
    "verify-index": ("verify-index", "idx"),
    "run": ("run", "study.toml", "--out", "new"),
    "verify": ("verify", "behaviors.toml", "--model", "model"),
    "show": ("show", "run"),
    "report": ("report", "run"),
    "validate": ("validate", "run"),
    "import": ("import", "run", "scores.jsonl", *IMPORT),
    "discover": ("discover", "new.toml", "--model", "model", "--corpus", "corpus.jsonl"),
    "bank": ("bank", "new", "--most", "1"),
    "testbed": ("testbed", "new", "--size", "nano"),
    "methods": ("methods",),
    "compare": ("compare", "run"),
    "find": ("find", "the dog", "run"),
    "surprises": ("surprises", "run", "--checkpoint", "model"),
    "export": ("export", "run", "--out", "new"),
    "demo": ("demo", "--size", "nano", "--out", "new"),
    "init": ("init", "new", "--model", "model", "--corpus", "corpus.jsonl"),
    "plot": ("plot", "run", "subsets", "--out", "new.svg"),
    "runs": ("runs", "run"),
    "open": ("open", "run"),
    "memorization": SEQUENCES,
    "locate": (*LOCATE, "sequences.jsonl"),
    # An address of nobody, at which nothing can be served.
    "serve": ("serve", "run", "--host", "240.0.0.1", "--token", "0123456789abcdef"),
    "doctor": ("doctor",),
}
_OUTPUTS = {
    *(("index", 1), ("run", 3), ("discover", 1), ("bank", 1), ("testbed", 1), ("export", 3)),
    *(("demo", 4), ("init", 1), ("plot", 4), ("memorization", 3)),
}
_WORDS: dict[object, tuple[str, ...]] = {
    int: ("x", "-1", "2.5", "", str(2**70), "nan", "1e400"),
    float: ("x", "-1", "", "nan", "inf", "1e400"),
    bool: ("maybe",),
}
_TEXTS = ("", "nonsense", LONG, "n" * 5000, "\x1b]0;x\x07", "a\u202eb@c", "-", "../..", "~nobody/x")


def flags(draw: random.Random) -> Iterator[Case]:
    """Commands with a flag of a wrong type, out of bounds, or that does not exist."""
    nothing = _nothing
    for command, base in _BASE.items():
        yield Case("unknown flag", nothing, (*base, "--nonsense"))
        yield Case("one word more", nothing, (*base, *["more"] * 9))
        if base[1:] and command != "demo":  # Which needs none.
            yield Case("no words", nothing, base[:1])
        yield Case("not UTF-8", nothing, (*base, "--\udcff"))
        for name, annotation in _parameters(command):
            flag = f"--{name.replace('_', '-')}"
            for word in _bad_words(annotation, draw):
                yield Case(f"{flag} {word[:20]!r}", nothing, (*base, f"{flag}={word}"))
            if name != "out" and {str, Path} & {annotation, *typing.get_args(annotation)}:
                for word in draw.sample(_TEXTS, 3):
                    words = (*base, f"{flag}={word}")
                    yield Case(f"{flag} {word[:20]!r}", nothing, words, is_good=None)
    yield from _places()


def _parameters(command: str) -> Iterator[tuple[str, Any]]:
    from whence.cli.corpus_flags import CorpusFlags

    name = command.replace("-", "_") + ("_" if command in ("import", "open") else "")
    function = getattr(import_module(f"whence.cli.{name}"), name)
    hints = typing.get_type_hints(function, include_extras=False)
    for parameter in inspect.signature(function).parameters.values():
        if hints[parameter.name] is CorpusFlags:
            own = typing.get_type_hints(CorpusFlags)
            yield from ((field.name, own[field.name]) for field in fields(CorpusFlags))
        elif parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            yield parameter.name, hints[parameter.name]


def _bad_words(annotation: Any, draw: random.Random) -> tuple[str, ...]:
    kinds = {annotation, *typing.get_args(annotation)}
    if typing.get_origin(annotation) is Literal or any(
        typing.get_origin(kind) is Literal for kind in kinds
    ):
        return ("nonsense", "")
    for kind, words in _WORDS.items():
        if kind in kinds:
            return tuple(draw.sample(words, min(4, len(words))))
    return ()


def _places() -> Iterator[Case]:
    """Commands with a place that is of another kind than what belongs there."""
    oddities: dict[str, Change] = {
        "pipe": lambda f: os.mkfifo(f / "odd"),
        "loop": lambda f: (f / "odd").symlink_to("odd"),
        "socket": lambda f: (f / "odd").symlink_to("/dev/null"),
    }
    for command, base in _BASE.items():
        for number, word in enumerate(base):
            is_place = number and not base[number - 1].startswith("--p") and "." not in word[:1]
            if not is_place or word not in _NAMES:
                continue
            is_output = (command, number) in _OUTPUTS
            # A first study may name what will be there later, and its folder may hold other things.
            is_good = None if command == "init" and not is_output else False
            changed = [(label, "odd", change) for label, change in oddities.items()]
            changed += [("long name", LONG, _nothing)]
            changed += [("very long name", "n" * 5000, _nothing)]
            changed += [("below a file", "study.toml/x", _nothing)]
            if is_output and command not in ("bank", "init"):  # Whose folder may hold other things.
                changed += [("somebody's folder", "model", _nothing)]
                changed += [("the current folder", ".", _nothing)]
            elif not is_output:
                changed += [("missing", "nowhere", _nothing)]
                changed += [("empty folder", "odd", lambda f: (f / "odd").mkdir())]
                changed += [("empty file", "odd", lambda f: (f / "odd").touch())]
            for label, name, change in changed:
                words = (*base[:number], name, *base[number + 1 :])
                good = True if (command, label) == ("runs", "empty folder") else is_good
                yield Case(f"{word} is {label}", change, words, good)


_NAMES = {
    *("new", "new.toml", "model", "corpus.jsonl", "idx", "run", "study.toml", "behaviors.toml"),
    *("scores.jsonl", "sequences.toml", "sequences.jsonl", "new.svg"),
}

GROUPS: dict[str, Callable[[random.Random], Iterator[Case]]] = {
    group.__name__: group
    for group in (
        *(studies, behaviors, corpora, models, indexes, runs, imports),
        *(memorization, sequences, flags),
    )
}


def cases(group: str) -> list[Case]:
    """All cases of a group; every call gives the same ones."""
    return list(GROUPS[group](random.Random(group)))
