"""What do factorized rows lose, next to whole rows and to smaller projections of the same bytes?

The same examples and queries with whole gradients (exact inner products, the truth here), with
projections of 20 × 20 dimensions, and with what is stored in 1/4, 1/10 and 1/20 of their bytes:
factors of rank 5, 2 and 1 in bfloat16, a smaller projection in bfloat16, and factors of a larger
one (40 × 40). Printed and written to `results/latest/factorized-WORLD.json`: bytes per example, the
rank correlation of each query's cosines with those of the whole rows of the same projection and
with the exact ones, how many of the exact ten best examples are among the ten best, and what one
step of training on the ten best does to the query's completion (in nats); each with an interval
over queries' families.

    python benchmarks/factorized.py [--worlds mini pile-mini] [--docs 2000] [--queries 24]
    python benchmarks/factorized.py --rows 1000000      # time and memory of 20 queries

Factors are made from the whole rows of one build, as `whence index --rank` makes them. About ten
minutes of a core for each world. The figures are about small models; none is about Pythia. Nothing
is asserted.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from inputs import test_data
from measure import peak_bytes, report

from whence.gradients import build_index, stored_products, streamed_products
from whence.gradients.index.factors import Layout, expand, factorize
from whence.gradients.index.files import number_type
from whence.gradients.index.stored import query_rows
from whence.models import coverage
from whence.records import Corpus, LoadedModel, Query, Term
from whence.settings import IndexSettings
from whence.statistics import mean_estimate

if TYPE_CHECKING:
    from whence.gradients import Index

DIM, LARGE_DIM, TOP = 20, 40, 10
RANKS = {"1/4": 5, "1/10": 2, "1/20": 1}
SMALLER_DIMS = {"1/4": 14, "1/10": 9, "1/20": 6}
# In bfloat16, a rank of 40 × 40 takes a tenth of the bytes of 20 × 20 in float32.
LARGE_RANKS = {"1/5": 2, "1/10": 1}
PROMPT_TOKENS = QUERY_TOKENS = 24


class World(NamedTuple):
    """A model, some of its training examples, and queries with what makes some of them alike."""

    model: LoadedModel
    corpus: Corpus
    queries: tuple[Query, ...]
    families: tuple[str, ...]


class Variant(NamedTuple):
    """Scores by one way of storing rows; `whole` are those of the whole rows it was made from."""

    name: str
    share: str
    row_bytes: int
    scores: np.ndarray
    whole: np.ndarray


def main() -> None:
    """Compares every variant in every world and writes the results."""
    run_worlds("factorized", compare, print_row, large=("query", query_many))


def run_worlds(
    name: str,
    compare_world: "Callable[[World], Iterable[dict[str, Any]]]",
    show: "Callable[[Mapping[str, Any]], None]",
    *,
    large: "tuple[str, Callable[[int], dict[str, Any]]]",
) -> None:
    """Reads a command line, and compares in every world, or times so many rows instead."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--worlds", nargs="*", default=["mini", "pile-mini"])
    parser.add_argument("--docs", type=int, default=2000)
    parser.add_argument("--queries", type=int, default=24)
    parser.add_argument("--rows", type=int, default=0, help="time so many rows instead")
    asked = parser.parse_args()
    if asked.rows:
        what, time_rows = large
        report(f"{name}-{what}.json", [time_rows(asked.rows)], *sys.argv[1:])
        return
    makers = {"mini": mini, "pile-mini": pile_mini}
    for world in asked.worlds:
        rows = []
        for row in compare_world(makers[world](asked.docs, asked.queries)):
            rows.append({"world": world, **row})
            show(rows[-1])
        report(f"{name}-{world}.json", rows, *sys.argv[1:])


def query_many(num_rows: int) -> dict[str, Any]:
    """Times 20 queries of made-up rows: Pythia-14m's modules, 16 × 16, rank 1, bfloat16."""
    import json

    import torch

    from whence.gradients.index.format import Index
    from whence.gradients.index.manifest import FACTORS
    from whence.gradients.index.search import multiply_rows

    layout = Layout.of({f"m{n}": (16, 16) for n in range(24)}, 1)
    generator = torch.Generator().manual_seed(0)
    with tempfile.TemporaryDirectory(dir=Path()) as folder:
        place = Path(folder)
        with (place / FACTORS).open("wb") as file:
            for start in range(0, num_rows, 8192):
                count = min(8192, num_rows - start)
                block = torch.randn(count, layout.width, generator=generator).bfloat16()
                file.write(block.view(torch.int16).numpy().tobytes())
        index = Index(
            path=place,
            grad_sizes=layout.sizes,
            num_examples=num_rows,
            dtype="bfloat16",
            projection=None,  # pyright: ignore[reportArgumentType]
            loss_reduction="sum",
            manifest=None,
            layout=layout,
        )
        width = sum(layout.sizes.values())
        queries = np.random.default_rng(1).normal(size=(20, width)).astype(np.float32)
        started, used = time.perf_counter(), time.process_time()
        multiply_rows(index, queries)
        found = {
            "case": f"{num_rows:,} factorized rows, 20 queries",
            "seconds": time.perf_counter() - started,
            "processor_seconds": time.process_time() - used,
            "bytes": (place / FACTORS).stat().st_size,
            "whole_float32_bytes": 4 * width * num_rows,
            "peak_bytes": peak_bytes(),
        }
    print(json.dumps(found), flush=True)
    return found


