"""How often is the top proponent of a shown behavior one that was planted for it?

Runs the demo's study, with the gradients of its end beside those that it leads with, by both paths
to the gradients, and prints one row per path, method and kind.
`make bench` runs it; nothing here is asserted. The figures are about the testbed, not Pythia.
"""

import sys
from pathlib import Path

from measure import report

from whence.runs.demo import demo_study
from whence.runs.record import load_run
from whence.runs.study import run_study
from whence.runs.summary import summarize

PATHS = ("streamed", "stored")
AT_THE_END = ("gradient_cosine", "gradient_dot")
# The stages that compute gradients, on either path.
GRADIENTS = ("products", "index", "rows")


def main(size: str = "mini") -> None:
    """Runs both paths and writes `results/latest/planted.json`."""
    rows = []
    for path in PATHS:
        study = demo_study(size)
        methods = (*AT_THE_END, *study.attribution.methods)
        attribution = study.attribution.model_copy(update={"path": path, "methods": methods})
        study = study.model_copy(update={"attribution": attribution})
        result = run_study(study, Path("runs") / f"bench-{size}-{path}")
        values = summarize(result.directory).values
        plan = load_run(result.directory).plan
        about = {"path": path, "projection_dim": plan.projection_dim if plan else None}
        about |= {"gradient_seconds": sum(values["seconds"].get(name, 0.0) for name in GRADIENTS)}
        for method, kinds in values["planted"].items():
            rows += [about | {"method": method, "kind": k} | rate for k, rate in kinds.items()]
    report("planted.json", rows, size)
    for row in rows:
        low, high = (row["interval"] or (None, None))[:2]
        print(
            f"{row['path']:<9}{row['method']:<17}{row['kind']:<12}{row['hits']:>3}/{row['n']:<4}"
            + (f"[{low:.2f}, {high:.2f}]" if low is not None else "")
        )


if __name__ == "__main__":
    main(*sys.argv[1:2])
