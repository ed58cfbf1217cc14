"""How long does a warm query take on 20,233 real documents, and what do 20 clients get at once?

The index of `$WHENCE_DATA/pile-mini` is built once, in `--index` (a quarter of an hour on two idle
cores). Then a server is started on loopback, and asked over HTTP: one query after another, and 20
clients at once, whose answers are compared with those that were given one by one. The same queries
are also answered in this process with 100 null queries, as a run has them. Printed and written to
`results/latest/serve.json`.

    python benchmarks/serve.py [--index runs/pile-mini-index]
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measure import commit, hardware, keep

NUM_CLIENTS, NUM_NULL = 20, 100
PROMPTS = (
    ("The capital of France is", " Paris"),
    ("Permission is hereby granted, free of charge, to any person obtaining a copy", " of this"),
    ("The patient was treated with", " a dose"),
    ("import numpy", " as np"),
    ("In the United States District Court", " for the"),
)


def main() -> None:
    """Builds what is missing, measures, and writes the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--index", type=Path, default=Path("runs/pile-mini-index"))
    asked = parser.parse_args()
    data = Path(os.environ["WHENCE_DATA"]) / "pile-mini"
    build(asked.index, data)
    results = {
        "case": "pile-mini",
        **over_http(asked.index),
        **in_process(asked.index),
        "load_average": os.getloadavg(),
        "commit": commit(),
        "hardware": hardware(),
    }
    keep("serve.json", [results])
    print(json.dumps(results, indent=2))


def build(index: Path, data: Path) -> None:
    """Builds the index, or finds that it is current."""
    subprocess.run(
        [
            *whence("index", str(index), "--model", str(data / "checkpoints" / "step2530")),
            *("--corpus", str(data / "train.jsonl.gz"), "--append-eos"),
        ],
        check=True,
    )


def whence(*arguments: str) -> list[str]:
    """The command line of this checkout."""
    return [sys.executable, "-c", "from whence.cli import main; main()", *arguments]


def over_http(index: Path) -> dict[str, Any]:
    """Asks a server: one query after another, then 20 clients at once."""
    started = time.perf_counter()
    server = subprocess.Popen(
        whence("serve", str(index), "--port", "0", "--json"), stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    url = json.loads(server.stdout.readline())["url"]
    ready = time.perf_counter() - started
    try:
        alone, seconds = [], []
        for number in range(10):
            began = time.perf_counter()
            alone.append(ask(url, number))
            seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
        with ThreadPoolExecutor(NUM_CLIENTS) as pool:
            jobs = list(pool.map(lambda number: ask(url, number), range(NUM_CLIENTS)))
        together = time.perf_counter() - began
    finally:
        server.send_signal(signal.SIGINT)
    expected = [alone[number % len(PROMPTS)]["result"] for number in range(NUM_CLIENTS)]
    return {
        "seconds_until_ready": ready,
        "first_query_seconds": seconds[0],
        "query_seconds": statistics.median(seconds),
        "all_query_seconds": seconds,
        "num_clients": NUM_CLIENTS,
        "all_clients_seconds": together,
        "errors": sum(job["state"] != "done" for job in jobs),
        "mixed_answers": sum(job["result"] != one for job, one in zip(jobs, expected, strict=True)),
        "exit_code": server.wait(60),
    }


def ask(url: str, number: int) -> dict[str, Any]:
    """Asks one of the questions and waits for its answer."""
    prompt, completion = PROMPTS[number % len(PROMPTS)]
    question = {"prompt": prompt, "completion": completion, "force": True}
    job = call(f"{url}api/queries", question)
    while job["state"] in ("waiting", "running"):
        time.sleep(0.05)
        job = call(f"{url}api/jobs/{job['id']}")
    return job


def call(url: str, question: dict[str, Any] | None = None) -> dict[str, Any]:
    """Sends one request."""
    body = None if question is None else json.dumps(question).encode()
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


def in_process(index: Path) -> dict[str, Any]:
    """Answers the same queries with null queries, without HTTP."""
    from whence.behaviors.generate import sample_continuations
    from whence.behaviors.query import decode
    from whence.gradients import open_index
    from whence.records import Behavior, Query, Term
    from whence.runs.adhoc import Answerer
    from whence.runs.indexing import index_model

    opened = open_index(index)
    model = index_model(opened)
    (texts,) = sample_continuations(
        model, [[0]], num_samples=NUM_NULL, num_tokens=16, temperature=1.0, seed=0
    )
    nulls = tuple(
        Query(f"null/{n}", (Term((0, *ids), len(ids), 1.0),), decode(model.tokenizer, list(ids)))
        for n, ids in enumerate(texts)
        if len(ids) > 1
    )
    answerer = Answerer(model, opened.corpus, index=opened, nulls=nulls)
    began = time.perf_counter()
    answerer.warm()
    warming = time.perf_counter() - began
    seconds, processor = [], []
    for prompt, completion in PROMPTS * 2:
        behavior = Behavior(id="query", kind="fact", prompt=prompt, completion=completion)
        began, spent = time.perf_counter(), time.process_time()
        answerer.answer(behavior, methods=answerer.methods)
        seconds.append(time.perf_counter() - began)
        processor.append(time.process_time() - spent)
    return {
        "num_examples": len(opened.corpus),
        "num_null": len(nulls),
        "warming_seconds": warming,
        "query_seconds_with_nulls": statistics.median(seconds),
        "all_query_seconds_with_nulls": seconds,
        "processor_seconds_with_nulls": statistics.median(processor),
    }


if __name__ == "__main__":
    main()
