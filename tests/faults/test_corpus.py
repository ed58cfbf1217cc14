"""Faults of reading a corpus that were found by trying, one test each."""

import bz2
import contextlib
import gzip
import json
import lzma
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from tests.faults.forking import call

from whence.corpus import load_corpus
from whence.errors import CorpusError
from whence.progress import SILENT
from whence.records import Corpus, LoadedModel
from whence.settings import CorpusSettings


def corpus_of(texts: list[str], **columns: list[Any]) -> Corpus:
    """A corpus of some texts, with their bytes as tokens."""
    from whence.corpus import schema

    size = len(texts)
    usual: dict[str, list[Any]] = {
        "id": [str(i) for i in range(size)],
        "text": texts,
        "hash": [""] * size,
        "subset": [None] * size,
        "source": ["test"] * size,
        "position": list(range(size)),
        "step": [None] * size,
        "input_ids": [list(text.encode()) for text in texts],
        "num_truncated_tokens": [0] * size,
        "labels": [None] * size,
    }
    return Corpus("test", "a test", pa.table(usual | columns, schema=schema()))


@pytest.mark.parametrize("method", ["bm25", "tfidf"])
@pytest.mark.parametrize(
    ("texts", "query"),
    [
        (["法国的首都是巴黎，人口很多。", "今天的天气非常好。", "他在学校里读书。"], "首都是巴黎"),
        (["เมืองหลวงของฝรั่งเศสคือปารีส", "วันนี้อากาศดีมาก", "เขาอ่านหนังสือที่โรงเรียน"], "ปารีส"),
        (["फ़्रांस की राजधानी पेरिस है", "आज मौसम अच्छा है", "वह किताब पढ़ता है"], "पेरिस"),
        (["フランスの首都はパリです", "今日は天気がいい", "彼は本を読む"], "首都はパリ"),
    ],
    ids=["chinese", "thai", "hindi", "japanese"],
)
def test_plain_search_is_blind_in_scripts_without_spaces_or_with_marks(
    method: str, texts: list[str], query: str
) -> None:
    from whence.methods import MethodInputs, score
    from whence.records import Query
    from whence.settings import AttributionSettings

    asked = (Query("q", (), query),)
    found = score(method, MethodInputs(asked, corpus_of(texts), settings=AttributionSettings()))
    assert found.values[0, 0] > 0
    assert np.argmax(found.values[0]) == 0


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def column(corpus: Corpus, name: str) -> list[Any]:
    return corpus.table.column(name).to_pylist()


@pytest.fixture
def load(tokenizer: Any) -> Callable[..., Corpus]:
    def load_source(source: Path | str, *, context_length: int = 16, **settings: Any) -> Corpus:
        chosen = CorpusSettings(source=str(source), **settings)
        return load_corpus(chosen, tokenizer, context_length=context_length)

    return load_source


def refusal(load: Callable[..., Corpus], source: Path | str, **settings: Any) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        load(source, **settings)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500
    str(caught.value).encode()  # can be printed
    return caught.value


# Memory maps


def megatron_index(path: Path, lengths: list[list[int]], *, code: int, itemsize: int) -> None:
    """An `.idx` as Megatron-LM writes it: documents of sequences of so many tokens."""
    sizes = [size for document in lengths for size in document]
    pointers = [itemsize * sum(sizes[:at]) for at in range(len(sizes))]
    ends = [sum(len(document) for document in lengths[:at]) for at in range(len(lengths) + 1)]
    path.write_bytes(
        b"MMIDIDX\x00\x00"
        + struct.pack("<QBQQ", 1, code, len(sizes), len(ends))
        + np.array(sizes, "<i4").tobytes()
        + np.array(pointers, "<i8").tobytes()
        + np.array(ends, "<i8").tobytes()
    )


@pytest.mark.parametrize(
    "tokens",
    [
        np.arange(66001, 68050, dtype=np.int32),
        np.arange(2049, dtype=np.int32) % 50_000,
        np.full(4098, 7, np.int32) + np.arange(4098, dtype=np.int32) % 3,
        np.arange(4098, dtype=np.int64) % 250,
        (np.arange(2049) % 50_000).astype(">i4"),
    ],
    ids=["large", "gpt", "few", "int64", "big-endian"],
)
def test_other_maps_are_read_as_pythias(tmp_path: Path, load: Any, tokens: np.ndarray) -> None:
    tokens.tofile(tmp_path / "document.bin")
    found = refusal(load, tmp_path / "document.bin", context_length=2048)
    assert "halves of" in found.problem
    assert "endian" in found.problem or "`mmap_dtype`" in found.remedy


