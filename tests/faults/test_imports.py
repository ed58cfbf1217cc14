"""Faults of importing scores that were found by trying: nothing odd becomes a score in silence."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whence.errors import ArtifactError
from whence.gradients.index.score_folder import is_score_folder, read_score_folder
from whence.methods.foreign import matrix, read_pairs

QUERIES, EXAMPLES = ("q0", "q1"), ("d0", "d1", "d2")


def read(path: Path) -> np.ndarray:
    return matrix(read_pairs(path), query_ids=QUERIES, example_ids=EXAMPLES, where=path)[1]


def refusal(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    str(caught.value).encode()
    return caught.value.problem


def table(path: Path, scores: list[Any], *, kind: pa.DataType | None = None) -> Path:
    size = len(scores)
    columns = {
        "query": pa.array(["q0"] * size),
        "example": pa.array([f"d{i}" for i in range(size)]),
        "score": pa.array(scores, kind),
    }
    pq.write_table(pa.table(columns), path)
    return path


def line(**fields: Any) -> str:
    usual = {"example_id": "q0", "proponent_ids": ["d0", "d1"], "proponent_scores": [2.0, 1.0]}
    return json.dumps(usual | fields)


@pytest.mark.parametrize("score", [float("inf"), -float("inf"), 1e300, -1e39, 1e-60])
def test_scores_that_float32_cannot_hold_are_refused(tmp_path: Path, score: float) -> None:
    said = "which float32 cannot hold"
    assert said in refusal(table(tmp_path / "t.parquet", [1.0, score]))
    (tmp_path / "t.jsonl").write_text(line(proponent_scores=[1.0, score]))
    assert said in refusal(tmp_path / "t.jsonl")


def test_an_integer_beyond_all_floats_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(line(proponent_scores=[1.0, 10**400]))
    assert "the score inf" in refusal(tmp_path / "t.jsonl")


def test_scores_of_which_none_is_a_number_are_refused(tmp_path: Path) -> None:
    said = "no score that is a number"
    assert said in refusal(table(tmp_path / "t.parquet", [float("nan"), None]))
    (tmp_path / "t.jsonl").write_text(line(proponent_scores=[float("nan"), None]))
    assert said in refusal(tmp_path / "t.jsonl")


def test_nan_is_not_called_two_scores_and_null_is_undefined(tmp_path: Path) -> None:
    both = {"opponent_ids": ["d0", "d2"], "opponent_scores": [float("nan"), None]}
    (tmp_path / "t.jsonl").write_text(line(proponent_scores=[float("nan"), 1.0], **both))
    np.testing.assert_array_equal(read(tmp_path / "t.jsonl"), [[np.nan, 1, np.nan]])
    (tmp_path / "t.jsonl").write_text(line(proponent_scores=[3.0, 1.0], **both))
    assert "two scores for the example `d0`" in refusal(tmp_path / "t.jsonl")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (line(note="café").replace("\\u00e9", "é").encode("latin-1"), "line 1, is not valid UTF-8"),
        (b"[" * 100_000, "line 1, is n"),
        (b'{"example_id": ' * 5000, "line 1, is n"),
        (line(proponent_scores="ab").encode(), "a list belongs where str stands"),
        (line(proponent_ids="ab").encode(), "a list belongs where str stands"),
        (line(proponent_scores=["0.5", 1]).encode(), "a score belongs where str stands"),
        (line(proponent_scores=[True, 1]).encode(), "a score belongs where bool stands"),
        (line(proponent_ids=[None, "d1"]).encode(), "an id belongs where NoneType stands"),
        (line(example_id=[1]).encode(), "an id belongs where list stands"),
        (line(example_id="\ud800").encode(), "which is none of the run's queries"),
        (b"[1, 2]", "is not a query"),
        (b"7", "is not a query"),
    ],
)
def test_lines_that_are_no_scores_are_one_sentence(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "t.jsonl").write_bytes(content)
    assert said in refusal(tmp_path / "t.jsonl")


def test_a_row_without_a_name_is_refused(tmp_path: Path) -> None:
    for missing in ("query", "example"):
        columns = {"query": ["q0", "q1"], "example": ["d0", "d1"], "score": [1.0, 2.0]}
        columns[missing] = [columns[missing][0], None]
        pq.write_table(pa.table(columns), tmp_path / "t.parquet")
        assert f"Row 1 of {tmp_path}/t.parquet names no {missing}" in refusal(
            tmp_path / "t.parquet"
        )


def test_pipes_and_folders_are_one_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert "is a pipe" in refusal(tmp_path / "pipe.jsonl")
    assert "a folder without `scores.bin`" in refusal(tmp_path)
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    assert "leads in a circle" in refusal(tmp_path / "loop.jsonl")
    assert "longer than the file system" in refusal(tmp_path / ("x" * 300 + ".jsonl"))


def folder(path: Path, values: list[list[float]], *, kind: str = "<f4", **info: Any) -> Path:
    """A folder as Bergson writes it: per row, each query's score and whether it was written."""
    array = np.asarray(values).T
    num_rows, num_queries = array.shape
    layout = np.dtype(
        [part for q in range(num_queries) for part in ((f"score_{q}", kind), (f"written_{q}", "?"))]
    )
    rows = np.zeros(num_rows, dtype=layout)
    for query in range(num_queries):
        rows[f"score_{query}"] = array[:, query]
        rows[f"written_{query}"] = True
    path.mkdir(exist_ok=True)
    (path / "scores.bin").write_bytes(rows.tobytes())
    usual = {
        "num_rows": num_rows,
        "num_scores": num_queries,
        "dtype": {
            "names": list(layout.names or ()),
            "formats": [str(layout[name]) for name in layout.names or ()],
            "offsets": [layout.fields[name][1] for name in layout.names or ()],  # pyright: ignore
            "itemsize": layout.itemsize,
        },
    }
    (path / "info.json").write_text(json.dumps(usual | info))
    return path


