"""Every format gives the same examples, and a file that is not whole is refused, wherever cut."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from whence.errors import CorpusError
from whence.records import Corpus

Load = Callable[..., Corpus]
ROWS = [
    {"id": i, "text": f"text number {i}", "meta": {"pile_set_name": "A"}, "noise": [1.5] * 3}
    for i in range(40)
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def zst(data: bytes, *, frames: int = 1) -> bytes:
    step = -(-len(data) // frames)
    parts = [data[i : i + step] for i in range(0, len(data), step)]
    return b"".join(zstandard.ZstdCompressor().compress(part) for part in parts)


def stream(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=10)
    return sink.getvalue().to_pybytes()


def arrow_file(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=10)
    return sink.getvalue().to_pybytes()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=16)
    return sink.getvalue().to_pybytes()


FILES = {
    "plain.jsonl": LINES,
    "byte-order-mark.jsonl": b"\xef\xbb\xbf" + LINES,
    "blank-lines.jsonl": LINES.replace(b"\n", b"\n\n \n"),
    "no-last-newline.jsonl": LINES.rstrip(),
    "packed.jsonl.gz": gzip.compress(LINES),
    "members.jsonl.gz": gzip.compress(LINES[:1000]) + gzip.compress(LINES[1000:]),
    "packed.jsonl.zst": zst(LINES),
    "frames.jsonl.zst": zst(LINES, frames=5),
    "packed-in-secret.jsonl": gzip.compress(LINES),
    "table.parquet": parquet(ROWS),
    "stream.arrow": stream(ROWS),
    "file.arrow": arrow_file(ROWS),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_examples(name: str, tmp_path: Path, load: Load) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    corpus = load(tmp_path / name)
    assert corpus.ids == tuple(str(i) for i in range(40))
    assert corpus.texts() == [row["text"][:16] for row in ROWS]
    assert corpus.table["subset"].to_pylist() == ["A"] * 40
    assert set(corpus.table["source"].to_pylist()) == {name}
    assert corpus.description == f"all 40 documents of {name}, each cut at 16 tokens"
    assert corpus.searched_fraction is None


@pytest.mark.parametrize(
    "name", ["packed.jsonl.gz", "packed.jsonl.zst", "table.parquet", "stream.arrow", "file.arrow"]
)
def test_a_file_cut_short_is_refused_wherever_it_is_cut(
    name: str, tmp_path: Path, load: Load
) -> None:
    whole, path = FILES[name], tmp_path / name
    cuts = sorted({*range(5, len(whole), max(1, len(whole) // 60)), len(whole) - 8, len(whole) - 1})
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(CorpusError) as caught:
            load(path)
        assert str(path) in caught.value.problem, cut
        assert "\n" not in str(caught.value), cut


def test_a_stream_cut_between_batches_is_refused(tmp_path: Path, load: Load) -> None:
    whole, path = stream(ROWS), tmp_path / "cut.arrow"
    quiet_cuts = [n for n in range(8, len(whole) - 8, 8) if _is_read_in_silence(whole[:n])]
    assert quiet_cuts  # pyarrow itself reads such a file without complaint
    for cut in quiet_cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(CorpusError, match="cut short"):
            load(path)


def _is_read_in_silence(data: bytes) -> bool:
    try:
        return 0 < pa.ipc.open_stream(data).read_all().num_rows < len(ROWS)
    except (pa.ArrowException, OSError):
        return False


def test_a_damaged_file_is_refused(tmp_path: Path, load: Load) -> None:
    for name in ("packed.jsonl.gz", "packed.jsonl.zst"):
        data = bytearray(FILES[name])
        data[len(data) // 2] ^= 0xFF
        (tmp_path / name).write_bytes(bytes(data))
        with pytest.raises(CorpusError):
            load(tmp_path / name)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "cut', "Line 3 of .* is not valid JSON"),
        (b'{"text": "caf\xe9"}', r"Line 3 of .* is not valid UTF-8 \(byte 13\)"),
        (b'["a list"]', "Line 3 of .* holds a JSON list, not an object"),
        (b"[" * 100_000, "Line 3 of .* is not valid JSON"),
    ],
    ids=["json", "utf-8", "list", "deep"],
)
def test_a_broken_line_is_named(tmp_path: Path, load: Load, line: bytes, message: str) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_bytes(b'{"text": "one"}\n\n' + line + b'\n{"text": "four"}\n')
    with pytest.raises(CorpusError, match=message) as caught:
        load(path)
    assert len(str(caught.value)) < 500


def test_a_folder_named_like_a_file(tmp_path: Path, load: Load) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(CorpusError, match="not a file of a known kind"):
        load(tmp_path / "folder.jsonl")


def test_text_has_a_document_per_paragraph(tmp_path: Path, load: Load) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(b"\xef\xbb\xbf\n\nOne\r\ntwo\n\n \nthree\n\n\nfour")
    corpus = load(path)
    assert corpus.texts() == ["One\ntwo", "three", "four"]
    assert corpus.ids == ("0", "1", "2")
    path.write_bytes(b"fine\n\xff\n")
    with pytest.raises(CorpusError, match=r"Line 2 of .* is not valid UTF-8"):
        load(path)


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path, load: Load) -> None:
    for name, rows in (("b", ROWS[20:]), ("a", ROWS[:20])):
        (tmp_path / f"{name}.parquet").write_bytes(parquet(rows))
    (tmp_path / "README.md").write_text("about")
    corpus = load(tmp_path, position_column="")
    assert corpus.ids == tuple(str(i) for i in range(40))
    assert corpus.table["position"].to_pylist() == list(range(40))
    assert corpus.table["source"].to_pylist() == ["a.parquet"] * 20 + ["b.parquet"] * 20


def test_a_folder_of_splits_gives_one_split(tmp_path: Path, load: Load) -> None:
    for split, rows in (("train", ROWS[:30]), ("test", ROWS[30:])):
        (tmp_path / f"{split}-00000-of-00001.parquet").write_bytes(parquet(rows))
    assert len(load(tmp_path)) == 30
    assert load(tmp_path, split="test").ids[0] == "30"


def test_a_folder_of_several_formats_needs_a_word(tmp_path: Path, load: Load) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "a.txt").write_bytes(b"text")
    with pytest.raises(CorpusError, match="several formats: jsonl, text"):
        load(tmp_path)
    assert load(tmp_path, format="text").texts() == ["text"]
    with pytest.raises(CorpusError, match=r"no file that ends in \.parquet"):
        load(tmp_path, format="parquet")


def test_saved_datasets_are_read(tmp_path: Path, load: Load) -> None:
    datasets = pytest.importorskip("datasets")
    whole = datasets.Dataset.from_list(ROWS)
    whole.save_to_disk(str(tmp_path / "one"), num_shards=3)
    assert load(tmp_path / "one").ids == tuple(str(i) for i in range(40))
    # What was only selected is written out by `save_to_disk`, so the files hold the selection.
    whole.select([5, 3]).save_to_disk(str(tmp_path / "part"))
    assert load(tmp_path / "part").ids == ("5", "3")
    both = datasets.DatasetDict({"train": whole, "test": whole.select(range(2))})
    both.save_to_disk(str(tmp_path / "two"))
    assert len(load(tmp_path / "two")) == 40
    assert len(load(tmp_path / "two", split="test")) == 2
    with pytest.raises(CorpusError, match="no split 'dev'; its splits are: train, test"):
        load(tmp_path / "two", split="dev")
    next((tmp_path / "one").glob("data-00001*")).unlink()
    with pytest.raises(CorpusError, match=r"names data-00001-of-00003\.arrow, which is missing"):
        load(tmp_path / "one")


def test_a_saved_dataset_cannot_name_files_elsewhere(tmp_path: Path, load: Load) -> None:
    (tmp_path / "secret.arrow").write_bytes(stream(ROWS))
    (tmp_path / "set").mkdir()
    state = {"_data_files": [{"filename": "../secret.arrow"}]}
    (tmp_path / "set" / "state.json").write_text(json.dumps(state))
    with pytest.raises(CorpusError, match="which is missing"):
        load(tmp_path / "set")


@pytest.mark.parametrize(
    "source", ["data/train.jsonl", "train.parquet", "/no/such", "./x", "a/b/c", "two words"]
)
def test_a_wrong_path_is_one_sentence(source: str, load: Load) -> None:
    with pytest.raises(CorpusError, match="There is no file or folder") as caught:
        load(source)
    assert repr(source) in caught.value.problem


def test_a_missing_column_of_a_table_is_answered(tmp_path: Path, load: Load) -> None:
    for name in ("table.parquet", "stream.arrow"):
        (tmp_path / name).write_bytes(FILES[name])
        with pytest.raises(CorpusError, match="its columns are: id, meta, noise, text") as caught:
            load(tmp_path / name, text_column="txt")
        assert caught.value.remedy == "Did you mean `text`?"