def test_text_is_read_as_a_map(tmp_path: Path, load: Any) -> None:
    (tmp_path / "x.bin").write_bytes((b"The herons walked along. " * 200)[:4098])
    assert "holds text" in refusal(load, tmp_path / "x.bin", context_length=2048).problem


def test_a_map_of_few_different_tokens_is_not_taken_for_another_type(
    tmp_path: Path, load: Any
) -> None:
    rows = np.random.default_rng(0).integers(0, 5, size=(3, 2049)).astype("<u2")
    rows.tofile(tmp_path / "x.bin")
    corpus = load(tmp_path / "x.bin", context_length=2048)
    assert [corpus.input_ids(row) for row in range(3)] == rows.tolist()
    assert column(corpus, "step") == [1, 1, 1]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "int64"])
@pytest.mark.parametrize("row_length", [10, 16, 17, 64, 100])
def test_type_and_row_length_are_settings(
    tmp_path: Path, load: Any, dtype: Any, row_length: int
) -> None:
    tokens = np.arange(205, dtype=dtype)
    tokens.tofile(tmp_path / "x.bin")
    corpus = load(tmp_path / "x.bin", mmap_dtype=dtype, row_length=row_length)
    kept = 17 if row_length == 17 else 16
    expected = [tokens[i : i + row_length][:kept].tolist() for i in range(0, 205, row_length)]
    assert [corpus.input_ids(row) for row in range(len(corpus))] == expected
    assert column(corpus, "step") == [None] * len(corpus)
    assert corpus.num_truncated_tokens == 205 - sum(map(len, expected))
    part = load(
        tmp_path / "x.bin", mmap_dtype=dtype, row_length=row_length, first_row=1, num_rows=1
    )
    assert part.input_ids(0) == expected[1]
    assert part.ids == ("1",)


