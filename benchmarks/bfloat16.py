"""Where does bfloat16 gain time on this processor, and where not?

Times, by processor time on one thread, the parts of a pass of Pythia-14m's shape in float32 and in
bfloat16: the linear layers' products, the output layer's products alone, the output layer's loss as
it is computed (by PyTorch's fused attention in float32; block by block in bfloat16), causal
attention forward and back (one sequence, and sequences of a tenth), and what a pass does besides
products: layer norms and GELU. Then whole passes over 40 documents, in float32, `mixed` and
bfloat16, and how near the rows of two fitted models are to those in float32. Printed and written to
`results/latest/bfloat16.json`: milliseconds of each part, their ratio, and operations per second of
the products; tokens per second of a core; the smallest and the median cosine of 64 examples. Needs
WHENCE_DATA.

    python benchmarks/bfloat16.py [--tokens 1024] [--repeats 5]

Nothing is asserted.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import report

if TYPE_CHECKING:
    from torch import Tensor

    from whence.gradients.passes.loss import Precision
    from whence.records import LoadedModel

HIDDEN, INNER, HEADS, LAYERS, WORDS = 128, 512, 4, 6, 50_304


def main() -> None:
    """Times every part in both types, in turns, and writes the results."""
    import torch

    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, make in PARTS.items():
        runs = {kind: make(asked.tokens, getattr(torch, kind)) for kind in ("float32", "bfloat16")}
        seconds: dict[str, list[float]] = {kind: [] for kind in runs}
        for run, _ in runs.values():
            run()
        for _ in range(asked.repeats):
            for kind, (run, _) in runs.items():
                started = time.process_time()
                run()
                seconds[kind].append(time.process_time() - started)
        best = {kind: min(values) for kind, values in seconds.items()}
        operations = runs["float32"][1]
        rows.append(
            {
                "part": name,
                **{f"{kind}_ms": 1000 * value for kind, value in best.items()},
                "ratio": best["float32"] / best["bfloat16"],
                "median_ratio": statistics.median(
                    a / b for a, b in zip(seconds["float32"], seconds["bfloat16"], strict=True)
                ),
                **{f"{kind}_gflops": operations / value / 1e9 for kind, value in best.items()},
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    for found in (*whole_passes(asked.repeats), *cosines()):
        rows.append(found)
        print(json.dumps(found), flush=True)
    report("bfloat16.json", rows, *sys.argv[1:], capability=torch.backends.cpu.get_cpu_capability())


Part = tuple[Callable[[], Any], float]


def linear_layers(tokens: int, kind: Any) -> Part:
    """Forward products of a block's four linear layers, and those back to their inputs."""
    import torch

    shapes = [(HIDDEN, 3 * HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, INNER), (INNER, HIDDEN)]
    pairs = [(torch.randn(tokens, i, dtype=kind), torch.randn(o, i, dtype=kind)) for i, o in shapes]

    def run() -> None:
        for _ in range(LAYERS):
            for states, weight in pairs:
                (states @ weight.mT) @ weight

    return run, sum(4.0 * tokens * i * o for i, o in shapes) * LAYERS


def output_products(tokens: int, kind: Any) -> Part:
    """The output layer's two products, without exponentials."""
    import torch

    states, words = torch.randn(tokens, HIDDEN, dtype=kind), torch.randn(WORDS, HIDDEN, dtype=kind)

    def run() -> None:
        for some in words.split(1024):
            (states @ some.mT) @ some

    return run, 4.0 * tokens * HIDDEN * WORDS


def output_loss(tokens: int, kind: Any) -> Part:
    """The output layer's loss and its gradient, as a pass computes them."""
    import torch

    from whence.gradients.passes.loss import cross_entropy

    states = torch.randn(tokens, HIDDEN, dtype=kind)
    words = torch.randn(WORDS, HIDDEN, dtype=kind) / 10
    targets = torch.randint(WORDS, (tokens,))
    return lambda: cross_entropy(states, targets, words), 4.0 * tokens * HIDDEN * WORDS


