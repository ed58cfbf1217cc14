"""What a person or a script sees: nothing moves a cursor, and a refusal is one sentence."""

import json
import os
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest
from tests.faults.forking import call, whence

from whence.artifacts import damage, read_manifest
from whence.behaviors import load_behaviors
from whence.cli.console import answer, printable, progress
from whence.cli.show import show
from whence.cli.terminal import visible
from whence.errors import SettingsError
from whence.settings import StudySettings, VerifySettings, load_study, parse, read_toml

HOSTILE = "a\x1b]0;title\x07b\x00c\u202ed\u2066e\x9bf\ud800g\u200fh\x7fi"
RUN = "from whence.cli import main; main()"
# Python itself takes a while to start, and says of a signal then what it likes.
RUN_LOUDLY = "from whence.cli import main; print('started', flush=True); main()"


def start(*arguments: str, run: str = RUN, **named) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", run, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path("src").resolve())},
        **named,
    )


def said_by(process: subprocess.Popen[str], code: int) -> str:
    """Waits for a command that ends with a code, and returns what it said."""
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    return said


def is_harmless(text: str) -> bool:
    return not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in text.replace("\n", ""))


def test_what_is_printed_moves_no_cursor_and_changes_no_direction(capsys) -> None:
    answer({"id": HOSTILE}, HOSTILE, json_line=False)
    answer({"id": HOSTILE}, HOSTILE, json_line=True)
    told = progress()
    told.note(HOSTILE)
    with told.task(HOSTILE, total=1, unit="x") as task:
        task.advance()
    out, err = capsys.readouterr()
    assert is_harmless(out)
    assert is_harmless(err)
    assert json.loads(out.splitlines()[1]) == {"id": HOSTILE}
    assert is_harmless(printable(HOSTILE + "\n\t", width=500))
    assert visible("Ünïcödé 首都 مرحبا नमस्ते\n\tx") == "Ünïcödé 首都 مرحبا नमस्ते\n\tx"


def test_a_refusal_with_hostile_values_is_printed_safely() -> None:
    said = said_by(start("show", "runs/\x1b[31m\u202e"), 2)
    assert said.count("\n") == 2
    assert is_harmless(said)
    assert "\\x1b[31m\\u202e" in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_answer_that_cannot_be_written_is_a_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        said = said_by(start("--version", stdout=full), 2)
    assert said.startswith("whence: The answer cannot be written (No space left")


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("index",), ("show", "x", "--nonsense", "3"), ("show", "x", "--top-k", "many")],
)
def test_wrong_words_on_the_command_line_are_a_sentence_and_code_2(arguments) -> None:
    assert said_by(start(*arguments), 2).count("\n") == 2


def starve(package: str) -> None:
    """Runs a command that needs more memory than there is."""
    from whence.cli import main, methods

    def too_much() -> None:
        num = 2**46
        if package == "torch":
            import torch

            torch.empty(num)
        elif package == "numpy":
            import numpy as np

            np.empty(num)
        elif package == "pyarrow":
            import pyarrow as pa

            pa.allocate_buffer(8 * num)
        else:
            bytes(8 * num)

    methods.methods = too_much
    sys.argv = ["whence", "methods"]
    main()


@pytest.mark.parametrize("package", ["torch", "numpy", "pyarrow", "python"])
def test_memory_that_does_not_suffice_was_a_traceback(tmp_path, package) -> None:
    done = call(starve, package, folder=tmp_path)
    assert done.code == 2, done.stderr
    problem, remedy = done.stderr.splitlines()
    assert problem.startswith("whence: The memory does not suffice (")
    assert "token_batch_size" in remedy


def test_warnings_of_imported_packages_reached_the_user(tiny) -> None:
    done = start(
        *("index", "index", "--model", "model", "--corpus", "corpus.jsonl"),
        *("--projection-dim", "2"),
        cwd=tiny,
    )
    said = said_by(done, 0).splitlines()
    assert not [line for line in said if not line.startswith(("Gradients", "Reading"))]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("after", [0.3, 2.0, 8.0])
def test_a_signal_ends_a_command_with_one_line(tmp_path, name, after) -> None:
    number = getattr(signal, name)
    done = start(
        *("testbed", "out", "--train"), run=RUN_LOUDLY, cwd=tmp_path, stdout=subprocess.PIPE
    )
    assert done.stdout is not None
    assert done.stdout.readline() == "started\n"
    time.sleep(after)
    done.send_signal(number)
    said = done.communicate(timeout=60)[1]
    assert done.returncode == 128 + number, said
    assert "Traceback" not in said
    assert "whence: Interrupted." in said
    # On a fast machine the corpus is whole by then, and training was interrupted.
    out = tmp_path / "out"
    if out.exists():
        files = read_manifest(out).files
        assert files
        assert damage(out, files, whole=True) is None


