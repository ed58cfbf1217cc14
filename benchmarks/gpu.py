"""How fast is everything that runs on a GPU, next to Bergson on the same card and to a CPU?

One command for one card, within eight minutes; a case that fails is reported and the others go on:

- indexes of Pythia's shapes: Bergson in float32 and bfloat16; ours in float32, mixed and bfloat16
  with no batch size set, and in bfloat16 with 4,096 tokens a batch. Tokens per second of the build
  alone, the share of a large bfloat16 product's speed, the card's peak of memory, and the smallest
  cosine with Bergson's rows in float32;
- where a pass in bfloat16 spends its time: kernels by the card's time, how many there are, and the
  share of the time in which the card is busy;
- cost and memory of 300 to 3,000 documents;
- the streamed path, queries of an index, tail-patches, greedy continuations, scans for memorization
  and EK-FAC, on the card and on the CPU (of which fewer examples are timed).

    python benchmarks/gpu.py              # writes results/latest/gpu.json
    python benchmarks/gpu.py --rehearse   # the same on the CPU, a few short documents, nothing kept

The models have Pythia's shapes and random weights, which is fine for speed. Nothing is asserted.
"""

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from index import PROJECTION_DIM, build_bergson, stored_rows
from inputs import SHAPES, Documents, make_documents, make_model
from measure import RESULTS, commit, hardware

from whence.artifacts import versions, write_json

if TYPE_CHECKING:
    from whence.records import Corpus, LoadedModel

# Operations per token of a pass without weight gradients: forward and back to the inputs, twice
# each weight, and the output layer, of which the loss needs the products once more.
VOCABULARY = 50_304
BUDGET_SECONDS = 8 * 60


class Size(NamedTuple):
    """How much of each case is run."""

    shapes: tuple[str, ...]
    docs: int
    peer_docs: int
    max_length: int
    scaling: tuple[int, ...]
    cpu_docs: int
    product: int


FULL = Size(("160m", "14m"), 1000, 250, 2048, (300, 1000, 3000), 4, 8192)
TINY = Size(("14m",), 4, 2, 32, (2, 4), 2, 256)


class Case(NamedTuple):
    """One of our builds."""

    dtype: str
    precision: str
    token_batch_size: int | None


OURS = {
    "fp32": Case("float32", "float32", None),
    "mixed": Case("float32", "mixed", None),
    "bf16": Case("bfloat16", "float32", None),
    "bf16, 4,096 tokens a batch": Case("bfloat16", "float32", 4096),
}
PEERS = {"fp32": "fp32", "bf16": "bf16"}


def main() -> None:
    """Runs all cases, and writes what they gave after each."""
    import torch

    parser = argparse.ArgumentParser()
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, in tiny form")
    parser.add_argument("--only", default="", help="a word that the names of the cases contain")
    asked = parser.parse_args()
    if not asked.rehearse and not torch.cuda.is_available():
        sys.exit("There is no CUDA device. Rehearse on the CPU with `--rehearse`.")
    bench = Bench(TINY if asked.rehearse else FULL, "cpu" if asked.rehearse else "cuda")
    with tempfile.TemporaryDirectory() as place:
        for name, run in bench.cases(Path(place)).items():
            if asked.only not in name:
                continue
            if time.perf_counter() - bench.started > BUDGET_SECONDS:
                bench.keep(name, {"error": "not run: the time was up"})
                continue
            try:
                bench.keep(name, run())
            except Exception as error:
                traceback.print_exc()
                bench.keep(name, {"error": f"{type(error).__name__}: {str(error)[:300]}"})
                bench.release()


