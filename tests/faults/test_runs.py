"""A command that fails leaves what was there as it was."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.faults.killing import contents

from whence.errors import ArtifactError, BehaviorError, SettingsError, WhenceError
from whence.methods import METHODS
from whence.methods.requests import CorpusPass
from whence.runs.directory import open_run
from whence.runs.importing import import_scores
from whence.runs.listing import list_runs
from whence.runs.record import QUERIES, load_run, part
from whence.runs.show import show_verdicts
from whence.runs.stages import read_queries
from whence.runs.study import run_study, write_report
from whence.runs.tokens import module_parts
from whence.runs.validating import read_subject, validate_run
from whence.settings import (
    AttributionSettings,
    SourceSettings,
    TracinSettings,
    TrakSettings,
    load_study,
)


def whence(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a folder."""
    return subprocess.run(
        [sys.executable, "-c", "from whence.cli import main; main()", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path.cwd() / "src")},
    )


@pytest.fixture(scope="module")
def finished(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study with a finished run in it."""
    folder = Path(shutil.copytree(tiny_files, tmp_path_factory.mktemp("study") / "tiny"))
    run_study(load_study(folder / "study.toml"), folder / "run", base=folder)
    return folder


@pytest.mark.parametrize(
    "change",
    [
        ("behaviors.toml", "missing.toml"),
        ("corpus.jsonl", "missing.jsonl"),
        ('"model"', '"missing"'),
        ("[corpus]", '[attribution]\nmethods = ["nonsense"]\n[corpus]'),
        ("[corpus]", '[attribution]\nmethods = ["gradient_cosine_adam"]\n[corpus]'),
        ('title = "tiny"', "title = 3"),
    ],
)
def test_a_study_that_cannot_be_run_leaves_the_finished_run_in_its_place(finished, change) -> None:
    before = contents(finished / "run")
    broken = (finished / "study.toml").read_text().replace(*change)
    assert broken != (finished / "study.toml").read_text()
    (finished / "broken.toml").write_text(broken)
    with pytest.raises(WhenceError):
        run_study(load_study(finished / "broken.toml"), finished / "run", base=finished)
    assert contents(finished / "run") == before
    assert show_verdicts(finished / "run")


def test_a_study_that_cannot_be_run_leaves_no_new_directory(finished) -> None:
    study = load_study(finished / "study.toml")
    study = study.model_copy(update={"behaviors": study.behaviors.model_copy(update={"file": "x"})})
    with pytest.raises(WhenceError):
        run_study(study, finished / "new" / "run", base=finished)
    assert not (finished / "new").exists()


def test_an_edited_study_in_a_runs_directory_was_overwritten(copy) -> None:
    place = copy / "run" / "study.toml"
    edited = place.read_text().replace('title = "tiny"', 'title = "mine"')
    assert edited != place.read_text()
    place.write_text(edited)
    study = load_study(copy / "study.toml")
    with pytest.raises(ArtifactError, match=r"study\.toml exists, and was not written by whence"):
        run_study(study, copy / "run", base=copy, source=copy / "study.toml")
    assert place.read_text() == edited
    run_study(load_study(place), copy / "run", base=copy / "run", source=place)
    assert place.read_text() == edited
    assert load_run(copy / "run").title == "mine"


def test_a_study_that_no_one_edited_is_written_again(copy) -> None:
    changed = (copy / "study.toml").read_text().replace('"tiny"', '"other"')
    (copy / "study.toml").write_text(changed)
    run_study(load_study(copy / "study.toml"), copy / "run", base=copy)
    assert load_study(copy / "run" / "study.toml").title == "other"


def test_a_studys_own_folder_is_no_place_for_its_run(finished) -> None:
    before = (finished / "study.toml").read_text()
    done = whence("run", "study.toml", "--out", ".", folder=finished)
    assert done.returncode == 2, done.stderr
    assert "is not a run" in done.stderr
    assert (finished / "study.toml").read_text() == before


@pytest.mark.parametrize("out", [".", "..", "run", "file", "link/x"])
def test_a_place_that_an_index_cannot_have_is_refused_before_any_work(finished, out) -> None:
    (finished / "file").write_text("x")
    if not (finished / "link").is_symlink():
        (finished / "link").symlink_to("link")
    before = contents(finished / "run")
    done = whence("index", out, "--model", "missing", "--corpus", "missing", folder=finished)
    assert (done.returncode, done.stderr.count("\n")) == (2, 2), done.stderr
    assert "missing" not in done.stderr
    assert contents(finished / "run") == before


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the study's folder that a test may break; its run is `run`."""
    return Path(shutil.copytree(finished, tmp_path / "copy", symlinks=True))


def again(folder: Path) -> None:
    """Runs the study of a folder again."""
    run_study(load_study(folder / "study.toml"), folder / "run", base=folder)


@pytest.mark.parametrize("content", [None, "", "[]", '{"format": 1'])
def test_a_run_whose_manifest_is_lost_was_no_run_any_more(copy, content) -> None:
    manifest = copy / "run" / "manifest.json"
    kept = manifest.read_text()
    if content is None:
        manifest.unlink()
    else:
        manifest.write_text(content)
    again(copy)
    assert json.loads(manifest.read_text())["key"] == json.loads(kept)["key"]
    assert show_verdicts(copy / "run")


def test_layers_were_split_with_the_model_that_stands_in_the_place_of_the_runs_own(copy) -> None:
    example = next(iter(load_run(copy / "run").corpus.ids))
    shutil.copy(copy / "initial" / "model.safetensors", copy / "model" / "model.safetensors")
    with pytest.raises(ArtifactError, match="was made with the model"):
        module_parts(copy / "run", "fact/france", [example])
    with pytest.raises(ArtifactError, match="was made with the model"):
        validate_run(copy / "run")
    shutil.rmtree(copy / "model")
    with pytest.raises(ArtifactError, match=r"The model of .*run cannot be loaded"):
        module_parts(copy / "run", "fact/france", [example])


def test_a_damaged_verification_was_read_as_it_is(copy) -> None:
    place = open_run(copy / "run").find("verification")
    assert place is not None
    (place / "verification.json").write_text("[]")
    for read in (show_verdicts, write_report):
        with pytest.raises(ArtifactError, match="Run the study again"):
            read(copy / "run")
    again(copy)
    assert show_verdicts(copy / "run")


def without_behaviors(run: Path) -> None:
    edit(run, "decisions", "decisions.json", {"behaviors": []})


def with_an_unknown_query(run: Path) -> None:
    edit(run, "scores/bm25", "scores.json", {"query_ids": ["nobody", "else"]})


def with_anothers_manifest(run: Path) -> None:
    shutil.copy(run / "manifest.json", stage_of(run, "decisions"))


def stage_of(run: Path, name: str) -> Path:
    (found,) = (run / "stages").glob(f"{name.replace('/', '.')}-*")
    return found


def edit(run: Path, stage: str, name: str, values: dict[str, object]) -> None:
    path = stage_of(run, stage) / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    "change", [without_behaviors, with_an_unknown_query, with_anothers_manifest]
)
def test_a_run_whose_record_was_edited_was_shown(copy, change) -> None:
    change(copy / "run")
    done = whence("show", "run", folder=copy)
    assert (done.returncode, done.stderr.count("\n")) == (2, 2), (done.stdout, done.stderr)
    assert "again" in done.stderr


