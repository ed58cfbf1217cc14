"""What do TrackStar and influence lose when only the largest eigenvalues of a curvature are kept?

The same examples and queries as in `factorized.py`, with projections of 20 × 20 and 40 × 40
dimensions, whole rows and factors of rank 2 and 1 in bfloat16; of each module's curvature 8, 32 or
128 eigenvalues, or the whole matrix. Printed and written to `results/latest/truncated-WORLD.json`:
bytes of the curvature and of a row, seconds, the share of the trace that is kept, the rank
correlation of each query's scores with those of whole rows and the whole curvature, the same where
the other eigenvalues count as zero (LoRIF's choice) instead of as their mean, and what one step of
training on the ten best examples does to the query's completion (in nats), also less what it does
with the whole curvature of the same rows. Means with intervals over queries' families.

    python benchmarks/truncated.py [--worlds mini pile-mini] [--docs 2000] [--queries 24]
    python benchmarks/truncated.py --rows 1000      # time and memory of 128 × 128 dimensions

About a quarter of an hour of a core for 2,000 documents. The figures are about small models; none
is about Pythia. Nothing is asserted.
"""

import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import numpy as np
from factorized import World, best_rows, factorized_rows, rank_correlation, run_worlds
from measure import peak_bytes

from whence.gradients import build_index
from whence.gradients.index.stored import query_rows
from whence.methods import MethodInputs, Rows, score
from whence.methods.mixture import RowCurvature
from whence.methods.rows import GradientRows, products
from whence.methods.truncated import TruncatedBlock
from whence.settings import AttributionSettings, IndexSettings, InfluenceSettings, TrackstarSettings
from whence.statistics import mean_estimate

if TYPE_CHECKING:
    from whence.records import Scores

DIMS = (20, 40)
LARGE_DIM, LARGE_RANK = 128, 32
ROW_RANKS = (None, 2, 1)
CURVATURE_RANKS = (None, 128, 32, 8)
METHODS = ("trackstar", "influence")


class Variant(NamedTuple):
    """Scores by one way of storing rows and curvature."""

    dim: int
    row_rank: int | None
    curvature_rank: int | None
    method: str
    row_bytes: int
    curvature_bytes: int
    scores: "Scores"
    zero_tail: "Scores | None"

    @property
    def name(self) -> str:
        """All that tells it from others."""
        return f"{self.dim} {self.row_rank} {self.curvature_rank} {self.method}"


def main() -> None:
    """Compares every variant in every world and writes the results."""
    run_worlds("truncated", compare, print_row, large=("large", score_large))


def score_large(num_rows: int) -> dict[str, Any]:
    """Times 20 queries of made-up rows: 24 modules, 128 × 128, rank 1; 32 eigenvalues of each."""
    import torch

    from whence.gradients.index.factors import ExpandedRows, Layout

    layout = Layout.of({f"m{n}": (LARGE_DIM, LARGE_DIM) for n in range(24)}, 1)
    generator = torch.Generator().manual_seed(0)
    with tempfile.TemporaryDirectory(dir=Path()) as folder:
        path = Path(folder) / "factors.bin"
        # Directions of falling size, as gradients have.
        scale = torch.cat([1 / (1 + torch.arange(LARGE_DIM)).sqrt()] * (2 * len(layout.modules)))
        numbers = torch.randn(num_rows, layout.width, generator=generator) * scale
        path.write_bytes(numbers.bfloat16().view(torch.int16).numpy().tobytes())
        examples = ExpandedRows(path, num_rows=num_rows, dtype="bfloat16", layout=layout)
        rows = GradientRows(examples, examples[:20], layout.sizes)  # pyright: ignore[reportArgumentType]
        started, used = time.perf_counter(), time.process_time()
        curvature = RowCurvature(rows, LARGE_RANK).decompose()
        roots = curvature.power(-0.5, damping=0.1)
        decomposed = time.perf_counter() - started
        found = products(rows, queries=roots, examples=roots)
        assert np.isfinite(found.dots).all()
    result = {
        "case": f"{num_rows:,} factorized rows, {LARGE_DIM} x {LARGE_DIM}, 20 queries",
        "curvature_rank": LARGE_RANK,
        "seconds": time.perf_counter() - started,
        "curvature_seconds": decomposed,
        "processor_seconds": time.process_time() - used,
        "curvature_bytes": curvature_bytes(rows.sizes.values(), LARGE_RANK),
        "whole_curvature_bytes": curvature_bytes(rows.sizes.values(), None),
        "peak_bytes": peak_bytes(),
    }
    print(json.dumps(result), flush=True)
    return result


def compare(world: World) -> list[dict[str, Any]]:
    """Computes all variants' scores, and compares them."""
    variants = [variant for dim in DIMS for variant in _of_projection(world, dim)]
    patches = tail_patches(world, variants)
    by_name = {variant.name: variant for variant in variants}
    found = []
    for variant in variants:
        whole = by_name[variant._replace(row_rank=None, curvature_rank=None).name]
        same_rows = variant._replace(curvature_rank=None).name
        differences = np.subtract(patches[variant.name], patches[same_rows]).tolist()
        found.append(describe(world, variant, whole, patches[variant.name], differences))
    return found