class Bench:
    """The cases, and what they gave. `device` is `cuda`, or `cpu` in a rehearsal."""

    def __init__(self, size: Size, device: str) -> None:
        self.size, self.device = size, device
        self.started = time.perf_counter()
        self.results: list[dict[str, Any]] = []
        self.exact: dict[str, np.ndarray] = {}
        self.peers: dict[str, float] = {}
        self.flops = 0.0
        self.opened: dict[tuple[str, str, str], LoadedModel] = {}

    def cases(self, place: Path) -> dict[str, Callable[[], dict[str, Any]]]:
        """Names every case, in the order in which later ones need earlier ones."""
        found: dict[str, Callable[[], dict[str, Any]]] = {"roofline": self.roofline}
        for shape in self.size.shapes:
            for name, precision in PEERS.items():
                found[f"{shape} index, Bergson {name}"] = lambda s=shape, n=name, p=precision: (
                    self.peer(place, s, n, p)
                )
            for name, case in OURS.items():
                found[f"{shape} index, {name}"] = lambda s=shape, n=name, c=case: self.index(
                    place, s, n, c
                )
            found[f"{shape} profile"] = lambda s=shape: self.profile(place, s)
        shape = self.size.shapes[-1]
        for docs in self.size.scaling:
            found[f"{shape} scaling, {docs} documents"] = lambda d=docs: self.scaling(place, d)
        for name, run in {
            "streamed": self.streamed,
            "query": self.query,
            "tail-patch": self.tail_patch,
            "greedy": self.greedy,
            "scan": self.scan,
            "EK-FAC": self.ekfac,
        }.items():
            found[f"{shape} {name}"] = lambda n=name, r=run: self.beside_cpu(place, n, r)
        return found

    def keep(self, name: str, values: Mapping[str, Any]) -> None:
        """Prints a result, and writes all of them where a GPU gave them."""
        self.results.append({"case": name, **values})
        print(json.dumps(self.results[-1]), flush=True)
        if self.device == "cuda":
            RESULTS.mkdir(parents=True, exist_ok=True)
            write_json(RESULTS / "gpu.json", {**self.facts(), "rows": self.results})

    def facts(self) -> dict[str, Any]:
        """What the figures are about."""
        import torch

        return {
            "device": torch.cuda.get_device_name() if self.device == "cuda" else "cpu",
            "memory_bytes": torch.cuda.mem_get_info()[1] if self.device == "cuda" else None,
            "command": " ".join(["python", "benchmarks/gpu.py", *sys.argv[1:]]),
            "commit": known_commit(),
            "date": datetime.now(UTC).date().isoformat(),
            "hardware": hardware(),
            "versions": versions(),
            "seconds": time.perf_counter() - self.started,
        }

    # What is measured.

    def roofline(self) -> dict[str, Any]:
        """The speed of one large bfloat16 product."""
        import torch

        size, kind = self.size.product, torch.bfloat16
        a, b = (torch.randn(size, size, device=self.device, dtype=kind) for _ in range(2))
        best = float("inf")
        for _ in range(5):
            with self.timed() as took:
                a @ b
            best = min(best, took["seconds"])
        self.flops = 2 * size**3 / best
        return {"operations_per_second": self.flops, "size": size}

    def peer(self, place: Path, shape: str, name: str, precision: str) -> dict[str, Any]:
        """Bergson's own build, in this process, after a small one."""
        model, few, _ = self.inputs(place, shape)
        warm = make_documents(model, place, 2, max_length=self.size.max_length)
        build_bergson(model, warm.tokens, place / f"{shape}-{name}-warm", precision)
        index = place / f"{shape}-{name}-peer"
        with self.timed() as took:
            build_bergson(model, few.tokens, index, precision)
        rows = stored_rows(index)
        if name == "fp32":
            self.exact[shape] = rows
        rate = few.num_tokens / took["seconds"]
        self.peers[shape] = max(rate, self.peers.get(shape, 0.0))
        return self.figures(shape, rate, took) | self.agreement(shape, rows)

    def index(self, place: Path, shape: str, name: str, case: Case) -> dict[str, Any]:
        """Our build, in this process, after a small one; with the batch that it chose."""
        from whence.gradients import build_index
        from whence.gradients.index.build import plan_rows
        from whence.models import coverage
        from whence.settings import IndexSettings

        _, few, many = self.inputs(place, shape)
        model = self.open(place, shape, case.dtype)
        settings = IndexSettings(
            projection_dim=PROJECTION_DIM,
            precision=case.precision,  # pyright: ignore[reportArgumentType]
            **(
                {} if case.token_batch_size is None else {"token_batch_size": case.token_batch_size}
            ),
        )
        label = f"{shape}-{name}-ours".replace(" ", "-")
        small = build_index(model, read(few), place / f"{label}-few", settings)
        assert small is not None
        modules = tuple(coverage(model, modules="*", include_bias=False).modules)
        with self.timed() as chose:
            division = plan_rows(model, read(many), settings, modules).division
        with self.timed() as took:
            build_index(model, read(many), place / label, settings)
        rate = many.num_tokens / took["seconds"]
        return {
            **self.figures(shape, rate, took),
            "peer_tokens_per_second": self.peers.get(shape),
            "ratio": rate / self.peers[shape] if shape in self.peers else None,
            "token_batch_size": division.num_tokens,
            "plan_seconds": chose["seconds"],
            **self.agreement(shape, np.asarray(small.gradients, dtype=np.float32)),
        }

    def profile(self, place: Path, shape: str) -> dict[str, Any]:
        """One batch in bfloat16 of as many tokens as a build may choose, kernel by kernel."""
        import torch
        from torch.profiler import ProfilerActivity, profile

        from whence.gradients.index.collector import collecting, new_processor
        from whence.gradients.passes.batches import pad
        from whence.gradients.passes.fitting import MOST_TOKENS
        from whence.models import coverage

        _, few, many = self.inputs(place, shape)
        model = self.open(place, shape, "bfloat16")
        corpus = read(many if self.device == "cuda" else few)
        length = int(np.median(corpus.lengths))
        rows = np.flatnonzero(corpus.lengths >= length)
        count = max(1, min(len(rows), MOST_TOKENS // length))
        batch = pad([corpus.input_ids(int(row))[:length] for row in rows[:count]])
        modules = tuple(coverage(model, modules="*", include_bias=False).modules)
        processor = new_processor(projection_dim=PROJECTION_DIM, projection_seed=0)
        with collecting(model, modules, processor) as collect:
            for _ in range(2):
                collect(batch)
            with self.timed() as took:
                collect(batch)
            kinds = [ProfilerActivity.CPU, ProfilerActivity.CUDA][
                : 2 if self.device == "cuda" else 1
            ]
            with profile(activities=kinds) as profiled:
                collect(batch)
                if self.device == "cuda":
                    torch.cuda.synchronize()
        key = "self_device_time_total" if self.device == "cuda" else "self_cpu_time_total"
        kernels = sorted(profiled.key_averages(), key=lambda one: -getattr(one, key))
        busy = sum(getattr(one, key) for one in kernels) / 1e6
        return {
            "tokens": count * length,
            "seconds": took["seconds"],
            "busy_share": busy / took["seconds"],
            "launches": sum(one.count for one in kernels if getattr(one, key) > 0),
            "kernels": {
                one.key[:80]: {"share": getattr(one, key) / 1e6 / busy, "count": one.count}
                for one in kernels[:20]
            },
        }

    def scaling(self, place: Path, docs: int) -> dict[str, Any]:
        """Our build of more and more documents, in bfloat16."""
        from whence.gradients import build_index
        from whence.settings import IndexSettings

        shape = self.size.shapes[-1]
        path = make_model(shape, place)
        documents = make_documents(path, place, docs, max_length=self.size.max_length)
        model = self.open(place, shape, "bfloat16")
        settings = IndexSettings(projection_dim=PROJECTION_DIM)
        with self.timed() as took:
            build_index(model, read(documents), place / f"scaling-{docs}", settings)
        rate = documents.num_tokens / took["seconds"]
        return {**self.figures(shape, rate, took), "documents": docs}

    def beside_cpu(
        self, place: Path, name: str, run: "Callable[[Path, LoadedModel, Corpus], float]"
    ) -> dict[str, Any]:
        """The same code on the card and, with fewer examples, on the CPU; units per second."""
        shape = self.size.shapes[-1]
        path, _, many = self.inputs(place, shape)
        few = make_documents(path, place, self.size.cpu_docs, max_length=self.size.max_length)
        found: dict[str, Any] = {"what": (run.__doc__ or name).splitlines()[0]}
        for key, device, documents in (
            ("per_second", self.device, many),
            ("cpu_per_second", "cpu", few),
        ):
            model = self.open(place, shape, "float32", device)
            corpus = read(documents)
            run(place / f"{name}-{device}-warm", model, take(corpus, 2))
            with self.timed() as took:
                units = run(place / f"{name}-{device}", model, corpus)
            found[key] = units / took["seconds"]
            if key == "per_second":
                found |= {"seconds": took["seconds"], "peak_bytes": took["peak_bytes"]}
                found["on"] = str(next(model.model.parameters()).device)
        return found | {"ratio": found["per_second"] / found["cpu_per_second"]}

    def streamed(self, _place: Path, model: "LoadedModel", corpus: "Corpus") -> float:
        """Tokens of the streamed path, four queries."""
        from whence.gradients import streamed_products
        from whence.models import coverage

        modules = tuple(coverage(model, modules="*", include_bias=False).modules)
        streamed_products(
            model, corpus, queries_of(corpus, 4), modules=modules, token_batch_size=4096
        )
        return float(corpus.lengths.sum())

    def query(self, place: Path, model: "LoadedModel", corpus: "Corpus") -> float:
        """Queries of an index (their gradients, and products with all rows); the build included."""
        from whence.gradients import build_index, stored_products
        from whence.settings import IndexSettings

        index = build_index(model, corpus, place, IndexSettings(projection_dim=PROJECTION_DIM))
        assert index is not None
        queries = queries_of(corpus, 20)
        stored_products(index, model, queries)
        return float(len(queries))

    def tail_patch(self, _place: Path, model: "LoadedModel", corpus: "Corpus") -> float:
        """Tail-patches, each one step on two examples."""
        from whence.validation.tail_patch import Request, tail_patch

        queries = queries_of(corpus, 4)
        count = min(16, len(corpus) // 2)
        requests = [
            Request(f"{n}", (2 * n, 2 * n + 1), tuple(query.id for query in queries))
            for n in range(count)
        ]
        tail_patch(model, corpus, queries, requests)
        return float(count)

    def greedy(self, _place: Path, model: "LoadedModel", corpus: "Corpus") -> float:
        """Greedy continuations of 32 tokens, after 16."""
        from whence.behaviors.generate import greedy_continuations

        count = min(64, len(corpus))
        prompts = [corpus.input_ids(row)[:16] for row in range(count)]
        greedy_continuations(model, prompts, num_tokens=min(32, self.size.max_length // 2))
        return float(count)

    def scan(self, _place: Path, model: "LoadedModel", corpus: "Corpus") -> float:
        """Windows that are scanned for memorization; `greedy` is the other way to decide."""
        from whence.memorization import first_windows
        from whence.memorization.scan import scan

        half = min(32, self.size.max_length // 2)
        windows = first_windows(corpus, num_prompt_tokens=half, num_completion_tokens=half)
        scan(model, windows, step=0)
        return float(len(windows))

    def ekfac(self, _place: Path, model: "LoadedModel", corpus: "Corpus") -> float:
        """Tokens to which EK-FAC's factors are fitted."""
        from whence.gradients.curvature.ekfac import fit_ekfac
        from whence.models import coverage

        modules = tuple(coverage(model, modules="*", include_bias=False).modules)
        some = take(corpus, min(len(corpus), 100))
        fit_ekfac(model, some, modules=modules, token_batch_size=4096)
        return float(some.lengths.sum())

    # How it is measured.

    def inputs(self, place: Path, shape: str) -> tuple[Path, Documents, Documents]:
        """The model's folder, the documents of the peer, and ours, which begin with those."""
        model = make_model(shape, place)
        few, many = (
            make_documents(model, place, docs, max_length=self.size.max_length)
            for docs in (self.size.peer_docs, self.size.docs)
        )
        return model, few, many

    def open(self, place: Path, shape: str, dtype: str, device: str | None = None) -> "LoadedModel":
        """Loads a model once, on the device that is measured."""
        from whence.models import load_model
        from whence.settings import ModelSettings

        key = (shape, dtype, device or self.device)
        if key not in self.opened:
            settings = ModelSettings(
                name=str(make_model(shape, place)),
                dtype=dtype,  # pyright: ignore[reportArgumentType]
                device=key[2],
            )
            self.opened[key] = load_model(settings)
        return self.opened[key]

    def figures(self, shape: str, rate: float, took: Mapping[str, float]) -> dict[str, Any]:
        """The figures that every build has."""
        share = rate * operations(shape) / self.flops if self.flops else None
        return {
            "tokens_per_second": rate,
            "roofline_share": share,
            "seconds": took["seconds"],
            "peak_bytes": took["peak_bytes"],
        }

    def agreement(self, shape: str, rows: np.ndarray) -> dict[str, Any]:
        """The smallest cosine of a row with Bergson's in float32."""
        exact = self.exact.get(shape)
        if exact is None or len(exact) != len(rows):
            return {"cosine_min": None}
        lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(rows, axis=1)
        kept = lengths > 0
        return {"cosine_min": float(((exact * rows).sum(1)[kept] / lengths[kept]).min())}

    @contextmanager
    def timed(self) -> Iterator[dict[str, Any]]:
        """Measures seconds, until the card is idle, and the card's peak of memory."""
        import torch

        found: dict[str, Any] = {"peak_bytes": None}
        on_card = self.device == "cuda"
        if on_card:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        yield found
        if on_card:
            torch.cuda.synchronize()
            found["peak_bytes"] = torch.cuda.max_memory_allocated()
        found["seconds"] = time.perf_counter() - started

    def release(self) -> None:
        """Gives back what a failed case left on the card."""
        import gc

        import torch

        self.opened.clear()
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()


def known_commit() -> str | None:
    """The commit; None on a machine without git."""
    try:
        return commit() or None
    except OSError:
        return None


def operations(shape: str) -> float:
    """Operations per token, attention's products left out, which grow with the length."""
    hidden, layers, _ = SHAPES[shape]
    return 2 * 2 * layers * 12 * hidden**2 + 2 * 2 * hidden * VOCABULARY


def read(documents: Documents) -> "Corpus":
    """The documents as a corpus."""
    from whence.corpus import read_corpus

    return read_corpus(documents.corpus)


def take(corpus: "Corpus", count: int) -> "Corpus":
    """The first examples."""
    from dataclasses import replace

    return replace(corpus, table=corpus.table.slice(0, count))


def queries_of(corpus: "Corpus", count: int) -> Any:
    """The openings of some examples as queries."""
    from whence.records import Query, Term

    rows = np.linspace(0, len(corpus) - 1, min(count, len(corpus))).astype(int)
    return tuple(
        Query(
            id=f"q{n}",
            terms=(Term(tuple(corpus.input_ids(int(row))[:24]), 12, 1.0),),
            text="",
        )
        for n, row in enumerate(rows)
    )


if __name__ == "__main__":
    main()
