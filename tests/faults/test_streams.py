"""Standard streams that are closed, full, or of another encoding than UTF-8."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from whence.cli import console
from whence.errors import SettingsError

RUN = f"{sys.executable} -c 'from whence.cli import main; main()'"


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line.replace("whence ", f"{RUN} ")],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(Path("src").resolve())} | environment,
    )


@pytest.mark.parametrize(
    ("line", "code", "out"),
    [
        ("whence init new <&-", 2, ""),
        ("whence runs . >&-", 0, ""),
        ("whence runs nowhere 2>&-", 2, ""),
        ("whence runs . <&- >&- 2>&-", 0, ""),
        ("whence runs . 2>/dev/full", 0, "There is no run in ..\n"),
        ("whence runs nowhere 2>/dev/full", 2, ""),
    ],
)
def test_a_closed_or_full_stream_was_a_traceback(tmp_path: Path, line: str, code, out) -> None:
    done = shell(line, tmp_path)
    assert (done.returncode, done.stdout) == (code, out), done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_took_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "from whence.cli import open_streams as start; import os; start(); "
        "file = open('file', 'w'); assert file.fileno() > 2; os.write(1, b'x'); os.write(2, b'x')"
    )
    done = shell(f'{sys.executable} -c "{code}" <&- >&- 2>&-', tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_an_answer_in_an_encoding_without_its_characters_was_a_traceback(tmp_path: Path) -> None:
    folder = tmp_path / "é首"
    folder.mkdir()
    for line in ("whence runs é首", "whence runs é首 --json"):
        done = shell(line, tmp_path, PYTHONIOENCODING="ascii")
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii()
        assert "\\u9996" in done.stdout
    assert json.loads(done.stdout)["directory"] == "é首"


def test_lines_for_other_tools_are_refused_where_they_would_be_changed(monkeypatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    console.check_printable("é")
    with pytest.raises(SettingsError, match=r"latin-1, has no '\\u9996'"):
        console.check_printable("é首")


def test_a_command_in_a_folder_that_is_gone_was_a_traceback(tmp_path: Path) -> None:
    line = "mkdir gone; cd gone; rmdir ../gone; whence index new --model m --corpus c"
    done = shell(line, tmp_path)
    assert done.returncode == 2
    assert "The current directory is gone." in done.stderr
    assert "Traceback" not in done.stderr
