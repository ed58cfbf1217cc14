"""Resumable passes over a corpus, saved block by block.

A pass over the corpus is cut into blocks of batches. A block's result is saved as soon as it is
whole, under a key that stands for everything that went in, so that a run that was killed continues
with the next block; the batches, and hence the numbers, are the same as in one go.
"""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.artifacts import write_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_TOKENS = 65_536


class Products(NamedTuple):
    """Inner products [queries, examples] and the examples' norms, for some examples."""

    dots: "NDArray[np.float32]"
    norms: "NDArray[np.float32]"


def group_batches(
    batches: "Sequence[NDArray[np.int64]]",
    lengths: "NDArray[np.int64]",
    *,
    block_tokens: int,
) -> "list[list[NDArray[np.int64]]]":
    """Groups batches, in order, into blocks of at least `block_tokens` tokens (but the last)."""
    blocks: list[list[NDArray[np.int64]]] = []
    room = 0
    for batch in batches:
        if room <= 0:
            blocks.append([])
            room = block_tokens
        blocks[-1].append(batch)
        room -= int(lengths[batch].sum())
    return blocks


class BlockStore:
    """Finished blocks in a directory; without a directory it keeps nothing."""

    def __init__(self, directory: Path | None, key: str) -> None:
        self._directory = directory
        self._key = key

    def finished(self, num_blocks: int) -> set[int]:
        """Lists the blocks that can be loaded."""
        return {number for number in range(num_blocks) if self.load(number) is not None}

    def load(self, number: int) -> Products | None:
        """Reads one block; None where it was not saved whole."""
        if self._directory is None:
            return None
        try:
            # Read whole before numpy sees it: it leaves a file that is no zip open.
            data = io.BytesIO(self._path(self._directory, number).read_bytes())
            with np.load(data, allow_pickle=False) as saved:
                return Products(saved["dots"], saved["norms"])
        except (FileNotFoundError, zipfile.BadZipFile, KeyError, ValueError, EOFError):
            return None

    def save(self, number: int, products: Products) -> None:
        """Writes one block, in one piece."""
        if self._directory is None:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez(buffer, dots=products.dots, norms=products.norms)
        write_bytes(self._path(self._directory, number), buffer.getvalue())

    def _path(self, directory: Path, number: int) -> Path:
        return directory / f"{self._key}-{number:05d}.npz"
