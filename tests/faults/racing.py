"""Lets two processes build an index in one place at once, and looks at what is there afterwards.

`python tests/faults/racing.py ROOT equal|different TRIALS SEED` prints one line of JSON a trial:
how both ended (0, 2 for a refusal, 3 for a traceback), what they printed, which files are not those
of a build alone, and how the same command ends once more. In every other trial another index is
replaced. Each build is a fork of this process.
"""

import json
import os
import random
import shutil
import sys
import time
import traceback
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

_OLD, _DELAYS = 2, (0, 0, 0.3, 1.0, 2.0)


def start(root: Path, *, seed: int, delay: float, output: Path) -> int:
    """Starts a build in a fork; returns its process."""
    child = os.fork()
    if child:
        return child
    from tests.faults.killing import build_index

    from whence.errors import WhenceError

    code = 0
    with output.open("w") as said:
        try:
            time.sleep(delay)
            build_index(root, seed=seed)
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


def rows(root: Path) -> tuple[int, bytes]:
    """The seed that an index says it has, and its rows."""
    manifest = json.loads((root / "index" / "manifest.json").read_text())
    return manifest["inputs"]["projection_seed"], (root / "index" / "gradients.bin").read_bytes()


def main() -> None:
    """See the module."""
    import bergson  # noqa: F401  # So that forks start fast.
    import torch  # noqa: F401

    from whence.gradients.index.verify import verify_index

    root, trials, draw = Path(sys.argv[1]), int(sys.argv[3]), random.Random(sys.argv[4])
    seeds = (0, 0) if sys.argv[2] == "equal" else (0, 1)
    shutil.rmtree(root, ignore_errors=True)
    places = {seed: root / f"alone{seed}" for seed in {*seeds, _OLD}}
    for seed, place in places.items():
        place.mkdir(parents=True)
        assert wait(start(place, seed=seed, delay=0, output=root / "output")) == 0
    alone = {seed: rows(place) for seed, place in places.items()}
    for trial in range(trials):
        place = root / f"trial{trial}"
        place.mkdir()
        if trial % 2:
            shutil.copytree(places[_OLD] / "index", place / "index")
        outputs = [root / f"output{number}" for number in (0, 1)]
        children = [
            start(place, seed=seed, delay=draw.choice(_DELAYS), output=output)
            for seed, output in zip(seeds, outputs, strict=True)
        ]
        codes = [wait(child) for child in children]
        wrong = []
        for again in (False, True):
            if again:
                code = wait(start(place, seed=seeds[0], delay=0, output=root / "output"))
            if rows(place) != alone[rows(place)[0]]:
                wrong.append("gradients.bin")
            wrong += verify_index(place / "index").damage
        print(
            json.dumps(
                {
                    "codes": codes,
                    "errors": "\n".join(output.read_text() for output in outputs),
                    "wrong": wrong,
                    "leftovers": sorted(p.name for p in place.iterdir() if p.name != "index"),
                    "again": code,
                }
            ),
            flush=True,
        )
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
