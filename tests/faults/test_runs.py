"""A command that fails leaves what was there as it was."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.killing import contents

from whence.errors import WhenceError
from whence.runs.show import show_verdicts
from whence.runs.study import run_study
from whence.settings import load_study


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
