"""What the README says is so."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS = re.findall(r"^[├└]── ([\w.]+/?)", README, flags=re.MULTILINE)


def test_the_tree_names_every_room_and_no_other() -> None:
    package = ROOT / "src" / "whence"
    rooms = {
        path.name + "/" if path.is_dir() else path.name
        for path in package.iterdir()
        if path.name != "__init__.py" and not path.name.startswith("__")
    }
    assert set(ROOMS) == rooms
    assert len(ROOMS) == len(rooms)


def _blocks(language: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    return [text for found, text in blocks if found == language]


def _commands() -> list[str]:
    lines = "\n".join(_blocks("")).splitlines()
    return [line.split("#")[0].strip() for line in lines if line.startswith("whence ")]


@pytest.mark.parametrize("command", _commands())
def test_every_command_shown_is_one_that_the_program_understands(command: str) -> None:
    from whence.cli import make_app

    _, bound, ignored = make_app().parse_args(shlex.split(command)[1:], exit_on_error=False)
    assert bound is not None
    assert not ignored


def test_every_command_of_the_program_is_shown() -> None:
    from whence.cli import COMMANDS

    shown = {command.split()[1] for command in _commands()} | {"demo"}
    assert shown == set(COMMANDS)


def test_every_make_target_shown_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([\w-]+)", README):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE) or target == "and", target


def test_the_python_example_is_short() -> None:
    code = re.findall(r"<!-- example -->\n```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(code) == 1
    lines = [line for line in code[0].splitlines() if line and not line.startswith("import ")]
    assert len(lines) <= 8


@pytest.mark.slow
def test_the_python_example_runs(tmp_path: Path) -> None:
    code = re.findall(r"<!-- example -->\n```python\n(.*?)```", README, flags=re.DOTALL)[0]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ranks = [line.split()[0] for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert ranks == ["1", "2", "3", "4", "5"]


@pytest.mark.slow
def test_the_example_file_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "example.py"), "testbed:nano", "testbed:nano"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = done.stdout.split("\n\n")
    assert len(answers) == 4
    for answer in answers:
        assert re.search(r"shown|weak", answer)
        assert re.search(r"gradient_cosine +\+\d\.\d{3}", answer)
        assert re.search(r"embedding +\+\d\.\d{3}", answer)


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, contextlib, whence.cli\n"
        "with contextlib.suppress(SystemExit): whence.cli.make_app()(['--help'])\n"
        "heavy = {'torch', 'transformers', 'bergson', 'datasets', 'pyarrow', 'numpy', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_study_shown_is_valid(tmp_path: Path) -> None:
    from whence.settings import load_study

    (text,) = _blocks("toml")
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    study = load_study(tmp_path / "study.toml")
    assert study.attribution.tracin.checkpoints
    assert study.attribution.methods


_PYTHIA = sorted((ROOT / "examples").glob("pythia-*.toml"))
_MEMORIZATION = [study for study in _PYTHIA if study.stem.endswith("memorization")]


@pytest.mark.parametrize("study", _MEMORIZATION, ids=str)
def test_every_memorization_study_is_valid(study: Path) -> None:
    from whence.memorization.settings import MemorizationStudy
    from whence.settings import parse, read_toml

    settings = parse(MemorizationStudy, read_toml(study), where=str(study))
    assert settings.sequences.split == f"deduped.{study.stem.split('-')[1]}"
    assert settings.corpus.num_rows
    assert settings.corpus.first_row % 1024 == settings.corpus.num_rows % 1024 == 0


@pytest.mark.parametrize("study", sorted(set(_PYTHIA) - set(_MEMORIZATION)), ids=str)
def test_every_example_study_is_valid(study: Path) -> None:
    from whence.runs.opening import open_behaviors, resolve
    from whence.settings import load_study

    settings = resolve(load_study(study), study.parent)
    assert len(open_behaviors(settings.behaviors)) == 4
