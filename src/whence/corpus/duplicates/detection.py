"""Finds the duplicates of a corpus, and keeps them as a stage of a run."""

from collections.abc import Hashable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whence.artifacts.stage import Stage
from whence.corpus.duplicates.clusters import chained, clusters, shares_ngram
from whence.corpus.duplicates.minhash import proposed_pairs
from whence.corpus.duplicates.pairs import Pairs, Shingles, confirmed, exact_pairs, num_products
from whence.corpus.duplicates.record import (
    BOILERPLATE_TOKENS,
    NEAR,
    SHINGLE_TOKENS,
    WEAK,
    Duplicates,
    read_duplicates,
    save_duplicates,
)
from whence.corpus.duplicates.sorting import build_suffix_array, read_suffix_array
from whence.corpus.duplicates.suffix_array import Incidence, SuffixArray
from whence.progress import SILENT, Progress
from whence.records import Corpus

# All pairs are compared up to here; above, MinHash proposes some.
MAX_EXACT_DOCUMENTS = 200_000
MAX_EXACT_PRODUCTS = 10**10


def find_duplicates(
    corpus: Corpus,
    *,
    end_of_text: int | None = None,
    exact: bool | None = None,
    suffix_array: SuffixArray | None = None,
    progress: Progress = SILENT,
) -> Duplicates:
    """Finds which documents of a corpus are duplicates of each other.

    Args:
        corpus: The documents, as the model reads them; what was cut off is not compared.
        end_of_text: Leave out n-grams with this token: where a row packs several documents, their
            neighborhood is not text.
        exact: Compare all pairs, or let MinHash propose some; by default all up to 200,000
            documents.
        suffix_array: The corpus's, where there is one already.
        progress: Reports progress.

    Returns:
        Clusters, pairs and copies; see `Duplicates`.

    Raises:
        CorpusError: A token id is negative.

    Cost:
        Some 3 s and 400 MB for 20,000 passages of 230 tokens.
    """
    array = suffix_array or build_suffix_array(corpus, progress=progress)
    incidence = array.incidence(SHINGLE_TOKENS, end_of_text=end_of_text)
    same_tokens = _first_rows(array.document(row).tobytes() for row in range(len(corpus)))
    same_shingles = _same_shingles(incidence, same_tokens)
    is_first = same_shingles == np.arange(len(corpus))
    kept = is_first[incidence.rows]
    shingles = Shingles(
        incidence._replace(ngrams=incidence.ngrams[kept], rows=incidence.rows[kept]), len(corpus)
    )
    if exact is None:
        exact = len(corpus) <= MAX_EXACT_DOCUMENTS
        exact = exact and num_products(shingles, WEAK) <= MAX_EXACT_PRODUCTS
    if exact:
        near = exact_pairs(shingles, WEAK, progress=progress)
    else:
        near = confirmed(shingles, proposed_pairs(shingles, progress=progress), WEAK)
    near = _with_members(near, same_shingles)
    boilerplate = array.incidence(BOILERPLATE_TOKENS, end_of_text=end_of_text)
    shares = shares_ngram(boilerplate, len(corpus))
    chains = np.bincount(chained(boilerplate, len(corpus))[shares], minlength=1)
    return Duplicates(
        cluster_80=clusters(near.rows[near.jaccard >= NEAR], len(corpus)),
        cluster_50=clusters(near.rows, len(corpus)),
        same_tokens=same_tokens,
        same_shingles=same_shingles,
        shares_boilerplate=shares,
        pairs=near.rows,
        jaccard=near.jaccard,
        largest_chain=int(chains.max()),
        is_exact=exact,
    )


def duplicates_stage(
    corpus: Corpus,
    corpus_key: str,
    *,
    end_of_text: int | None = None,
    progress: Progress = SILENT,
) -> Stage[Duplicates]:
    """The duplicates of a run's corpus, kept as long as the run keeps the corpus.

    Args:
        corpus: The run's examples.
        corpus_key: The key of the stage that holds them.
        end_of_text: See `find_duplicates`.
        progress: Reports progress.
    """

    def make(place: Path) -> None:
        found = find_duplicates(corpus, end_of_text=end_of_text, progress=progress)
        save_duplicates(found, place)

    inputs = {
        "about": [corpus_key],
        "end_of_text": end_of_text,
        "shingle_tokens": SHINGLE_TOKENS,
        "boilerplate_tokens": BOILERPLATE_TOKENS,
        "thresholds": [NEAR, WEAK],
        "max_exact": [MAX_EXACT_DOCUMENTS, MAX_EXACT_PRODUCTS],
    }
    return Stage("duplicates", 1, inputs, make=make, read=read_duplicates)


def suffix_array_stage(
    corpus: Corpus, corpus_key: str, *, progress: Progress = SILENT
) -> Stage[SuffixArray]:
    """The suffix array of a run's corpus, kept as long as the run keeps the corpus."""

    def make(place: Path) -> None:
        build_suffix_array(corpus, progress=progress).save(place)

    return Stage("suffix-array", 1, {"about": [corpus_key]}, make=make, read=read_suffix_array)


def _same_shingles(incidence: Incidence, same_tokens: NDArray[np.int32]) -> NDArray[np.int32]:
    """By row, the first row of the same n-grams; without n-grams, of the same tokens."""
    keys = np.sort(incidence.rows.astype(np.int64) << 32 | incidence.ngrams)
    ngrams = (keys & 0xFFFFFFFF).astype(np.int32)
    bounds = np.searchsorted(keys >> 32, np.arange(len(same_tokens) + 1))

    def sets() -> Iterable[Hashable]:
        for row, first in enumerate(same_tokens.tolist()):
            held = ngrams[bounds[row] : bounds[row + 1]]
            yield held.tobytes() if len(held) else first

    return _first_rows(sets())


def _first_rows(keys: Iterable[Hashable]) -> NDArray[np.int32]:
    """By place, the first place of an equal key; an empty key equals none."""
    firsts: dict[Hashable, int] = {}
    found = [
        place if key == b"" else firsts.setdefault(key, place) for place, key in enumerate(keys)
    ]
    return np.asarray(found, dtype=np.int32)


def _with_members(near: Pairs, same_shingles: NDArray[np.int32]) -> Pairs:
    """Adds the pair of each represented document with its representative."""
    members = np.flatnonzero(same_shingles != np.arange(len(same_shingles)))
    rows = np.stack([same_shingles[members], members], axis=1).astype(np.int32)
    rows = np.concatenate([near.rows, rows])
    jaccard = np.concatenate([near.jaccard, np.ones(len(members))])
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    return Pairs(rows[order], jaccard[order])
