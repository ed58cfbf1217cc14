"""Every setting of a corpus that a message names is a flag of the commands that read one."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from whence.cli.corpus_flags import DEFAULT, CorpusFlags
from whence.errors import SettingsError
from whence.settings import CorpusSettings


def _whence(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from whence.cli import main; main()", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_flags_are_the_settings_with_their_defaults() -> None:
    usual = CorpusSettings(source="x")
    assert DEFAULT.settings("x") == usual
    names = {name.removeprefix("corpus_") for name in asdict(DEFAULT)}
    assert names == set(CorpusSettings.model_fields) - {"source"}


def test_each_flag_reaches_its_setting() -> None:
    flags = CorpusFlags(
        format="mmap",
        corpus_config="c",
        corpus_revision="r",
        id_column="",
        duplicate_ids="number",
        mmap_dtype="int32",
        row_length=9,
        max_line_mb=3,
        first_row=4,
    )
    found = flags.settings("x").model_dump()
    changed = {k: v for k, v in found.items() if v != getattr(CorpusSettings(source="x"), k)}
    assert changed == {
        "format": "mmap",
        "config": "c",
        "revision": "r",
        "id_column": "",
        "duplicate_ids": "number",
        "mmap_dtype": "int32",
        "row_length": 9,
        "max_line_mb": 3,
        "first_row": 4,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_documents", 0),
        ("max_documents", -1),
        ("max_tokens", 0),
        ("row_length", 1),
        ("max_line_mb", float("nan")),
        ("max_line_mb", float("inf")),
        ("first_row", -1),
    ],
)
def test_a_value_out_of_range_is_one_sentence(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=f"The command line has `{name} = ") as caught:
        CorpusFlags(**{name: value}).settings("x")  # pyright: ignore
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("command", ["index", "discover", "verify", "find"])
def test_commands_that_read_a_corpus_have_the_flags(command: str, tmp_path: Path) -> None:
    said = _whence(command, "--help", cwd=tmp_path).stdout
    for name in (*asdict(DEFAULT), "tokenizer"):
        assert f"--{name.replace('_', '-')}" in said


def test_an_index_is_built_with_the_flags_that_a_refusal_names(tiny: Path) -> None:
    lines = [json.loads(line) for line in (tiny / "corpus.jsonl").read_text().splitlines()]
    rows = [{**row, "id": "same", "position": "left"} for row in lines]
    (tiny / "odd.data").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["index", "out", "--model", "model", "--corpus", "odd.data", "--json"]
    command += ["--projection-dim", "2"]
    for flag, value in (
        ("--format", "jsonl"),
        ("--position-column", ""),
        ("--duplicate-ids", "number"),
    ):
        refused = _whence(*command, cwd=tiny)
        assert refused.returncode == 2
        assert flag.removeprefix("--").replace("-", "_") in refused.stderr
        assert len(refused.stderr.splitlines()) == 2
        command += [flag, value]
    done = _whence(*command, cwd=tiny)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["examples"] == len(rows)


def test_a_tokenizer_without_its_model_is_refused(tmp_path: Path) -> None:
    arguments = ("query", "x", "--prompt", "a", "--completion", "b", "--tokenizer", "t")
    refused = _whence(*arguments, cwd=tmp_path)
    assert refused.returncode == 2
    assert "no `--model` is named" in refused.stderr
