"""Published sequences are read as they are published, and what is not one is refused."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.hub_server import LoopbackHub

from whence.errors import CorpusError, SettingsError
from whence.memorization.sequences import read_sequences

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, 500, (30, 64))
INDEX = np.sort(RNG.choice(146_432_000, 30, replace=False))
SCORES = np.where(np.arange(30) % 3 == 0, 1.0, RNG.integers(0, 31, 30) / 32)


def rows(places: range = range(30), **names: str) -> list[dict[str, Any]]:
    return [
        {
            names.get("index", "index"): int(INDEX[i]),
            names.get("tokens", "tokens"): TOKENS[i].tolist(),
            "70M": float(SCORES[i]),
            "is_memorized": bool(SCORES[i] == 1),
        }
        for i in places
    ]


def parquet(records: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(records), sink, row_group_size=7)
    return sink.getvalue().to_pybytes()


def shards(split: str = "duped.70m", **names: str) -> dict[str, bytes]:
    parts = (range(12), range(12, 25), range(25, 30))
    return {
        f"data/{split}-{i:05}-of-00003-ab12cd34ef56ab78.parquet": parquet(rows(part, **names))
        for i, part in enumerate(parts)
    }


def write_parquet(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_bytes(parquet(records))


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def write_gz(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in records).encode()))


def write_csv(path: Path, records: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


FORMATS: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {
    "a.parquet": write_parquet,
    "a.jsonl": write_jsonl,
    "a.jsonl.gz": write_gz,
    "a.csv": write_csv,
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("names", [{}, {"index": "Index", "tokens": "Tokens"}])
def test_every_format_gives_the_same_windows(
    tmp_path: Path, name: str, names: dict[str, str]
) -> None:
    FORMATS[name](tmp_path / name, rows(range(30), **names))
    found = read_sequences(str(tmp_path / name), score="70M")
    assert found.windows.tokens.tolist() == TOKENS.tolist()
    assert found.windows.rows.tolist() == INDEX.tolist()
    assert found.windows.ids == tuple(map(str, INDEX))
    assert set(found.windows.offsets.tolist()) == {0}
    assert found.scores is not None
    assert found.scores.tolist() == SCORES.tolist()
    assert found.sentence() == f"30 of 30 sequences of {name}."


def test_a_split_of_several_shards_on_the_hub_is_fetched_alone(hub: LoopbackHub) -> None:
    # The final model's split is the beginning of the names of its checkpoints' splits.
    others = shards("duped.70m.23000") | shards("deduped.70m")
    hub.add("datasets", "lab/evals", shards() | others | {"README.md": b"about"})
    found = read_sequences("lab/evals", split="duped.70m")
    assert found.windows.tokens.tolist() == TOKENS.tolist()
    assert found.windows.rows.tolist() == INDEX.tolist()
    assert found.source == "lab/evals (duped.70m)"
    fetched = {asked.path.rsplit("/", 1)[1] for asked in hub.downloads(".parquet")}
    assert fetched == {name.rsplit("/", 1)[1] for name in shards()}
    with pytest.raises(CorpusError, match=r"has 3 splits: deduped\.70m, duped\.70m, "):
        read_sequences("lab/evals")
    with pytest.raises(CorpusError, match=r"no split 'duped\.71m'") as caught:
        read_sequences("lab/evals", split="duped.71m")
    assert "`duped.70m`" in caught.value.remedy


def test_controls_are_those_that_a_model_does_not_reproduce(hub: LoopbackHub) -> None:
    hub.add("datasets", "lab/random", shards("train", index="Index", tokens="Tokens"))
    controls = read_sequences("lab/random", score="70M", which="not memorized")
    memorized = read_sequences("lab/random", score="is_memorized", which="memorized")
    assert controls.windows.rows.tolist() == INDEX[SCORES < 1].tolist()
    assert memorized.windows.rows.tolist() == INDEX[SCORES == 1].tolist()
    assert controls.left_out == {"memorized": 10}
    assert controls.sentence() == "20 of 30 sequences of lab/random; left out: 10 memorized."


def test_a_folder_of_shards_is_read_as_the_hub_is(tmp_path: Path) -> None:
    for name, data in shards().items():
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert read_sequences(str(tmp_path)).windows.rows.tolist() == INDEX.tolist()
    (tmp_path / "data/duped.70m-00001-of-00003-ab12cd34ef56ab78.parquet").unlink()
    with pytest.raises(CorpusError, match="Shard 1 of 3"):
        read_sequences(str(tmp_path))


def test_a_file_without_an_index_counts_its_rows_and_knows_no_place(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.concatenate([TOKENS, TOKENS[:, :16]], axis=1).astype(np.int32))
    found = read_sequences(str(tmp_path / "a.npy"))
    assert found.windows.ids == tuple(str(i) for i in range(30))
    assert set(found.windows.rows.tolist()) == {-1}
    assert found.windows.tokens.tolist() == TOKENS.tolist()
    assert found.num_cut_tokens == 16
    assert "16 tokens behind the first 64 are not read" in found.sentence()


def test_a_sample_is_random_repeats_itself_and_keeps_the_order(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", rows())
    samples = [
        read_sequences(str(tmp_path / "a.parquet"), sample=8, seed=seed) for seed in (0, 0, 1)
    ]
    assert samples[0].windows.ids == samples[1].windows.ids != samples[2].windows.ids
    for sample in samples:
        found = sample.windows.rows.tolist()
        assert found == sorted(found)
        assert set(found) <= set(INDEX.tolist())
        assert sample.left_out == {"not in the random sample": 22}
    assert len(read_sequences(str(tmp_path / "a.parquet"), sample=99).windows) == 30


def test_an_index_that_occurs_twice_is_refused_or_kept_once(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    write_parquet(tmp_path / "a.parquet", [*rows(range(5)), *rows(range(2))])
    with pytest.raises(CorpusError, match=f"lists the index {INDEX[0]} twice, and 2 rows"):
        read_sequences(path)
    kept = read_sequences(path, duplicates="first")
    assert kept.windows.rows.tolist() == INDEX[:5].tolist()
    assert kept.left_out == {"of an index that occurs before": 2}
    other = rows(range(1))[0] | {"tokens": TOKENS[3].tolist()}
    write_parquet(tmp_path / "a.parquet", [*rows(range(5)), other])
    with pytest.raises(CorpusError, match="with two different sequences"):
        read_sequences(path, duplicates="first")


def changed(**values: Any) -> list[dict[str, Any]]:
    return [*rows(range(4)), rows(range(4, 5))[0] | values]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{"index": 1, "text": "a"}], "no column 'tokens'; its columns are: index, text"),
        ([{"tokens": [1] * 64}], "no column 'index'"),
        (changed(tokens=[1] * 63), "have 63 to 64 tokens"),
        (changed(tokens=[]), "have 0 to 64 tokens"),
        (changed(tokens=None), "'tokens' of .* is empty in 1 row"),
        (changed(tokens=[-1] * 64), "token id -1"),
        (changed(tokens=[50_304] * 64), "token id 50304, .* vocabulary of 50,304"),
        (changed(tokens=[1 << 40] * 64), "token id 1099511627776"),
        (changed(index=-3), "the index -3"),
        (changed(index=None), "'index' of .* is empty in 1 row"),
        ([{"index": i, "tokens": [1] * 20} for i in range(3)], "20 tokens, fewer than the 64"),
        ([{"index": i, "tokens": "1 2 3"} for i in range(3)], "no lists of token ids"),
        ([{"index": i, "tokens": [0.5] * 64} for i in range(3)], "whole numbers are needed"),
        ([{"index": f"r{i}", "tokens": [1] * 64} for i in range(3)], "whole numbers are needed"),
    ],
)
@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_what_is_no_sequence_is_one_sentence(
    tmp_path: Path, name: str, records: list[dict[str, Any]], message: str
) -> None:
    FORMATS[name](tmp_path / name, records)
    with pytest.raises(CorpusError, match=message) as caught:
        read_sequences(str(tmp_path / name), vocabulary_size=50_304)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*FORMATS, "a.npy"])
def test_a_file_that_is_cut_short_or_empty_is_one_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, TOKENS)
    else:
        FORMATS[name](path, rows())
    whole = path.read_bytes()
    for size in (len(whole) - 10, 0):
        path.write_bytes(whole[:size])
        with pytest.raises(CorpusError) as caught:
            read_sequences(str(path), score=None if name == "a.npy" else "70M")
        assert "\n" not in str(caught.value)


def test_a_name_that_is_nowhere_is_one_sentence(hub: LoopbackHub, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="There is no dataset 'lab/none'"):
        read_sequences("lab/none")
    with pytest.raises(CorpusError, match="There is no file or folder"):
        read_sequences(str(tmp_path / "none.parquet"))
    with pytest.raises(CorpusError, match="There is no Parquet file in"):
        read_sequences(str(tmp_path))
    hub.add("datasets", "lab/text", {"train.txt": b"a"})
    with pytest.raises(CorpusError, match="There is no Parquet file in the dataset 'lab/text'"):
        read_sequences("lab/text")


def test_a_score_that_is_no_share_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [row | {"70M": 17.0} for row in rows()])
    with pytest.raises(CorpusError, match="no share between 0 and 1"):
        read_sequences(str(tmp_path / "a.parquet"), score="70M")
    with pytest.raises(CorpusError, match="no column '70m'") as caught:
        read_sequences(str(tmp_path / "a.parquet"), score="70m")
    assert "`70M`" in caught.value.remedy
    with pytest.raises(SettingsError, match="known only by a score"):
        read_sequences(str(tmp_path / "a.parquet"), which="memorized")


def test_the_public_sequences_of_a_model_are_read(data: Path) -> None:
    found = read_sequences(str(data / "memorized/pythia-6.9b-deduped_505x80.npy"))
    assert len(found.windows) == 505
    assert found.num_cut_tokens == 16
    assert int(found.windows.tokens.max()) < 50_304
