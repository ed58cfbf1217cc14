"""Texts in a corpus by their words: whole, nearly whole, or a run of 13 of them.

Sequences that another model memorized are in another tokenizer's ids, and some do not even encode
to themselves again. So they are compared by words, which no tokenizer cuts: those of a plain search
(`corpus.words.search_words`), without case and punctuation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from whence.corpus.duplicates import SuffixArray, build_suffix_array
from whence.corpus.words import search_words
from whence.evidence.alignment import AlignedQuery
from whence.evidence.ties import NEAR
from whence.memorization.copies import Candidates
from whence.progress import SILENT, Progress
from whence.records import Corpus

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

# The n-grams of GPT-3's analysis of overlap with its training data are as long.
SPAN_WORDS = 13
MatchKind = Literal["whole", "near", "span"]
MATCH_KINDS: tuple[MatchKind, ...] = get_args(MatchKind)


@dataclass(frozen=True)
class WordCorpus:
    """A corpus as numbers of words, sorted for searching."""

    numbers: dict[str, int]
    array: SuffixArray


@dataclass(frozen=True)
class TextMatches:
    """Pairs of a text and a document that holds some of it, sorted by text, then row.

    Attributes:
        num_words: Of each text; one of fewer than 13 has no span.
        texts: Place of the text.
        rows: Row of the document.
        longest_run: Words of the text that stand in the document in a row.
        is_whole: Whether all of them do.
        similarity: 1 - edit distance / length, in words, of the text and the best-aligned part of
            the document, in [0, 1].
    """

    num_words: "Int[np.ndarray, ' texts']"
    texts: "Int[np.ndarray, ' pairs']"
    rows: "Int[np.ndarray, ' pairs']"
    longest_run: "Int[np.ndarray, ' pairs']"
    is_whole: "Bool[np.ndarray, ' pairs']"
    similarity: "Float[np.ndarray, ' pairs']"

    def count(self, kind: MatchKind) -> "Int[np.ndarray, ' texts']":
        """Counts the documents that hold each text.

        Args:
            kind: `whole`: all of its words in a row. `near`: not whole, but a part of the document
                has an edit similarity of .8 or more. `span`: 13 of its words in a row, whether or
                not it is one of the others, too.
        """
        if kind == "whole":
            chosen = self.is_whole
        elif kind == "near":
            chosen = ~self.is_whole & (self.similarity >= NEAR)
        else:
            chosen = self.longest_run >= SPAN_WORDS
        return np.bincount(self.texts[chosen], minlength=len(self.num_words))


def word_corpus(texts: Sequence[str], *, progress: Progress = SILENT) -> WordCorpus:
    """Numbers the words of a corpus and sorts them for searching.

    Cost:
        Some 3 µs and 40 bytes a word.
    """
    import pyarrow as pa

    numbers: dict[str, int] = {}
    rows = [[numbers.setdefault(w, len(numbers)) for w in search_words(text)] for text in texts]
    table = pa.table({"input_ids": pa.array(rows, pa.list_(pa.int32()))})
    corpus = Corpus("words", "the words of a corpus", table)
    return WordCorpus(numbers, build_suffix_array(corpus, progress=progress))


def match_texts(
    texts: Sequence[str], corpus: WordCorpus, *, progress: Progress = SILENT
) -> TextMatches:
    """Finds the documents that hold texts, whole or in part.

    Args:
        texts: What is looked for.
        corpus: Where.
        progress: Reports progress, in texts.

    Returns:
        Every document with a run of 13 words of a text, and every one with at least one in twenty
        of its runs of five words, which is where near copies are found: one that was changed in
        every fifth word is not.

    Cost:
        About a millisecond for each text and such a document.
    """
    candidates = Candidates(corpus.array, corpus.array.num_documents, None)
    found: list[tuple[int, int, int, bool, float]] = []
    sizes = []
    with progress.task("Texts in the corpus", total=len(texts), unit="texts") as task:
        for place, text in enumerate(texts):
            # A word that the corpus does not have occurs nowhere, and equals no other such word.
            known: dict[str, int] = {}
            unknown = len(corpus.numbers)
            words = [
                corpus.numbers.get(word, unknown + known.setdefault(word, len(known)))
                for word in search_words(text)
            ]
            sizes.append(len(words))
            if words:
                for row in _rows(words, corpus.array, candidates):
                    found.append((place, row, *_compare(words, corpus.array.document(row))))
            task.advance()
    columns = list(zip(*found, strict=True)) if found else [()] * 5
    return TextMatches(
        np.array(sizes, dtype=np.int64),
        np.array(columns[0], dtype=np.int64),
        np.array(columns[1], dtype=np.int64),
        np.array(columns[2], dtype=np.int64),
        np.array(columns[3], dtype=bool),
        np.array(columns[4], dtype=np.float64),
    )


def _rows(words: list[int], array: SuffixArray, candidates: Candidates) -> list[int]:
    length = min(SPAN_WORDS, len(words))
    spans = {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}
    held = [array.places(span).rows for span in sorted(spans)]
    similar = np.array(candidates.rows(words), dtype=np.int64)
    return np.unique(np.concatenate([similar, *held])).tolist()


def _compare(words: list[int], document: np.ndarray) -> tuple[int, bool, float]:
    overlap = AlignedQuery((), tuple(words)).overlap(document.tolist())
    is_whole = overlap.longest_run == len(words)
    return overlap.longest_run, is_whole, overlap.edit_similarity or float(is_whole)
