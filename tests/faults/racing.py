"""Lets two processes make the same thing in one place, and looks at what is there afterwards.

`python tests/faults/racing.py ROOT equal|different TRIALS SEED [index|memorization]` prints one
line of JSON a trial: how both ended (0, 2 for a refusal, 3 for a traceback), what they printed,
which files are not those of a build alone, and how the same command ends once more. In every other
trial another index or run is replaced. Each build is a fork of this process. The study of
memorization lies in `WHENCE_TINY`.
"""

import json
import os
import random
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

_OLD, _DELAYS = 2, (0, 0, 0.3, 1.0, 2.0)


class Kind(NamedTuple):
    """What is made: by a function of root and seed; where; what of it is compared; its damage."""

    make: Callable[[Path, int], None]
    name: str
    read: Callable[[Path], tuple[int, object]]
    damage: Callable[[Path], list[str]]


def make_index(root: Path, seed: int) -> None:
    """Builds an index whose projection is drawn with the seed."""
    from tests.faults.killing import build_index

    build_index(root, seed=seed)


def read_index(place: Path) -> tuple[int, object]:
    """The seed that an index says it has, and its rows."""
    manifest = json.loads((place / "manifest.json").read_text())
    return manifest["inputs"]["projection_seed"], (place / "gradients.bin").read_bytes()


def damage_of_index(place: Path) -> list[str]:
    """The files of an index that are not as its manifest says."""
    from whence.gradients.index.verify import verify_index

    return list(verify_index(place).damage)


def make_memorization(root: Path, seed: int) -> None:
    """Runs the study in `WHENCE_TINY`, with the seed for its targets."""
    from whence.runs.memorizing import load_memorization_study, run_memorization

    folder = Path(os.environ["WHENCE_TINY"])
    study = load_memorization_study(folder / "memorization.toml")
    targets = study.targets.model_copy(update={"seed": seed})
    run_memorization(study.model_copy(update={"targets": targets}), root / "run", base=folder)


def read_memorization(place: Path) -> tuple[int, object]:
    """The seed that a run says it has, and what it found."""
    from whence.runs.directory import open_run
    from whence.runs.memorizing import load_memorization

    inputs: Any = open_run(place).manifest.inputs
    return inputs["targets"]["seed"], load_memorization(place)


def damage_of_run(place: Path) -> list[str]:
    """The stages of a run of which a file is not as its manifest says."""
    from whence.artifacts import damage, read_manifest
    from whence.runs.directory import open_run

    stages = [place / "stages" / name for name in open_run(place).manifest.stages.values()]
    found = [damage(stage, read_manifest(stage).files, whole=True) for stage in stages]
    return [one for one in found if one is not None]


KINDS = {
    "index": Kind(make_index, "index", read_index, damage_of_index),
    "memorization": Kind(make_memorization, "run", read_memorization, damage_of_run),
}


def start(kind: Kind, root: Path, *, seed: int, delay: float, output: Path) -> int:
    """Starts to make something in a fork; returns its process."""
    child = os.fork()
    if child:
        return child
    from whence.errors import WhenceError

    code = 0
    with output.open("w") as said:
        try:
            time.sleep(delay)
            kind.make(root, seed)
        except WhenceError as error:
            code = 2
            said.write(str(error))
        except BaseException:
            code = 3
            said.write(traceback.format_exc())
    os._exit(code)


def wait(child: int) -> int:
    """Waits for a fork; returns its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """See the module."""
    import tests.faults.preload  # noqa: F401  # So that forks start fast.

    root, trials, draw = Path(sys.argv[1]), int(sys.argv[3]), random.Random(sys.argv[4])
    seeds = (0, 0) if sys.argv[2] == "equal" else (0, 1)
    kind = KINDS[sys.argv[5] if len(sys.argv) > 5 else "index"]
    shutil.rmtree(root, ignore_errors=True)
    places = {seed: root / f"alone{seed}" for seed in {*seeds, _OLD}}
    for seed, place in places.items():
        place.mkdir(parents=True)
        assert wait(start(kind, place, seed=seed, delay=0, output=root / "output")) == 0
    alone = {seed: kind.read(place / kind.name)[1] for seed, place in places.items()}
    for trial in range(trials):
        place = root / f"trial{trial}"
        place.mkdir()
        if trial % 2:
            shutil.copytree(places[_OLD] / kind.name, place / kind.name)
        outputs = [root / f"output{number}" for number in (0, 1)]
        children = [
            start(kind, place, seed=seed, delay=draw.choice(_DELAYS), output=output)
            for seed, output in zip(seeds, outputs, strict=True)
        ]
        codes = [wait(child) for child in children]
        wrong = []
        for again in (False, True):
            if again:
                code = wait(start(kind, place, seed=seeds[0], delay=0, output=root / "output"))
            seed, found = kind.read(place / kind.name)
            if found != alone[seed]:
                wrong.append("content")
            wrong += kind.damage(place / kind.name)
        print(
            json.dumps(
                {
                    "codes": codes,
                    "errors": "\n".join(output.read_text() for output in outputs),
                    "wrong": wrong,
                    "leftovers": sorted(p.name for p in place.iterdir() if p.name != kind.name),
                    "again": code,
                }
            ),
            flush=True,
        )
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
