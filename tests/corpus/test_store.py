"""What is read back is what was written, or is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
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


def with_column(corpus: Corpus, name: str, values: list[Any]) -> Corpus:
    place = corpus.table.column_names.index(name)
    field = corpus.table.schema.field(name)
    table = corpus.table.set_column(place, field, pa.array(values, field.type))
    return replace(corpus, table=table)


def changes(corpus: Corpus) -> dict[str, Corpus]:
    """The corpus with one value of one column, or what it is called, changed."""
    found = {
        "name": replace(corpus, name="other"),
        "description": replace(corpus, description="other"),
        "searched_fraction": replace(corpus, searched_fraction=0.5),
    }
    new = {"labels": ["y"], "position": 77, "step": 77, "num_truncated_tokens": 77}
    for name in set(corpus.table.column_names) - {"id", "input_ids"}:
        for value in (new.get(name, "other"), None):
            values = corpus.table.column(name).to_pylist()
            found[f"{name}={value}"] = with_column(corpus, name, [*values[:-1], value])
    return found


def test_the_content_fingerprint_sees_every_change_and_the_fingerprint_only_ids_and_tokens(
    corpus: Corpus,
) -> None:
    changed = changes(corpus)
    assert len(changed) == 19
    assert {c.fingerprint for c in changed.values()} == {corpus.fingerprint}
    unchanged = {
        name for name, c in changed.items() if c.content_fingerprint == corpus.content_fingerprint
    }
    assert unchanged == {"subset=None", "position=None"}  # which none had before
    for ids_or_tokens in ("id", "input_ids"):
        values = corpus.table.column(ids_or_tokens).to_pylist()
        other = with_column(corpus, ids_or_tokens, [*values[:-1], values[-1] * 2])
        assert other.fingerprint != corpus.fingerprint
        assert other.content_fingerprint != corpus.content_fingerprint


def test_chunks_and_storage_do_not_show_in_the_content_fingerprint(
    corpus: Corpus, tmp_path: Path
) -> None:
    pieces = [corpus.table.slice(i, 7) for i in range(0, len(corpus), 7)]
    assert replace(corpus, table=pa.concat_tables(pieces)).content_fingerprint == (
        corpus.content_fingerprint
    )
    save_corpus(corpus, tmp_path)
    assert read_corpus(tmp_path).content_fingerprint == corpus.content_fingerprint


def test_values_do_not_run_into_each_other_in_the_content_fingerprint(corpus: Corpus) -> None:
    size = len(corpus)
    pairs = [(["ab", "c"], ["a", "bc"]), (["null", "x"], [None, "x"]), (["", "a"], ["a", ""])]
    for one, other in pairs:
        rest = ["z"] * (size - 2)
        first, second = (with_column(corpus, "subset", [*v, *rest]) for v in (one, other))
        assert first.content_fingerprint != second.content_fingerprint


def test_refuses_changed_texts_and_metadata(corpus: Corpus, tmp_path: Path) -> None:
    save_corpus(corpus, tmp_path)
    for name in ("text", "subset"):
        values = corpus.table.column(name).to_pylist()
        changed = with_column(corpus, name, ["changed", *values[1:]])
        pq.write_table(changed.table, tmp_path / "examples.parquet")
        with pytest.raises(CorpusError, match="not those that"):
            read_corpus(tmp_path)
