"""A run is a directory of stages: each is made once; a study changes the run only at its end."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whence.artifacts import write_json
from whence.artifacts.stage import Stage
from whence.errors import ArtifactError
from whence.runs.directory import Run, open_run, writing


def step(name: str, value: Callable[[], Any], *, version: int = 0, **inputs: Any) -> Stage[Any]:
    """A stage that keeps one value as JSON."""
    return Stage(
        name,
        version,
        inputs,
        make=lambda place: write_json(place / "value.json", value()),
        read=lambda place: json.loads((place / "value.json").read_text()),
    )


def run_toy(
    directory: Path,
    numbers: list[int],
    powers: tuple[int, ...] = (2,),
    *,
    title: str = "toy",
    versions: dict[str, int] | None = None,
    made: list[str] | None = None,
) -> dict[str, int]:
    """A whole second kind of study: numbers, their powers, and the sum of each power."""
    versions, log = versions or {}, [] if made is None else made

    def tell(name: str, value: Any) -> Any:
        log.append(name)
        return value

    def version(name: str) -> int:
        return versions.get(name, 0)

    with writing(directory) as run:
        source = step("numbers", lambda: tell("numbers", numbers), numbers=numbers)
        found = run.get(source)
        sums = {}
        for power in powers:
            stage = step(
                f"sum/{power}",
                lambda power=power: tell(f"sum/{power}", sum(n**power for n in found)),
                version=version("sum"),
                numbers=source.key,
                power=power,
            )
            sums[str(power)] = run.get(stage)
        run.finish({"title": title, "powers": powers})
    return sums


def files(run: Path) -> dict[str, tuple[int, int]]:
    """Every file of a run's stages, with inode and time of its last change."""
    return {
        str(path.relative_to(run)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in (run / "stages").rglob("*")
        if path.is_file()
    }


def without_date(run: Path) -> dict[str, Any]:
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest.pop("finished")
    return manifest


def test_a_second_kind_of_study_needs_only_its_own_stages(tmp_path: Path) -> None:
    assert run_toy(tmp_path / "run", [1, 2, 3], (1, 2)) == {"1": 6, "2": 14}
    run = open_run(tmp_path / "run")
    assert run.names() == ("numbers", "sum/1", "sum/2")
    assert run.names("sum/") == ("sum/1", "sum/2")
    place = run.find("sum/2")
    assert place is not None
    assert json.loads((place / "value.json").read_text()) == 14
    assert run.find("sum/3") is None


def test_a_runs_manifest_in_memory_is_the_one_in_its_file(tmp_path: Path) -> None:
    with writing(tmp_path / "run") as run:
        run.get(step("numbers", lambda: [1]))
        run.finish({"title": "toy"}, {"corpus": "abc"})
        kept = run.manifest.to_json()
    stored = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert list(kept.items()) == list(stored.items())
    assert list(open_run(tmp_path / "run").manifest.to_json().items()) == list(stored.items())


@pytest.mark.parametrize(
    ("name", "value"),
    [("hashes", None), ("inputs", []), ("seconds", 1.0), ("stages", None), ("finished", 3)],
)
def test_a_run_with_a_broken_manifest_is_refused_with_its_path(
    tmp_path: Path, name: str, value: object
) -> None:
    run_toy(tmp_path / "run", [1])
    path = tmp_path / "run" / "manifest.json"
    values = json.loads(path.read_text())
    values[name] = value
    if value is None:
        del values[name]
    path.write_text(json.dumps(values))
    with pytest.raises(ArtifactError) as caught:
        open_run(tmp_path / "run")
    assert str(tmp_path / "run") in caught.value.problem


def test_a_resumed_run_makes_nothing_and_its_manifest_differs_in_its_date_only(tmp_path) -> None:
    run_toy(tmp_path / "run", [1, 2])
    before, manifest = files(tmp_path / "run"), without_date(tmp_path / "run")
    made: list[str] = []
    run_toy(tmp_path / "run", [1, 2], made=made)
    assert made == []
    assert files(tmp_path / "run") == before
    assert without_date(tmp_path / "run") == manifest


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"title": "another"}, []),
        ({"powers": (2, 3)}, ["sum/3"]),
        ({"powers": (3, 2)}, ["sum/3"]),
        ({"versions": {"sum": 1}}, ["sum/2"]),
    ],
)
def test_a_change_makes_only_what_it_determines(tmp_path, change, expected) -> None:
    run_toy(tmp_path / "run", [1, 2])
    before = files(tmp_path / "run")
    made: list[str] = []
    run_toy(tmp_path / "run", [1, 2], made=made, **change)
    assert made == expected
    after = files(tmp_path / "run")
    stays = "numbers" if "versions" in change else ""
    kept = {path: state for path, state in before.items() if stays in path}
    assert kept
    assert kept.items() <= after.items()


