"""How fast is an index built, next to Bergson's own build, on this machine and now?

Both build the same index from the same tokens and the same model file, each in a process of its
own, in turns. Printed and written to `results/latest/index.json`: the ratio of times with and
without start-up (the time that two documents take is subtracted), tokens per second, the peak of
memory, the share of the time that the bare matrix products would take, and how well the rows agree.

    python benchmarks/index.py [--docs 100] [--repeats 3] [--cases "14m fp32,14m mixed"]

The models have Pythia's shapes and random weights, which is fine for speed. Nothing is asserted.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RESULTS = Path(__file__).parent / "results" / "latest" / "index.json"
PROJECTION_DIM, CONTEXT, START_UP_DOCS = 16, 2048, 2
SHAPES = {"14m": (128, 6, 4), "160m": (768, 12, 12)}


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
    parser.add_argument("--docs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", default="14m fp32")
    parser.add_argument("--token-batch-size", type=int, default=4096)
    asked = parser.parse_args()
    if "WHENCE_DATA" not in os.environ:
        sys.exit("WHENCE_DATA does not name the folder of test data, so there is nothing to index.")
    results = []
    with tempfile.TemporaryDirectory() as place:
        for name in asked.cases.split(","):
            results.append(run_case(name, Path(place), asked))
            print(json.dumps(results[-1], indent=2), flush=True)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    fresh = {result["case"] for result in results}
    kept = [result for result in kept if result["case"] not in fresh]
    RESULTS.write_text(json.dumps(kept + results, indent=2) + "\n")


def run_case(name: str, place: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Measures one case: both builders in turns, after one small build of each."""
    case = CASES[name]
    model = make_model(case.shape, place)
    tokens = {n: make_corpus(model, place, n) for n in (START_UP_DOCS, asked.docs)}
    runs: dict[str, list[dict[str, float]]] = {"bergson": [], "whence": []}
    start: dict[str, list[float]] = {"bergson": [], "whence": []}
    for repeat in range(asked.repeats):
        for builder in ("bergson", "whence")[:: -1 if repeat % 2 else 1]:
            for docs, kept in ((START_UP_DOCS, start), (asked.docs, runs)):
                found = spawn(builder, model, place, docs, case, asked.token_batch_size)
                kept[builder].append(found["seconds"] if kept is start else found)
    ours = [run["seconds"] for run in runs["whence"]]
    theirs = [run["seconds"] for run in runs["bergson"]]
    begin = {builder: statistics.median(start[builder]) for builder in start}
    net = {
        "whence": [seconds - begin["whence"] for seconds in ours],
        "bergson": [seconds - begin["bergson"] for seconds in theirs],
    }
    many = tokens[asked.docs] - tokens[START_UP_DOCS]
    rows = [np.load(place / f"{builder}.npy") for builder in ("whence", "bergson")]
    floor = matrix_products(model, place, asked.docs, case.dtype)
    return {
        "case": name,
        "ratio": statistics.median(b / a for a, b in zip(ours, theirs, strict=True)),
        "ratio_without_start_up": statistics.median(
            b / a for a, b in zip(net["whence"], net["bergson"], strict=True)
        ),
        "tokens_per_second": many / statistics.median(net["whence"]),
        "peer_tokens_per_second": many / statistics.median(net["bergson"]),
        "peak_bytes": max(run["peak_bytes"] for run in runs["whence"]),
        "peer_peak_bytes": max(run["peak_bytes"] for run in runs["bergson"]),
        "roofline_share": floor / statistics.median(net["whence"]),
        **agreement(*rows),
        "seconds": ours,
        "peer_seconds": theirs,
        "start_up_seconds": start["whence"],
        "peer_start_up_seconds": start["bergson"],
        "documents": asked.docs,
        "tokens": tokens[asked.docs],
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware(),
        "command": f"python benchmarks/index.py --docs {asked.docs} --repeats {asked.repeats}"
        f' --cases "{name}"',
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


def spawn(
    builder: str, model: Path, place: Path, docs: int, case: Case, token_batch_size: int
) -> dict[str, float]:
    """Builds once in a process of its own; its seconds from start to end, and its peak memory."""
    # A user's Python keeps its bytecode; without it both would spend their time compiling.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, __file__, "worker", builder, str(model), str(place), str(docs)]
    command += [case.peer_precision, case.dtype, case.precision, str(token_batch_size)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{builder} failed:\n{done.stderr[-3000:]}")
    peak = int(done.stdout.strip().splitlines()[-1])
    return {"seconds": time.perf_counter() - started, "peak_bytes": peak}


def worker(arguments: list[str]) -> None:
    """Builds one index, keeps its rows, and prints the process's peak of memory."""
    builder, model, place, docs, peer_precision, dtype, precision, batch = arguments
    with tempfile.TemporaryDirectory() as out:
        build = build_bergson if builder == "bergson" else build_whence
        rows = build(
            Path(model),
            Path(place),
            int(docs),
            Path(out),
            peer_precision,
            dtype,
            precision,
            int(batch),
        )
        np.save(Path(place) / f"{builder}.npy", rows)
    peaks = (
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(1024 * max(peaks))


def build_bergson(
    model: Path, place: Path, docs: int, out: Path, peer_precision: str, *_: Any
) -> np.ndarray:
    """Bergson's own build, with its defaults but for precision and projection."""
    import bergson
    from bergson.build import build

    config = bergson.IndexConfig(
        run_path=str(out / "index"),
        model=str(model),
        data=bergson.DataConfig(dataset=str(place / f"tokens-{docs}")),
        precision=peer_precision,
        projection_dim=PROJECTION_DIM,
        projection_seed=0,
        token_batch_size=CONTEXT,
    )
    build(config, bergson.PreprocessConfig())
    return stored_rows(out / "index")


def build_whence(
    model: Path,
    place: Path,
    docs: int,
    out: Path,
    _peer_precision: str,
    dtype: str,
    precision: str,
    token_batch_size: int,
) -> np.ndarray:
    """Our build."""
    from whence.corpus import read_corpus
    from whence.gradients import build_index
    from whence.models import coverage, load_model
    from whence.settings import ModelSettings

    loaded = load_model(ModelSettings(name=str(model), dtype=dtype))
    build_index(
        loaded,
        read_corpus(place / f"corpus-{docs}"),
        out / "index",
        modules=tuple(coverage(loaded, modules="*").modules),
        projection_dim=PROJECTION_DIM,
        projection_seed=0,
        token_batch_size=token_batch_size,
        precision=precision,
    )
    return stored_rows(out / "index")


def stored_rows(index: Path) -> np.ndarray:
    """The rows of an index, in float32."""
    from whence.gradients import open_index

    return np.asarray(open_index(index).gradients, dtype=np.float32)


def make_model(shape: str, place: Path) -> Path:
    """Writes a random model of one of Pythia's shapes, with Pythia's tokenizer."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    path = place / f"model-{shape}"
    if path.is_dir():
        return path
    hidden, layers, heads = SHAPES[shape]
    torch.manual_seed(0)
    GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=50304,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * hidden,
            max_position_embeddings=CONTEXT,
        )
    ).save_pretrained(path)
    data = Path(os.environ["WHENCE_DATA"]) / "pythia-tokenizer" / "tokenizer.json"
    PreTrainedTokenizerFast(
        tokenizer_file=str(data), eos_token="<|endoftext|>", model_max_length=CONTEXT
    ).save_pretrained(path)
    return path


def make_corpus(model: Path, place: Path, docs: int) -> int:
    """Tokenizes the first documents once, for both builders; the number of tokens."""
    from datasets import Dataset

    from whence.corpus import load_corpus, read_corpus, save_corpus
    from whence.models import load_model
    from whence.settings import CorpusSettings, ModelSettings

    path = place / f"corpus-{docs}"
    if not path.is_dir():
        source = Path(os.environ["WHENCE_DATA"]) / "pile-documents.jsonl.gz"
        loaded = load_model(ModelSettings(name=str(model)))
        settings = CorpusSettings(source=str(source), max_documents=docs)
        corpus = load_corpus(settings, loaded.tokenizer, context_length=CONTEXT)
        path.mkdir()
        save_corpus(corpus, path)
        ids = corpus.table.column("input_ids").to_pylist()
        columns = {"input_ids": ids, "labels": ids, "length": [len(row) for row in ids]}
        Dataset.from_dict(columns).save_to_disk(str(place / f"tokens-{docs}"))
    return int(read_corpus(path).lengths.sum())


def matrix_products(model: Path, place: Path, docs: int, dtype: str) -> float:
    """Times the bare matrix products of one pass at the job's own shapes, in seconds.

    Forward and backward of every linear layer without weight gradients, of attention's two
    products, and of the output layer in blocks, for each document alone; the least of two runs.
    """
    import torch

    from whence.corpus import read_corpus

    config = json.loads((model / "config.json").read_text())
    hidden, layers, heads = (
        config[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads")
    )
    kind = getattr(torch, dtype)
    shapes = [(hidden, 3 * hidden), (hidden, hidden), (hidden, 4 * hidden), (4 * hidden, hidden)]
    lengths = read_corpus(place / f"corpus-{docs}").lengths.tolist()
    lengths = lengths[: max(1, len(lengths) // 4)]  # a quarter is enough to know the rest
    scale = sum(read_corpus(place / f"corpus-{docs}").lengths.tolist()) / sum(lengths)
    weights = [torch.randn(o, i, dtype=kind) for i, o in shapes]
    words = torch.randn(config["vocab_size"], hidden, dtype=kind)
    best = float("inf")
    for _ in range(2):
        started = time.perf_counter()
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
            states = torch.randn(length, hidden, dtype=kind)
            for first in range(0, len(words), 1024):
                some = words[first : first + 1024]
                (states @ some.mT) @ some
        best = min(best, (time.perf_counter() - started) * scale)
    return best


def commit() -> str:
    """The commit that is measured."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def hardware() -> str:
    """The processor and its number of cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = {line.split(":")[1].strip() for line in lines if line.startswith("model name")}
    return f"{', '.join(sorted(names)) or 'unknown'}, {os.cpu_count()} cores"


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(sys.argv[2:])
    else:
        main()
