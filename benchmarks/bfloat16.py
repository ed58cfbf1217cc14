"""Where does bfloat16 gain time on this processor, and where not?

Times, by processor time on one thread, the parts of a pass of Pythia-14m's shape in float32 and in
bfloat16: the linear layers' products, the output layer's products alone, the output layer's loss as
it is computed (by PyTorch's fused attention in float32; block by block in bfloat16), causal
attention forward and back by PyTorch alone and as a pass computes it (one sequence, and sequences
of a tenth), and what a pass does besides products: layer norms and GELU. Printed and written to
`results/latest/bfloat16.json`: milliseconds of each, their ratio, and operations per second of the
products.

    python benchmarks/bfloat16.py [--tokens 1024] [--repeats 5]

Nothing is asserted.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from measure import report

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


def attention(tokens: int, kind: Any, *, sequences: int = 1, is_replaced: bool = True) -> Part:
    """Causal attention of all layers, forward and back, as a pass computes it or by PyTorch."""
    from contextlib import nullcontext

    import torch
    import torch.nn.functional as F  # noqa: N812

    from whence.gradients.passes.attention import attention_in_bfloat16

    length, size = tokens // sequences, HIDDEN // HEADS
    q, k, v = (
        torch.randn(sequences, HEADS, length, size, dtype=kind, requires_grad=True)
        for _ in range(3)
    )

    def run() -> None:
        replaced = attention_in_bfloat16(q.device, kind) if is_replaced else nullcontext()
        for _ in range(LAYERS):
            with replaced:
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


PARTS: dict[str, Callable[[int, Any], Part]] = {
    "linear layers": linear_layers,
    "output layer, products alone": output_products,
    "output layer, loss": output_loss,
    "attention, by PyTorch": partial(attention, is_replaced=False),
    "attention": attention,
    "attention of short sequences, by PyTorch": partial(attention, sequences=10, is_replaced=False),
    "attention of short sequences": partial(attention, sequences=10),
    "layer norms and GELU": elementwise,
}


if __name__ == "__main__":
    main()
