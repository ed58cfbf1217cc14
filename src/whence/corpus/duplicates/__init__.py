"""Duplicates of a corpus: copies, near-duplicates, shared n-grams, and a search for any text."""

from whence.corpus.duplicates.detection import duplicates_stage, find_duplicates, suffix_array_stage
from whence.corpus.duplicates.record import (
    BOILERPLATE_TOKENS,
    NEAR,
    SHINGLE_TOKENS,
    WEAK,
    Duplicates,
    Groups,
    Neighbor,
    read_duplicates,
)
from whence.corpus.duplicates.sorting import build_suffix_array, read_suffix_array
from whence.corpus.duplicates.suffix_array import (
    Incidence,
    Match,
    Occurrence,
    Places,
    SuffixArray,
)

__all__ = [
    "BOILERPLATE_TOKENS",
    "NEAR",
    "SHINGLE_TOKENS",
    "WEAK",
    "Duplicates",
    "Groups",
    "Incidence",
    "Match",
    "Neighbor",
    "Occurrence",
    "Places",
    "SuffixArray",
    "build_suffix_array",
    "duplicates_stage",
    "find_duplicates",
    "read_duplicates",
    "read_suffix_array",
    "suffix_array_stage",
]