@pytest.mark.parametrize(("code", "dtype"), [(1, "uint8"), (4, "<i4"), (5, "<i8"), (8, "<u2")])
@pytest.mark.parametrize("num_shards", [0, 3])
def test_an_index_beside_a_map_says_type_and_documents(
    tmp_path: Path, load: Any, code: int, dtype: str, num_shards: int
) -> None:
    lengths = [[3], [5, 2], [12], [1], [], [40], [2, 2, 2]]
    documents = [list(range(at, at + sum(document))) for at, document in enumerate(lengths)]
    data = np.array([token for document in documents for token in document], dtype).tobytes()
    itemsize = np.dtype(dtype).itemsize
    megatron_index(tmp_path / "text.idx", lengths, code=code, itemsize=itemsize)
    if num_shards:
        cuts = [0, len(data) // 3 + 1, len(data) // 2, len(data)]
        for at in range(3):
            name = f"text-{at:05}-of-00002.bin"
            (tmp_path / name).write_bytes(data[cuts[at] : cuts[at + 1]])
        source = tmp_path
    else:
        (tmp_path / "text.bin").write_bytes(data)
        source = tmp_path / "text.bin"
    corpus = load(source, context_length=64)
    assert [corpus.input_ids(row) for row in range(len(corpus))] == documents
    assert column(corpus, "position") == list(range(7))
    assert column(corpus, "step") == [None] * 7
    if num_shards:
        (tmp_path / "text-00002-of-00002.bin").unlink()
        found = load(source, context_length=64)
        assert 0 < len(found) < 7
        assert [found.input_ids(row) for row in range(len(found))] == documents[: len(found)]


def test_pythias_index_leaves_pythias_steps(tmp_path: Path, load: Any) -> None:
    rows = np.random.default_rng(0).integers(0, 257, size=(3, 2049)).astype("<u2")
    rows.tofile(tmp_path / "document.bin")
    megatron_index(tmp_path / "document.idx", [[2049]] * 3, code=8, itemsize=2)
    corpus = load(tmp_path / "document.bin", context_length=2048)
    assert [corpus.input_ids(row) for row in range(3)] == rows.tolist()
    assert column(corpus, "step") == [1, 1, 1]


@pytest.mark.parametrize("damage", ["cut", "magic", "other", "pointers", "type", "legacy"])
def test_an_index_that_is_broken_or_of_another_map_is_refused(
    tmp_path: Path, load: Any, damage: str
) -> None:
    np.arange(20, dtype="<u2").tofile(tmp_path / "x.bin")
    index = tmp_path / "x.idx"
    megatron_index(index, [[5], [15]], code=8, itemsize=2)
    whole = index.read_bytes()
    if damage == "cut":
        index.write_bytes(whole[:-4])
    elif damage == "magic":
        index.write_bytes(b"x" + whole[1:])
    elif damage == "legacy":
        index.write_bytes(b"TNTIDX\x00\x00" + whole[9:])
    elif damage == "other":
        megatron_index(index, [[5], [14]], code=8, itemsize=2)
    elif damage == "pointers":
        data = bytearray(whole)
        data[34 + 8 : 34 + 16] = struct.pack("<q", 5000)
        index.write_bytes(bytes(data))
    else:
        index.write_bytes(whole[:17] + b"\x07" + whole[18:])
    assert "x.idx" in refusal(load, tmp_path / "x.bin").problem
    if damage == "other":
        assert len(load(tmp_path / "x.bin", row_length=10)) == 2


def test_a_type_that_contradicts_the_index_is_refused(tmp_path: Path, load: Any) -> None:
    np.arange(20, dtype="<u2").tofile(tmp_path / "x.bin")
    megatron_index(tmp_path / "x.idx", [[20]], code=8, itemsize=2)
    found = refusal(load, tmp_path / "x.bin", mmap_dtype="int32")
    assert "`mmap_dtype` is int32" in found.problem


def test_a_shard_from_the_middle_is_not_a_map(tmp_path: Path, load: Any) -> None:
    (tmp_path / "document-00002-of-00020.bin").write_bytes(bytes(4098))
    found = refusal(load, tmp_path / "document-00002-of-00020.bin", context_length=2048)
    assert "shard 2 of a map" in found.problem


# Metadata


def test_corrected_metadata_does_not_arrive_in_a_run(
    tmp_path: Path, load: Any, tokenizer: Any
) -> None:
    from whence.runs.directory import writing
    from whence.runs.models import ModelCard, StudyModel
    from whence.runs.stages import corpus_stage

    def stored() -> Corpus:
        settings = CorpusSettings(source=str(tmp_path / "c.jsonl"))
        card = ModelCard("m", "f", "t", 64, "float32")
        loaded = LoadedModel(None, tokenizer, "m", "f", 64)  # pyright: ignore[reportArgumentType]
        with writing(tmp_path / "run") as run:
            model = StudyModel(card, lambda: loaded)
            return run.get(corpus_stage(settings, model, progress=SILENT))

    first = load(write(tmp_path / "c.jsonl", [{"id": "a", "text": "one two", "subset": "old"}]))
    stored()
    for change in (
        {"subset": "new"},
        {"position": 5},
        {"step": 3},
        {"labels": ["x"]},
        {"source": "web"},
    ):
        row = {"id": "a", "text": "one two", "subset": "old"} | change
        corrected = load(write(tmp_path / "c.jsonl", [row]))
        assert corrected.fingerprint == first.fingerprint
        assert corrected.content_fingerprint != first.content_fingerprint
        (name,) = change
        assert column(stored(), name) == [change[name]]


# Columns


def test_the_first_row_decides_the_columns(tmp_path: Path, load: Any) -> None:
    late = {"text": "c d", "subset": "web", "step": 4, "labels": ["x"], "source": "s"}
    for first in ({"text": "a b"}, {"text": "a b", **dict.fromkeys(list(late)[1:])}):
        corpus = load(write(tmp_path / "c.jsonl", [first, late]))
        assert column(corpus, "subset") == [None, "web"]
        assert column(corpus, "step") == [None, 4]
        assert column(corpus, "labels") == [None, ["x"]]
        assert column(corpus, "source") == ["c.jsonl", "s"]


def test_some_rows_with_ids_and_some_without_are_refused_or_numbered(
    tmp_path: Path, load: Any
) -> None:
    rows = [{"text": "a b"}, {"id": "x", "text": "c d"}]
    for order in (rows, rows[::-1]):
        path = write(tmp_path / "c.jsonl", order)
        found = refusal(load, path)
        row = order.index(rows[0])
        assert f"Row {row} of c.jsonl has no value in the id column 'id'" in found.problem
        assert "`id_column`" in found.remedy
        assert load(path, id_column="").ids == ("0", "1")


def test_row_numbers_do_not_mix_with_positions(tmp_path: Path, load: Any) -> None:
    rows = [{"text": "a b"}, {"text": "c d", "position": 77}, {"text": "e f", "position": None}]
    assert column(load(write(tmp_path / "c.jsonl", rows)), "position") == [None, 77, None]
    assert column(load(write(tmp_path / "c.jsonl", rows[:1])), "position") == [None]
    assert column(load(tmp_path / "c.jsonl", position_column=""), "position") == [0]


def test_a_named_column_may_come_late_and_must_come(tmp_path: Path, load: Any) -> None:
    rows: list[dict[str, Any]] = [{"text": f"row {i}"} for i in range(1500)]
    path = write(tmp_path / "c.jsonl", [*rows, {"text": "last", "kind": "web"}])
    assert column(load(path, subset_column="kind"), "subset")[-1] == "web"
    found = refusal(load, path, subset_column="kinds")
    assert "no column 'kinds'" in found.problem
    assert "no column 'kind'" in refusal(load, path, subset_column="kind", max_documents=9).problem


@pytest.mark.parametrize(
    "meta", ['{"pile_set_name": "Enron"}', "{'pile_set_name': 'Enron'}", {"pile_set_name": "Enron"}]
)
def test_meta_as_a_string(tmp_path: Path, load: Any, meta: Any) -> None:
    corpus = load(write(tmp_path / "c.jsonl", [{"text": "a b", "meta": meta}]))
    assert column(corpus, "subset") == ["Enron"]
    pq.write_table(pa.table({"text": ["a b"], "meta": [meta]}), tmp_path / "c.parquet")
    assert column(load(tmp_path / "c.parquet"), "subset") == ["Enron"]


@pytest.mark.parametrize("meta", ["{broken", "{" * 5000, "{'a': '\\d'}", '{"pile_set_name": null}'])
def test_meta_that_says_nothing(tmp_path: Path, load: Any, meta: str) -> None:
    corpus = load(write(tmp_path / "c.jsonl", [{"text": "a b", "meta": meta}]))
    assert column(corpus, "subset") == [None]


@pytest.mark.parametrize("value", [["a", "b"], {"name": "a"}, float("nan"), float("inf"), []])
@pytest.mark.parametrize("name", ["subset", "id"])
def test_names_that_are_no_text_were_taken_for_text(
    tmp_path: Path, load: Any, name: str, value: Any
) -> None:
    path = write(tmp_path / "c.jsonl", [{"text": "a b", name: "x"}, {"text": "c d", name: value}])
    found = refusal(load, path)
    assert f"Row 1 of c.jsonl has {value!r} in the column {name!r}" in found.problem
    assert f"`{name}_column`" in found.remedy
    assert len(load(path, **{f"{name}_column": ""})) == 2


def test_numbers_and_dates_are_names(tmp_path: Path, load: Any) -> None:
    from datetime import date

    table = {"text": ["a b"], "id": [17], "subset": [date(2020, 1, 2)]}
    pq.write_table(pa.table(table), tmp_path / "c.parquet")
    corpus = load(tmp_path / "c.parquet")
    assert corpus.ids == ("17",)
    assert column(corpus, "subset") == ["2020-01-02"]


def test_a_source_that_is_no_text_is_about_something_else(tmp_path: Path, load: Any) -> None:
    path = write(tmp_path / "c.jsonl", [{"text": "a b", "source": ["x"]}])
    assert column(load(path), "source") == ["c.jsonl"]


def test_duplicate_ids_have_a_way_out(tmp_path: Path, load: Any) -> None:
    rows = [{"id": i, "text": f"text {n}"} for n, i in enumerate(["a", "b", "a", "a#2", "a"])]
    path = write(tmp_path / "c.jsonl", rows)
    found = refusal(load, path)
    assert "'a' occurs twice" in found.problem
    assert "`duplicate_ids" in found.remedy
    assert load(path, id_column="").ids == ("0", "1", "2", "3", "4")
    numbered = load(path, duplicate_ids="number").ids
    assert numbered == ("a", "b", "a#2", "a#2#2", "a#3")
    windows = load(path, duplicate_ids="number", long_documents="window", max_length=3).ids
    assert len(set(windows)) == len(windows) == 10


def test_a_foreign_position_column_has_a_way_out(tmp_path: Path, load: Any) -> None:
    rows = [{"text": "a b", "position": "left wing"}, {"text": "c d", "position": "goal"}]
    path = write(tmp_path / "c.jsonl", rows)
    found = refusal(load, path)
    assert "has 'left wing' in the column 'position'" in found.problem
    assert "`position_column`" in found.remedy
    assert column(load(path, position_column=""), "position") == [0, 1]


@pytest.mark.parametrize("name", ["id", "subset", "source", "labels"])
def test_half_a_surrogate_pair_in_metadata_is_one_sentence(
    tmp_path: Path, load: Any, name: str
) -> None:
    value: Any = ["\ud800"] if name == "labels" else "x\ud800"
    path = write(tmp_path / "c.jsonl", [{"text": "a b", name: value}])
    found = refusal(load, path)
    assert f"in the column {name!r}" in found.problem
    assert "surrogate" in found.problem


def test_a_column_name_with_half_a_surrogate_pair_can_be_printed(tmp_path: Path, load: Any) -> None:
    refusal(load, write(tmp_path / "c.jsonl", [{"body\ud800": "a b"}]))


@pytest.mark.parametrize("name", ["c.jsonl", "c.txt", "c.parquet", "c.jsonl.gz"])
def test_an_empty_corpus_is_one_sentence(tmp_path: Path, load: Any, name: str) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    else:
        path.write_bytes(gzip.compress(b"") if name.endswith("gz") else b"")
    assert "holds no documents" in refusal(load, path).problem


# Folders


def test_part_10_is_read_before_part_2(tmp_path: Path, load: Any) -> None:
    for number in (10, 9, 2, 1):
        write(tmp_path / f"part-{number}.jsonl", [{"text": f"text {number}"}])
    corpus = load(tmp_path)
    assert corpus.texts() == ["text 1", "text 2", "text 9", "text 10"]
    assert corpus.ids == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    "names", [("test", "validation"), ("pile_val", "pile_test"), ("dev", "eval-2")]
)
def test_test_and_validation_are_read_as_train(
    tmp_path: Path, load: Any, names: tuple[str, ...]
) -> None:
    for name in names:
        write(tmp_path / f"{name}.jsonl", [{"text": f"text of {name}"}])
    found = refusal(load, tmp_path)
    assert "is of the split 'train'" in found.problem
    assert "`split`" in found.remedy
    assert len(load(tmp_path, split="")) == 2
    write(tmp_path / "part-1.jsonl", [{"text": "the training"}])
    corpus = load(tmp_path)
    assert corpus.texts() == ["the training"]
    assert corpus.description.startswith("all 1 document of 1 file in ")
    assert all(f"{name}.jsonl" in corpus.description for name in names)


