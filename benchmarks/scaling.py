"""Does building an index cost in proportion to its tokens, and does its memory stay flat?

Our build alone, with more and more examples, pieces of the Pile's documents, each size in a process
of its own. Printed and written to `results/latest/scaling.json`, and drawn in
`results/latest/scaling.svg`: the time of the build without start-up, tokens per second, and the
process's memory: its peak, and the median in the first and the last quarter of the build. Drawn is
the time that the processor spent, which does not depend on what else the machine does.

With `--without-model` gradients are made up, of documents of up to 2,048 tokens, on one thread:
what remains is all that a build does besides computing (`results/latest/besides.json`).

    python benchmarks/scaling.py [--docs 300,1000,3000,10000] [--max-length 128] [--without-model]
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from index import our_build
from inputs import Documents, make_documents, make_model
from measure import RESULTS, commit, finish, hardware, keep, report, run_alone

WIDTH, HEIGHT, MARGIN, LABEL = 340, 240, 48, 30
INK, LINE, QUIET = "#1a1a1a", "#0b6e99", "#8a8a8a"


def main() -> None:
    """Builds every size, keeps the figures and draws them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--docs", default="300,1000,3000,10000")
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--without-model", action="store_true")
    asked = parser.parse_args()
    if asked.without_model:
        report("besides.json", [besides()], *sys.argv[1:])
        return
    results = []
    with tempfile.TemporaryDirectory() as place:
        model = make_model("14m", Path(place))
        for docs in map(int, asked.docs.split(",")):
            documents = make_documents(
                model, Path(place), docs, max_length=asked.max_length, in_windows=True
            )
            results.append(measure_size(model, documents, docs, asked))
            print(json.dumps(results[-1], indent=2), flush=True)
    keep("scaling.json", results)
    (RESULTS / "scaling.svg").write_text(picture(results))


def measure_size(
    model: Path, documents: Documents, docs: int, asked: argparse.Namespace
) -> dict[str, Any]:
    """Builds one size."""
    run = run_alone(__file__, model, documents.corpus)
    return {
        "case": f"{docs} examples",
        "documents": docs,
        "max_length": asked.max_length,
        "tokens": documents.num_tokens,
        "build_seconds": run.said["build_seconds"],
        "tokens_per_second": documents.num_tokens / run.said["build_seconds"],
        "build_processor_seconds": run.said["build_processor_seconds"],
        "peak_bytes": run.peak_bytes,
        "resident_bytes_first_and_last_quarter": run.said["resident_bytes"],
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware(),
        "command": f"python benchmarks/scaling.py --docs {asked.docs}"
        f" --max-length {asked.max_length}",
    }


def besides(docs: int = 1000) -> dict[str, Any]:
    """Builds an index of made-up gradients, batches as large as on a GPU; the median of four."""
    import shutil

    import torch

    from whence.corpus import read_corpus
    from whence.gradients import build_index
    from whence.gradients.index import build as building
    from whence.gradients.index.collector import Collect, Collected
    from whence.models import load_model
    from whence.settings import IndexSettings, ModelSettings

    torch.set_num_threads(1)

    @contextmanager
    def made_up(*_what: object, **_how: object) -> Iterator[Collect]:
        rows = torch.rand(4096, 256)
        yield lambda batch: Collected(
            {f"m{n}": rows[: len(batch.input_ids)] for n in range(24)},
            torch.zeros(len(batch.input_ids)),
        )

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        path = make_model("14m", place)
        documents = make_documents(path, place, docs)
        model = load_model(ModelSettings(name=str(path)))
        settings = IndexSettings(projection_dim=16, token_batch_size=32_768)
        building.collecting = made_up
        seconds = []
        for _ in range(5):
            shutil.rmtree(place / "index", ignore_errors=True)
            started = time.perf_counter()
            build_index(model, read_corpus(documents.corpus), place / "index", settings)
            seconds.append(time.perf_counter() - started)
    found = {
        "case": f"{docs} documents without a model",
        "tokens": documents.num_tokens,
        "seconds": statistics.median(seconds[1:]),
        "all_seconds": seconds,
    }
    print(json.dumps(found), flush=True)
    return found


