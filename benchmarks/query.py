"""How fast does an index answer, next to the speed of the disk?

Twenty queries against made-up rows: ten thousand of Pythia-14m's width (24 modules × 16 × 16,
float32) in the page cache, and many of 4,096 numbers in bfloat16 from the disk. Printed and written
to `results/latest/query.json`: seconds, the peak of memory, and the seconds that reading the same
file alone takes.

    python benchmarks/query.py [--rows 1000000]
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import commit, hardware, keep, peak_bytes

from whence.gradients.index.format import Index
from whence.gradients.index.manifest import GRADIENTS
from whence.gradients.index.search import NORMS, multiply_rows

NUM_QUERIES = 20


def main() -> None:
    """Measures both cases and writes the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path()) as place:
        results = [
            case("10k rows, warm", Path(place), 10_000, 24 * 256, "float32", warm=True),
            case(
                f"{asked.rows:,} rows, cold", Path(place), asked.rows, 4096, "bfloat16", warm=False
            ),
        ]
    keep("query.json", results)
    print(json.dumps(results, indent=2))


def case(
    name: str, place: Path, rows: int, width: int, dtype: str, *, warm: bool
) -> dict[str, Any]:
    """Writes rows, and asks them several times, in turns with reading them."""
    index = write(place, rows, width, dtype)
    queries = np.random.default_rng(1).normal(size=(NUM_QUERIES, width)).astype(np.float32)
    if warm:
        multiply_rows(index, queries)
    seconds, reading = [], []
    for _ in range(11 if warm else 3):
        for kept, run in ((reading, read), (seconds, lambda i: multiply_rows(i, queries))):
            if not warm:
                forget(index)
            started = time.perf_counter()
            run(index)
            kept.append(time.perf_counter() - started)
    size = (place / GRADIENTS).stat().st_size
    return {
        "case": name,
        "seconds": statistics.median(seconds),
        "reading_seconds": statistics.median(reading),
        "all_seconds": seconds,
        "all_reading_seconds": reading,
        "bytes": size,
        "peak_bytes": peak_bytes(),
        "queries": NUM_QUERIES,
        "commit": commit(),
        "hardware": hardware(),
    }


def write(place: Path, rows: int, width: int, dtype: str) -> Index:
    """Writes random rows with their lengths, as a build leaves them."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with (place / GRADIENTS).open("wb") as file:
        for start in range(0, rows, 4096):
            block = torch.randn(min(4096, rows - start), width, generator=generator)
            block = block.to(getattr(torch, dtype))
            file.write(
                (block.view(torch.int16) if dtype == "bfloat16" else block).numpy().tobytes()
            )
    np.save(place / NORMS, np.full(rows, width**0.5, dtype=np.float32))
    return Index(
        path=place,
        grad_sizes={"rows": width},
        num_examples=rows,
        dtype=dtype,
        projection={},
        loss_reduction="sum",
        manifest={},
    )


def read(index: Index) -> None:
    """Reads the file and does nothing with it."""
    room = bytearray(64 * 2**20)
    with (index.path / GRADIENTS).open("rb", buffering=0) as file:
        while file.readinto(room):
            pass


def forget(index: Index) -> None:
    """Asks the system to drop the file from its cache."""
    with (index.path / GRADIENTS).open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
