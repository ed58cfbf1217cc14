"""How many tokens a GPU runs at once, and what happens where they do not fit after all.

A GPU is only busy with large batches: on an H100, 32,768 tokens of Pythia-160m's shape at once ran
five times as fast as 4,096. What fits depends on the model, the precision and on what else is on
the card, so batches of doubling size are tried before the pass. A batch that runs out of memory
later is computed in halves: its rows are the same but for rounding, and nothing is lost.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

FIRST_TOKENS, MOST_TOKENS = 4096, 32_768
# Of what is free, a probe may predict this share: later batches have other shapes.
SHARE = 0.7
Result = TypeVar("Result")


class Memory(Protocol):
    """A device's memory, in bytes."""

    def free(self) -> int:
        """What can still be allocated, with what the allocator has kept."""
        ...

    def reset_peak(self) -> None:
        """Begins to measure `peak`."""
        ...

    def peak(self) -> int:
        """The most that was allocated since, beyond what was then."""
        ...

    def release(self) -> None:
        """Gives back what the allocator keeps."""
        ...


class CudaMemory:
    """The memory of a CUDA device."""

    def __init__(self, device: "torch.device") -> None:
        import torch

        self._cuda, self._device, self._before = torch.cuda, device, 0

    def free(self) -> int:
        """See `Memory`."""
        free, _ = self._cuda.mem_get_info(self._device)
        kept = self._cuda.memory_reserved(self._device) - self._cuda.memory_allocated(self._device)
        return free + kept

    def reset_peak(self) -> None:
        """See `Memory`."""
        self._cuda.reset_peak_memory_stats(self._device)
        self._before = self._cuda.memory_allocated(self._device)

    def peak(self) -> int:
        """See `Memory`."""
        return self._cuda.max_memory_allocated(self._device) - self._before

    def release(self) -> None:
        """See `Memory`."""
        self._cuda.empty_cache()


def device_memory(device: "torch.device") -> Memory | None:
    """Measures a device's memory; None of a CPU, whose batches are small for its cache's sake."""
    return CudaMemory(device) if device.type == "cuda" else None


def fitting_tokens(run: Callable[[int], object], memory: Memory) -> int:
    """Chooses how many tokens to run at once.

    Sizes double from `FIRST_TOKENS` on, while the next is predicted to need at most `SHARE` of the
    free memory: twice what the last needed.

    Args:
        run: Runs a batch of so many tokens.
        memory: The device's memory.

    Returns:
        At most `MOST_TOKENS`; less than `FIRST_TOKENS` where that alone does not fit.

    Cost:
        Passes of less than twice as many tokens as are returned.
    """
    tokens = FIRST_TOKENS
    while True:
        free = memory.free()
        memory.reset_peak()
        if not _fits(run, tokens, memory):
            # Half of the last size has run, or else is the next to be tried by the pass itself.
            return max(1, tokens // 2)
        if 2 * tokens > MOST_TOKENS or 2 * memory.peak() > SHARE * free:
            return tokens
        tokens *= 2


def _fits(run: Callable[[int], object], tokens: int, memory: Memory) -> bool:
    import torch

    try:
        run(tokens)
    except torch.OutOfMemoryError:
        pass
    else:
        return True
    # Only here, because the error holds the frames of the pass, and these its tensors.
    memory.release()
    return False


class Halving(Generic[Result]):
    """Runs batches, and those that run out of a device's memory in halves.

    A size that did not fit is not tried again. A single sequence that does not fit raises.
    """

    def __init__(
        self,
        compute: "Callable[[np.ndarray], Result]",
        join: Callable[[Sequence[Result]], Result],
        *,
        size: "Callable[[np.ndarray], int]",
        release: Callable[[], None],
    ) -> None:
        """Wraps a function that computes a batch.

        Args:
            compute: Computes a batch of places.
            join: Puts the results of two halves together.
            size: Counts a batch's tokens, padding included.
            release: Gives back what the allocator keeps.
        """
        self._compute, self._join, self._size = compute, join, size
        self._release = release
        self._too_large: float = float("inf")

    def __call__(self, batch: "np.ndarray") -> Result:
        """Computes a batch, in parts where it does not fit."""
        import torch

        tokens = self._size(batch)
        if len(batch) == 1 or tokens < self._too_large:
            try:
                return self._compute(batch)
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
        if tokens < self._too_large:
            self._too_large = tokens
            self._release()
        middle = len(batch) // 2
        return self._join([self(batch[:middle]), self(batch[middle:])])
