"""How fast is an index built, next to Bergson's own build, on this machine and now?

Both build the same index from the same tokens and the same model file, each in a process of its
own, in turns. Printed and written to `results/latest/index.json`: the ratio of times with and
without start-up (the time that two documents take is subtracted), tokens per second, the peak of
memory, the share of the processor's time that the bare matrix products would take, and how well the
rows agree.

    python benchmarks/index.py [--docs 100] [--max-length 2048] [--repeats 3] [--cases "14m fp32"]

The models have Pythia's shapes and random weights, which is fine for speed. Nothing is asserted.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from inputs import CONTEXT, Documents, make_documents, make_model
from measure import Run, amend, commit, finish, hardware, keep, median_ratio, peak_bytes, run_alone

if TYPE_CHECKING:
    from whence.gradients.index.probe import Measured

PROJECTION_DIM, START_UP_DOCS, BENCH_DOCS = 16, 2, 100
FORETOLD = "14m fp32"


class Case(NamedTuple):
    """What both build: a shape, the peer's precision and ours."""

    shape: str
    peer_precision: str
    dtype: str
    precision: str


CASES = {
    "14m fp32": Case("14m", "fp32", "float32", "float32"),
    "14m mixed": Case("14m", "fp32", "float32", "mixed"),
    "14m bf16": Case("14m", "bf16", "bfloat16", "float32"),
    "160m fp32": Case("160m", "fp32", "float32", "float32"),
    "160m bf16": Case("160m", "bf16", "bfloat16", "float32"),
}


def main() -> None:
    """Runs the cases in turns and writes the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--docs", type=int, default=BENCH_DOCS)
    parser.add_argument("--max-length", type=int, default=CONTEXT)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", default="14m fp32")
    parser.add_argument("--token-batch-size", type=int, default=4096)
    parser.add_argument(
        "--preflight", action="store_true", help="compare only what is foretold with what is taken"
    )
    asked = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as place:
        if asked.preflight:
            found = preflight(Path(place), asked)
            print(json.dumps(found, indent=2))
            amend("index.json", FORETOLD, preflight=found)
            return
        for name in asked.cases.split(","):
            results.append(run_case(name, Path(place), asked))
            print(json.dumps(results[-1], indent=2), flush=True)
    keep("index.json", results)


def run_case(name: str, place: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Measures one case: both builders in turns, after one small build of each."""
    case = CASES[name]
    model = make_model(case.shape, place)
    few, many = (
        make_documents(model, place, docs, max_length=asked.max_length)
        for docs in (START_UP_DOCS, asked.docs)
    )

    def run(what: str, documents: Documents) -> Run:
        how = (case.peer_precision, case.dtype, case.precision, asked.token_batch_size)
        return run_alone(
            __file__, what, model, documents.corpus, documents.tokens, place / f"{what}.npy", *how
        )

    runs: dict[str, list[Run]] = {"bergson": [], "whence": []}
    start: dict[str, list[Run]] = {"bergson": [], "whence": []}
    for repeat in range(asked.repeats):
        for builder in ("bergson", "whence")[:: -1 if repeat % 2 else 1]:
            start[builder].append(run(builder, few))
            runs[builder].append(run(builder, many))
    ours = [run.seconds for run in runs["whence"]]
    theirs = [run.seconds for run in runs["bergson"]]
    begin = {who: statistics.median(run.seconds for run in start[who]) for who in start}
    net = {
        "whence": [seconds - begin["whence"] for seconds in ours],
        "bergson": [seconds - begin["bergson"] for seconds in theirs],
    }
    num_tokens = many.num_tokens - few.num_tokens
    rows = [np.load(place / f"{builder}.npy") for builder in ("whence", "bergson")]
    apart = {}
    if case.peer_precision != "fp32":
        exact, how = place / "float32.npy", ("fp32", "float32", "float32", asked.token_batch_size)
        run_alone(__file__, "bergson", model, many.corpus, many.tokens, exact, *how)
        apart = to_float32(*rows, np.load(exact))
    floor = matrix_products(model, many.corpus, case.dtype)
    used = {
        who: statistics.median(run.processor_seconds for run in runs[who])
        - statistics.median(run.processor_seconds for run in start[who])
        for who in runs
    }
    return {
        # A larger job stands beside the one of `make bench`, and not in its place.
        "case": name if asked.docs <= BENCH_DOCS else f"{name}, {asked.docs} documents",
        "ratio": median_ratio(theirs, ours),
        "ratio_without_start_up": median_ratio(net["bergson"], net["whence"]),
        "processor_ratio_without_start_up": used["bergson"] / used["whence"],
        "tokens_per_second": num_tokens / statistics.median(net["whence"]),
        "peer_tokens_per_second": num_tokens / statistics.median(net["bergson"]),
        "peak_bytes": max(run.peak_bytes for run in runs["whence"]),
        "peer_peak_bytes": max(run.peak_bytes for run in runs["bergson"]),
        "roofline_share": floor / used["whence"],
        **agreement(*rows),
        **apart,
        **({"preflight": preflight(place, asked)} if name == FORETOLD else {}),
        "seconds": ours,
        "peer_seconds": theirs,
        "start_up_seconds": [run.seconds for run in start["whence"]],
        "peer_start_up_seconds": [run.seconds for run in start["bergson"]],
        "processor_seconds": used["whence"],
        "peer_processor_seconds": used["bergson"],
        "documents": asked.docs,
        "max_length": asked.max_length,
        "tokens": many.num_tokens,
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware(),
        "command": f"python benchmarks/index.py --docs {asked.docs} --max-length"
        f' {asked.max_length} --repeats {asked.repeats} --cases "{name}"',
    }


