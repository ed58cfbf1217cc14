"""`whence compare`: stored once, read back, printed for readers and for machines."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.tiny import write_two_kinds

from whence.api import compare as compare_run
from whence.api import run
from whence.cli.compare import compare
from whence.errors import ArtifactError, SettingsError
from whence.evidence.descriptors import DescriptorValue
from whence.runs.comparing import load_comparison
from whence.runs.directory import open_run


@pytest.fixture(scope="module")
def finished(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run `done` about two kinds; read only."""
    folder = Path(shutil.copytree(tiny_files, tmp_path_factory.mktemp("compare") / "tiny"))
    write_two_kinds(folder)
    run(folder / "study.toml", folder / "done")
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "tiny")) / "done"


def test_tables_and_findings_are_a_stage_of_the_run(
    place: Path, capsys: pytest.CaptureFixture[str]
):
    assert load_comparison(place) is None
    before = {name: open_run(place).manifest.stages[name] for name in open_run(place).names()}
    compare(place, json=True)
    found = json.loads(capsys.readouterr().out)
    after = open_run(place).manifest.stages
    assert {name: after[name] for name in before} == before
    stage = open_run(place).find("comparison")
    assert stage is not None
    stored = json.loads((stage / "comparison.json").read_text())
    assert stored == {key: value for key, value in found.items() if key != "run"}
    assert [set(one["behaviors"]) for one in stored["selections"]] == [{"fact", "memorized"}]
    table = pq.read_table(stage / "descriptors.parquet")
    assert table.column_names == list(DescriptorValue._fields)
    assert set(table.column("method").to_pylist()) == {
        "gradient_cosine",
        "gradient_cosine_initial",
        "bm25",
        "random",
    }
    assert {g["control"] for g in stored["gains"]} == {
        "query",
        "random",
        "bm25",
        "gradient_cosine_initial",
    }


def test_a_second_call_reads_what_the_first_one_made(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    first = compare_run(place)

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr("whence.runs.comparing.compare", never)
    compare(place)
    printed = capsys.readouterr().out
    for sentence in first.sentences:
        assert sentence in printed
    with pytest.raises(AssertionError, match="made again"):
        compare(place, seed=1)
    kept = load_comparison(place)
    assert kept is not None
    assert kept.to_json() == first.to_json(), "what failed changes nothing"


def test_a_comparison_goes_with_the_scores_that_it_is_about(place: Path):
    study = place.parent / "study.toml"
    run(study, place)
    compare_run(place)
    run(study, place)
    assert load_comparison(place) is not None, "the same study keeps it"
    study.write_text(study.read_text().replace('"bm25", ', ""))
    run(study, place)
    assert load_comparison(place) is None
    found = compare_run(place)
    assert "bm25" in found.undefined
    assert {g.control for g in found.gains} == {"query", "random", "gradient_cosine_initial"}


def test_a_damaged_comparison_is_made_again(place: Path):
    first = compare_run(place)
    stage = open_run(place).find("comparison")
    assert stage is not None
    (stage / "comparison.json").write_text("{")
    with pytest.raises(ArtifactError):
        load_comparison(place)
    assert compare_run(place).to_json() == first.to_json()


def test_what_cannot_be_compared_is_a_clear_error(place: Path, tmp_path: Path):
    with pytest.raises(ArtifactError):
        compare_run(tmp_path / "nothing")
    behaviors = place.parent / "behaviors.toml"
    behaviors.write_text(behaviors.read_text().partition('[[behavior]]\nid = "memorized')[0])
    run(place.parent / "study.toml", place)
    with pytest.raises(SettingsError, match="12 fact"):
        compare_run(place)
