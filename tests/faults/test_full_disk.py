"""A full disk is one sentence, whichever file it refuses; with room the same command succeeds."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.faults.forking import command, whence
from tests.faults.full_disk import BEFORE, DISK, Room, Trial, try_full
from tests.faults.studies import write_memorization
from tests.tiny import write_two_kinds

INDEX = ("index", f"{DISK}/index", "--model", "model", "--corpus", "corpus.jsonl")
# What is made, from which state of the disk.
CASES: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "index": (None, (*INDEX, "--projection-dim", "4")),
    "index_again": ("index", (*INDEX, "--projection-dim", "3")),
    "index_bf16": (None, (*INDEX, "--projection-dim", "2", "--dtype", "bfloat16")),
    "run": (None, ("run", "study.toml", "--out", f"{DISK}/run")),
    "run_index": (None, ("run", "stored.toml", "--out", f"{DISK}/run")),
    "report": ("run", ("report", f"{DISK}/run")),
    "import": (
        "run",
        ("import", f"{DISK}/run", "scores.jsonl", "--method", "theirs", "--orientation", "higher"),
    ),
    "validate": ("run", ("validate", f"{DISK}/run")),
    "verify": ("run", ("verify", "behaviors.toml", "--model", "model")),
    "plot": ("run", ("plot", f"{DISK}/run", "subsets", "--out", f"{DISK}/new.svg")),
    "init": (None, ("init", f"{DISK}/new", "--model", "model", "--corpus", "corpus.jsonl")),
    "find": (
        None,
        (
            *("find", "the dog", f"{DISK}/kept", "--model", "model"),
            *("--corpus", "corpus.jsonl"),
        ),
    ),
    "compare": ("kinds", ("compare", f"{DISK}/run")),
    "surprises": ("run", ("surprises", f"{DISK}/run", "--checkpoint", "initial")),
    "memorization": (None, ("memorization", "memorization.toml", "--out", f"{DISK}/run")),
    "discover": (
        None,
        (
            *("discover", f"{DISK}/found.toml", "--model", "model", "--corpus", "long.jsonl"),
            *("--kinds", "style", "--num", "2"),
        ),
    ),
}
# What makes these states.
BEFORES = {
    "index": CASES["index"][1],
    "run": CASES["run"][1],
    "kinds": ("run", "kinds/study.toml", "--out", f"{DISK}/run"),
}


def fill_bank() -> None:
    """Trains two runs of a bank, shortly."""
    from tests.faults.killing import make_bank

    _as_command(lambda: make_bank(Path(DISK)))


def export_csv() -> None:
    """Exports a table, also where an earlier call did."""
    Path(DISK, "new").unlink(missing_ok=True)
    command(("export", f"{DISK}/run", "--format", "csv", "--out", f"{DISK}/new"))


def export_parquet() -> None:
    """Exports a table of another format."""
    Path(DISK, "new").unlink(missing_ok=True)
    command(("export", f"{DISK}/run", "--format", "parquet", "--out", f"{DISK}/new"))


def export_pair() -> None:
    """Exports PAIR's lines."""
    Path(DISK, "new").unlink(missing_ok=True)
    command(("export", f"{DISK}/run", "--out", f"{DISK}/new"))


def index_shares() -> None:
    """Builds an index in two shares, one after the other."""
    for share in ("0/2", "1/2"):
        try:
            command((*CASES["index"][1], "--shard", share))
        except SystemExit as end:
            if end.code:
                raise


def train() -> None:
    """Trains the testbed, shortly."""
    from functools import partial
    from unittest import mock

    from whence.testbed import checkpoints
    from whence.testbed.export import export_testbed
    from whence.training import trainer

    with (
        mock.patch.object(trainer, "train", partial(trainer.train, stop_after=1)),
        mock.patch.object(checkpoints, "all_steps", return_value=(0, 1)),
    ):
        _as_command(lambda: export_testbed(Path(DISK, "testbed"), "nano", train=True))


EXPORTS = ("export_csv", "export_parquet", "export_pair")
FUNCTIONS = (*EXPORTS, "index_shares", "fill_bank", "train")


def _as_command(what: Callable[[], object]) -> None:
    """Ends as the command line would."""
    from whence.errors import WhenceError

    try:
        what()
    except WhenceError as error:
        print(f"whence: {error.problem}\n{error.remedy}", file=sys.stderr)
        sys.exit(2)


