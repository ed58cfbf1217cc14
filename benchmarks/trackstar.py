"""How long does TrackStar take from documents to scores, next to `bergson trackstar`, here and now?

Both score the same queries against the same documents with the same model file, projection, damping
and unit norm, whitened by the documents' own second moment (no mixing), each in a process of its
own, in turns. Bergson goes over the documents twice, once for the curvature, and keeps no index;
ours goes over them once, keeps the index, and takes the curvature from its rows. Printed and added
to `results/latest/index.json`: the ratio of times from start to end, and the same without Bergson's
first pass.

    python benchmarks/trackstar.py [--docs 100] [--max-length 2048] [--repeats 1]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from index import PROJECTION_DIM, matrix_products
from inputs import (
    CONTEXT,
    NUM_QUERIES,
    PROMPT_TOKENS,
    Documents,
    make_documents,
    make_model,
    make_queries,
)
from measure import commit, finish, hardware, keep, median_ratio, run_alone

FULL = 1000


def main() -> None:
    """Runs both in turns and keeps the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--docs", type=int, default=100)
    parser.add_argument("--max-length", type=int, default=CONTEXT)
    parser.add_argument("--repeats", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        result = run_case(Path(place), asked)
    print(json.dumps(result, indent=2), flush=True)
    keep("index.json", [result])


def run_case(place: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Measures both pipelines and compares their scores."""
    model = make_model("14m", place)
    documents = make_documents(model, place, asked.docs, max_length=asked.max_length)
    queries = make_queries(model, place)
    runs: dict[str, list[Any]] = {"bergson": [], "whence": []}
    for repeat in range(asked.repeats):
        for who in ("bergson", "whence")[:: -1 if repeat % 2 else 1]:
            scores = place / f"{who}.npy"
            runs[who].append(run_alone(__file__, who, model, *documents, queries, scores))
    ours = [run.seconds for run in runs["whence"]]
    theirs = [run.seconds for run in runs["bergson"]]
    curvature = [run.said["curvature_seconds"] for run in runs["bergson"]]
    short = [whole - part for whole, part in zip(theirs, curvature, strict=True)]
    floor = matrix_products(model, documents.corpus, "float32")
    return {
        "case": "trackstar" if asked.docs >= FULL else f"trackstar, {asked.docs} documents",
        "ratio": median_ratio(theirs, ours),
        "ratio_without_curvature": median_ratio(short, ours),
        "processor_ratio": median_ratio(
            *([run.processor_seconds for run in runs[who]] for who in ("bergson", "whence"))
        ),
        "tokens_per_second": documents.num_tokens / statistics.median(ours),
        "peer_tokens_per_second": documents.num_tokens / statistics.median(theirs),
        "peak_bytes": max(run.peak_bytes for run in runs["whence"]),
        "peer_peak_bytes": max(run.peak_bytes for run in runs["bergson"]),
        "roofline_share": floor
        / statistics.median(run.processor_seconds for run in runs["whence"]),
        **agreement(*(np.load(place / f"{who}.npy") for who in ("whence", "bergson"))),
        "seconds": ours,
        "peer_seconds": theirs,
        "peer_curvature_seconds": curvature,
        "steps_seconds": [run.said["steps_seconds"] for run in runs["whence"]],
        "documents": asked.docs,
        "max_length": asked.max_length,
        "tokens": documents.num_tokens,
        "queries": NUM_QUERIES,
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware(),
        "command": f"python benchmarks/trackstar.py --docs {asked.docs}"
        f" --max-length {asked.max_length} --repeats {asked.repeats}",
    }


def agreement(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Compares each query's scores: the worst cosine and the worst rank correlation."""
    from scipy.stats import spearmanr

    pairs = list(zip(ours, theirs, strict=True))
    return {
        "cosine_min": float(min(a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs)),
        "spearman_min": float(min(spearmanr(a, b).statistic for a, b in pairs)),
    }


def worker(arguments: list[str]) -> None:
    """Scores once, keeps the scores [queries, documents], and says how long its steps took."""
    who, model, corpus, tokens, count, queries, scores = arguments
    documents = Documents(Path(corpus), Path(tokens), int(count))
    run = score_bergson if who == "bergson" else score_whence
    with tempfile.TemporaryDirectory() as out:
        values, said = run(Path(model), documents, Path(queries), Path(out))
    np.save(scores, values)
    finish(**said)


def score_bergson(
    model: Path, documents: Documents, queries: Path, out: Path
) -> tuple[np.ndarray, dict[str, Any]]:
    """Bergson's own pipeline, with its defaults but for what both have in common."""
    from bergson.cli import trackstar as pipeline
    from bergson.cli.commands import Trackstar
    from bergson.config import config

    from whence.gradients.index.score_folder import read_score_folder

    curvature = 0.0
    approximate = pipeline.approximate_hessians

    def timed(*given: Any) -> str:
        nonlocal curvature
        started = time.perf_counter()
        done = approximate(*given)
        curvature += time.perf_counter() - started
        return done

    pipeline.approximate_hessians = timed
    Trackstar(
        config.TrackstarIndexConfig(
            run_path=str(out / "run"),
            model=str(model),
            data=config.DataConfig(dataset=str(documents.tokens)),
            precision="fp32",
            projection_dim=PROJECTION_DIM,
            projection_seed=0,
            token_batch_size=CONTEXT,
        ),
        config.TrackstarConfig(
            query=config.QuerySetConfig(dataset=str(queries / "tokens")),
            preprocess_cfg=config.PreprocessConfig(unit_normalize=True),
            mix_hessians=False,
        ),
    ).execute()
    return read_score_folder(out / "run" / "scores").values, {"curvature_seconds": curvature}


def score_whence(
    model: Path, documents: Documents, queries: Path, out: Path
) -> tuple[np.ndarray, dict[str, Any]]:
    """Our stages: an index with the queries in its coordinates, then the method."""
    from whence.corpus import read_corpus
    from whence.methods import MethodInputs, Rows, score
    from whence.methods.requests import Context
    from whence.models import coverage, load_model
    from whence.records import Query, Term
    from whence.settings import AttributionSettings, IndexSettings, ModelSettings

    loaded, corpus = load_model(ModelSettings(name=str(model))), read_corpus(documents.corpus)
    asked = tuple(
        Query(id=str(n), terms=(Term(tuple(ids), PROMPT_TOKENS, 1.0),), text=str(n))
        for n, ids in enumerate(json.loads((queries / "queries.json").read_text()))
    )
    settings, index = AttributionSettings(), IndexSettings(projection_dim=PROJECTION_DIM)
    context = Context(
        own=lambda: loaded,
        own_fingerprint=loaded.fingerprint,
        corpus=corpus,
        queries=asked,
        models=None,  # pyright: ignore[reportArgumentType]  # Only its own model is asked for.
        settings=settings,
        index=index,
        keep=lambda name, _: out / name,
        modules=tuple(coverage(loaded, modules="*").modules),
    )
    started = time.perf_counter()
    rows = Rows().compute(context)
    built = time.perf_counter()
    inputs = MethodInputs(asked, corpus, results={Rows(): rows}, settings=settings)
    values = score("trackstar", inputs).values
    steps = {"index": built - started, "scores": time.perf_counter() - built}
    return values, {"steps_seconds": steps}


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(sys.argv[2:])
    else:
        main()
