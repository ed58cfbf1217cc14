"""Scores from elsewhere become one more method, with their orientation, and nothing is guessed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.report.unpacked import unpacked

from whence.errors import ArtifactError, SettingsError
from whence.gradients import require_engine
from whence.runs.importing import import_scores
from whence.runs.record import load_run
from whence.runs.show import show_behavior
from whence.runs.study import run_study, write_report
from whence.settings import StudySettings, load_study

QUERIES = ("fact/france", "memorized/herons")


@pytest.fixture(scope="module")
def finished(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported") / "tiny"
    shutil.copytree(tiny_files, folder)
    study = load_study(folder / "study.toml").model_dump()
    study["attribution"]["methods"] = ("bm25",)
    return run_study(StudySettings.model_validate(study), folder / "run", base=folder).directory


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def _values(run: Path) -> np.ndarray:
    size = len(load_run(run).corpus)
    return np.random.default_rng(0).normal(size=(2, size)).astype(np.float32)


def _bergson(folder: Path, values: np.ndarray, *, higher: bool | None = None) -> Path:
    """By Bergson's own writer."""
    require_engine()  # importing Bergson otherwise takes over the host's logging
    from bergson.score.score_writer import save_sequence_scores

    folder.mkdir()
    save_sequence_scores(folder, values.T)
    if higher is not None:
        command = {"score": {"score_cfg": {"higher_is_better": higher}}}
        config = {"metadata": {"bergson_version": "2.5.1"}, "steps": [command]}
        (folder / "config.yaml").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("higher", [True, False])
def test_bergsons_folder_is_read_with_its_own_orientation(run, tmp_path, higher: bool) -> None:
    values = _values(run)
    folder = _bergson(tmp_path / "scores", values, higher=higher)
    found = import_scores(run, folder, method="theirs")
    np.testing.assert_array_equal(found.values, values if higher else -values)
    assert found.query_ids == QUERIES
    assert found.settings["source_orientation"] == ("higher" if higher else "lower")


def test_a_score_that_bergson_did_not_write_is_not_known(run, tmp_path) -> None:
    values = _values(run)
    folder = _bergson(tmp_path / "scores", values)
    info = json.loads((folder / "info.json").read_text())
    stored = np.memmap(folder / "scores.bin", dtype=np.dtype(info["dtype"]), mode="r+")
    stored["written_1"][5] = False
    stored.flush()
    found = import_scores(run, folder, method="theirs", orientation="higher")
    assert np.isnan(found.values[1, 5])
    assert np.isfinite(found.values).sum() == values.size - 1


def test_bergsons_numbered_queries_may_be_named(run, tmp_path) -> None:
    values = _values(run)
    folder = _bergson(tmp_path / "scores", values[:1], higher=True)
    with pytest.raises(ArtifactError, match="has 1 queries, numbered, and 2 behaviors"):
        import_scores(run, folder, method="theirs")
    found = import_scores(run, folder, method="theirs", query_ids=QUERIES[1:])
    assert found.query_ids == QUERIES[1:]
    with pytest.raises(ArtifactError, match="did not attribute `fact/false`"):
        import_scores(run, folder, method="theirs", query_ids=("fact/false",))


def test_some_candidates_are_some_columns(run, tmp_path) -> None:
    values = _values(run)
    folder = _bergson(tmp_path / "scores", values[:, :3], higher=True)
    with pytest.raises(ArtifactError, match="scores 3 rows, up to number 2"):
        import_scores(run, folder, method="theirs")
    np.save(folder / "candidates.npy", np.array([9, 2, 4]))
    found = import_scores(run, folder, method="theirs")
    np.testing.assert_array_equal(found.values[:, [9, 2, 4]], values[:, :3])
    assert np.isnan(found.values).sum() == values.size - 6
    np.save(folder / "candidates.npy", np.array([9, 2, 40]))
    with pytest.raises(ArtifactError, match="up to number 40"):
        import_scores(run, folder, method="theirs")


def test_what_bergson_left_unfinished_or_per_token_is_refused(run, tmp_path) -> None:
    folder = _bergson(tmp_path / "scores", _values(run), higher=True)
    whole = (folder / "scores.bin").read_bytes()
    (folder / "scores.bin").write_bytes(whole[:-16])
    with pytest.raises(ArtifactError, match="bytes instead of"):
        import_scores(run, folder, method="theirs")
    info = json.loads((folder / "info.json").read_text())
    (folder / "info.json").write_text(json.dumps(info | {"attribute_tokens": True}))
    with pytest.raises(ArtifactError, match="for each token"):
        import_scores(run, folder, method="theirs")
    (folder / "info.json").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read"):
        import_scores(run, folder, method="theirs")


