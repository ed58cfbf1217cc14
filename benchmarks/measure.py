"""What did a process take, on which machine and commit, and where are the figures kept?"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from whence.artifacts import versions, write_json

RESULTS = Path(__file__).parent / "results" / "latest"


class Run(NamedTuple):
    """A process: its seconds from start to end, its peak of memory, and what it said at last.

    `processor_seconds` is the time that its threads had a processor, which does not grow when
    others use the machine as well.
    """

    seconds: float
    processor_seconds: float
    peak_bytes: int
    said: dict[str, Any]


def run_alone(script: str, *arguments: object) -> Run:
    """Runs a benchmark's own worker in a process of its own; it has to end with `finish`."""
    # A user's Python keeps its bytecode; without it every run would spend its time compiling.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, script, "worker", *map(str, arguments)]
    started, before = time.perf_counter(), _children_seconds()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return Run(seconds, _children_seconds() - before, said.pop("peak_bytes"), said)


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the ratios of runs that came in turns."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def finish(**said: object) -> None:
    """Ends a worker: prints what it has to say, and the peak of its memory."""
    print(json.dumps({**said, "peak_bytes": peak_bytes()}))


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_bytes() -> int:
    """The peak of this process's memory, or of a child's."""
    whom = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return 1024 * max(resource.getrusage(who).ru_maxrss for who in whom)


def keep(file: str, results: Sequence[dict[str, Any]]) -> None:
    """Writes results, each in the place of the one of its case that was there before."""
    path = RESULTS / file
    path.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_text()) if path.is_file() else []
    fresh = {result["case"] for result in results}
    kept = [result for result in before if result["case"] not in fresh]
    path.write_text(json.dumps([*kept, *results], indent=2) + "\n")


def amend(file: str, case: str, **fields: object) -> None:
    """Adds fields to the result of a case that was measured before."""
    path = RESULTS / file
    results = json.loads(path.read_text())
    for result in results:
        if result["case"] == case:
            result.update(fields)
    path.write_text(json.dumps(results, indent=2) + "\n")


def report(file: str, rows: Sequence[Mapping[str, Any]], *arguments: object, **facts: Any) -> None:
    """Writes rows with the command, commit and machine that they come from, and further facts."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    script = Path(sys.argv[0]).name
    write_json(
        RESULTS / file,
        {
            "command": " ".join(["python", f"benchmarks/{script}", *map(str, arguments)]),
            "commit": commit(),
            "date": datetime.now(UTC).date().isoformat(),
            "hardware": hardware(),
            "versions": versions(),
            **facts,
            "rows": rows,
        },
    )


def commit() -> str:
    """The commit that is measured."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def hardware() -> str:
    """The processor, its number of cores, and of threads where they were limited."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = {line.split(":")[1].strip() for line in lines if line.startswith("model name")}
    threads = os.environ.get("OMP_NUM_THREADS")
    limit = f", {threads} threads" if threads else ""
    return f"{', '.join(sorted(names)) or 'unknown'}, {os.cpu_count()} cores{limit}"
