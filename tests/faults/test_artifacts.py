"""Nothing is lost: not what others made, not what a killed or a second process made."""

import errno
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.faults.forking import whence

from whence import artifacts
from whence.errors import ArtifactError

RACING = Path(__file__).with_name("racing.py")
KILLING = Path(__file__).with_name("killing.py")


def make(directory: Path, *, version: int = 0, kind: str = "toy") -> None:
    with artifacts.building(directory, kind=kind, inputs={"version": version}) as partial:
        (partial / "file").write_text(str(version))


def is_made(directory: Path, *, version: int) -> bool:
    return artifacts.is_current(directory, kind="toy", inputs={"version": version})


@pytest.mark.parametrize(
    "manifest",
    [
        '{"manifest_version": 3}',
        '{"format": 1}',
        '{"format": 1, "kind": "toy", "key": "k"}',
        '{"format": 1, "kind": "toy", "key": "k", "files": {}}',
        "[1]",
        "not json",
        "",
    ],
)
def test_a_folder_with_somebody_elses_manifest_is_never_replaced(tmp_path, manifest) -> None:
    (tmp_path / "ext" / "src").mkdir(parents=True)
    (tmp_path / "ext" / "manifest.json").write_text(manifest)
    (tmp_path / "ext" / "src" / "precious.js").write_text("x")
    with pytest.raises(ArtifactError, match=r"was not made by whence|holds .*precious.js"):
        make(tmp_path / "ext")
    assert (tmp_path / "ext" / "src" / "precious.js").read_text() == "x"
    assert [p.name for p in tmp_path.iterdir()] == ["ext"]


@pytest.mark.parametrize("name", ["notes.txt", "sub/notes.txt", ".hidden", "file2"])
def test_a_file_that_somebody_put_into_an_artifact_is_never_removed(tmp_path, name) -> None:
    make(tmp_path / "it")
    (tmp_path / "it" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "it" / name).write_text("mine")
    with pytest.raises(ArtifactError, match="which whence did not write"):
        make(tmp_path / "it", version=1)
    assert (tmp_path / "it" / name).read_text() == "mine"
    assert is_made(tmp_path / "it", version=0)


def test_a_file_that_comes_into_the_old_artifact_during_the_build_is_kept_too(tmp_path) -> None:
    make(tmp_path / "it")
    with (
        pytest.raises(ArtifactError, match="which whence did not write"),
        artifacts.building(tmp_path / "it", kind="toy", inputs={"version": 1}),
    ):
        (tmp_path / "it" / "notes.txt").write_text("mine")
    assert (tmp_path / "it" / "notes.txt").read_text() == "mine"


def test_an_artifact_of_another_kind_is_not_replaced(tmp_path) -> None:
    make(tmp_path / "it", kind="run")
    with pytest.raises(ArtifactError, match="holds a finished run, and not the toy"):
        make(tmp_path / "it")


def test_a_run_was_called_not_made_by_whence(tmp_path) -> None:
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "manifest.json").write_text('{"format": 1, "kind": "run", "stages": {}}')
    with pytest.raises(ArtifactError, match="holds a run, and not the toy"):
        make(tmp_path / "it")


def test_what_was_made_within_an_artifact_goes_with_it(tmp_path) -> None:
    make(tmp_path / "it")
    make(tmp_path / "it" / "cells", kind="cells")
    make(tmp_path / "it", version=1)
    assert sorted(p.name for p in (tmp_path / "it").iterdir()) == ["file", "manifest.json"]


@pytest.mark.parametrize("inner", ["sub", "sub/deep"])
def test_an_artifact_is_not_made_within_another_of_its_kind(tmp_path, inner) -> None:
    make(tmp_path / "it")
    with pytest.raises(ArtifactError, match=r"lies within the toy .*/it, and would go when"):
        make(tmp_path / "it" / inner)
    assert is_made(tmp_path / "it", version=0)
    assert not (tmp_path / "it" / "sub").exists()


def test_an_artifact_is_not_made_within_one_of_its_kind_that_is_being_made(tmp_path) -> None:
    with artifacts.building(tmp_path / "it", kind="toy", inputs={}) as partial:
        (partial / "file").write_text("0")
        with pytest.raises(ArtifactError, match="lies within the toy"):
            make(tmp_path / "it" / "sub")
    assert sorted(p.name for p in (tmp_path / "it").iterdir()) == ["file", "manifest.json"]


def test_an_artifact_that_holds_another_of_its_kind_is_not_replaced(tmp_path) -> None:
    make(tmp_path / "other")
    make(tmp_path / "it")
    (tmp_path / "other").rename(tmp_path / "it" / "sub")
    with pytest.raises(ArtifactError, match=r"holds another toy, .*/it/sub, which would go"):
        make(tmp_path / "it", version=1)
    assert is_made(tmp_path / "it", version=0)
    assert is_made(tmp_path / "it" / "sub", version=0)