def mini(num_docs: int, num_queries: int) -> World:
    """The miniature testbed: every so many examples, and of its behaviors likewise."""
    from whence.api import load_behaviors
    from whence.behaviors.query import make_queries
    from whence.runs.opening import open_corpus, open_model
    from whence.settings import CorpusSettings, ModelSettings
    from whence.validation.families import families

    model = open_model(ModelSettings(name="testbed:mini"))
    corpus = _every(open_corpus(CorpusSettings(source="testbed:mini"), model), num_docs)
    behaviors = load_behaviors("testbed:mini")
    chosen = [behaviors[i] for i in _places(len(behaviors), num_queries)]
    queries = make_queries(
        chosen, model.tokenizer, contrast=False, context_length=model.context_length
    )
    named = families(chosen)
    return World(model, corpus, queries, tuple(named[one.id] for one in chosen))


def pile_mini(num_docs: int, num_queries: int) -> World:
    """Real text: examples as above; queries are the openings of passages that are none of them."""
    from whence.runs.opening import open_corpus, open_model
    from whence.settings import CorpusSettings, ModelSettings

    folder = test_data() / "pile-mini"
    last = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name[4:] or 0))
    model = open_model(ModelSettings(name=str(last)))
    source = CorpusSettings(source=str(folder / "train.jsonl.gz"))
    whole = open_corpus(source, model)
    corpus = _every(whole, num_docs)
    known = set(corpus.ids)
    num_tokens = PROMPT_TOKENS + QUERY_TOKENS
    long = [r for r in range(len(whole)) if whole.lengths[r] >= num_tokens]
    others = [row for row in long if whole.ids[row] not in known]
    chosen = [others[i] for i in _places(len(others), num_queries)]
    queries = tuple(
        Query(
            id=whole.ids[row],
            terms=(Term(tuple(whole.input_ids(row)[:num_tokens]), PROMPT_TOKENS, 1.0),),
            text=whole.ids[row],
        )
        for row in chosen
    )
    return World(model, corpus, queries, tuple(query.id for query in queries))


def _places(size: int, count: int) -> list[int]:
    return np.unique(np.linspace(0, size - 1, min(count, size)).round().astype(int)).tolist()


def _every(corpus: Corpus, count: int) -> Corpus:
    return replace(corpus, table=corpus.table.take(_places(len(corpus), count)))


def compare(world: World) -> list[dict[str, Any]]:
    """Computes all variants' scores, and compares them."""
    modules = tuple(coverage(world.model, modules="*", include_bias=False).modules)
    exact = _cosines(
        streamed_products(
            world.model, world.corpus, world.queries, modules=modules, token_batch_size=4096
        )
    )
    variants = [
        Variant("whole gradients", "exact", _whole_bytes(world, modules), exact, exact),
        *_of_projection(world, DIM, RANKS, is_reference=True),
        *_of_projection(world, LARGE_DIM, LARGE_RANKS),
        *(
            variant._replace(share=share)
            for share, dim in SMALLER_DIMS.items()
            for variant in _of_projection(world, dim, {}, storage="bfloat16", is_reference=True)
        ),
    ]
    patches = tail_patches(world, variants)
    return [describe(world, variant, exact, patches[variant.name]) for variant in variants]


def _whole_bytes(world: World, modules: Sequence[str]) -> int:
    from whence.gradients.passes.capture import layer

    return 4 * sum(layer(world.model, n).get_parameter("weight").numel() for n in modules)


