"""The command line answers on stdout, talks on stderr, and exits with what happened."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def _whence(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from whence.cli import main; main()", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def _answer(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_study_runs_and_its_answer_is_the_last_line(tiny: Path) -> None:
    found = _answer(_whence("run", "study.toml", "--json", cwd=tiny))
    assert (tiny / found["page"]).is_file()
    assert found["verdicts"]["fact"]["shown"] == 1
    shown = _answer(
        _whence("show", found["run"], "--behavior", "memorized/herons", "--json", cwd=tiny)
    )
    assert shown["proponents"][0]["subset"] == "passage"
    assert "memorized/herons" in _whence("show", found["run"], cwd=tiny).stdout
    validated = _answer(_whence("validate", found["run"], "--json", cwd=tiny))
    assert "QLD" in validated["undefined"]
    assert list((tiny / found["run"]).glob("stages/validation-*/validation.json"))
    (tiny / found["page"]).unlink()
    assert (tiny / _answer(_whence("report", found["run"], "--json", cwd=tiny))["page"]).is_file()


def test_an_index_in_a_smaller_type_says_how_far_it_is_off_and_is_asked_in_that_type(
    tiny: Path,
) -> None:
    arguments = ("index", "half", "--model", "model", "--corpus", "corpus.jsonl", "--json")
    done = _whence(*arguments, "--dtype", "bfloat16", "--storage", "bfloat16", cwd=tiny)
    found = _answer(done)["deviation"]
    assert found["num_examples"] == 8
    assert 0 < found["cosine"] < 1
    assert f"at least {found['cosine']:.7f}" in done.stderr
    asked = ("query", "half", "--prompt", "the capital of france is", "--completion", " paris")
    named = _answer(_whence(*asked, "--json", cwd=tiny))["proponents"]
    assert named
    assert all(hit["score"] > 0 for hit in named)


def test_an_index_is_built_and_asked(tiny: Path) -> None:
    arguments = ("index", "idx", "--model", "model", "--corpus", "corpus.jsonl", "--json")
    assert _answer(_whence(*arguments, cwd=tiny))["examples"] == 23
    found = _answer(
        _whence(
            *("query", "idx", "--prompt", "the capital of france is"),
            *("--completion", " paris", "--top-k", "3", "--json"),
            cwd=tiny,
        )
    )
    assert "paris" in found["proponents"][0]["text"]
    assert [hit["rank"] for hit in found["opponents"]] == [23, 22, 21]
    contrast = _answer(
        _whence(
            *("query", "idx", "--prompt", "the capital of france is", "--completion", " paris"),
            *("--alternative", " madrid", "--json"),
            cwd=tiny,
        )
    )
    assert "paris" in contrast["proponents"][0]["text"]


def test_behaviors_are_verified(tiny: Path) -> None:
    found = _answer(_whence("verify", "behaviors.toml", "--model", "model", "--json", cwd=tiny))
    verdicts = {v["behavior_id"]: v["verdict"] for v in found["verifications"]}
    assert verdicts == {
        "fact/france": "shown",
        "fact/false": "not shown",
        "memorized/herons": "shown",
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "nope.toml"),
        ("run",),
        ("runn", "study.toml"),
        ("run", "study.toml", "--unknown"),
        ("show", "nowhere"),
        ("report", "nowhere"),
        ("verify", "behaviors.toml", "--model", "./nowhere"),
        ("query", "nowhere", "--prompt", "a", "--completion", "b"),
        ("index", "idx", "--model", "model", "--corpus", "nowhere.jsonl"),
        ("index", "idx", "--model", "model", "--corpus", "corpus.jsonl", "--text-column", "txt"),
    ],
)
def test_a_mistake_is_one_clear_message_and_exit_code_2(
    tiny: Path, arguments: tuple[str, ...]
) -> None:
    done = _whence(*arguments, cwd=tiny)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    assert not (tiny / "idx").exists()


def test_ctrl_c_exits_with_130_and_leaves_nothing_that_looks_finished(tiny: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "from whence.cli import main; main()", "run", "study.toml"],
        cwd=tiny,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (tiny / "runs" / "study" / "stages").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Run the same command again" in said
    assert "Traceback" not in said
    assert not (tiny / "runs" / "study" / "manifest.json").exists()


def test_doctor_names_what_is_here(tiny: Path) -> None:
    found = _answer(_whence("doctor", "--json", cwd=tiny))
    assert found["ok"]
    assert {"Python", "torch", "Bergson"} <= {check["name"] for check in found["checks"]}


def test_progress_goes_to_stderr_alone(tiny: Path) -> None:
    done = _whence("run", "study.toml", "--json", cwd=tiny)
    assert len(done.stdout.splitlines()) == 1
    assert "Gradients" in done.stderr


def test_every_method_says_what_it_needs_and_what_higher_means(tmp_path: Path) -> None:
    from whence.methods import METHODS

    found = _answer(_whence("methods", "--json", cwd=tmp_path))["methods"]
    assert [record["name"] for record in found] == list(METHODS)
    for record in found:
        for field in ("family", "reads", "higher_means", "cost", "source", "avoid"):
            assert record[field], (record["name"], field)
    tables = {record["name"]: record["table"] for record in found}
    assert (tables["tracin"], tables["ekfac"], tables["bm25"]) == ("tracin", "ekfac", None)
    text = _whence("methods", cwd=tmp_path).stdout
    assert METHODS["trak"].higher_means in text
    one = _answer(_whence("methods", "bm25_zscored", "--json", cwd=tmp_path))["methods"]
    assert [record["name"] for record in one] == ["bm25_zscored"]
    assert "Did you mean `bm25`" in _whence("methods", "bm52", cwd=tmp_path).stderr


@pytest.mark.parametrize(
    ("arguments", "command"),
    [(["run"], "whence run"), (["locate", "abc"], "whence locate"), (["rnu"], "whence")],
)
def test_a_mistake_points_to_the_help_of_its_command(
    tmp_path: Path, arguments: list[str], command: str
) -> None:
    done = _whence(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"See `{command} --help`."


def test_the_command_line_starts_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "whence", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == _whence("--version", cwd=tmp_path).stdout