def test_the_page_and_the_records_of_a_run_named_folders_of_this_machine(finished) -> None:
    paths = [finished / "run" / "index.html", *(finished / "run").rglob("*.json")]
    assert len(paths) > 20
    assert not [path for path in paths if str(finished.parent) in path.read_text()]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ('name = "model"', 'name = "$SECRET"'),
        ('initial = "initial"', 'initial = "a/${SECRET}"'),
        ('source = "corpus.jsonl"', 'source = "$SECRET"'),
        ('file = "behaviors.toml"', 'file = "$SECRET.toml"'),
        ('title = "tiny"', 'title = "$SECRET"\nnonsense = 1'),
        ("[corpus]", '[attribution.adam]\nsecond_moments = "$SECRET{step}"\n[corpus]'),
        ("[corpus]", '[attribution.adam]\nsecond_moments = "{step}/$SECRET"\n[corpus]'),
    ],
)
def test_a_strangers_study_printed_the_value_of_any_variable(
    copy, monkeypatch, setting: str, value: str
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    study = (copy / "study.toml").read_text()
    assert setting in study
    (copy / "study.toml").write_text(study.replace(setting, value))
    done = whence("run", "study.toml", "--out", "new", folder=copy)
    assert done.returncode == 2, done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert not (copy / "new").exists()


def test_a_variable_stands_for_the_folder_of_what_there_is(copy, monkeypatch) -> None:
    from whence.runs.opening import resolve

    monkeypatch.setenv("PLACE", str(copy))
    values = {
        'name = "model"': 'name = "$PLACE/model"',
        "[corpus]": '[attribution.adam]\nsecond_moments = "${PLACE}/model/{step}.pt"\n[corpus]',
    }
    study = (copy / "study.toml").read_text()
    for old, new in values.items():
        study = study.replace(old, new)
    (copy / "study.toml").write_text(study)
    found = resolve(load_study(copy / "study.toml"), copy)
    assert found.model.name == str(copy / "model")
    assert found.attribution.adam.second_moments == str(copy / "model" / "{step}.pt")


def test_a_damaged_import_left_a_run_without_a_word(copy) -> None:
    record = load_run(copy / "run")
    table = pa.table(
        {
            "query": [record.scores[0].query_ids[0]] * 2,
            "example": list(record.corpus.ids[:2]),
            "score": [1.0, -1.0],
        }
    )
    pq.write_table(table, copy / "scores.parquet")
    import_scores(copy / "run", copy / "scores.parquet", method="theirs", orientation="higher")
    again(copy)
    place = open_run(copy / "run").find("imported/theirs")
    assert place is not None, "an import stays when the study runs again"
    (place / "scores.npy").write_bytes(b"")
    done = whence("run", "study.toml", "--out", "run", folder=copy)
    assert done.returncode == 0, done.stderr
    assert "`imported/theirs` is damaged" in done.stderr


@pytest.mark.parametrize(
    "changes",
    [{"queries_per_kind": -1}, {"num_masks": 0}, {"num_second": -1}, {"banks": (Path("no"),)}],
)
def test_validation_accepted_numbers_without_meaning(copy, changes) -> None:
    with pytest.raises(SettingsError):
        validate_run(copy / "run", **changes)


def test_stored_rows_of_queries_took_the_place_of_the_queries(copy: Path) -> None:
    study = copy / "study.toml"
    study.write_text(study.read_text() + '[attribution]\nmethods = ["trackstar", "bm25"]\n')
    again(copy)
    run = open_run(copy / "run")
    known = set(load_run(copy / "run").scores[0].query_ids)
    assert {query.id for query in read_queries(part(run, QUERIES))} == known
    assert "trackstar" in {one.method for one in read_subject(copy / "run").scores}


def test_a_method_stores_nothing_under_the_name_of_a_runs_own_stage(copy: Path) -> None:
    settings = AttributionSettings(
        reference_behaviors="testbed:nano",
        source=SourceSettings(checkpoints=(6, 12)),
        tracin=TracinSettings(checkpoints=(6, 12), learning_rates=(0.1, 0.1)),
        trak=TrakSettings(ensemble=("one",)),
    )
    requests = {r for method in METHODS.values() for r in method.needs(settings)}
    stored = {name for r in requests if isinstance(r, CorpusPass) for name in r.directories}
    study = copy / "study.toml"
    study.write_text(study.read_text() + '[attribution]\nmethods = ["bm25", "random"]\n')
    again(copy)
    own = set(open_run(copy / "run").names())
    assert len(stored) >= 20
    assert {"queries", "corpus", "verification"} <= own
    assert not stored & own


def test_queries_that_are_gone_were_a_traceback(copy: Path) -> None:
    for place in (copy / "run" / "stages").glob("queries-*"):
        (place / "queries.json").unlink()
        with pytest.raises(ArtifactError, match="cannot be read"):
            read_queries(place)


def with_other_queries(folder: Path) -> Path:
    study = (
        (folder / "study.toml").read_text().replace('file = "', 'ids = ["fact/france"]\nfile = "')
    )
    (folder / "other.toml").write_text(study)
    return run_study(load_study(folder / "other.toml"), folder / "other", base=folder).directory


@pytest.mark.parametrize("other", [lambda folder: folder / "nowhere", with_other_queries])
def test_a_run_that_cannot_be_compared_with_was_refused_after_the_work(copy, other) -> None:
    place = other(copy)
    before = contents(copy / "run")
    with pytest.raises((ArtifactError, SettingsError), match=str(place)):
        validate_run(copy / "run", against=[place])
    assert contents(copy / "run") == before


def test_a_refused_command_marked_a_run_as_unfinished(copy) -> None:
    (copy / "run" / "manifest.json").unlink()
    before = contents(copy / "run")
    with pytest.raises(ArtifactError):
        validate_run(copy / "run")
    assert contents(copy / "run") == before
    (copy / "empty").mkdir()
    with pytest.raises(ArtifactError):
        validate_run(copy / "empty")
    assert list((copy / "empty").iterdir()) == []


def test_a_run_that_failed_before_it_was_finished_was_called_damaged(copy: Path) -> None:
    place = copy / "new"
    study = load_study(copy / "study.toml")
    (copy / "behaviors.toml").write_text(
        "[[behavior]]\nid = 'no'\nkind = 'fact'\nprompt = 'the'\ncompletion = ' the the'\n"
    )
    with pytest.raises(BehaviorError):
        run_study(study, place, base=copy)
    assert [one.state for one in list_runs(place)] == ["unfinished"]
    with pytest.raises(ArtifactError, match="is not finished"):
        open_run(place)


def test_the_folder_of_something_else_was_called_a_run_of_another_version(copy: Path) -> None:
    (copy / "manifest.json").write_text('{"format": 1, "kind": "index"}')
    with pytest.raises(ArtifactError, match="is no run; its manifest is of the kind 'index'"):
        open_run(copy)