def preflight(place: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Compares what the pre-flight says of a build with the build that follows it."""
    case = CASES[FORETOLD]
    model = make_model(case.shape, place)
    documents = make_documents(model, place, asked.docs, max_length=asked.max_length)
    how = (case.peer_precision, case.dtype, case.precision, asked.token_batch_size)
    rows = place / "preflight.npy"
    run = run_alone(__file__, "preflight", model, documents.corpus, documents.tokens, rows, *how)
    return {
        **run.said,
        "documents": asked.docs,
        "max_length": asked.max_length,
        "tokens": documents.num_tokens,
        "commit": commit(),
        "hardware": hardware(),
    }


def agreement(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Compares rows: the worst cosine, and the worst rank correlation of an example's scores."""
    from scipy.stats import spearmanr

    a = ours / np.linalg.norm(ours, axis=1, keepdims=True)
    b = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    return {
        "cosine_min": float((a * b).sum(1).min()),
        "spearman_min": float(
            min(spearmanr(x, y).statistic for x, y in zip(a @ a.T, b @ b.T, strict=True))
        ),
    }


def to_float32(ours: np.ndarray, theirs: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """Compares rows of a smaller type with the peer's in float32, and the peer's own with them."""
    return {
        "cosine_to_float32_min": agreement(ours, exact)["cosine_min"],
        "peer_cosine_to_float32_min": agreement(theirs, exact)["cosine_min"],
    }


def worker(arguments: list[str]) -> None:
    """Builds one index and keeps its rows, or compares what was foretold with what it took."""
    what, model, corpus, tokens, rows, peer_precision, dtype, precision, batch = arguments
    said: dict[str, float] = {}
    if what != "bergson":
        from whence.cli import spare_collector

        spare_collector()  # as every command of ours does
    with tempfile.TemporaryDirectory() as out:
        index = Path(out) / "index"
        if what == "bergson":
            build_bergson(Path(model), Path(tokens), index, peer_precision)
        else:
            ours = our_build(Path(model), Path(corpus), index, dtype, precision, int(batch))
            said = foretold(ours) if what == "preflight" else {}
            started = time.perf_counter()
            ours.build()
            if said:
                said |= {
                    "build_seconds": time.perf_counter() - started,
                    "build_peak_bytes": peak_bytes(),
                }
        np.save(rows, stored_rows(index))
    finish(**said)


def build_bergson(model: Path, tokens: Path, index: Path, peer_precision: str) -> None:
    """Bergson's own build, with its defaults but for precision and projection."""
    import bergson
    from bergson.build import build

    config = bergson.IndexConfig(
        run_path=str(index),
        model=str(model),
        data=bergson.DataConfig(dataset=str(tokens)),
        precision=peer_precision,
        projection_dim=PROJECTION_DIM,
        projection_seed=0,
        token_batch_size=CONTEXT,
    )
    build(config, bergson.PreprocessConfig())


class Ours(NamedTuple):
    """Our build, ready to run, and what the pre-flight asks for."""

    build: Callable[[], object]
    measured: Callable[[], "Measured"]


def our_build(
    model: Path, corpus: Path, index: Path, dtype: str, precision: str, token_batch_size: int
) -> Ours:
    """Our build."""
    from whence.corpus import read_corpus
    from whence.gradients import build_index
    from whence.gradients.index.probe import measure
    from whence.models import load_model
    from whence.settings import IndexSettings, ModelSettings, parse

    loaded = load_model(ModelSettings(name=str(model), dtype=dtype))
    examples = read_corpus(corpus)
    settings = parse(
        IndexSettings,
        {
            "projection_dim": PROJECTION_DIM,
            "precision": precision,
            "token_batch_size": token_batch_size,
        },
        where="The benchmark",
    )
    return Ours(
        lambda: build_index(loaded, examples, index, settings),
        lambda: measure(loaded, examples, settings, path="stored", num_queries=1),
    )


def foretold(ours: Ours) -> dict[str, float]:
    """What the pre-flight says that the build will take, and how long it needed to say so."""
    started = time.perf_counter()
    found = ours.measured()
    return {
        "predicted_seconds": found.seconds,
        "predicted_peak_bytes": found.memory_bytes,
        "preflight_seconds": time.perf_counter() - started,
    }


def stored_rows(index: Path) -> np.ndarray:
    """The rows of an index, in float32."""
    from whence.gradients import open_index

    return np.asarray(open_index(index).gradients, dtype=np.float32)


def matrix_products(model: Path, corpus: Path, dtype: str) -> float:
    """Times the bare matrix products of one pass at the job's own shapes, in processor seconds.

    Forward and backward of every linear layer without weight gradients, of attention's two
    products, and of the output layer in blocks, for each document alone; the least of two runs. One
    thread takes them, which never waits for another.
    """
    import torch

    from whence.corpus import read_corpus

    config = json.loads((model / "config.json").read_text())
    hidden, layers, heads = (
        config[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads")
    )
    kind = getattr(torch, dtype)
    shapes = [(hidden, 3 * hidden), (hidden, hidden), (hidden, 4 * hidden), (4 * hidden, hidden)]
    whole = read_corpus(corpus).lengths.tolist()
    lengths = whole[: max(1, len(whole) // 4)]  # a quarter is enough to know the rest
    scale = sum(whole) / sum(lengths)
    weights = [torch.randn(o, i, dtype=kind) for i, o in shapes]
    words = torch.randn(config["vocab_size"], hidden, dtype=kind)
    best = float("inf")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(2):
        started = time.process_time()
        for length in lengths:
            for weight in weights:
                x = torch.randn(length, weight.shape[1], dtype=kind)
                for _layer in range(layers):
                    (x @ weight.mT) @ weight
            # A causal product needs half of the square: it stands for the first half of positions.
            q = torch.randn(heads, length // 2, hidden // heads, dtype=kind)
            k = torch.randn(heads, length, hidden // heads, dtype=kind)
            for _layer in range(layers):
                scores = q @ k.mT
                for _product in range(2):
                    scores @ k
                    q @ k.mT
            for states in torch.randn(length, hidden, dtype=kind).split(512):
                for some in words.split(1024):
                    (states @ some.mT) @ some
        best = min(best, (time.process_time() - started) * scale)
    torch.set_num_threads(threads)
    return best


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(sys.argv[2:])
    else:
        main()
