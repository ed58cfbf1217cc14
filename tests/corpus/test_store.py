"""What is read back is what was written, or is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from whence.corpus import read_corpus, save_corpus
from whence.errors import CorpusError
from whence.records import Corpus


@pytest.fixture
def corpus(write: Callable[..., Path], load: Callable[..., Corpus]) -> Corpus:
    rows = [{"id": f"d{i}", "text": "word " * i, "labels": ["x"], "step": 1} for i in range(50)]
    return load(write(rows), long_documents="window")


def test_round_trip(corpus: Corpus, tmp_path: Path) -> None:
    save_corpus(corpus, tmp_path / "out")
    found = read_corpus(tmp_path / "out")
    assert found.table.equals(corpus.table)
    assert found.fingerprint == corpus.fingerprint
    for name in ("name", "description", "num_empty", "searched_fraction"):
        assert getattr(found, name) == getattr(corpus, name)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "corpus.json",
        "examples.parquet",
    ]


def test_refuses_a_file_cut_short(corpus: Corpus, tmp_path: Path) -> None:
    save_corpus(corpus, tmp_path)
    for name in ("examples.parquet", "corpus.json"):
        whole = (tmp_path / name).read_bytes()
        for cut in (0, 3, len(whole) // 2, len(whole) - 2):
            (tmp_path / name).write_bytes(whole[:cut])
            with pytest.raises(CorpusError, match="cannot be read"):
                read_corpus(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(CorpusError, match=f"has no {name}"):
            read_corpus(tmp_path)
        (tmp_path / name).write_bytes(whole)
    assert len(read_corpus(tmp_path)) == len(corpus)


def test_refuses_other_examples(corpus: Corpus, tmp_path: Path) -> None:
    save_corpus(corpus, tmp_path)
    pq.write_table(corpus.table.slice(1), tmp_path / "examples.parquet")
    with pytest.raises(CorpusError, match="not those that"):
        read_corpus(tmp_path)


def test_refuses_another_table(corpus: Corpus, tmp_path: Path) -> None:
    save_corpus(corpus, tmp_path)
    pq.write_table(corpus.table.drop_columns(["hash"]), tmp_path / "examples.parquet")
    with pytest.raises(CorpusError, match="cannot be read"):
        read_corpus(tmp_path)
    record = json.loads((tmp_path / "corpus.json").read_text())
    (tmp_path / "corpus.json").write_text(json.dumps([record]))
    with pytest.raises(CorpusError, match="cannot be read"):
        read_corpus(tmp_path)
