"""How long does one pass over a corpus take on this machine, now?"""

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple

from whence.gradients.batches import Pass, check_fits, model_device, plan_pass
from whence.gradients.build import take_rows
from whence.gradients.capture import gradient_dtype, layer
from whence.gradients.collector import collecting, gradient_sizes, new_processor
from whence.gradients.loss import batch_tokens
from whence.gradients.streamed import multiplying
from whence.records import Corpus, LoadedModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NUM_PROBES = 4


class Measured(NamedTuple):
    """What a pass takes: time, and the process's memory at its peak, the model included."""

    seconds: float
    memory_bytes: int


def measure(
    model: LoadedModel,
    corpus: Corpus,
    *,
    modules: Sequence[str],
    path: Literal["streamed", "stored"],
    projection_dim: int | None,
    projection_seed: int,
    num_queries: int,
    token_batch_size: int,
) -> Measured:
    """Runs a few batches of the pass, from the longest examples to the shortest.

    All batches hold about the same number of tokens, so the mean time of batches at equal
    distances stands for all. The longest comes first and twice: it warms up the machine, and has
    the peak of memory.

    Returns:
        Extrapolated seconds, and the peak of the process's memory up to now; the sizes of what the
        pass keeps (the queries' gradients, a batch) are in it, because they are really allocated.
    """
    check_fits(model, corpus)
    running = (
        _streaming(model, corpus, modules, num_queries, token_batch_size)
        if path == "streamed"
        else _storing(model, corpus, modules, projection_dim, projection_seed, token_batch_size)
    )
    with running as (todo, run):
        size = len(todo.batches)
        if not size:
            return Measured(0.0, _peak_bytes())
        run(todo, todo.batches[0])
        places = sorted({int((i + 0.5) / NUM_PROBES * size) for i in range(NUM_PROBES)})
        started = time.perf_counter()
        for place in places:
            run(todo, todo.batches[place])
        seconds = (time.perf_counter() - started) / len(places) * size
    return Measured(seconds, _peak_bytes())


@contextmanager
def _streaming(
    model: LoadedModel,
    corpus: Corpus,
    modules: Sequence[str],
    num_queries: int,
    token_batch_size: int,
) -> "Iterator[tuple[Pass, Callable[[Pass, NDArray[np.int64]], object]]]":
    import torch

    device, dtype = model_device(model), gradient_dtype(model)
    sizes = {name: layer(model, name).get_parameter("weight").numel() for name in modules}
    # Ones and not zeros: memory that was only promised costs nothing to read.
    gradients = {
        name: torch.ones(num_queries, size, dtype=dtype, device=device)
        for name, size in sizes.items()
    }
    todo = plan_pass(
        corpus,
        token_batch_size=batch_tokens(model, token_batch_size),
        num_weights=max(sizes.values()),
    )
    with multiplying(model, gradients, num_queries=num_queries) as multiply:
        yield todo, multiply


@contextmanager
def _storing(
    model: LoadedModel,
    corpus: Corpus,
    modules: Sequence[str],
    projection_dim: int | None,
    projection_seed: int,
    token_batch_size: int,
) -> "Iterator[tuple[Pass, Callable[[Pass, NDArray[np.int64]], object]]]":
    processor = new_processor(projection_dim=projection_dim, projection_seed=projection_seed)
    sizes = gradient_sizes(model, modules, processor)
    todo = plan_pass(
        corpus,
        token_batch_size=batch_tokens(model, token_batch_size),
        num_weights=sum(sizes.values()),
    )
    with collecting(model, modules, processor) as collect:
        yield todo, lambda todo, batch: take_rows(todo, batch, collect)


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