def _of_projection(
    world: World,
    dim: int,
    ranks: Mapping[str, int],
    *,
    storage: str = "float32",
    is_reference: bool = False,
) -> list[Variant]:
    """Whole rows of one projection, and factors of them."""
    import torch

    settings = IndexSettings(projection_dim=dim, storage=storage)
    with tempfile.TemporaryDirectory() as place:
        index = build_index(world.model, world.corpus, Path(place) / "index", settings)
        assert index is not None
        whole = _cosines(stored_products(index, world.model, world.queries))
        size = number_type(storage).itemsize
        label = f"{dim} x {dim}" + ("" if storage == "float32" else f", {storage}")
        found = [Variant(label, "1", size * index.width, whole, whole)] if is_reference else []
        asked = query_rows(index, world.model, world.queries)
        queries = torch.cat([asked[name].float() for name in index.modules], dim=1).numpy()
        for share, rank in ranks.items():
            rows, width = factorized_rows(index, rank)
            found.append(
                Variant(
                    f"{dim} x {dim}, rank {rank}, bfloat16",
                    share,
                    2 * width,
                    _cosine(queries, rows),
                    whole,
                )
            )
    return found


def factorized_rows(index: "Index", rank: int) -> tuple[np.ndarray, int]:
    """Rows as factors of a rank, rounded to bfloat16 and multiplied out, and their stored width."""
    import torch

    dim = index.projection_dim
    layout = Layout.of(dict.fromkeys(index.modules, (dim, dim)), rank)
    parts = []
    for start in range(0, index.num_examples, 256):
        piece = torch.from_numpy(np.array(index.gradients[start : start + 256], dtype=np.float32))
        by_module = dict(
            zip(index.modules, piece.split(list(index.grad_sizes.values()), 1), strict=True)
        )
        factors = factorize(by_module, layout)
        parts.append(expand(factors.bfloat16().float(), layout).numpy())
    return np.concatenate(parts), layout.width


def _cosines(products: Any) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return products.dots / products.query_norms[:, None] / products.example_norms


def _cosine(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return queries @ rows.T / np.linalg.norm(queries, axis=1)[:, None] / norms


def best_rows(scores: np.ndarray) -> np.ndarray:
    """The ten best examples of each query."""
    values = np.where(np.isfinite(scores), scores, -np.inf)
    return np.argsort(-values, axis=1, kind="stable")[:, :TOP]


def tail_patches(world: World, variants: Sequence[Variant]) -> dict[str, list[float]]:
    """One step on each query's ten best examples by each variant, and on random ones."""
    from whence.validation.tail_patch import Request, tail_patch

    requests = [
        Request(variant.name, tuple(int(row) for row in best), (query.id,))
        for variant in variants
        for query, best in zip(world.queries, best_rows(variant.scores), strict=True)
    ]
    patches = tail_patch(world.model, world.corpus, world.queries, requests)
    found: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for patch in patches:
        found[patch.group].append(patch.log_prob_change_nats)
    return found


def describe(
    world: World, variant: Variant, exact: np.ndarray, patches: Sequence[float]
) -> dict[str, Any]:
    """One row of the results."""

    def spearman(other: np.ndarray) -> list[float]:
        return [rank_correlation(a, b) for a, b in zip(variant.scores, other, strict=True)]

    overlap = [
        len(set(a) & set(b)) / TOP
        for a, b in zip(best_rows(variant.scores).tolist(), best_rows(exact).tolist(), strict=True)
    ]

    def estimate(values: Sequence[float]) -> dict[str, Any]:
        found = mean_estimate(values, families=world.families)
        return {"mean": found.value, "interval": found.interval and list(found.interval)[:2]}

    return {
        "variant": variant.name,
        "share": variant.share,
        "bytes_per_example": variant.row_bytes,
        "spearman_with_whole_rows": estimate(spearman(variant.whole)),
        "spearman_with_exact": estimate(spearman(exact)),
        "share_of_exact_top_ten": estimate(overlap),
        "tail_patch_nats": estimate(patches),
        "examples": len(world.corpus),
        "queries": len(world.queries),
        "families": len(set(world.families)),
    }


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation where both are defined."""
    from scipy.stats import spearmanr

    kept = np.isfinite(a) & np.isfinite(b)
    return float(spearmanr(a[kept], b[kept]).statistic)


def print_row(row: Mapping[str, Any]) -> None:
    """One line for a person."""

    def text(name: str) -> str:
        found = row[name]
        low, high = found["interval"] or (float("nan"), float("nan"))
        return f"{found['mean']:.3f} [{low:.3f}, {high:.3f}]"

    print(
        f"{row['world']:<10}{row['variant']:<30}{row['share']:<6}{row['bytes_per_example']:>9,} B  "
        f"whole {text('spearman_with_whole_rows')}  exact {text('spearman_with_exact')}  "
        f"top ten {text('share_of_exact_top_ten')}  patch {text('tail_patch_nats')}",
        flush=True,
    )


if __name__ == "__main__":
    main()