def worker(model: str, corpus: str) -> None:
    """Builds one index, and says how long the build alone took."""
    from whence.gradients import require_engine

    with tempfile.TemporaryDirectory() as out:
        ours = our_build(Path(model), Path(corpus), Path(out) / "index", "float32", "float32", 4096)
        require_engine()
        started, before = time.perf_counter(), time.process_time()
        with resident() as samples:
            ours.build()
        seconds, used = time.perf_counter() - started, time.process_time() - before
        quarter = max(1, len(samples) // 4)
        finish(
            build_seconds=seconds,
            build_processor_seconds=used,
            resident_bytes=[
                int(statistics.median(part)) for part in (samples[:quarter], samples[-quarter:])
            ],
        )


@contextmanager
def resident(every: float = 0.5) -> Iterator[list[int]]:
    """Samples this process's memory in bytes, beside its peak, which is that of one moment."""
    samples: list[int] = []
    is_over = threading.Event()

    def sample() -> None:
        while True:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            samples.append(pages * os.sysconf("SC_PAGE_SIZE"))
            if is_over.wait(every):
                return

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        is_over.set()
        thread.join()


def picture(results: list[dict[str, Any]]) -> str:
    """Draws time and memory over the number of tokens, both from zero, as SVG."""
    tokens = [r["tokens"] / 1e3 for r in results]
    panels = (
        ("Processor time, seconds", [r["build_processor_seconds"] for r in results], True),
        ("Peak of memory, GB", [r["peak_bytes"] / 1e9 for r in results], False),
    )
    drawn = "".join(
        f'<g transform="translate({n * WIDTH} 0)">{panel(title, tokens, values, is_linear)}</g>'
        for n, (title, values, is_linear) in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}" '
        f'width="{2 * WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="11" '
        f'fill="{INK}"><rect width="100%" height="100%" fill="white"/>{drawn}</svg>\n'
    )


def panel(title: str, tokens: list[float], values: list[float], is_linear: bool) -> str:
    """Draws one curve with its points' values.

    Dashed is proportion to the last point (`is_linear`), or no change from the first.
    """
    right, top = 1.08 * max(tokens), 1.25 * max(values)

    def place(x: float, y: float) -> tuple[float, float]:
        across = MARGIN + x / right * (WIDTH - MARGIN - 16)
        return across, HEIGHT - MARGIN - y / top * (HEIGHT - 2 * MARGIN)

    def line(points: list[tuple[float, float]], style: str) -> str:
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        return f'<polyline fill="none" points="{joined}" {style}/>'

    slope = values[-1] / tokens[-1] if is_linear else 0.0
    level = 0.0 if is_linear else values[0]
    ideal = [place(0, level), place(right, level + slope * right)]
    points = [place(x, y) for x, y in zip(tokens, values, strict=True)]
    floor = HEIGHT - MARGIN
    parts = [
        f'<text x="{MARGIN}" y="24" font-size="13">{title}</text>',
        line([place(0, top), place(0, 0), place(right, 0)], f'stroke="{INK}"'),
        line(ideal, f'stroke="{QUIET}" stroke-dasharray="4 4"'),
        line(points, f'stroke="{LINE}" stroke-width="2"'),
        f'<text x="{WIDTH - 16}" y="{floor + 34}" text-anchor="end">thousand tokens</text>',
        f'<text x="{MARGIN - 6}" y="{floor + 4}" text-anchor="end">0</text>',
    ]
    labelled = float("-inf")
    for (x, y), count, value in zip(points, tokens, values, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{LINE}"/>')
        # Of points side by side only the first has room for its numbers.
        if x - labelled >= LABEL:
            labelled = x
            parts += [
                f'<text x="{x:.1f}" y="{y - 14:.1f}">{value:.3g}</text>',
                f'<text x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{count:,.0f}</text>',
            ]
    return "".join(parts)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(*sys.argv[2:])
    else:
        main()
