"""Shares of an index: what is missing is named, and a merge finishes only what is whole."""

import json
import os
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest

from whence.cli.slurm import slurm_script
from whence.errors import ArtifactError
from whence.gradients import build_index, merge_index, missing_shares, open_index
from whence.gradients.index import build as building
from whence.gradients.index.shares import ranges, read_division
from whence.settings import IndexSettings

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    # Tests fork; a fork that only computes and ends is safe here.
    pytest.mark.filterwarnings("ignore:.*fork.*"),
]
SETTINGS = IndexSettings(projection_dim=4, token_batch_size=48)
LENGTHS = [9, 2, 40, 1, 17, 0, 30, 5, 5, 44, 3, 22, 12, 28]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(building, "BLOCK_TOKENS", 1)


@pytest.fixture
def corpus(lab):
    sequences = lab.random_sequences(LENGTHS)
    return lab.corpus_of([*sequences, sequences[4], sequences[2]])


class Killing:
    """A progress that kills its process after a number of batches."""

    def __init__(self, after):
        self.left = after

    def task(self, name, *, total, unit):
        from contextlib import nullcontext

        return nullcontext(self)

    def advance(self, amount=1.0):
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def note(self, message):
        pass


def in_fork(run):
    """Runs something in a process of its own; returns its exit code or minus the signal."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            run()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_four_shards_of_which_one_is_killed(lab, corpus, tmp_path, monkeypatch):
    import torch

    torch.set_num_threads(1)  # A fork has one thread, whatever this process has.
    model = lab.tiny("neox")
    whole = build_index(model, corpus, tmp_path / "whole", SETTINGS)
    place = tmp_path / "index"

    def missing():
        return missing_shares(model, corpus, place, SETTINGS, num_shares=4)

    assert [share.number for share in missing().missing] == [0, 1, 2, 3]
    assert not place.parent.joinpath(".index.partial").exists(), "listing changes nothing"
    for number in (0, 1, 2, 3):
        progress = {"progress": Killing(1)} if number == 2 else {}
        code = in_fork(
            lambda number=number, progress=progress: build_index(
                model, corpus, place, SETTINGS, shard=(number, 4), **progress
            )
        )
        assert code == (-signal.SIGKILL if number == 2 else 0)
    report = missing()
    assert [share.number for share in report.missing] == [2]
    assert 0 < report.num_missing < report.missing[0].num_blocks, "the first block was written"
    assert not report.is_finished
    with pytest.raises(ArtifactError, match=r"lacks \d of \d+ blocks of rows, those of shard 2 of"):
        merge_index(model, corpus, place, SETTINGS)
    assert not place.exists()
    monkeypatch.setattr(building, "write_blocks", _never)
    with pytest.raises(AssertionError):
        build_index(model, corpus, place, SETTINGS, shard=(2, 4))
    monkeypatch.undo()
    monkeypatch.setattr(building, "BLOCK_TOKENS", 1)
    # As a job that ends before it merges.
    monkeypatch.setattr(building._Build, "finish", _never)
    with pytest.raises(AssertionError):
        build_index(model, corpus, place, SETTINGS, shard=(2, 4))
    monkeypatch.undo()
    monkeypatch.setattr(building, "BLOCK_TOKENS", 1)
    assert missing().missing == ()
    monkeypatch.setattr(building, "write_blocks", _never)
    merged = merge_index(model, corpus, place, SETTINGS)
    assert merged.gradients.tobytes() == whole.gradients.tobytes()
    assert (merged.path / "norms.npy").read_bytes() == (whole.path / "norms.npy").read_bytes()
    assert missing().is_finished
    assert merge_index(model, corpus, place, SETTINGS).path == merged.path, "merged is merged"


def _never(*_args, **_how):
    raise AssertionError("nothing is to be computed or finished here")


def _all_but_the_end(lab, corpus, place, *, shares=3, settings=SETTINGS, storage="float32"):
    """Writes all shares of an index whose merge is still to come."""
    model = lab.tiny("neox")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(building._Build, "finish", _never)
        for number in range(shares - 1):
            assert build_index(model, corpus, place, settings, shard=(number, shares)) is None
        with pytest.raises(AssertionError):
            build_index(model, corpus, place, settings, shard=(shares - 1, shares))
    return model


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_rows_that_were_lost_on_the_way_to_the_disk_are_found_and_computed_again(
    lab, corpus, tmp_path, storage
):
    settings = SETTINGS.model_copy(update={"storage": storage})
    place = tmp_path / "index"
    model = _all_but_the_end(lab, corpus, place, settings=settings)
    path = tmp_path / ".index.partial" / "gradients.bin"
    data = bytearray(path.read_bytes())
    width = len(data) // len(corpus)
    data[9 * width : 10 * width] = bytes(width)  # the longest example, and so in the first block
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"has lost.* 1 of .* shard 0 of 3"):
        merge_index(model, corpus, place, settings)
    report = missing_shares(model, corpus, place, settings, num_shares=3)
    assert [(share.number, share.num_missing) for share in report.missing] == [(0, 1)]
    built = build_index(model, corpus, place, settings, shard=(0, 3))
    whole = build_index(model, corpus, tmp_path / "whole", settings)
    assert built is not None
    assert built.gradients.tobytes() == whole.gradients.tobytes()


def test_a_copy_of_an_example_that_was_lost_is_found(lab, corpus, tmp_path):
    place = tmp_path / "index"
    model = _all_but_the_end(lab, corpus, place)
    path = tmp_path / ".index.partial" / "gradients.bin"
    data = bytearray(path.read_bytes())
    data[-4:] = b"\0\0\0\0"  # the last example is a copy of the third
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="has lost"):
        merge_index(model, corpus, place, SETTINGS)


def test_a_mark_of_an_older_version_has_no_digest_and_is_trusted(lab, corpus, tmp_path):
    place = tmp_path / "index"
    model = _all_but_the_end(lab, corpus, place)
    for path in (tmp_path / ".index.partial" / ".progress" / "blocks").glob("*.npy"):
        np.save(path, np.load(path))
    assert merge_index(model, corpus, place, SETTINGS).num_examples == len(corpus)


def test_hosts_with_other_numbers_of_threads_find_each_others_blocks(
    lab, corpus, tmp_path, monkeypatch
):
    model, place = lab.tiny("neox"), tmp_path / "index"
    monkeypatch.setattr(building, "worker_count", lambda _model: 1)
    alone = build_index(model, corpus, tmp_path / "alone", SETTINGS)
    assert build_index(model, corpus, place, SETTINGS, shard=(0, 2)) is None
    monkeypatch.setattr(building, "worker_count", lambda _model: 2)
    report = missing_shares(model, corpus, place, SETTINGS, num_shares=2)
    assert [share.number for share in report.missing] == [1]
    assert report.num_foreign == 0
    built = build_index(model, corpus, place, SETTINGS, shard=(1, 2))
    assert built is not None
    np.testing.assert_allclose(built.gradients, alone.gradients, rtol=1e-4, atol=1e-5)


def test_blocks_of_another_batch_size_are_counted_and_not_used(lab, corpus, tmp_path):
    model, place = lab.tiny("neox"), tmp_path / "index"
    assert build_index(model, corpus, place, SETTINGS, shard=(0, 2)) is None
    other = SETTINGS.model_copy(update={"token_batch_size": 200})
    report = missing_shares(model, corpus, place, other, num_shares=2)
    assert report.num_foreign > 0
    assert report.num_missing == report.num_blocks
    assert build_index(model, corpus, place, other) is not None


def test_an_unfinished_index_of_other_settings_is_refused(lab, corpus, tmp_path):
    model, place = lab.tiny("neox"), tmp_path / "index"
    assert build_index(model, corpus, place, SETTINGS, shard=(0, 2)) is None
    other = SETTINGS.model_copy(update={"projection_seed": 1})
    with pytest.raises(ArtifactError, match="other settings"):
        merge_index(model, corpus, place, other)
    with pytest.raises(ArtifactError, match="other settings"):
        missing_shares(model, corpus, place, other, num_shares=2)


def test_a_merge_of_nothing_names_all_blocks_and_makes_nothing(lab, corpus, tmp_path):
    with pytest.raises(ArtifactError, match=r"lacks (\d+) of \1 blocks"):
        merge_index(lab.tiny("neox"), corpus, tmp_path / "index", SETTINGS)
    assert not list(tmp_path.iterdir())


def test_a_merged_index_that_was_altered_is_refused(lab, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("whence.artifacts.SMALL_BYTES", 10)
    model = lab.tiny("neox")
    built = build_index(model, corpus, tmp_path / "index", SETTINGS)
    path = built.path / "gradients.bin"
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="changed after it was written"):
        merge_index(model, corpus, built.path, SETTINGS)


def test_a_damaged_record_of_the_division_is_no_record(tmp_path):
    (tmp_path / ".progress").mkdir()
    for text in ("", "[1]", '{"setting": 1}', '{"setting":1,"num_tokens":0,"num_workers":1}'):
        (tmp_path / ".progress" / "division.json").write_text(text)
        assert read_division(tmp_path) is None


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([3], "3"), ([0, 1, 2], "0-2"), ([0, 2, 3, 5], "0,2-3,5")]
)
def test_numbers_in_a_row_are_a_range(numbers, text):
    assert ranges(numbers) == text


def command(tiny, out):
    """The words of a small build."""
    model, corpus = tiny / "model", tiny / "corpus.jsonl"
    return ["index", str(out), "--model", str(model), "--corpus", str(corpus)]


def run(*words, **environment):
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


PROGRAM = "import sys; from whence.cli import main; sys.argv[0] = 'whence'; main()"


@pytest.mark.slow
def test_two_processes_under_torchrun_build_the_rows_of_one(tiny, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    words = [*command(tiny, tmp_path / "both"), "--projection-dim", "4"]
    address = ["--nnodes=1", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    done = run(sys.executable, "-m", "torch.distributed.run", *address, script, *words)
    assert done.returncode == 0, done.stderr[-3000:]
    found = run(sys.executable, script, *words, "--missing", "2", "--json")
    assert json.loads(found.stdout)["is_finished"], found.stderr
    alone = run(sys.executable, script, *command(tiny, tmp_path / "one"), *words[-2:])
    assert alone.returncode == 0, alone.stderr
    both, one = (open_index(tmp_path / name) for name in ("both", "one"))
    assert both.gradients.tobytes() == one.gradients.tobytes()


@pytest.mark.slow
def test_the_printed_slurm_script_builds_and_merges(tiny, tmp_path):
    """Where `sbatch` runs every job of an array at once, and the second leaves its shard out."""
    script, jobs = tmp_path / "program", tmp_path / "bin"
    script.write_text(
        f"#!{sys.executable}\n{PROGRAM.replace(chr(39) + 'whence' + chr(39), '__file__')}"
    )
    jobs.mkdir()
    (jobs / "sbatch").write_text(
        "#!/bin/bash\n"
        'echo "$@" >> "$(dirname "$0")/calls"\n'
        "job=$(mktemp); cat > $job\n"
        'case "$*" in *--array*) for k in 0 1; do SLURM_ARRAY_TASK_ID=$k bash $job >&2; done;;\n'
        "*) bash $job;; esac\n"
        "echo 17\n"
    )
    for path in (script, jobs / "sbatch"):
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
    words = [*command(tiny, tmp_path / "out"), "--projection-dim", "4"]
    printed = run(script, *words, "--print-slurm", "2")
    assert printed.returncode == 0, printed.stderr
    (tmp_path / "submit.sh").write_text(printed.stdout)
    path = f"{jobs}:{os.environ['PATH']}"
    done = run("bash", tmp_path / "submit.sh", "--partition=gpu", PATH=path)
    assert done.returncode == 0, done.stderr[-2000:]
    calls = (jobs / "calls").read_text().splitlines()
    assert all("--partition=gpu" in call for call in calls)
    assert "--array=0-1" in calls[0]
    assert "--dependency=afterany:17" in calls[1]
    assert open_index(tmp_path / "out").num_examples > 0


@pytest.mark.parametrize("form", [["--print-slurm", "3"], ["--print-slurm=3"]])
def test_a_slurm_script_runs_the_very_command_and_quotes_it(form):
    words = ["index", "my index", "--corpus", "a b.jsonl", *form, "--modules", "*,!x"]
    script = slurm_script(words, 3, program="/opt/whence")
    expected = "/opt/whence index 'my index' --corpus 'a b.jsonl' --modules '*,!x' "
    assert expected + '--shard "$SLURM_ARRAY_TASK_ID/3"' in script
    assert expected + "--merge" in script
    assert "--array=0-2" in script
    assert "--print-slurm" not in script
    checked = subprocess.run(["bash", "-n"], input=script, text=True, check=False)
    assert checked.returncode == 0