def test_what_a_folder_holds_beside_is_said(tmp_path: Path, load: Any) -> None:
    write(tmp_path / "train-2.jsonl", [{"text": "two"}])
    write(tmp_path / "train-10.jsonl", [{"text": "ten"}])
    (tmp_path / "README.md").write_text("about")
    (tmp_path / ".hidden.jsonl").write_text("not JSON")
    assert load(tmp_path).description.startswith(f"all 2 documents of {tmp_path.name}, each cut")
    (tmp_path / "more.csv").write_text("a,b")
    (tmp_path / "deeper").mkdir()
    write(tmp_path / "deeper" / "x.jsonl", [{"text": "three"}])
    assert "of 2 files in" in (said := load(tmp_path).description)
    assert "left out: deeper, more.csv" in said


def test_a_split_that_no_file_has(tmp_path: Path, load: Any) -> None:
    write(tmp_path / "part-1.jsonl", [{"text": "one two"}])
    assert "is of the split 'test'" in refusal(load, tmp_path, split="test").problem
    write(tmp_path / "valid.jsonl", [{"text": "valid"}])
    assert load(tmp_path, split="validation").texts() == ["valid"]
    assert load(tmp_path, split="valid").texts() == ["valid"]


# Places


def test_places_that_are_no_corpus_are_one_sentence(tmp_path: Path, load: Any) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert "is a pipe" in refusal(load, tmp_path / "pipe.jsonl").problem
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "s"))
        assert "is a socket" in refusal(load, tmp_path / "s", format="jsonl").problem
    for device in ("/dev/null", "/dev/zero"):
        for chosen in ("auto", "jsonl", "text", "parquet", "mmap"):
            assert "is a device" in refusal(load, device, format=chosen).problem
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    assert "leads in a circle" in refusal(load, tmp_path / "loop.jsonl").problem
    assert "There is no file" in refusal(load, tmp_path / "pipe.jsonl" / "below.jsonl").problem
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nothing")
    assert "There is no file" in refusal(load, tmp_path / "gone.jsonl").problem
    assert "a name to be" in refusal(load, tmp_path / ("x" * 300 + ".jsonl")).problem
    assert "a name to be" in refusal(load, "/" + "y/" * 5000).problem
    assert "There is no file" in refusal(load, "x\0y").problem
    assert "There is no file" in refusal(load, "~nobody-of-this-name/x.jsonl").problem
    assert "name is empty" in refusal(load, "").problem


