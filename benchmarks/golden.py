"""Are the scores of two runs the same to the last bit?

`python benchmarks/golden.py BEFORE AFTER` compares the scores of every method that two runs of the
same study keep, wherever in the run they lie: for a change of the code that must change no number.
Exit code 1 where a score differs or a method is in one run only.
"""

import json
import sys
from pathlib import Path

import numpy as np


def scores(run: Path) -> dict[str, np.ndarray]:
    """Reads the scores of a run by method."""
    return {
        json.loads(path.read_text())["method"]: np.load(path.with_name("scores.npy"))
        for path in sorted(run.rglob("scores.json"))
        if ".partial" not in str(path)
    }


def main() -> int:
    """Prints one line a method."""
    before, after = (scores(Path(name)) for name in sys.argv[1:3])
    num_different = 0
    for method in sorted(before | after):
        if method not in before or method not in after:
            said = f"only in {sys.argv[1 if method in before else 2]}"
        elif before[method].tobytes() == after[method].tobytes():
            print(f"{method:<32}equal, {before[method].size:,} scores")
            continue
        else:
            a, b = before[method], after[method]
            said = f"{a.shape} and {b.shape}"
            if a.shape == b.shape:
                gap = np.nanmax(np.abs(a.astype(float) - b.astype(float)), initial=0.0)
                num_other = int((np.isnan(a) != np.isnan(b)).sum())
                said = f"largest difference {gap:.3g}, {num_other} defined in one only"
        num_different += 1
        print(f"{method:<32}DIFFERENT: {said}")
    print(f"{len(before | after)} methods, {num_different} different")
    return 1 if num_different or not before else 0


if __name__ == "__main__":
    sys.exit(main())