def test_somebodys_folder_where_an_artifact_would_be_filled_is_not_touched(tmp_path) -> None:
    (tmp_path / ".it.partial").mkdir()
    (tmp_path / ".it.partial" / "precious").write_text("x")
    with pytest.raises(ArtifactError, match="in the way"):
        make(tmp_path / "it")
    assert (tmp_path / ".it.partial" / "precious").read_text() == "x"


@pytest.mark.parametrize("where", [".", "..", "../..", "a/../.."])
def test_the_current_directory_and_those_around_it_are_refused(
    tmp_path, monkeypatch, where
) -> None:
    (tmp_path / "x" / "y" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "x" / "y")
    with pytest.raises(ArtifactError, match="is the current directory, or holds it"):
        make(Path(where))


def test_a_link_as_output_means_the_directory_that_it_leads_to(tmp_path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "it").symlink_to(tmp_path / "disk" / "it")
    for version in (0, 1):
        make(tmp_path / "it", version=version)
        assert is_made(tmp_path / "it", version=version)
    assert (tmp_path / "it").is_symlink()
    assert (tmp_path / "disk" / "it" / "file").read_text() == "1"


@pytest.mark.parametrize(
    "name", ["x" * 300, "x" * 5000, "x" * 250, "loop/a", "loop", "file", "file/a"]
)
def test_a_place_that_cannot_be_is_one_sentence(tmp_path, name) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("x")
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(ArtifactError) as caught:
        artifacts.check_place(tmp_path / name, kind="toy")
    assert len(caught.value.problem) < 600
    with pytest.raises(ArtifactError):
        make(tmp_path / name)
    assert not is_made(tmp_path / name, version=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_place_is_tried_without_being_changed(tmp_path) -> None:
    artifacts.check_place(tmp_path / "new" / "it", kind="toy")
    assert not (tmp_path / "new").exists()


def test_a_second_build_in_the_same_place_gets_one_sentence(tmp_path) -> None:
    with artifacts.building(tmp_path / "it", kind="toy", inputs={"version": 0}) as partial:
        for version in (0, 1):
            with pytest.raises(ArtifactError, match="is being made by another process"):
                make(tmp_path / "it", version=version)
        (partial / "file").write_text("0")
    assert is_made(tmp_path / "it", version=0)
    assert [p.name for p in tmp_path.iterdir()] == ["it"]


def _race(directory: Path, version: int, start, ends) -> None:
    start.wait()
    try:
        make(directory, version=version)
        ends.put("made")
    except ArtifactError as error:
        ends.put(error.problem)


@pytest.mark.parametrize("versions", [(0, 0), (0, 1)])
def test_builds_at_once_leave_one_whole_artifact(tmp_path, versions) -> None:
    forking = multiprocessing.get_context("fork")
    for trial in range(10):
        place, start, ends = tmp_path / str(trial), forking.Barrier(2), forking.Queue()
        processes = [
            forking.Process(target=_race, args=(place, version, start, ends))
            for version in versions
        ]
        for process in processes:
            process.start()
        found = [ends.get(timeout=60) for _ in processes]
        for process in processes:
            process.join()
        assert all(f == "made" or "another process" in f for f in found), found
        assert "made" in found
        assert any(is_made(place, version=version) for version in versions)
    assert all(path.name.isdigit() for path in tmp_path.iterdir())


def test_a_shard_with_other_settings_does_not_touch_what_is_being_filled(tmp_path) -> None:
    with artifacts.filling(tmp_path / "it", kind="toy", inputs={"version": 0}) as partial:
        (partial / "rows").write_text("0")
        with (
            pytest.raises(ArtifactError, match="unfinished build with other settings"),
            artifacts.filling(tmp_path / "it", kind="toy", inputs={"version": 1}),
        ):
            pass
        with artifacts.filling(tmp_path / "it", kind="toy", inputs={"version": 0}) as same:
            assert (same / "rows").read_text() == "0"
        with pytest.raises(ArtifactError, match="is being made by another process"):
            make(tmp_path / "it", version=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".it.partial"]


def test_a_file_written_by_two_processes_at_once_is_one_of_both(tmp_path) -> None:
    def write(letter: str) -> None:
        for _ in range(200):
            artifacts.write_text(tmp_path / "file", letter * 10_000)

    forking = multiprocessing.get_context("fork")
    processes = [forking.Process(target=write, args=(letter,)) for letter in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "file").read_text() in ("a" * 10_000, "b" * 10_000)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("what", ["cut", "changed", "gone"])
def test_a_damaged_artifact_is_not_current_and_is_made_again(tmp_path, what) -> None:
    make(tmp_path / "it")
    path = tmp_path / "it" / "file"
    {
        "cut": lambda: path.write_text(""),
        "changed": lambda: path.write_text("9"),
        "gone": path.unlink,
    }[what]()
    assert not is_made(tmp_path / "it", version=0)
    make(tmp_path / "it")
    assert path.read_text() == "0"


def test_a_failed_build_that_cannot_be_resumed_leaves_nothing(tmp_path) -> None:
    with (
        pytest.raises(ValueError, match="wrong"),
        artifacts.building(tmp_path / "it", kind="toy", inputs={}) as partial,
    ):
        (partial / "half").write_text("half")
        raise ValueError("wrong")
    assert list(tmp_path.iterdir()) == []


def test_a_generated_file_is_replaced_only_as_it_was_written(tmp_path) -> None:
    path = tmp_path / "behaviors.toml"
    for text in ("a = 1\n", "a = 2\n"):
        artifacts.write_generated(path, text)
        assert path.read_text().endswith(text)
    path.write_text(path.read_text() + "# mine\n")
    for edited in (path.read_text(), "a = 1\n", ""):
        path.write_text(edited)
        with pytest.raises(ArtifactError, match="exists, and was not written by whence as it is"):
            artifacts.write_generated(path, "a = 3\n")
        assert path.read_text() == edited
    with pytest.raises(ArtifactError, match="is a directory"):
        artifacts.write_generated(tmp_path, "a = 1\n")


def test_a_picture_replaced_a_file_that_somebody_drew(tmp_path) -> None:
    path = tmp_path / "a.svg"
    for text in ("<svg>1</svg>\n", "<svg>2</svg>\n"):
        artifacts.write_generated(path, text)
        ElementTree.parse(path)
    for drawn in (path.read_text() + "<!-- mine -->", "<svg>1</svg>\n"):
        path.write_text(drawn)
        with pytest.raises(ArtifactError, match="was not written by whence as it is"):
            artifacts.write_generated(path, "<svg>3</svg>\n")
        assert path.read_text() == drawn


def test_the_first_of_two_new_files_stayed_where_the_second_could_not_be_written(
    tmp_path, monkeypatch
) -> None:
    files = {tmp_path / "a": "1", tmp_path / "b": "2"}
    (tmp_path / "b").write_text("mine")
    with pytest.raises(ArtifactError, match="b exists already"):
        artifacts.write_new(files)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    (tmp_path / "b").unlink()
    write = artifacts.files.write_text

    def fail(path: Path, text: str) -> None:
        if path.name == "b":
            raise ArtifactError("no", "room")
        write(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(artifacts.files, "write_text", fail)
        with pytest.raises(ArtifactError):
            artifacts.write_new(files)
    assert list(tmp_path.iterdir()) == []
    # A kill between the two leaves the first, and the same call writes the second.
    write(tmp_path / "a", "1")
    artifacts.write_new(files)
    assert (tmp_path / "b").read_text() == "2"


def test_a_folder_stayed_where_what_it_was_made_for_could_not_be_written(tmp_path) -> None:
    with pytest.raises(ValueError, match="no"), artifacts.new_folder(tmp_path / "a" / "b"):
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="no"), artifacts.new_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "mine").touch()
        raise ValueError("no")
    assert (tmp_path / "a" / "mine").exists()
    with pytest.raises(ValueError, match="no"), artifacts.new_folder(tmp_path):
        raise ValueError("no")


