"""`whence init` writes a study that runs, overwrites nothing, and asks only on a terminal."""

import io
import json
import re
import typing
from pathlib import Path

import pytest

from whence.behaviors import load_behaviors
from whence.cli import make_app
from whence.errors import ArtifactError, SettingsError
from whence.records import Behavior
from whence.runs.opening import open_model, resolve
from whence.settings import KINDS, load_study

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> None:
    make_app()(
        list(arguments), exit_on_error=False, print_error=False, result_action="return_value"
    )


def test_the_study_can_be_read_and_has_one_behavior_of_each_kind(tmp_path: Path, capsys) -> None:
    run(
        "init",
        str(tmp_path / "new"),
        "--model",
        "testbed:mini",
        "--corpus",
        "testbed:mini",
        "--json",
    )
    found = json.loads(capsys.readouterr().out)
    study = load_study(Path(found["study"]))
    assert (study.model.name, study.model.initial) == ("testbed:mini", None)
    behaviors = load_behaviors(Path(found["study"]).parent / study.behaviors.file)
    assert [one.kind for one in behaviors] == list(KINDS)
    text = Path(found["behaviors"]).read_text(encoding="utf-8")
    assert all(re.search(rf"^# A[^\n]*{kind}", text, re.I | re.M) for kind in KINDS)


@pytest.mark.parametrize(
    ("model", "initial"), [("EleutherAI/pythia-14m", "step0"), ("gpt2", "random")]
)
def test_untrained_weights_are_chosen_by_the_model(
    tmp_path: Path, capsys, model: str, initial: str
) -> None:
    run("init", str(tmp_path), "--model", model, "--corpus", "a/b", "--title", 'Why "so"? ü\\')
    study = load_study(tmp_path / "study.toml")
    assert study.model.initial == initial
    assert study.title == 'Why "so"? ü\\'


def test_paths_are_seen_from_the_studys_folder(tiny: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tiny)
    run("init", "deep/er", "--model", "model", "--corpus", "corpus.jsonl", "--initial", "initial")
    study = resolve(load_study(tiny / "deep" / "er" / "study.toml"), tiny / "deep" / "er")
    assert Path(study.model.name) == tiny / "model"
    assert study.model.initial == str(tiny / "initial")
    assert Path(study.corpus.source) == tiny / "corpus.jsonl"
    assert open_model(study.model).label == "model"


@pytest.mark.parametrize("name", ["study.toml", "behaviors.toml"])
def test_nothing_is_overwritten_and_nothing_is_half_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(ArtifactError, match="exists already"):
        run("init", str(tmp_path), "--model", "gpt2", "--corpus", "a/b")
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "The study's model is missing"),
        (("--model", "gpt2"), "The study's corpus is missing"),
        (("--model", " ", "--corpus", "a/b"), "The model is empty"),
        (("--model", "gpt2", "--corpus", "a/b", "--title", "x" * 600), "title"),
    ],
)
def test_what_is_missing_without_a_terminal_is_an_error(
    tmp_path: Path, monkeypatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(SettingsError, match=said):
        run("init", str(tmp_path), *arguments)
    assert not list(tmp_path.iterdir())


def test_a_terminal_is_asked_for_what_is_missing(tmp_path: Path, capsys, monkeypatch) -> None:
    typed = io.StringIO("\n  \n")
    typed.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", typed)
    run("init", str(tmp_path), "--json")
    study = load_study(tmp_path / "study.toml")
    assert (study.model.name, study.corpus.source) == ("testbed:mini", "testbed:mini")
    assert "Model:" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ArtifactError, match=r"loop cannot be written"):
        run("init", str(tmp_path / "loop"), "--model", str(tmp_path), "--corpus", "a/b")
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot be written"):
        run("init", str(tmp_path / "file" / "in"), "--model", "gpt2", "--corpus", "a/b")


def test_the_docs_explain_every_field_and_kind() -> None:
    text = (ROOT / "docs" / "behaviors.md").read_text(encoding="utf-8")
    fields, rules = text.split("## What proves a behavior")
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*", fields, re.M))))
    assert set(Behavior.model_fields) <= named
    assert [k for k in KINDS if f"| `{k}` |" in rules] == list(KINDS)
    assert typing.get_args(Behavior.model_fields["kind"].annotation) == KINDS


def test_completion_is_installed_where_the_shell_looks_for_it(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    run("--install-completion", "--shell", "bash", "--output", str(tmp_path / "whence"))
    script = (tmp_path / "whence").read_text(encoding="utf-8")
    assert "surprises" in script
    assert "--beside" in script or "whence" in script