def test_a_stage_is_made_again_with_what_depends_on_it(tmp_path) -> None:
    run_toy(tmp_path / "run", [1, 2])
    made: list[str] = []
    assert run_toy(tmp_path / "run", [1, 3], made=made) == {"2": 10}
    assert made == ["numbers", "sum/2"]
    assert len(list((tmp_path / "run" / "stages").iterdir())) == 2, "the old stages are gone"


def test_a_stage_that_one_study_leaves_out_is_there_for_the_next(tmp_path) -> None:
    run_toy(tmp_path / "run", [1, 2], (2,))
    run_toy(tmp_path / "run", [1, 2], (3,))
    assert open_run(tmp_path / "run").names("sum/") == ("sum/3",)
    made: list[str] = []
    run_toy(tmp_path / "run", [1, 2], (2, 3), made=made)
    assert made == []


def test_a_study_that_fails_midway_leaves_the_finished_run_readable(tmp_path) -> None:
    run_toy(tmp_path / "run", [1, 2])
    before, manifest = files(tmp_path / "run"), without_date(tmp_path / "run")
    with pytest.raises(TypeError):
        run_toy(tmp_path / "run", [5, "no number"])  # type: ignore[list-item]
    assert without_date(tmp_path / "run") == manifest
    assert files(tmp_path / "run").items() >= before.items()
    made: list[str] = []
    run_toy(tmp_path / "run", [1, 2], made=made)
    assert made == []
    assert files(tmp_path / "run") == before, "what the other study left is gone"


@pytest.mark.parametrize("what", ["value.json", "manifest.json"])
@pytest.mark.parametrize("how", ["gone", "cut", "odd"])
def test_a_damaged_stage_is_made_again(tmp_path, what, how) -> None:
    run_toy(tmp_path / "run", [1, 2])
    place = open_run(tmp_path / "run").find("sum/2")
    assert place is not None
    if how == "gone":
        (place / what).unlink()
    else:
        (place / what).write_text("" if how == "cut" else "[7]")
    made: list[str] = []
    assert run_toy(tmp_path / "run", [1, 2], made=made) == {"2": 5}
    assert made == ["sum/2"]


def test_a_whole_stage_that_is_gone_is_made_again(tmp_path) -> None:
    run_toy(tmp_path / "run", [1, 2])
    shutil.rmtree(tmp_path / "run" / "stages")
    assert run_toy(tmp_path / "run", [1, 2]) == {"2": 5}


def test_two_processes_do_not_write_one_run(tmp_path) -> None:
    with (
        writing(tmp_path / "run"),
        pytest.raises(ArtifactError, match="is being made by another process"),
    ):
        run_toy(tmp_path / "run", [1])
    run_toy(tmp_path / "run", [1])


def test_a_directory_of_something_else_is_no_run(tmp_path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "study.toml").write_text("mine")
    with pytest.raises(ArtifactError, match="is not a run"):
        run_toy(tmp_path / "theirs", [1])
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["study.toml"]


def add_note(directory: Path, *about: str) -> None:
    """Adds a stage about others to a finished run."""
    with writing(directory) as run:
        assert isinstance(run, Run)
        keys = [step(name, lambda: 0, numbers=[1, 2]).key for name in about]
        run.get(step("note", lambda: "seen", about=keys))
        run.finish()


def test_a_stage_is_added_to_a_finished_run_and_stays_while_what_it_is_about_does(tmp_path) -> None:
    run_toy(tmp_path / "run", [1, 2])
    add_note(tmp_path / "run", "numbers")
    assert open_run(tmp_path / "run").names() == ("note", "numbers", "sum/2")
    run_toy(tmp_path / "run", [1, 2], (3,))
    assert open_run(tmp_path / "run").names() == ("note", "numbers", "sum/3")
    run_toy(tmp_path / "run", [1, 2, 3])
    assert open_run(tmp_path / "run").names() == ("numbers", "sum/2")