@pytest.mark.parametrize(
    "values",
    [
        {"num_samples": True},
        {"num_samples": "10"},
        {"num_samples": 10.5},
        {"num_samples": 2**70},
        {"seed": -1},
        {"seed": 2**70},
        {"temperature": float("inf")},
        {"temperature": float("nan")},
        {"confidence": "0.9"},
        {"toxic_judge": ["a"]},
        {"unknown": 1},
    ],
)
def test_a_setting_of_another_type_or_out_of_bounds_is_refused(values) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(VerifySettings, values, where="study.toml")
    assert len(str(caught.value)) < 400
    assert "study.toml has" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"x = " + b"9" * 5000, "is not valid TOML"),
        (b"x = " + b"[" * 3000, "is not valid TOML"),
        (b"x = \xff", "cannot be read"),
        (b"\xef\xbb\xbfx = [", "is not valid TOML"),
    ],
)
def test_a_file_that_is_no_toml_is_a_sentence(tmp_path, content, expected) -> None:
    (tmp_path / "study.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=expected) as caught:
        load_study(tmp_path / "study.toml")
    assert len(str(caught.value)) < 500


def test_a_byte_order_mark_is_no_part_of_a_study(tmp_path) -> None:
    (tmp_path / "study.toml").write_bytes("\ufefftitle = 'ü'".encode())
    assert read_toml(tmp_path / "study.toml") == {"title": "ü"}


@pytest.mark.parametrize("name", ["x" * 300, "loop", "folder", "file/x"])
def test_a_study_that_cannot_be_opened_is_a_sentence(tmp_path, name) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"cannot be read|is a folder"):
        load_study(tmp_path / name)


def test_a_title_is_no_book() -> None:
    with pytest.raises(SettingsError, match="title"):
        parse(StudySettings, {"title": "x" * 10**6}, where="study.toml")


@pytest.mark.parametrize("value", ["2.5", "1.0", "x", "nan", ""])
def test_a_fraction_was_rounded_where_a_whole_number_belongs(tmp_path, value) -> None:
    done = whence(
        "index", "new", "--model=x", "--corpus=y", f"--max-documents={value}", folder=tmp_path
    )
    assert done.code == 2
    assert "Invalid value for --max-documents" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_no_computation_can_use_are_refused(tmp_path) -> None:
    huge = str(2**70)
    for command in (
        ("index", "new", "--model=x", "--corpus=y", f"--max-documents={huge}"),
        ("index", "new", "--model=x", "--corpus=y", f"--first-row={huge}"),
        ("bank", "new", f"--jobs={huge}"),
        ("bank", "new", f"--second={huge}"),
        ("bank", "new", "--second=-1"),
        ("show", "new", f"--top-k={huge}"),
        ("show", "new", "--top-k=-1"),
        ("verify", "b.toml", "--model=x", "--max-documents=-1"),
    ):
        done = whence(*command, folder=tmp_path)
        assert done.code == 2, command
        assert "Traceback" not in done.stderr, command
        assert list(tmp_path.iterdir()) == [], command


@pytest.mark.parametrize(
    "command", [("verify-index",), ("discover", "new.toml", "--corpus=c", "--model")]
)
def test_a_name_that_is_too_long_is_a_sentence_of_moderate_length(tmp_path, command) -> None:
    done = whence(*command, "n" * 5000, folder=tmp_path)
    assert done.code == 2
    assert len(done.stderr.splitlines()) == 2
    assert len(done.stderr) < 1000


def test_a_study_is_no_file_of_behaviors(tmp_path) -> None:
    (tmp_path / "study.toml").write_text('[model]\nname = "m"\n[behaviors]\nfile = "b.toml"\n')
    with pytest.raises(SettingsError, match="holds a study, not behaviors"):
        load_behaviors(tmp_path / "study.toml")


@pytest.mark.parametrize("flag", [{"method": "bm25"}, {"tokens": True}, {"modules": True}])
def test_flags_about_one_behavior_were_ignored_where_none_is_named(tmp_path, flag) -> None:
    with pytest.raises(SettingsError, match=f"`--{next(iter(flag))}` is about one behavior"):
        show(tmp_path, **flag)