@pytest.mark.parametrize("kind", ["pipe", "loop", "folder", "gone"])
def test_odd_entries_of_a_folder_are_one_sentence(tmp_path: Path, load: Any, kind: str) -> None:
    write(tmp_path / "a.jsonl", [{"text": "one two"}])
    odd = tmp_path / "b.jsonl"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "loop":
        odd.symlink_to(odd)
    elif kind == "gone":
        odd.symlink_to(tmp_path / "nothing")
    else:
        odd.mkdir()
    assert "b.jsonl" in refusal(load, tmp_path).problem


def test_a_place_that_may_not_be_read_is_one_sentence(
    tmp_path: Path, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "c.jsonl", [{"text": "one two"}])
    monkeypatch.setattr(os, "access", lambda place, _mode: str(place) != str(path))
    found = refusal(load, path)
    assert "may not be read" in found.problem
    assert "permissions" in found.remedy
    monkeypatch.setattr(os, "access", lambda place, _mode: str(place) != str(tmp_path))
    assert "may not be read" in refusal(load, tmp_path).problem


# Compressed files


def skippable(data: bytes, *, number: int = 0) -> bytes:
    return struct.pack("<II", 0x184D2A50 + number, len(data)) + data


@pytest.mark.parametrize("number", [0, 7, 15])
def test_the_skippable_frame_that_pzstd_writes_first(
    tmp_path: Path, load: Any, number: int
) -> None:
    lines = [json.dumps({"text": f"text {i}"}) + "\n" for i in range(40)]
    frames = [
        skippable(struct.pack("<I", 99), number=number)
        + zstandard.ZstdCompressor().compress("".join(part).encode())
        for part in (lines[:20], lines[20:])
    ]
    path = tmp_path / "c.jsonl.zst"
    path.write_bytes(b"".join(frames) + skippable(b"end"))
    assert load(path).texts() == [f"text {i}" for i in range(40)]
    path.write_bytes(b"".join(frames)[:-7])
    assert "cut short" in refusal(load, path).problem


