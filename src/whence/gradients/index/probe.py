"""Times a few batches of a pass over a corpus, on this machine and now."""

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

from whence.gradients.index.build import plan_rows
from whence.gradients.passes.batches import Pass, check_fits, model_device, plan_pass
from whence.gradients.passes.capture import gradient_dtype, layer
from whence.gradients.passes.loss import batch_tokens
from whence.gradients.passes.streamed import multiplying
from whence.gradients.passes.workers import worker_count, working
from whence.models import coverage
from whence.records import Corpus, LoadedModel
from whence.settings import IndexSettings

NUM_PROBES = 4
RunAll = Callable[[Sequence[Any]], Iterator[object]]
"""Runs batches of a pass, and yields what each gives."""


class Measured(NamedTuple):
    """What a pass takes: time, and the process's memory at its peak, the model included."""

    seconds: float
    memory_bytes: int


def measure(
    model: LoadedModel,
    corpus: Corpus,
    settings: IndexSettings,
    *,
    path: Literal["streamed", "stored"],
    num_queries: int,
) -> Measured:
    """Runs a few batches of the pass, from the longest examples to the shortest.

    All batches hold about the same number of tokens, so the mean time of batches at equal
    distances stands for all. The longest comes first and twice: it warms up the machine, and has
    the peak of memory.

    Args:
        model: The model.
        corpus: The examples.
        settings: Modules, projection, precision and batch size of the pass.
        path: Whether rows are stored, or multiplied with the queries at once.
        num_queries: With how many.

    Returns:
        Extrapolated seconds, and the peak of the process's memory up to now; the sizes of what the
        pass keeps (the queries' gradients, a batch) are in it, because they are really allocated.
    """
    check_fits(model, corpus)
    # What Bergson builds in a process of its own is measured by what its collector would take.
    include_bias = settings.include_bias and path == "stored"
    covered = coverage(model, modules=settings.modules, include_bias=include_bias)
    modules = tuple(covered.modules)
    running = (
        _streaming(model, corpus, modules, num_queries, settings.token_batch_size)
        if path == "streamed"
        else _storing(model, corpus, modules, settings)
    )
    with running as (todo, run_all):
        size = len(todo.batches)
        if not size:
            return Measured(0.0, _peak_bytes())
        _finish(run_all(todo.batches[:1] * worker_count(model)))
        places = sorted({int((i + 0.5) / NUM_PROBES * size) for i in range(NUM_PROBES)})
        started = time.perf_counter()
        _finish(run_all([todo.batches[place] for place in places]))
        seconds = (time.perf_counter() - started) / len(places) * size
    return Measured(seconds, _peak_bytes())


def _finish(results: Iterator[object]) -> None:
    for _ in results:
        pass


@contextmanager
def _streaming(
    model: LoadedModel,
    corpus: Corpus,
    modules: Sequence[str],
    num_queries: int,
    token_batch_size: int,
) -> Iterator[tuple[Pass, RunAll]]:
    import torch

    device, dtype = model_device(model), gradient_dtype(model)
    sizes = {name: layer(model, name).get_parameter("weight").numel() for name in modules}
    # Ones and not zeros: memory that was only promised costs nothing to read.
    gradients = {
        name: torch.ones(num_queries, size, dtype=dtype, device=device)
        for name, size in sizes.items()
    }
    num_workers = worker_count(model)
    todo = plan_pass(
        model,
        corpus,
        token_batch_size=batch_tokens(model, token_batch_size),
        num_weights=max(sizes.values()),
        num_workers=num_workers,
    )
    opened = partial(multiplying, todo=todo, gradients=gradients, num_queries=num_queries)
    with working(model, opened, num_workers=num_workers) as run_all:
        yield todo, run_all


@contextmanager
def _storing(
    model: LoadedModel, corpus: Corpus, modules: Sequence[str], settings: IndexSettings
) -> Iterator[tuple[Pass, RunAll]]:
    rows = plan_rows(model, corpus, settings, modules)
    with working(model, rows.compute_rows, num_workers=rows.num_workers) as run_all:
        yield rows.todo, run_all


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
