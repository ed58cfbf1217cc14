"""Making a suffix array of a corpus's tokens, and opening one that was saved."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whence.corpus.duplicates.suffix_array import FILES, SuffixArray
from whence.errors import CorpusError
from whence.progress import SILENT, Progress
from whence.records import Corpus


def build_suffix_array(corpus: Corpus, *, progress: Progress = SILENT) -> SuffixArray:
    """Sorts all positions of a corpus by the tokens that follow them.

    Returns:
        The suffix array, in memory: 10 bytes a token with fewer than 65,535 token ids, else 12,
        and 4 more from 2³¹ tokens on.

    Raises:
        CorpusError: A token id is negative.

    Source:
        Mori's divsufsort through pydivsufsort, and Kasai et al., "Linear-Time
        Longest-Common-Prefix Computation in Suffix Arrays and Its Applications", CPM 2001.

    Cost:
        0.2 µs and some 30 bytes of memory a token.
    """
    from pydivsufsort import divsufsort, kasai

    with progress.task("Sorting the corpus", total=None, unit="tokens") as task:
        text, starts = _separated(corpus)
        if not len(text):
            empty = np.zeros(0, np.int32)
            return SuffixArray(text.astype(">u2"), empty, empty, starts)
        native = text.astype(text.dtype.newbyteorder("="))
        order = divsufsort(native)
        common = np.asarray(kasai(native, order), dtype=np.int32)
        task.advance(len(native))
    # The separators sort first, and no query starts with one.
    num_documents = len(starts) - 1
    return SuffixArray(text, order[num_documents:], common[num_documents:], starts)


def read_suffix_array(directory: Path) -> SuffixArray:
    """Opens what `SuffixArray.save` wrote, as memory maps.

    Raises:
        CorpusError: A file is missing or broken.
    """
    try:
        arrays = [
            # A plain array is searched faster than `np.memmap`.
            np.asarray(np.load(directory / f"{name}.npy", mmap_mode="r", allow_pickle=False))
            for name in FILES
        ]
    except (OSError, ValueError) as error:
        raise CorpusError(
            f"The suffix array in {directory} cannot be read ({error}).", "Make it again."
        ) from None
    return SuffixArray(*arrays)


def _separated(corpus: Corpus) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
    """The tokens of a corpus raised by one, with 0 after each document, and documents' starts."""
    lengths = corpus.lengths
    starts = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths + 1, out=starts[1:])
    chunks = corpus.table.column("input_ids").chunks
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
    tokens = np.concatenate(flat) if flat else np.zeros(0, np.int32)
    if len(tokens) and tokens.min() < 0:
        raise CorpusError(f"The corpus holds the token id {tokens.min()}.", "Tokenize it again.")
    largest = int(tokens.max()) + 1 if len(tokens) else 0
    text = np.zeros(starts[-1], dtype=">u2" if largest < 2**16 else ">u4")
    is_token = np.ones(len(text), dtype=bool)
    is_token[starts[1:] - 1] = False
    text[is_token] = tokens.astype(np.int64) + 1
    return text, starts