VALUES = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def folder_refusal(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        read_score_folder(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    return caught.value.problem


def test_a_whole_folder_is_read(tmp_path: Path) -> None:
    path = folder(tmp_path / "scores", VALUES)
    assert is_score_folder(path)
    np.testing.assert_array_equal(read_score_folder(path).values, VALUES)
    np.save(path / "candidates.npy", np.array([7, 0, 2], dtype=np.uint16))
    found = read_score_folder(path).candidates
    assert found is not None
    assert found.tolist() == [7, 0, 2]


@pytest.mark.parametrize(
    ("candidates", "said"),
    [
        ([-1, 0, 1], "has the row -1"),
        ([0, 1, 1], "has the row 1 twice"),
        ([0.0, 1.0, 2.5], "holds float64"),
        ([True, False, True], "holds bool"),
        ([[0], [1], [2]], "of 2 axes"),
        ([0, 1], "has 2 rows, and 3 were scored"),
        (["a", "b", "c"], "holds <U1"),
    ],
)
def test_candidates_that_are_not_distinct_rows_are_refused(
    tmp_path: Path, candidates: list[Any], said: str
) -> None:
    path = folder(tmp_path / "scores", VALUES)
    np.save(path / "candidates.npy", np.array(candidates))
    assert said in folder_refusal(path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04", b"text", b"\x80\x04."])
def test_candidates_that_are_no_array_are_refused(tmp_path: Path, content: bytes) -> None:
    path = folder(tmp_path / "scores", VALUES)
    (path / "candidates.npy").write_bytes(content)
    assert "candidates.npy cannot be read" in folder_refusal(path)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.inf, "the score inf"),
        (np.nan, "has a NaN among the scores of query 0"),
        (1e300, "1e+300"),
    ],
)
def test_scores_of_a_folder_that_are_no_numbers_are_refused(
    tmp_path: Path, value: float, said: str
) -> None:
    assert said in folder_refusal(folder(tmp_path / "s", [[1.0, value, 3.0]], kind="<f8"))


@pytest.mark.parametrize(
    "info",
    [
        {"num_scores": 10**12},
        {"num_scores": -1},
        {"num_scores": 0},
        {"num_rows": -3},
        {"num_rows": 1e12},
        {"num_rows": "3"},
        {"dtype": "float32"},
        {"dtype": {"names": ["score_0"], "formats": ["O"]}},
        {"dtype": None},
        {"dtype": 5},
    ],
)
def test_a_folder_of_odd_counts_or_fields_is_refused(tmp_path: Path, info: dict[str, Any]) -> None:
    folder_refusal(folder(tmp_path / "s", VALUES, **info))


@pytest.mark.parametrize("content", [b"[1]", b"7", b"\xff", b"[" * 100_000, b"{"])
def test_a_folder_whose_record_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    path = folder(tmp_path / "s", VALUES)
    (path / "info.json").write_bytes(content)
    assert "info.json cannot be read" in folder_refusal(path)


def test_a_missing_column_was_named_in_the_words_of_a_library(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"behavior": ["q0"], "example": ["d0"], "score": [1.0]}), tmp_path / "s"
    )
    (tmp_path / "s").rename(tmp_path / "s.parquet")
    assert refusal(tmp_path / "s.parquet").endswith(
        "has no column `query`; its columns are: behavior, example, score."
    )
