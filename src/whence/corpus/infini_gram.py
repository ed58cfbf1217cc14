"""A search of token sequences on disk with infini-gram, for corpora too large to sort in memory.

It answers what a `SuffixArray` answers, from an index that the package `infini-gram` builds of the
corpus's own token ids, in the memory that it is given, and of which a search reads a few pages. The
extra `infini-gram` installs the package.

Source: Liu et al., "Infini-gram: Scaling Unbounded n-gram Language Models to a Trillion Tokens",
COLM 2024.
"""

import os
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.corpus.duplicates.suffix_array import Match, Places, TokenSearch
from whence.errors import CorpusError, SettingsError
from whence.progress import SILENT, Progress
from whence.records import Corpus

if TYPE_CHECKING:
    from infini_gram.engine import InfiniGramEngine  # pyright: ignore[reportMissingImports]

_TEXT, _OFFSETS, _TABLE = "tokenized.0", "offset.0", "table.0"
_FEW_TOKENS = 1 << 20
# What the package allocates to sort ids of four bytes.
_WIDE_GB = 36


class InfiniGram(TokenSearch):
    """Finds token sequences in an index that `build_infini_gram` made.

    Args:
        directory: The index's.

    Raises:
        CorpusError: The package is not installed, or a file of the index is missing.
    """

    def __init__(self, directory: Path) -> None:
        self._dtype = _token_type(directory)
        self._engine = _open_engine(directory, self._dtype)
        text = directory / _TEXT
        self._text = np.memmap(text, dtype=self._dtype, mode="r")
        self._starts = np.fromfile(directory / _OFFSETS, dtype=np.uint64).astype(np.int64)
        # A pointer has as many bytes as the text's size needs; the package computes it likewise.
        self._pointer = int(np.ceil(np.log2(text.stat().st_size) / 8))
        self._table = np.memmap(directory / _TABLE, dtype=np.uint8, mode="r")

    def count(self, tokens: Sequence[int]) -> int:
        """Counts the occurrences of a sequence, overlapping ones each.

        Raises:
            SettingsError: The sequence is empty.
        """
        first, last = self._range(tokens)
        return last - first

    def places(self, tokens: Sequence[int]) -> Places:
        """Finds all occurrences of a sequence, sorted by row, then offset.

        Raises:
            SettingsError: The sequence is empty.
        """
        first, last = self._range(tokens)
        stored = self._table[first * self._pointer : last * self._pointer]
        wide = np.zeros((last - first, 8), dtype=np.uint8)
        wide[:, : self._pointer] = stored.reshape(-1, self._pointer)
        pointers = np.sort(wide.view("<i8").ravel())
        rows = np.searchsorted(self._starts, pointers, side="right") - 1
        # A separator stands before every document.
        return Places(rows, (pointers - self._starts[rows]) // self._dtype.itemsize - 1)

    def longest_match(self, tokens: Sequence[int]) -> list[Match]:
        """Finds, from each position of a query, the longest run that occurs in the corpus."""
        return [self._longest(tokens[start:]) for start in range(len(tokens))]

    def _longest(self, tokens: Sequence[int]) -> Match:
        lengths = range(1, len(tokens) + 1)
        length = bisect_right(lengths, 0, key=lambda n: int(not self.count(tokens[:n])))
        return Match(length, self.count(tokens[:length]) if length else 0)

    def _range(self, tokens: Sequence[int]) -> tuple[int, int]:
        if not len(tokens):
            raise SettingsError(
                "A sequence without tokens occurs everywhere.", "Give at least one token."
            )
        # The largest number is the separator.
        if min(tokens) < 0 or max(tokens) >= np.iinfo(self._dtype).max:
            return 0, 0
        found = self._engine.find(input_ids=[int(token) for token in tokens])
        if "error" in found:
            raise CorpusError(f"infini-gram refuses a search ({found['error']}).", "Report this.")
        ((first, last),) = found["segment_by_shard"]
        return first, last


def build_infini_gram(
    corpus: Corpus, directory: Path, *, memory_gb: int = 4, progress: Progress = SILENT
) -> InfiniGram:
    """Builds an infini-gram index of a corpus's token ids.

    Args:
        corpus: The corpus.
        directory: A new or empty directory for the index.
        memory_gb: How much memory sorting may use.
        progress: Reports progress.

    Raises:
        CorpusError: The package is not installed, the corpus has no token or a negative one, or
            the package fails or needs more memory, as with ids from 65,535 on.

    Cost:
        Some 1 µs a token, and 5 to 6 bytes of disk, twice that while it sorts.
    """
    _require()
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise CorpusError(f"{directory} is not empty.", "Choose another place for the index.")
    with progress.task("Indexing with infini-gram", total=None, unit="tokens") as task:
        dtype = _write_text(corpus, directory, memory_gb)
        # The package calls a shell with its paths, so they are ones without a space.
        with tempfile.TemporaryDirectory(prefix="whence-") as work:
            place = Path(work) / "index"
            place.symlink_to(directory.resolve(), target_is_directory=True)
            command = [sys.executable, "-m", "infini_gram.indexing", "--data_dir", work]
            command += ["--temp_dir", work, "--save_dir", str(place), "--mem", str(memory_gb)]
            command += ["--token_dtype", f"u{8 * dtype.itemsize}", "--ulimit", str(_open_files())]
            # It fails where it shares few tokens among several processes.
            cpus = os.cpu_count() if corpus.lengths.sum() > _FEW_TOKENS else 1
            command += ["--cpus", str(cpus)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not (directory / _TABLE).is_file():
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise CorpusError(f"infini-gram failed ({' '.join(last)}).", "Give it more memory.")
        task.advance(int(corpus.lengths.sum()))
    return InfiniGram(directory)


def _write_text(corpus: Corpus, directory: Path, memory_gb: int) -> np.dtype[Any]:
    """Writes the tokens with a separator before each document, and where documents start."""
    chunks = corpus.table.column("input_ids").chunks
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
    tokens = np.concatenate(flat) if flat else np.zeros(0, np.int32)
    if not len(tokens) or tokens.min() < 0:
        raise CorpusError(
            "The corpus holds no token, or a negative one, so that it cannot be indexed.",
            "Check how it was tokenized.",
        )
    dtype = np.dtype("<u2" if tokens.max() < 2**16 - 1 else "<u4")
    if dtype.itemsize == 4 and memory_gb < _WIDE_GB:
        raise CorpusError(
            f"infini-gram needs {_WIDE_GB} GB of memory for token ids up to {tokens.max():,}, and "
            f"may use {memory_gb}.",
            "Give it more, or search with a suffix array in memory.",
        )
    starts = np.concatenate(([0], np.cumsum(corpus.lengths + 1)[:-1]))
    text = np.full(len(tokens) + len(corpus), np.iinfo(dtype).max, dtype=dtype)
    is_token = np.ones(len(text), dtype=bool)
    is_token[starts] = False
    text[is_token] = tokens
    text.tofile(directory / _TEXT)
    (starts * dtype.itemsize).astype(np.uint64).tofile(directory / _OFFSETS)
    return dtype


def _token_type(directory: Path) -> np.dtype[Any]:
    """The type of the tokens: the separator before the first document says it."""
    try:
        with (directory / _TEXT).open("rb") as file:
            head = file.read(4)
        has_table = (directory / _TABLE).is_file() and (directory / _OFFSETS).is_file()
    except OSError:
        head, has_table = b"", False
    if head[:2] != b"\xff\xff" or not has_table:
        raise CorpusError(f"{directory} is no whole infini-gram index.", "Build it again.")
    return np.dtype("<u4" if head == b"\xff" * 4 else "<u2")


def _open_engine(directory: Path, dtype: np.dtype[Any]) -> "InfiniGramEngine":
    _require()
    from infini_gram.engine import InfiniGramEngine  # pyright: ignore[reportMissingImports]

    largest = int(np.iinfo(dtype).max)
    return InfiniGramEngine(
        index_dir=str(directory),
        eos_token_id=largest - 1,
        vocab_size=largest,
        token_dtype=f"u{8 * dtype.itemsize}",
    )


def _require() -> None:
    from importlib.util import find_spec

    if find_spec("infini_gram") is None:
        raise CorpusError(
            "The package infini-gram is not installed.",
            "Install it with `pip install whence[infini-gram]`.",
        )


def _open_files() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


__all__ = ["InfiniGram", "build_infini_gram"]