class Good(NamedTuple):
    """A folder to run a command in, and what it leaves where there is room."""

    folder: Path
    what: Callable[..., None]
    arguments: tuple
    trial: Trial


@pytest.fixture(scope="module")
def good(
    request: pytest.FixtureRequest, tiny_files: Path, tmp_path_factory: pytest.TempPathFactory
) -> Good:
    name = request.param
    folder = Path(shutil.copytree(tiny_files, tmp_path_factory.mktemp("full") / "tiny"))
    study = (folder / "study.toml").read_text()
    (folder / "stored.toml").write_text(
        study + '[index]\nprojection_dim = 4\n[attribution]\npath = "stored"\n'
        'methods = ["gradient_cosine", "bm25"]\n'
    )
    score = {"example_id": "fact/france", "proponent_ids": ["d1"], "proponent_scores": [1.0]}
    (folder / "scores.jsonl").write_text(json.dumps(score) + "\n")
    _write_long_documents(folder)
    write_memorization(folder)
    write_two_kinds(Path(shutil.copytree(tiny_files, folder / "kinds")))
    before, arguments = CASES.get(name, ("run" if name in EXPORTS else None, ()))
    if before is not None:
        (folder / BEFORE).mkdir()
        there = tuple(a.replace(DISK, BEFORE) for a in BEFORES[before])
        assert whence(*there, folder=folder, timeout=600).code == 0
    what, arguments = (command, (arguments,)) if arguments else (globals()[name], ())
    try:
        found = try_full(what, *arguments, folder=folder)
    except OSError as error:
        pytest.skip(f"a disk of one's own is not permitted here ({error})")
    assert [done.code for done in (*found.full, found.room)] == [0, 0, 0], found.full[0].stderr
    return Good(folder, what, arguments, found)


def _write_long_documents(folder: Path) -> None:
    lines = (folder / "corpus.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    with (folder / "long.jsonl").open("w") as file:
        for number in range(6):
            text = " ".join(texts[number : number + 12])
            file.write(json.dumps({"text": text, "subset": "ab"[number % 2]}) + "\n")


def check(good: Good, trial: Trial) -> None:
    for done in trial.full:
        assert done.code == 2, done.stderr
        assert "Traceback" not in done.stderr
        problem, remedy = done.stderr.splitlines()[-2:]
        assert problem.startswith("whence: ")
        if problem.endswith("GB free."):
            assert remedy == "Free some disk space, or lower `disk_budget_gb`."
            continue
        assert str(good.folder / DISK) in problem or f" {DISK}/" in problem, problem
        assert "cannot be written (No space left on device)." in problem
        assert remedy == "Free some disk space or choose a place that you may write to."
    half = {name for name, digest in trial.left.items() if digest not in _wholes(good, name)}
    assert not half, "half-written files under their final names"
    assert trial.room.code == 0, trial.room.stderr
    assert trial.files == good.trial.files


def _wholes(good: Good, name: str) -> set[str]:
    """The digests that a file may have: before the command and after it."""
    from tests.faults.killing import contents

    before = contents(good.folder / BEFORE) if (good.folder / BEFORE).is_dir() else {}
    return {files[name] for files in (before, good.trial.files) if name in files}


def is_enough(trial: Trial) -> bool:
    return trial.full[0].code == 0


def numbers(room: Room) -> Iterator[int]:
    """Every number up to 24, then every third of files and every tenth or so of pages."""
    number = 0
    while True:
        yield number
        number += 1 if number < 24 else 3 if room == "files" else number // 8


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("room", ["files", "pages"])
@pytest.mark.parametrize("good", [*CASES, *FUNCTIONS], indirect=True)
def test_whichever_file_a_full_disk_refuses(good: Good, room: Room) -> None:
    for number in numbers(room):
        trial = try_full(good.what, *good.arguments, folder=good.folder, room=room, number=number)
        if is_enough(trial):
            return
        check(good, trial)


@pytest.mark.parametrize("good", ["index"], indirect=True)
@pytest.mark.parametrize(
    ("room", "number"), [("files", 9), ("files", 12), ("pages", 1), ("pages", 3), ("pages", 8)]
)
def test_some_files_that_a_full_disk_refuses(good: Good, room: Room, number: int) -> None:
    trial = try_full(good.what, *good.arguments, folder=good.folder, room=room, number=number)
    assert not is_enough(trial)
    check(good, trial)
