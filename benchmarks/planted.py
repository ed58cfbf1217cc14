"""How often is the top proponent of a shown behavior one that was planted for it?

Runs the demo's study by both paths to the gradients and prints one row per path, method and kind.
`make bench` runs it; nothing here is asserted. The figures are about the testbed, not Pythia.
"""

import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from whence.artifacts import versions, write_json
from whence.study.demo import demo_study
from whence.study.run import run_study
from whence.study.summary import summarize

RESULTS = Path(__file__).parent / "results" / "latest"
PATHS = ("streamed", "stored")


def main(size: str = "mini") -> None:
    """Runs both paths and writes `results/latest/planted.json`."""
    rows = []
    for path in PATHS:
        study = demo_study("nano" if size == "nano" else "mini")
        attribution = study.attribution.model_copy(update={"path": path})
        study = study.model_copy(update={"attribution": attribution})
        result = run_study(study, Path("runs") / f"bench-{size}-{path}")
        values = summarize(result.directory).values
        seconds = values["seconds"]
        plan = json.loads((result.directory / "run.json").read_text())["plan"]
        for method, kinds in values["planted"].items():
            rows += [
                {
                    "path": path,
                    "method": method,
                    "kind": kind,
                    "gradient_seconds": seconds["gradients"],
                }
                | {"projection_dim": plan["projection_dim"]}
                | rate
                for kind, rate in kinds.items()
            ]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(
        RESULTS / "planted.json",
        {
            "command": f"python benchmarks/planted.py {size}",
            "commit": commit,
            "date": datetime.now(UTC).date().isoformat(),
            "hardware": f"{platform.processor() or platform.machine()}",
            "versions": versions(),
            "rows": rows,
        },
    )
    for row in rows:
        low, high = (row["interval"] or (None, None))[:2]
        print(
            f"{row['path']:<9}{row['method']:<17}{row['kind']:<12}{row['hits']:>3}/{row['n']:<4}"
            + (f"[{low:.2f}, {high:.2f}]" if low is not None else "")
        )


if __name__ == "__main__":
    main(*sys.argv[1:2])