@pytest.mark.parametrize(
    ("head", "packing"),
    [(bz2.compress(b"x"), "bzip2"), (lzma.compress(b"x"), "xz"), (b"PK\x03\x04rest", "zip")],
)
def test_another_packing_is_named(tmp_path: Path, load: Any, head: bytes, packing: str) -> None:
    (tmp_path / "c.jsonl").write_bytes(head)
    assert f"a file of {packing}" in refusal(load, tmp_path / "c.jsonl").problem


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz", "c.jsonl.zst", "c.txt"])
def test_a_line_that_is_too_long_names_its_setting(tmp_path: Path, load: Any, name: str) -> None:
    long = json.dumps({"text": "x" * 300_000})
    data = f'{{"text": "short"}}\n\n{long}\n'.encode()
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}
    path = tmp_path / name
    path.write_bytes(pack.get(path.suffix, bytes)(data))
    found = refusal(load, path, max_line_mb=0.25)
    assert "Line 3 of" in found.problem
    assert "0.25 MiB" in found.problem
    assert "`max_line_mb`" in found.remedy
    assert len(load(path, max_line_mb=0.3)) == 2


def test_a_paragraph_that_is_too_long_names_its_setting(tmp_path: Path, load: Any) -> None:
    (tmp_path / "c.txt").write_text("first\n\n" + "one line\n" * 40_000)
    found = refusal(load, tmp_path / "c.txt", max_line_mb=0.25)
    assert "begins in line 3" in found.problem
    assert "`max_line_mb`" in found.remedy
    assert len(load(tmp_path / "c.txt")) == 2


