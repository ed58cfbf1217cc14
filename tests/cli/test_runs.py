"""`whence runs` lists every run with its state, and `whence open` finds its page."""

import json
import shutil
from pathlib import Path

import pytest

from whence.cli import make_app
from whence.errors import ArtifactError, SettingsError
from whence.runs.study import run_study
from whence.settings import load_study


@pytest.fixture(scope="module")
def folder(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("listing")
    study = load_study(tiny_files / "study.toml")
    whole = place / "deep" / "whole"
    run_study(study, whole, base=tiny_files)
    hurt = shutil.copytree(whole, place / "hurt")
    (hurt / "manifest.json").write_text("{", encoding="utf-8")
    lost = shutil.copytree(whole, place / "lost")
    for path in lost.glob("stages/decisions-*/decisions.json"):
        path.write_text("{}", encoding="utf-8")
    (place / "begun" / "stages").mkdir(parents=True)
    (place / "begun" / ".unfinished").touch()
    (place / "other").mkdir()
    (place / "other" / "index.html").touch()
    return place


def run(*arguments: str) -> None:
    make_app()(
        list(arguments), exit_on_error=False, print_error=False, result_action="return_value"
    )


def test_every_run_is_listed_with_its_state(folder: Path, capsys) -> None:
    run("runs", str(folder), "--json")
    found = json.loads(capsys.readouterr().out)["runs"]
    assert {Path(one["path"]).name: one["state"] for one in found} == {
        "begun": "unfinished",
        "whole": "finished",
        "hurt": "damaged",
        "lost": "damaged",
    }
    (whole,) = [one for one in found if one["state"] == "finished"]
    assert (whole["title"], whole["model"], whole["num_behaviors"]) == ("tiny", "model", 2)
    assert whole["finished"].startswith("20")
    assert Path(whole["page"]).is_file()
    run("runs", str(folder / "deep"))
    text = capsys.readouterr().out
    assert "finished" in text
    assert "tiny" in text


def test_a_run_is_listed_by_its_own_path_and_a_folder_without_one_says_so(
    folder: Path, capsys
) -> None:
    run("runs", str(folder / "deep" / "whole"), "--json")
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 1
    run("runs", str(folder / "other"))
    assert "There is no run in" in capsys.readouterr().out


def test_a_folder_that_is_none_is_refused(folder: Path) -> None:
    for wrong in (folder / "nowhere", folder / "other" / "index.html"):
        with pytest.raises(SettingsError, match="There is no folder"):
            run("runs", str(wrong))


def test_without_a_browser_the_pages_path_is_printed(folder: Path, capsys, monkeypatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    run("open", str(folder / "deep" / "whole"), "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["opened"] is False
    assert Path(found["page"]).is_file()


def test_the_page_is_opened_by_its_whole_address(folder: Path, capsys, monkeypatch) -> None:
    opened: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    monkeypatch.chdir(folder / "deep")
    run("open", "whole")
    assert opened == [(folder / "deep" / "whole" / "index.html").resolve().as_uri()]
    assert capsys.readouterr().out.startswith("Opened")


def test_a_run_without_a_page_names_the_remedy(folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(folder / "deep" / "whole", tmp_path / "bare")
    (place / "index.html").unlink()
    with pytest.raises(ArtifactError, match="whence report"):
        run("open", str(place))
    with pytest.raises(ArtifactError):
        run("open", str(tmp_path / "nowhere"))