def attention(tokens: int, kind: Any, *, sequences: int = 1) -> Part:
    """Causal attention of all layers, forward and back."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    length, size = tokens // sequences, HIDDEN // HEADS
    q, k, v = (
        torch.randn(sequences, HEADS, length, size, dtype=kind, requires_grad=True)
        for _ in range(3)
    )

    def run() -> None:
        for _ in range(LAYERS):
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            torch.autograd.grad(out, (q, k, v), torch.ones_like(out))

    return run, 7.0 * sequences * length * length * HIDDEN * LAYERS


def elementwise(tokens: int, kind: Any) -> Part:
    """Layer norms and GELU of all layers, forward."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    states = torch.randn(tokens, HIDDEN, dtype=kind)
    inner = torch.randn(tokens, INNER, dtype=kind)

    def run() -> None:
        for _ in range(LAYERS):
            F.layer_norm(states, (HIDDEN,))
            F.layer_norm(states, (HIDDEN,))
            F.gelu(inner)

    return run, 1.0 * tokens * (2 * HIDDEN + INNER) * LAYERS


PRECISIONS: dict[str, tuple[str, "Precision"]] = {
    "float32": ("float32", "float32"),
    "mixed": ("float32", "mixed"),
    "bfloat16": ("bfloat16", "float32"),
}


def collected(
    model: "LoadedModel", precision: "Precision", batches: "Sequence[Sequence[Sequence[int]]]"
) -> "Iterator[Tensor]":
    """Rows of batches, all attributed modules side by side."""
    import torch

    from whence.gradients.index.collector import collecting, new_processor
    from whence.gradients.passes.batches import pad
    from whence.models import coverage

    modules = tuple(coverage(model, modules="*", include_bias=False).modules)
    processor = new_processor(projection_dim=16, projection_seed=0)
    with collecting(model, modules, processor, precision=precision) as collect:
        for batch in batches:
            rows = collect(pad(batch)).rows
            yield torch.cat([rows[name].float() for name in rows], dim=1)


def whole_passes(repeats: int) -> "Iterator[dict[str, Any]]":
    """Passes over 40 documents of the Pile, a model of random weights, one batch after another."""
    from inputs import make_documents, make_model

    from whence.corpus import read_corpus
    from whence.gradients.passes.batches import plan_pass
    from whence.models import load_model
    from whence.settings import ModelSettings

    with tempfile.TemporaryDirectory() as folder:
        path = make_model("14m", Path(folder))
        corpus = read_corpus(make_documents(path, Path(folder), 40).corpus)
        for name, (dtype, precision) in PRECISIONS.items():
            model = load_model(ModelSettings(name=str(path), dtype=dtype))  # pyright: ignore
            todo = plan_pass(model, corpus, token_batch_size=4096, num_workers=2)
            batches = [todo.sequences(batch) for batch in todo.batches]
            seconds = []
            for _ in range(max(2, repeats // 2)):
                started = time.process_time()
                for _ in collected(model, precision, batches):
                    pass
                seconds.append(time.process_time() - started)
            rate = todo.num_tokens(todo.batches) / min(seconds)
            yield {"pass": name, "tokens_per_core_second": rate}


def cosines() -> "Iterator[dict[str, Any]]":
    """Cosines of each example's row with that in float32, for two fitted models."""
    import torch
    from factorized import mini, pile_mini

    for name, make in {"mini": mini, "pile-mini": pile_mini}.items():
        world = make(64, 1)
        examples = [[world.corpus.input_ids(row)] for row in range(len(world.corpus))]
        exact = torch.cat(list(collected(world.model, "float32", examples)))
        for precision, (dtype, how) in list(PRECISIONS.items())[1:]:
            world.model.model.to(getattr(torch, dtype))
            rows = torch.cat(list(collected(world.model, how, examples)))
            found = torch.nn.functional.cosine_similarity(rows, exact, dim=1)
            yield {
                "model": name,
                "precision": precision,
                "examples": len(examples),
                "cosine_min": float(found.min()),
                "cosine_median": float(found.median()),
            }


PARTS: dict[str, Callable[[int, Any], Part]] = {
    "linear layers": linear_layers,
    "output layer, products alone": output_products,
    "output layer, loss": output_loss,
    "attention": attention,
    "attention of short sequences": partial(attention, sequences=10),
    "layer norms and GELU": elementwise,
}


if __name__ == "__main__":
    main()