def _pair_line(query: str, **sides: object) -> str:
    return json.dumps({"example_id": query, "inputs_plaintext": "x", **sides})


def test_pairs_lines_give_proponents_and_opponents(run, tmp_path) -> None:
    lines = [
        _pair_line(
            QUERIES[1],
            proponent_ids=["d22", "d3"],
            proponent_scores=[0.9, 0.5],
            opponent_ids=["d7"],
            opponent_scores=[-0.4],
        ),
        "",
        _pair_line(QUERIES[0], proponent_ids=["d0"], proponent_scores=[0.3]),
    ]
    (tmp_path / "theirs.jsonl").write_text("\n".join(lines))
    found = import_scores(run, tmp_path / "theirs.jsonl", method="theirs")
    assert found.query_ids == QUERIES
    expected = np.full(found.values.shape, np.nan, np.float32)
    expected[1, [22, 3, 7]] = 0.9, 0.5, -0.4
    expected[0, 0] = 0.3
    np.testing.assert_array_equal(found.values, expected)


def _table(path: Path, rows: list[tuple[str, str, float | None]]) -> Path:
    query, example, score = zip(*rows, strict=True)
    pq.write_table(pa.table({"query": query, "example": example, "score": score}), path)
    return path


def test_a_table_of_pairs_needs_its_orientation(run, tmp_path) -> None:
    path = _table(tmp_path / "t.parquet", [(QUERIES[0], "d1", 2.0), (QUERIES[0], "d2", None)])
    with pytest.raises(SettingsError, match="does not say whether a higher score"):
        import_scores(run, path, method="theirs")
    found = import_scores(run, path, method="theirs", orientation="lower")
    assert found.query_ids == QUERIES[:1]
    assert found.values[0, 1] == -2
    assert np.isfinite(found.values).sum() == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("nobody", "d1", 1.0)], "names `nobody`, which is none of the run's queries"),
        (
            [(QUERIES[0], "e9", 1.0), (QUERIES[0], "e8", 1.0)],
            "names `e8`, which is none of the run's examples, and 1 more",
        ),
        ([(QUERIES[0], "d1", 1.0), (QUERIES[0], "d1", 2.0)], "has two scores"),
    ],
)
def test_unknown_and_repeated_ids_are_refused(run, tmp_path, rows, said: str) -> None:
    path = _table(tmp_path / "t.parquet", rows)
    with pytest.raises(ArtifactError, match=said):
        import_scores(run, path, method="theirs", orientation="higher")
    assert not (run / "imported").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.parquet", "no table", "cannot be read as scores"),
        ("t.csv", "a,b", "neither JSON lines"),
        ("t.jsonl", "{", "line 1, is not a query"),
        ("t.jsonl", '{"proponent_ids": []}', "line 1, is not a query"),
        (
            "t.jsonl",
            '{"example_id": "fact/france", "proponent_ids": ["d1"], "proponent_scores": []}',
            "1 proponents and 0 scores",
        ),
        ("t.jsonl", "", "holds no score"),
    ],
)
def test_a_file_that_is_no_scores_is_one_sentence(run, tmp_path, name, content, said) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ArtifactError, match=said) as caught:
        import_scores(run, tmp_path / name, method="theirs", orientation="higher")
    assert "\n" not in caught.value.problem
    with pytest.raises(ArtifactError, match="no file"):
        import_scores(run, tmp_path / "nowhere.jsonl", method="theirs")


@pytest.mark.parametrize("name", ["bm25", "gradient_dot_centered", "../x", "a b", ""])
def test_a_name_that_is_taken_or_no_name_is_refused(run, tmp_path, name: str) -> None:
    path = _table(tmp_path / "t.parquet", [(QUERIES[0], "d1", 2.0)])
    with pytest.raises(SettingsError, match="cannot be called"):
        import_scores(run, path, method=name, orientation="higher")


def test_the_page_and_the_commands_know_what_was_imported(run, tmp_path) -> None:
    path = _table(tmp_path / "t.parquet", [(QUERIES[0], "d5", 2.0), (QUERIES[0], "d6", 3.0)])
    import_scores(run, path, method="theirs", orientation="higher")
    record = load_run(run)
    assert [scores.method for scores in record.scores] == ["bm25", "theirs"]
    assert [scores.family for scores in record.scores] == ["text", "unknown"]
    assert "theirs" in str(unpacked(write_report(run)))
    found = show_behavior(run, QUERIES[0], method="theirs", k=5)
    assert [hit.id for hit in found.hits.proponents] == ["d6", "d5"]
    import_scores(run, path, method="theirs", orientation="lower")
    again = load_run(run).scores
    assert len(again) == 2
    assert np.nanmax(again[1].values) == -2