@pytest.mark.parametrize("name", ["it/a", ".it.lock", ".it.partial/a", "", "it"])
def test_what_cannot_be_written_is_said_to_be(tmp_path, name) -> None:
    error = OSError(errno.EACCES, "Permission denied", str(tmp_path / name))
    with (
        pytest.raises(ArtifactError, match=r"cannot be written \(Permission denied\)"),
        artifacts.clear_disk_errors(tmp_path / "it"),
    ):
        raise error


@pytest.mark.parametrize("name", ["/etc/shadow/x", "model", "n" * 300])
def test_what_the_work_could_not_read_was_said_to_be_unwritable(tmp_path, name) -> None:
    error = OSError(errno.EACCES, "Permission denied", name)
    with (
        pytest.raises(ArtifactError, match=r"cannot be used \(Permission denied\)") as caught,
        artifacts.clear_disk_errors(tmp_path / "it"),
    ):
        raise error
    assert caught.value.remedy == "Check the path."


def test_a_file_in_a_folder_that_is_not_there_was_a_traceback(tmp_path) -> None:
    with pytest.raises(ArtifactError, match=r"There is no folder .*nowhere to write into"):
        artifacts.write_text(tmp_path / "nowhere" / "a.csv", "x")
    assert list(tmp_path.iterdir()) == []


