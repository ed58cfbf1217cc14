"""Kills a build at any of its steps in the file system, and looks at what the next one makes of it.

`python tests/faults/killing.py WHAT ROOT POINTS SEED` runs WHAT to its end, then POINTS times anew:
killed (SIGKILL) just before one of its calls that open, make, rename or remove something under
ROOT, drawn at random (all of them where POINTS are more); then the same again without a kill. It
prints one line of JSON a point. `lost` is how many blocks (of an index, of products; trainings of a
bank) were computed twice. Each run is a fork of this process, which itself only imports.
"""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

_ROW = "whence.row"
_EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", _ROW}
# What is opened for writing once a block of rows or of products, or a training, was computed.
_BLOCK = re.compile(r"/\.progress/(blocks|work)/\.[^/]+\.partial$|/runs/\.[^/]+\.json\.partial$")
_SHARDS = 3


def fork(what, root: Path, *, kill_before: int | None = None) -> tuple[int, int, int]:
    """Runs a function in a fork; returns its end (minus the signal), its events and blocks."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        events = 0
        inside = str(root)

        def watch(event: str, arguments: tuple) -> None:
            nonlocal events
            if event in _EVENTS and str(arguments[0]).startswith(inside):
                events += 1
                is_block = event == "open" and _BLOCK.search(str(arguments[0]))
                os.write(write, b"b" if is_block else b"e")
                if events == kill_before:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        code = 0
        try:
            what(root)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            code = 3
        os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, len(said), said.count("b")


def contents(root: Path, *, hidden: bool = True) -> dict[str, str]:
    """Every file under a directory with its digest; of a manifest only what is not about time."""
    return {
        path.relative_to(root).as_posix(): _digest(path)
        for path in sorted(root.rglob("*"))
        if not path.is_dir() and not _is_timed(path)
        if hidden or not any(part.startswith(".") for part in path.relative_to(root).parts)
    }


def _is_timed(path: Path) -> bool:
    """Whether a file of a run holds seconds that were measured."""
    return path.suffix == ".html" or path.name in ("plan.json", "speed.json")


def _digest(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".json":
        value = json.loads(data)
        if isinstance(value, dict):
            # Times differ, and so do the digests of files that hold times.
            for name in ("started", "finished", "seconds", "files", "details", "plan"):
                value.pop(name, None)
        data = json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def _tiny():
    from tests.gradients.conftest import corpus_of, random_sequences, tiny

    corpus = corpus_of(random_sequences([20, 7, 30, 12, 5, 44, 9, 16, 28, 3, 11, 25, 2, 1, 33, 8]))
    return tiny("neox"), corpus


def build_index(
    root: Path,
    *,
    seed: int = 0,
    shard: tuple[int, int] | None = None,
    subset: str | None = None,
    is_merge: bool = False,
    **settings: Any,
) -> None:
    """Builds a small index of several blocks."""
    import torch

    from whence.gradients.index import build
    from whence.settings import IndexSettings

    torch.set_num_threads(1)
    build.BLOCK_TOKENS = 40
    model, corpus = _tiny()
    if subset is not None:
        corpus = _of_subset(corpus, subset)
    how = IndexSettings(projection_dim=4, projection_seed=seed, token_batch_size=48, **settings)
    if is_merge:
        build.merge_index(model, corpus, root / "index", how)
    else:
        build.build_index(model, corpus, root / "index", how, shard=shard)


def _of_subset(corpus, subset: str):
    from dataclasses import replace

    import pyarrow as pa

    place = corpus.table.schema.get_field_index("subset")
    values = pa.array([subset] * len(corpus), pa.string())
    return replace(corpus, table=corpus.table.set_column(place, "subset", values))


def build_sharded(root: Path) -> None:
    """Builds the shares of an index, one after the other."""
    for number in range(_SHARDS):
        build_index(root, shard=(number, _SHARDS))


def build_factors(root: Path) -> None:
    """Builds an index of factorized rows, with a step before every row that is written."""
    from unittest import mock

    from whence.gradients.index.row_file import _Copies

    find = _Copies.of

    def audited(self: _Copies, place: int) -> Any:
        sys.audit(_ROW, str(root))
        return find(self, place)

    with mock.patch.object(_Copies, "of", audited):
        build_index(root, rank=1, storage="bfloat16")


def build_merged(root: Path) -> None:
    """Builds the shares of an index of factorized rows, and merges them."""
    for number in range(_SHARDS):
        build_index(root, shard=(number, _SHARDS), rank=1)
    build_index(root, is_merge=True, rank=1)


def replace_index(root: Path) -> None:
    """Builds an index where another one, with another projection, may stand."""
    build_index(root, seed=1)


def renew_index(root: Path) -> None:
    """Builds an index whose examples are known to be of another subset than before."""
    build_index(root, subset="web")


def run_study(root: Path) -> None:
    """Runs the tiny study, whose pass over the corpus has several blocks."""
    from whence.gradients.passes import streamed
    from whence.runs.study import run_study as run
    from whence.settings import load_study

    streamed.BLOCK_TOKENS = 40
    folder = Path(os.environ["WHENCE_TINY"])
    study = load_study(folder / "study.toml")
    index = study.index.model_copy(update={"token_batch_size": 48})
    run(study.model_copy(update={"index": index}), root / "run", base=folder)


def run_memorization(root: Path) -> None:
    """Runs the tiny study of memorization, whose pass over the corpus has several blocks."""
    from whence.gradients.passes import streamed
    from whence.runs.memorizing import load_memorization_study
    from whence.runs.memorizing import run_memorization as run

    streamed.BLOCK_TOKENS = 400
    folder = Path(os.environ["WHENCE_TINY"])
    run(load_memorization_study(folder / "memorization.toml"), root / "run", base=folder)


def write_files(root: Path) -> None:
    """Writes what a finished run lists and shows into files of their own, and a first study."""
    from whence.runs.exporting import export, export_table
    from whence.runs.new_study import write_new_study
    from whence.runs.plotting import write_plot

    run = Path(os.environ["WHENCE_TINY"]) / "run"
    for form in ("csv", "pair", "ids"):
        if not (root / form).exists():
            export(run, method="gradient_cosine", form=form, out=root / form)
    if not (root / "parquet").exists():
        export_table(run, method="gradient_cosine", out=root / "parquet")
    write_plot(run, "subsets", root / "subsets.svg")
    write_new_study(root / "new", model="model", corpus="corpus.jsonl")


def make_bank(root: Path) -> None:
    """Trains two runs of a bank, shortly."""
    import torch

    from whence.testbed import RetrainingSettings
    from whence.validation.bank import BankSettings
    from whence.validation.bank import make_bank as make

    torch.set_num_threads(1)
    retraining = RetrainingSettings(size="nano", stop_after=2)
    make(BankSettings(retraining=retraining, num_masks=2, num_second=0), root / "bank")


def make_artifact(root: Path, *, version: int = 0) -> None:
    """Makes an artifact of two blocks and a nested folder, without any model."""
    from whence.artifacts import building, is_current, progress_directory, write_json, write_text

    inputs = {"version": version}
    if is_current(root / "it", kind="toy", inputs=inputs):
        return
    with building(root / "it", kind="toy", inputs=inputs, resume=True) as partial:
        for name in ("a", "b"):
            mark = progress_directory(partial) / name
            if not mark.is_file():
                (partial / "rows").mkdir(exist_ok=True)
                write_text(partial / "rows" / name, f"{name} {version}")
                write_text(mark, "")
        write_json(partial / "details.json", {"rows": 2})


def replace_artifact(root: Path) -> None:
    """Makes another artifact where the one above stands."""
    make_artifact(root, version=1)


WHAT = {
    f.__name__: f
    for f in (
        make_artifact,
        replace_artifact,
        build_index,
        build_sharded,
        build_factors,
        build_merged,
        replace_index,
        renew_index,
        run_study,
        run_memorization,
        write_files,
        make_bank,
    )
}
BEFORE = {
    "replace_index": build_index,
    "renew_index": build_index,
    "replace_artifact": make_artifact,
}


def main() -> None:
    """See the module."""
    what, root, points, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    if "artifact" not in what:
        import tests.faults.preload
        import tests.gradients.conftest  # noqa: F401  # So that forks start fast.

    def start() -> None:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        if what in BEFORE:
            assert fork(BEFORE[what], root)[0] == 0

    start()
    code, events, blocks = fork(WHAT[what], root)
    assert code == 0, f"{what} failed without a kill"
    good = contents(root)
    assert good == contents(root, hidden=False), f"{what} leaves hidden files"
    draw = random.Random(seed)
    for point in sorted(draw.sample(range(1, events + 1), min(points, events))):
        start()
        killed, _, before = fork(WHAT[what], root, kill_before=point)
        again, _, after = fork(WHAT[what], root)
        found = contents(root) if again == 0 else {}
        print(
            json.dumps(
                {
                    "point": point,
                    "of": events,
                    "killed": killed,
                    "again": again,
                    "lost": before + after - blocks,
                    "blocks": blocks,
                    "leftovers": sorted(set(found) - set(good)),
                    "missing": sorted(set(good) - set(found)),
                    "wrong": sorted(
                        name for name in good if found.get(name, good[name]) != good[name]
                    ),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
