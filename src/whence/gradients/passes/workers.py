"""Several batches at once on one CPU.

A pass of a small model is many short products with barriers between them, at which threads wait for
each other; two passes beside each other, with half of the threads each, wait less. Every worker has
a model of its own with the same weights, because what is caught on the way through a model must not
be mixed up. A worker's arithmetic does not depend on what the others do: numbers stay the same
whoever comes first.
"""

import ctypes
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import deepcopy
from dataclasses import replace
from queue import SimpleQueue
from typing import TypeVar

from whence.records import LoadedModel

NUM_WORKERS = 2
BATCHES_BEFORE_RETURN = 8
Item = TypeVar("Item")
Result = TypeVar("Result")


def worker_count(model: LoadedModel) -> int:
    """How many batches of this model run at once; one on a GPU, which fills itself."""
    import torch

    on_cpu = model.model.device.type == "cpu"
    return NUM_WORKERS if on_cpu and torch.get_num_threads() >= NUM_WORKERS else 1


@contextmanager
def working(
    model: LoadedModel,
    open_one: Callable[[LoadedModel], AbstractContextManager[Callable[[Item], Result]]],
    *,
    num_workers: int,
) -> Iterator[Callable[[Sequence[Item]], Iterator[Result]]]:
    """Opens a function that goes over items, several at once, and gives results in their order.

    Args:
        model: The model.
        open_one: Opens what handles one item, for a model that no other worker uses.
        num_workers: How many items are worked on at once; so many times the memory is needed.
    """
    import torch

    with ExitStack() as stack:
        if num_workers == 1:
            run_one = stack.enter_context(open_one(model))
            yield lambda items: _tidied(map(run_one, items))
            return
        models = [model, *_replicas(model, num_workers - 1)]
        free: SimpleQueue[Callable[[Item], Result]] = SimpleQueue()
        for own in models:
            free.put(stack.enter_context(open_one(own)))
        threads = torch.get_num_threads()
        # New threads inherit the count that was set last, wherever it was set.
        stack.callback(torch.set_num_threads, threads)
        pool = ThreadPoolExecutor(
            num_workers,
            initializer=torch.set_num_threads,
            initargs=(max(1, threads // num_workers),),
        )
        stack.callback(pool.shutdown, cancel_futures=True)

        def run(item: Item) -> Result:
            run_one = free.get()
            try:
                return run_one(item)
            finally:
                free.put(run_one)

        def run_all(items: Sequence[Item]) -> Iterator[Result]:
            ahead: deque[Future[Result]] = deque()
            for item in items:
                ahead.append(pool.submit(run, item))
                if len(ahead) > num_workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

        yield lambda items: _tidied(run_all(items))


def _replicas(model: LoadedModel, num: int) -> list[LoadedModel]:
    """Copies a model; not at all where it keeps the state of its last pass (RecurrentGemma)."""
    try:
        return [_replica(model) for _ in range(num)]
    except RuntimeError:
        return []


def _replica(model: LoadedModel) -> LoadedModel:
    """Copies a model's modules and buffers, but none of its weights.

    Some models change buffers in a pass, such as the frequencies of positions.
    """
    network = model.model
    shared = {id(parameter): parameter for parameter in network.parameters()}
    return replace(model, model=deepcopy(network, shared))


def _tidied(results: Iterable[Result]) -> Iterator[Result]:
    """Passes results on, and returns memory after every few of them."""
    for number, result in enumerate(results, start=1):
        if number % BATCHES_BEFORE_RETURN == 0:
            return_memory()
        yield result
    return_memory()


def return_memory() -> None:
    """Gives freed memory back to the system, where the C library keeps it (glibc).

    Batches of ever different shapes leave holes that the next batch does not fit into: without
    this the memory of a long pass grows by half. After every single batch it would cost a seventh
    of the time, because the next one has to ask for its pages again.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