def killed(what: str, root: Path, *, points: int, seed: int = 0, **environment: str) -> None:
    """Asserts that a kill at many points loses nothing and leaves nothing."""
    done = subprocess.run(
        [sys.executable, str(KILLING), what, str(root), str(points), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert rows
    good = {"killed": -9, "again": 0, "leftovers": [], "missing": [], "wrong": []}
    bad = [row for row in rows if any(row[name] != value for name, value in good.items())]
    bad += [row for row in rows if row["lost"] > 1]
    if what not in ("make_artifact", "replace_artifact", "renew_index", "write_files"):
        bad += [row for row in rows if row["blocks"] < 2]
    assert not bad, (bad[:3], done.stderr[-2000:])


def test_what_was_done_to_replace_an_artifact_was_thrown_away_by_looking(tmp_path) -> None:
    place = tmp_path / "it"
    make(place, version=0)
    inputs = {"version": 1}
    with (
        pytest.raises(KeyboardInterrupt),
        artifacts.building(place, kind="toy", inputs=inputs, resume=True) as partial,
    ):
        (artifacts.progress_directory(partial) / "block").write_text("hours of work")
        raise KeyboardInterrupt
    assert not is_made(place, version=1)
    with artifacts.building(place, kind="toy", inputs=inputs, resume=True) as partial:
        block = artifacts.progress_directory(partial) / "block"
        assert block.read_text() == "hours of work"


@pytest.mark.parametrize("name", [".manifest.json.partial", "rows/.a.partial"])
def test_a_kill_while_a_file_was_written_damaged_the_resumed_artifact(tmp_path, name) -> None:
    place = tmp_path / "it"
    with (
        pytest.raises(KeyboardInterrupt),
        artifacts.building(place, kind="toy", inputs={"version": 0}, resume=True) as partial,
    ):
        (artifacts.progress_directory(partial) / "block").touch()
        (partial / "rows").mkdir()
        (partial / name).write_text("{")  # A kill leaves it; so does no error.
        raise KeyboardInterrupt
    with artifacts.building(place, kind="toy", inputs={"version": 0}, resume=True) as partial:
        artifacts.write_text(partial / "rows" / "a", "0")
    assert is_made(place, version=0)
    assert sorted(p.name for p in (place / "rows").iterdir()) == ["a"]


@pytest.mark.parametrize("what", ["make_artifact", "replace_artifact"])
def test_a_kill_at_any_step_loses_nothing_and_leaves_nothing(tmp_path, what) -> None:
    killed(what, tmp_path / "root", points=1000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "points"),
    [
        ("build_index", 30),
        ("build_sharded", 30),
        ("build_factors", 30),
        ("build_merged", 30),
        ("replace_index", 30),
        ("renew_index", 30),
        ("make_bank", 10),
    ],
)
def test_a_kill_at_any_step_of_a_build_loses_nothing_and_leaves_nothing(
    tmp_path, what, points
) -> None:
    killed(what, tmp_path / "root", points=points)


@pytest.mark.slow
def test_a_kill_at_any_step_of_a_run_loses_nothing_and_leaves_nothing(tmp_path, tiny_files) -> None:
    killed("run_study", tmp_path / "root", points=30, WHENCE_TINY=str(tiny_files))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_kill_at_any_step_of_a_memorization_study_loses_nothing_and_leaves_nothing(
    tmp_path, memorizing
) -> None:
    killed("run_memorization", tmp_path / "root", points=30, WHENCE_TINY=str(memorizing))


@pytest.mark.slow
def test_a_kill_at_any_step_of_writing_files_leaves_whole_ones(tmp_path, tiny) -> None:
    assert whence("run", "study.toml", "--out", "run", folder=tiny, timeout=600).code == 0
    killed("write_files", tmp_path / "root", points=1000, WHENCE_TINY=str(tiny))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("settings", ["equal", "different"])
def test_two_memorization_studies_at_once_end_as_one_whole_run(
    tmp_path, memorizing, settings
) -> None:
    done = subprocess.run(
        [sys.executable, str(RACING), str(tmp_path / "root"), settings, "5", "0", "memorization"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"WHENCE_TINY": str(memorizing)},
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(rows) == 5
    for row in rows:
        assert set(row["codes"]) <= {0, 2}, row
        assert 0 in row["codes"]
        assert (row["wrong"], row["leftovers"], row["again"]) == ([], [], 0), row
