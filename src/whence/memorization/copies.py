"""Copies of windows in a corpus: which examples copy one, how closely, and when they were seen."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from whence.artifacts import fingerprint, progress_directory
from whence.artifacts.stage import Stage
from whence.corpus.duplicates import SHINGLE_TOKENS, SuffixArray
from whence.corpus.words import search_words
from whence.evidence.alignment import AlignedQuery, Overlap, n_grams
from whence.evidence.ties import LONG, best_similarity, copy_relation
from whence.memorization.arrays import find_arrays, read_arrays, save_arrays
from whence.memorization.windows import Windows
from whence.progress import SILENT, Progress
from whence.records import Corpus

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from transformers import PreTrainedTokenizerBase

# Named and decided as in `evidence.relations`; `self` is the example that a window was read from.
CopyClass = Literal["self", "exact", "continuation", "near", "weak-near"]
CLASSES: tuple[CopyClass, ...] = get_args(CopyClass)
_BLOCK = 32
# An example that shares fewer of a window's 5-grams is not aligned with it.
_SHARED = 0.05
_COLUMNS = ("windows", "rows", "classes", "similarity", "steps")
_FILE = "copies.npz"


@dataclass(frozen=True)
class Copies:
    """Pairs of a window and an example that copies it, sorted by window, then row.

    Attributes:
        num_windows: Windows that were compared with the corpus, with or without copies.
        windows: Place of the window.
        rows: Row of the example in the corpus.
        classes: Place in `CLASSES`.
        similarity: Edit similarity of window and best-aligned part of the example, in [0, 1].
        steps: The training step, counted from 1, at which the example was seen; a checkpoint of
            step s has seen it if it is at most s. -1 where that is not known.
    """

    num_windows: int
    windows: "Int[np.ndarray, ' pairs']"
    rows: "Int[np.ndarray, ' pairs']"
    classes: "Int[np.ndarray, ' pairs']"
    similarity: "Float[np.ndarray, ' pairs']"
    steps: "Int[np.ndarray, ' pairs']"

    def of(
        self, window: int, classes: Collection[CopyClass] = CLASSES, *, seen_by: int | None = None
    ) -> "Int[np.ndarray, ' rows']":
        """Lists the rows of some classes of copies of one window, in corpus order.

        Args:
            window: Its place.
            classes: Which copies.
            seen_by: Only those that the checkpoint of this step has seen.
        """
        first, last = np.searchsorted(self.windows, [window, window + 1])
        part = slice(first, last)
        chosen = np.isin(self.classes[part], [CLASSES.index(name) for name in classes])
        if seen_by is not None:
            chosen &= (self.steps[part] >= 0) & (self.steps[part] <= seen_by)
        return self.rows[part][chosen]

    def count(
        self,
        classes: Collection[CopyClass],
        *,
        seen_by: "Int[np.ndarray, ' windows'] | None" = None,
    ) -> "Int[np.ndarray, ' windows']":
        """Counts copies of some classes of every window.

        Args:
            classes: Which copies.
            seen_by: For each window, count only those that the checkpoint of this step has seen.
        """
        chosen = np.isin(self.classes, [CLASSES.index(name) for name in classes])
        if seen_by is not None:
            chosen &= (self.steps >= 0) & (self.steps <= np.asarray(seen_by)[self.windows])
        return np.bincount(self.windows[chosen], minlength=self.num_windows)

    def select(self, places: "Int[np.ndarray, ' some']") -> "Copies":
        """Keeps the copies of some windows, which get new places in the given order."""
        starts = np.searchsorted(self.windows, places)
        ends = np.searchsorted(self.windows, np.asarray(places) + 1)
        spans = [np.arange(start, end) for start, end in zip(starts, ends, strict=True)]
        kept = np.concatenate([np.zeros(0, dtype=np.int64), *spans])
        return Copies(
            len(places),
            np.repeat(np.arange(len(places)), ends - starts),
            self.rows[kept],
            self.classes[kept],
            self.similarity[kept],
            self.steps[kept],
        )


def find_copies(
    windows: Windows,
    corpus: Corpus,
    array: SuffixArray,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    end_of_text: int | None = None,
    work: Path | None = None,
    progress: Progress = SILENT,
) -> Copies:
    """Finds every example of a corpus that copies a window, whole or in part.

    Classes are decided by the rules of relations (`evidence.ties.copy_relation`), the same for
    windows that are memorized and those that are not. Equal windows are compared once.

    Args:
        windows: What is copied.
        corpus: The examples, in the windows' tokens.
        array: The corpus's suffix array.
        tokenizer: Decodes windows, whose words are compared as well.
        end_of_text: An n-gram with this token is no text.
        work: A directory for finished blocks: a search that was cut short continues from there.
        progress: Reports progress.

    Cost:
        Some .3 ms for each distinct window and example that share one 5-gram in twenty.
    """
    texts = corpus.texts()
    words: dict[int, list[str]] = {}
    distinct, which = np.unique(windows.tokens, axis=0, return_inverse=True)
    candidates = Candidates(array, len(corpus), end_of_text)
    parts: list[dict[str, np.ndarray]] = []
    key = fingerprint(windows.fingerprint, corpus.content_fingerprint)
    with progress.task("Copies of the windows", total=len(distinct), unit="windows") as task:
        for start in range(0, len(distinct), _BLOCK):
            place = None if work is None else work / f"{key}-{start:06d}.npz"
            part = None if place is None else find_arrays(place)
            if part is None:
                found = []
                for number, ids in enumerate(distinct[start : start + _BLOCK].tolist(), start):
                    query = AlignedQuery(
                        tuple(ids[: windows.num_prompt_tokens]),
                        tuple(ids[windows.num_prompt_tokens :]),
                    )
                    query_words = search_words(str(tokenizer.decode(ids)))
                    for row in candidates.rows(ids):
                        if row not in words:
                            words[row] = search_words(texts[row] or "")
                        overlap = query.overlap(corpus.input_ids(row))
                        similarity = _word_similarity(query, overlap, query_words, words[row])
                        name = copy_relation(query, overlap, word_similarity=similarity)
                        if name is not None:
                            closest = max(overlap.edit_similarity or 0.0, similarity)
                            found.append((number, row, CLASSES.index(name), closest))
                part = _columns(found)
                if place is not None:
                    save_arrays(place, **part)
            parts.append(part)
            task.advance(len(distinct[start : start + _BLOCK]))
    return _of_windows(windows, corpus, parts, which.reshape(-1))


def _word_similarity(
    query: AlignedQuery, overlap: Overlap, words: list[str], others: list[str]
) -> float:
    """The similarity of words, where it may decide."""
    is_exact = overlap.longest_run >= LONG or overlap.has_query or overlap.has_completion
    if is_exact or len(query.ids) < LONG or overlap.window is None:
        return 0.0
    return best_similarity(words, others)


class Candidates:
    """Examples that share some 5-grams with a window."""

    def __init__(self, array: SuffixArray, num_rows: int, end_of_text: int | None) -> None:
        self._array = array
        self._num_rows = num_rows
        self._end_of_text = end_of_text
        self._known: dict[tuple[int, ...], np.ndarray] = {}

    def rows(self, ids: list[int]) -> list[int]:
        """The rows that share at least one in twenty of a window's 5-grams, ascending."""
        length = min(SHINGLE_TOKENS, len(ids))
        grams = sorted(g for g in n_grams(ids, length) if self._end_of_text not in g)
        counts = np.zeros(self._num_rows, dtype=np.int32)
        for gram in grams:
            if gram not in self._known:
                self._known[gram] = np.unique(self._array.places(gram).rows)
            counts[self._known[gram]] += 1
        return np.flatnonzero(counts >= max(1, _SHARED * len(grams))).tolist()