# Memory

MEASURE = """
import json, resource, sys
from pathlib import Path

sys.path.insert(0, sys.argv[3])
from test_memory_tokenizer import make
from whence.corpus import load_corpus
from whence.errors import CorpusError
from whence.settings import CorpusSettings

settings = json.loads(sys.argv[2])
tokenizer = make()
warm = Path(sys.argv[1]).with_name("warm.jsonl")
warm.write_text(json.dumps({"text": "one two"}))
load_corpus(CorpusSettings(source=str(warm)), tokenizer, context_length=64)
for name in ("warm.parquet", "warm.arrow"):
    import pyarrow as pa, pyarrow.parquet as pq
    if name.endswith("parquet"):
        pq.write_table(pa.table({"text": ["one two"]}), warm.with_name(name))
        load_corpus(CorpusSettings(source=str(warm.with_name(name))), tokenizer, context_length=64)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
try:
    chosen = CorpusSettings(source=sys.argv[1], **settings)
    corpus = load_corpus(chosen, tokenizer, context_length=64)
    found = [len(corpus), corpus.num_truncated_tokens, int(corpus.lengths.max())]
except CorpusError as error:
    found = error.problem
print(json.dumps([found, peak() - before]))
"""
TOKENIZER = """
def make():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    vocabulary = {char: byte for byte, char in bytes_to_unicode().items()} | {"<end>": 256}
    core = Tokenizer(models.BPE(vocabulary, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")
"""