def _of_projection(world: World, dim: int) -> Iterator[Variant]:
    import torch

    with tempfile.TemporaryDirectory() as place:
        settings = IndexSettings(projection_dim=dim)
        index = build_index(world.model, world.corpus, Path(place) / "index", settings)
        assert index is not None
        asked = query_rows(index, world.model, world.queries)
        queries = torch.cat([asked[name].float() for name in index.modules], dim=1).numpy()
        for row_rank in ROW_RANKS:
            if row_rank is None:
                examples, row_bytes = np.asarray(index.gradients), 4 * index.width
            else:
                examples, width = factorized_rows(index, row_rank)
                row_bytes = 2 * width
            rows = GradientRows(examples, queries, dict(index.grad_sizes))
            for rank in CURVATURE_RANKS:
                for method in METHODS:
                    scores = _score(world, rows, method, rank)
                    zero_tail = None
                    if rank is not None:
                        with patch.object(TruncatedBlock, "rest", 0.0):
                            zero_tail = _score(world, rows, method, rank)
                    size = curvature_bytes(rows.sizes.values(), rank)
                    yield Variant(dim, row_rank, rank, method, row_bytes, size, scores, zero_tail)


def _score(world: World, rows: GradientRows, method: str, rank: int | None) -> "Scores":
    settings = AttributionSettings(
        trackstar=TrackstarSettings(curvature_rank=rank),
        influence=InfluenceSettings(curvature_rank=rank),
    )
    return score(method, MethodInputs(world.queries, world.corpus, None, {Rows(): rows}, settings))


def curvature_bytes(sizes: Iterable[int], rank: int | None) -> int:
    """Counts what a power of the curvature takes in float64, over all modules."""
    return sum(8 * size * (size if rank is None or rank >= size else rank) for size in sizes)


def tail_patches(world: World, variants: Sequence[Variant]) -> dict[str, list[float]]:
    """One step on each query's ten best examples by each variant; equal ten are stepped on once."""
    from whence.validation.tail_patch import Request, tail_patch

    places = {
        (variant.name, query.id): (query.id, *sorted(int(row) for row in best))
        for variant in variants
        for query, best in zip(world.queries, best_rows(variant.scores.values), strict=True)
    }
    requests = [
        Request(str(place), place[1:], (place[0],)) for place in dict.fromkeys(places.values())
    ]
    changes = {
        found.group: found.log_prob_change_nats
        for found in tail_patch(world.model, world.corpus, world.queries, requests)
    }
    return {
        variant.name: [changes[str(places[variant.name, query.id])] for query in world.queries]
        for variant in variants
    }


def describe(
    world: World,
    variant: Variant,
    whole: Variant,
    patches: Sequence[float],
    differences: Sequence[float],
) -> dict[str, Any]:
    """One row of the results."""

    def estimate(values: Sequence[float]) -> dict[str, Any]:
        found = mean_estimate(values, families=world.families)
        return {"mean": found.value, "interval": found.interval and list(found.interval)[:2]}

    def spearman(scores: "Scores") -> dict[str, Any]:
        pairs = zip(scores.values, whole.scores.values, strict=True)
        return estimate([rank_correlation(a, b) for a, b in pairs])

    return {
        "method": variant.method,
        "projection_dim": variant.dim,
        "row_rank": variant.row_rank,
        "curvature_rank": variant.curvature_rank,
        "bytes_per_example": variant.row_bytes,
        "curvature_bytes": variant.curvature_bytes,
        "curvature_share": variant.scores.settings.get("curvature_share", 1.0),
        "seconds": variant.scores.seconds,
        "spearman_with_whole": spearman(variant.scores),
        "spearman_with_whole_zero_tail": variant.zero_tail and spearman(variant.zero_tail),
        "tail_patch_nats": estimate(patches),
        "tail_patch_less_whole_curvature_nats": estimate(differences),
        "examples": len(world.corpus),
        "queries": len(world.queries),
        "families": len(set(world.families)),
    }


def print_row(row: Mapping[str, Any]) -> None:
    """One line for a person."""

    def text(name: str) -> str:
        found = row[name]
        if found is None:
            return "-"
        low, high = found["interval"] or (float("nan"), float("nan"))
        return f"{found['mean']:.3f} [{low:.3f}, {high:.3f}]"

    print(
        f"{row['world']:<10}{row['method']:<10}{row['projection_dim']:>3}"
        f" rows {row['row_rank'] or 'whole':<6}curvature {row['curvature_rank'] or 'whole':<6}"
        f"{row['bytes_per_example']:>8,} B {row['curvature_bytes'] / 1e6:>7.1f} MB "
        f"{row['seconds']:>6.1f} s  share {row['curvature_share']:.3f}  "
        f"spearman {text('spearman_with_whole')} zero tail "
        f"{text('spearman_with_whole_zero_tail')}  patch {text('tail_patch_nats')} "
        f"less whole {text('tail_patch_less_whole_curvature_nats')}",
        flush=True,
    )


if __name__ == "__main__":
    main()