def _columns(found: list[tuple[int, int, int, float]]) -> dict[str, np.ndarray]:
    windows, rows, classes, similarity = zip(*found, strict=True) if found else ((), (), (), ())
    return {
        "windows": np.array(windows, dtype=np.int64),
        "rows": np.array(rows, dtype=np.int64),
        "classes": np.array(classes, dtype=np.int64),
        "similarity": np.array(similarity, dtype=np.float32),
    }


def _of_windows(
    windows: Windows, corpus: Corpus, parts: list[dict[str, np.ndarray]], which: np.ndarray
) -> Copies:
    """Gives each window the copies of its tokens; its own example becomes `self`."""
    empty = _columns([])
    joined = {name: np.concatenate([empty[name], *(p[name] for p in parts)]) for name in empty}
    starts = np.searchsorted(joined["windows"], np.arange(which.max(initial=-1) + 2))
    spans = [np.arange(starts[number], starts[number + 1]) for number in which.tolist()]
    order = np.concatenate([np.zeros(0, np.int64), *spans])
    places = np.repeat(np.arange(len(windows)), [len(span) for span in spans])
    rows, classes = joined["rows"][order], joined["classes"][order]
    classes = np.where(rows == windows.rows[places], CLASSES.index("self"), classes)
    steps = corpus.table.column("step").to_pylist()
    known = np.array([-1 if step is None else step for step in steps], dtype=np.int64)
    return Copies(len(windows), places, rows, classes, joined["similarity"][order], known[rows])


def copies_stage(
    windows: Windows,
    corpus: Corpus,
    corpus_key: str,
    open_array: Callable[[], SuffixArray],
    open_tokenizer: "Callable[[], PreTrainedTokenizerBase]",
    *,
    end_of_text: int | None = None,
    progress: Progress = SILENT,
) -> Stage[Copies]:
    """The copies of windows in a corpus, as a stage; what is opened is opened only to make it."""

    def make(place: Path) -> None:
        found = find_copies(
            windows,
            corpus,
            open_array(),
            open_tokenizer(),
            end_of_text=end_of_text,
            work=progress_directory(place),
            progress=progress,
        )
        arrays = {name: getattr(found, name) for name in _COLUMNS}
        save_arrays(place / _FILE, **arrays)

    def read(place: Path) -> Copies:
        return Copies(len(windows), **read_arrays(place / _FILE))

    return Stage(
        "copies",
        1,
        {"windows": windows.fingerprint, "corpus": corpus_key, "end_of_text": end_of_text},
        make=make,
        read=read,
    )
