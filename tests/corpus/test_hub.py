"""A dataset on the Hub gives the same examples as its files, downloaded or streamed."""

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.hub_server import LoopbackHub

from whence.errors import CorpusError
from whence.records import Corpus

Load = Callable[..., Corpus]
ROWS = [{"text": f"text number {i}", "meta": {"pile_set_name": "B"}, "n": i} for i in range(30)]


def parquet(rows: list[dict[str, object]], *, row_group_size: int = 10) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=row_group_size)
    return sink.getvalue().to_pybytes()


def jsonl(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("parquet", {"data/train-00000-of-00001.parquet": parquet(ROWS)}),
        ("jsonl", {"train.jsonl": jsonl(ROWS)}),
        ("gz", {"train.jsonl.gz": gzip.compress(jsonl(ROWS))}),
    ],
)
def test_a_dataset_by_id(
    hub: LoopbackHub, load: Load, kind: str, files: dict[str, bytes], stream: bool
) -> None:
    name = f"lab/{kind}-{'streamed' if stream else 'whole'}"
    hub.add("datasets", name, files)
    corpus = load(name, stream=stream)
    assert corpus.texts() == [row["text"][:16] for row in ROWS]  # pyright: ignore
    assert corpus.table["subset"].to_pylist() == ["B"] * 30
    assert corpus.table["source"].to_pylist() == [name] * 30
    assert corpus.ids == tuple(str(i) for i in range(30))
    assert corpus.description == f"all 30 documents of {name}, each cut at 16 tokens"
    capped = load(name, stream=stream, max_documents=4)
    assert capped.ids == corpus.ids[:4]
    assert capped.description.startswith("the first 4 documents")


def test_streaming_fetches_only_what_is_read(hub: LoopbackHub, load: Load) -> None:
    files = {f"train-0000{i}-of-00003.jsonl": jsonl(ROWS[10 * i : 10 * i + 10]) for i in range(3)}
    hub.add("datasets", "lab/three", files)
    assert len(load("lab/three", stream=True, max_documents=5)) == 5
    fetched = {asked.path.rsplit("/", 1)[1] for asked in hub.downloads(".jsonl")}
    assert fetched == {"train-00000-of-00003.jsonl"}


def test_split_config_and_revision(hub: LoopbackHub, load: Load) -> None:
    card = b"""---
configs:
- config_name: one
  data_files: [{split: train, path: one/train.jsonl}, {split: test, path: one/test.jsonl}]
- config_name: two
  data_files: [{split: train, path: two/train.jsonl}]
---
"""
    files = {
        "README.md": card,
        "one/train.jsonl": jsonl(ROWS[:3]),
        "one/test.jsonl": jsonl(ROWS[3:5]),
        "two/train.jsonl": jsonl(ROWS[5:9]),
    }
    hub.add("datasets", "lab/configs", files)
    changed = files | {"two/train.jsonl": jsonl(ROWS[9:])}
    hub.add("datasets", "lab/configs", changed, revision="v2")
    assert len(load("lab/configs", config="one")) == 3
    assert len(load("lab/configs", config="one", split="test")) == 2
    assert len(load("lab/configs", config="two")) == 4
    assert len(load("lab/configs", config="two", revision="v2")) == 21
    with pytest.raises(CorpusError, match=r"no config 'three'.*\['one', 'two'\]"):
        load("lab/configs", config="three")
    with pytest.raises(CorpusError, match=r"no config None.*\['one', 'two'\]"):
        load("lab/configs")
    with pytest.raises(CorpusError, match=r"a split 'dev'.*\['train', 'test'\]"):
        load("lab/configs", config="one", split="dev")
    with pytest.raises(CorpusError, match="'lab/configs' has no revision 'v3'"):
        load("lab/configs", config="one", revision="v3")


@pytest.mark.parametrize("stream", [False, True])
def test_a_missing_column(hub: LoopbackHub, load: Load, stream: bool) -> None:
    hub.add("datasets", f"lab/columns-{stream}", {"train.jsonl": jsonl(ROWS)})
    with pytest.raises(CorpusError, match="no column 'txt'; its columns are: meta") as caught:
        load(f"lab/columns-{stream}", stream=stream, text_column="txt")
    assert caught.value.remedy == "Did you mean `text`?"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["train.parquet", "train.jsonl", "train.jsonl.gz"])
def test_a_broken_file(hub: LoopbackHub, load: Load, name: str, stream: bool) -> None:
    whole = {
        "train.parquet": parquet(ROWS),
        "train.jsonl": jsonl(ROWS),
        "train.jsonl.gz": gzip.compress(jsonl(ROWS)),
    }[name]
    repo = f"lab/broken-{name.replace('.', '-')}-{stream}"
    hub.add("datasets", repo, {name: whole[: len(whole) - 40]})
    with pytest.raises(CorpusError) as caught:
        load(repo, stream=stream)
    assert repo in caught.value.problem
    assert "\n" not in str(caught.value)


def test_code_that_comes_with_a_dataset_is_not_run(
    hub: LoopbackHub, load: Load, tmp_path: Path
) -> None:
    script = f"open({str(tmp_path / 'ran')!r}, 'w')".encode()
    hub.add("datasets", "lab/script", {"script.py": script, "train.jsonl": jsonl(ROWS)})
    with pytest.raises(CorpusError, match="'lab/script'") as caught:
        load("lab/script")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_there_is_no_such_dataset(hub: LoopbackHub, load: Load) -> None:
    with pytest.raises(CorpusError, match="There is no dataset 'lab/nowhere' on the Hub"):
        load("lab/nowhere")


def test_permission_is_missing(hub: LoopbackHub, load: Load) -> None:
    hub.add("datasets", "lab/secret", {"train.jsonl": jsonl(ROWS)})
    hub.gated.add("lab/secret")
    with pytest.raises(CorpusError, match="no permission"):
        load("lab/secret")


def test_the_hub_cannot_be_reached(
    hub: LoopbackHub, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.stop()
    monkeypatch.setattr(time, "sleep", lambda _: None)  # huggingface_hub tries again for 20 s
    with pytest.raises(CorpusError, match="cannot be reached") as caught:
        load("lab/far-away")
    assert hub.url in caught.value.problem