def measured(path: Path, **settings: Any) -> tuple[Any, int]:
    """What another process reads with a byte tokenizer, and how many bytes its peak rises."""
    (path.parent / "test_memory_tokenizer.py").write_text(TOKENIZER)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), json.dumps(settings), str(path.parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    found, num_bytes = json.loads(done.stdout.splitlines()[-1])
    return found, num_bytes


MIB = 2**20


def test_a_long_document_takes_memory_for_all_of_its_tokens(tmp_path: Path) -> None:
    size = 4 * MIB  # with 370 bytes for each byte of text: 1.5 GB
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"text": "herons " * (size // 7)}) + "\n")
    found, num_bytes = measured(path)
    assert found == [1, size // 7 * 7 - 64, 64]
    assert num_bytes < 300 * MIB


def test_a_batch_of_books_takes_memory_for_all_of_them(tmp_path: Path) -> None:
    book = json.dumps({"text": "herons " * (200_000 // 7)}) + "\n"
    path = tmp_path / "c.jsonl"
    path.write_text(book * 20)  # 4 MB, with 370 bytes for each: 1.5 GB
    found, num_bytes = measured(path, id_column="")
    assert found[0] == 20
    assert found[1] == 20 * (200_000 // 7 * 7 - 64)
    assert num_bytes < 350 * MIB


def bomb(path: Path, line: bytes, num: int) -> Path:
    """A file that is small and unpacks to `num` lines."""
    chunk = line * (MIB // len(line))
    times = num // (MIB // len(line))
    if path.suffix == ".gz":
        with gzip.open(path, "wb") as packed:
            for _ in range(times):
                packed.write(chunk)
    else:
        with path.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as packed:
            for _ in range(times):
                packed.write(chunk)
    assert path.stat().st_size < 3 * MIB
    return path


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_compressed_file_is_unpacked_at_once(tmp_path: Path, suffix: str) -> None:
    line = b'{"text": "' + b"a" * 100 + b'"}\n'
    path = bomb(tmp_path / f"c.jsonl.{suffix}", line, 2_500_000)  # 280 MB
    found, num_bytes = measured(path, max_documents=5)
    assert found == [5, 5 * 36, 64]
    assert num_bytes < 120 * MIB


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_line_without_end_is_read_whole(tmp_path: Path, suffix: str) -> None:
    path = bomb(tmp_path / f"c.jsonl.{suffix}", b"a", 400 * MIB)
    found, num_bytes = measured(path)
    assert "Line 1 of" in found
    assert "longer than 64 MiB" in found
    assert num_bytes < 250 * MIB


def test_a_plain_line_without_end_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    with path.open("wb") as file:
        file.truncate(400 * MIB)
    found, num_bytes = measured(path)
    assert "Line 1 of" in found
    assert num_bytes < 250 * MIB


def test_a_row_group_is_read_whole(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    texts = [generator.bytes(25_000).hex() for _ in range(3000)]  # 150 MB
    pq.write_table(pa.table({"text": texts}), tmp_path / "c.parquet", row_group_size=3000)
    found, num_bytes = measured(tmp_path / "c.parquet", max_documents=20)
    assert found[0] == 20
    assert num_bytes < 100 * MIB


def test_one_text_in_a_thousand_rows_is_a_thousand_copies(tmp_path: Path) -> None:
    table = pa.table({"text": ["herons " * 50_000] * 2000})  # 700 MB in a small dictionary
    pq.write_table(table, tmp_path / "c.parquet", row_group_size=2000)
    del table
    found, num_bytes = measured(tmp_path / "c.parquet", max_documents=3)
    assert found[0] == 3
    assert num_bytes < 250 * MIB


def test_an_arrow_batch_is_made_into_rows_at_once(tmp_path: Path) -> None:
    table = pa.table({"text": [("herons " * 3000) + str(i) for i in range(10_000)]})  # 210 MB
    with pa.ipc.new_file(tmp_path / "c.arrow", table.schema) as writer:
        writer.write_table(table)
    del table
    found, num_bytes = measured(tmp_path / "c.arrow", max_documents=20)
    assert found[0] == 20
    assert num_bytes < 150 * MIB


def read_with_a_flipped_byte(path: Path) -> None:
    """Reads a Parquet file again and again, each time with another byte of its end flipped."""
    from whence.corpus.parquet import read_parquet

    whole = path.read_bytes()
    for place in range(max(0, len(whole) - 1000), len(whole)):
        flipped = bytes([whole[place] ^ 0x55])
        path.write_bytes(whole[:place] + flipped + whole[place + 1 :])
        with contextlib.suppress(CorpusError):
            list(read_parquet(path, CorpusSettings(source=str(path))))


def test_a_broken_record_of_a_parquet_column_ended_the_process(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "text": ["the dog saw a cat", "the sea"]})
    pq.write_table(table, tmp_path / "c.parquet")
    done = call(read_with_a_flipped_byte, tmp_path / "c.parquet", folder=tmp_path)
    assert done.code == 0, done.stderr


def test_the_row_of_a_file_is_no_place_in_training(tmp_path: Path, load: Any) -> None:
    path = write(tmp_path / "c.jsonl", [{"text": "a b"}, {"text": "c d"}])
    assert column(load(path), "position") == [None, None]
    assert column(load(path, position_column=""), "position") == [0, 1], "where the study says so"


def test_a_corpus_of_blank_documents_gave_an_empty_page(tmp_path: Path, load: Any) -> None:
    rows = [{"text": "   "}, {"text": "\n\t \n"}]
    found = refusal(load, write(tmp_path / "c.jsonl", rows))
    assert (
        found.problem == "All 2 documents of c.jsonl are blank, so there is nothing to learn from."
    )
    assert len(load(write(tmp_path / "c.jsonl", [*rows, {"text": "a b"}]))) == 3


def test_a_missing_column_did_not_say_which_setting_names_it(tmp_path: Path, load: Any) -> None:
    path = write(tmp_path / "c.jsonl", [{"text": "a b", "n": 1}])
    assert refusal(load, path, subset_column="kind").remedy == (
        "Name one of these columns as `subset_column`."
    )
