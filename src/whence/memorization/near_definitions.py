"""Three published definitions of a near-duplicate, side by side on the same windows and corpus.

    span        a part of the document, as long as the continuation, has a weighted Jaccard
                similarity of .6 or more with it: of their tokens as multisets,
                sum of min(counts) / sum of max(counts), and the two share a run of 10 tokens
    template    text of the document has a cosine of embeddings of .8 or more with the window's, and
                an edit distance of less than 20 characters, but not of 0
    document    the document and the window's own have a Jaccard similarity of .8 or more: of their
                5-grams of tokens as sets

They are of different things, a span, a window and a document, so that one copy may be near by one
of them alone; "influenced by near duplicates" may be true by one and false by another. Exact copies
are near by the first and the last, as they were published.

Source:
    span: Kiyomaru et al., "A Comprehensive Analysis of Memorization in Large Language Models", INLG
    2024, and https://github.com/speed1313/fast-near-duplicate-matching. The last full span of a
    document is compared here, too. template: `0_8_templates` of Prashanth et al., arXiv 2406.17746;
    here of the part of the document that is best aligned with the window, and only in documents
    that share a run of ten tokens with it, which so small a distance leaves in most cases.
    document: the usual deduplication by MinHash, decided exactly (`corpus.duplicates`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from whence.corpus.duplicates import Duplicates, SuffixArray
from whence.evidence.alignment import best_window
from whence.memorization.copies import CLASSES, Copies
from whence.memorization.windows import Windows
from whence.progress import SILENT, Progress

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from transformers import PreTrainedTokenizerBase

NearDefinition = Literal["span", "template", "document"]
DEFINITIONS: tuple[NearDefinition, ...] = get_args(NearDefinition)
SPAN_JACCARD, SHARED_TOKENS = 0.6, 10
TEMPLATE_COSINE, TEMPLATE_CHARACTERS = 0.8, 20
DOCUMENT_JACCARD = 0.8
Embed = Callable[[Sequence[str]], "Float[np.ndarray, 'texts dim']"]
OTHER = "no copy"


class NearPairs(NamedTuple):
    """Pairs that are near by one definition, sorted by window, then row.

    Attributes:
        windows: Place of the window.
        rows: Row of the document; the window's own is not listed.
        is_defined: For each window, whether the definition says anything of it.
        note: What was left out of the definition; empty where nothing was.
    """

    windows: "Int[np.ndarray, ' pairs']"
    rows: "Int[np.ndarray, ' pairs']"
    is_defined: "Bool[np.ndarray, ' windows']"
    note: str = ""

    def counts(self) -> "Float[np.ndarray, ' windows']":
        """Counts the near duplicates of each window; NaN where the definition says nothing."""
        counts = np.bincount(self.windows, minlength=len(self.is_defined)).astype(np.float64)
        return np.where(self.is_defined, counts, np.nan)


class DefinitionRow(NamedTuple):
    """What one definition makes of some windows.

    Attributes:
        definition: Which.
        num_windows: Windows of which it says anything.
        num_with: Windows with a near duplicate by it.
        num_pairs: Pairs of a window and a near duplicate.
        median: Near duplicates of a window, in the median; None without a window.
        classes: The classes that `whence memorization` gives to the pairs: from a class of
            `copies.CLASSES`, or `no copy`, to the number of pairs.
        note: What was left out of the definition.
    """

    definition: NearDefinition
    num_windows: int
    num_with: int
    num_pairs: int
    median: float | None
    classes: dict[str, int]
    note: str


@dataclass(frozen=True)
class NearDefinitions:
    """Windows against a corpus by three definitions."""

    pairs: dict[NearDefinition, NearPairs]

    def table(self, copies: Copies) -> tuple[DefinitionRow, ...]:
        """Says what each definition makes of the counts, beside the classes of copies.

        Args:
            copies: Of the same windows in the same corpus.
        """
        names = dict(zip(_keys(copies.windows, copies.rows), copies.classes.tolist(), strict=True))
        rows = []
        for definition, found in self.pairs.items():
            counts = found.counts()[found.is_defined]
            classes = [names.get(key) for key in _keys(found.windows, found.rows)]
            listed = [OTHER if c is None else CLASSES[c] for c in classes]
            rows.append(
                DefinitionRow(
                    definition,
                    int(found.is_defined.sum()),
                    int((counts > 0).sum()),
                    len(found.windows),
                    float(np.median(counts)) if len(counts) else None,
                    {name: listed.count(name) for name in (*CLASSES, OTHER) if name in listed},
                    found.note,
                )
            )
        return tuple(rows)

    def agreement(self, one: NearDefinition, other: NearDefinition) -> tuple[int, int, int]:
        """Counts the pairs that are near by both, by the first alone and by the second alone.

        Windows of which one of the two says nothing are left out.
        """
        first, second = self.pairs[one], self.pairs[other]
        both = first.is_defined & second.is_defined
        a, b = (
            {key for key in _keys(found.windows, found.rows) if both[key[0]]}
            for found in (first, second)
        )
        return len(a & b), len(a - b), len(b - a)


def near_definitions(
    windows: Windows,
    array: SuffixArray,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    duplicates: Duplicates | None = None,
    embed: Embed | None = None,
    progress: Progress = SILENT,
) -> NearDefinitions:
    """Finds the near duplicates of windows by each definition.

    Args:
        windows: What is copied.
        array: The corpus's suffix array.
        tokenizer: Turns tokens into text, for distances in characters.
        duplicates: The corpus's; without them no document is near.
        embed: Turns texts into vectors; without it, the cosine is left out of `template`, which
            then says more than was published.
        progress: Reports progress, in windows.

    Cost:
        About a millisecond for each window and document that share ten tokens and do not copy it.
    """
    spans: list[tuple[int, int]] = []
    templates: list[tuple[int, int]] = []
    with progress.task("Near duplicates", total=len(windows), unit="windows") as task:
        known: dict[bytes, tuple[list[int], list[int]]] = {}
        for place, tokens in enumerate(windows.tokens):
            # Equal windows are compared once.
            key, ids = tokens.tobytes(), tokens.tolist()
            if key not in known:
                near = _near_spans(ids[windows.num_prompt_tokens :], array)
                known[key] = near, _templates(ids, array, tokenizer, embed)
            own = int(windows.rows[place])
            for pairs, rows in zip((spans, templates), known[key], strict=True):
                pairs += [(place, row) for row in rows if row != own]
            task.advance()
    every = np.ones(len(windows), dtype=bool)
    note = "" if embed else "the cosine of embeddings was left out: no model is named for it"
    return NearDefinitions(
        {
            "span": _pairs(spans, every),
            "template": _pairs(templates, every, note),
            "document": _documents(windows, duplicates),
        }
    )


def weighted_jaccard(one: Sequence[int], other: Sequence[int]) -> float:
    """Computes the Jaccard similarity of two multisets of tokens, in [0, 1].

    Returns:
        Sum of the smaller counts / sum of the larger ones; 1 for two empty ones.

    Example:
        >>> weighted_jaccard([1, 2, 2], [1, 1, 2])
        0.5
    """
    from collections import Counter

    a, b = Counter(one), Counter(other)
    larger = (a | b).total()
    return (a & b).total() / larger if larger else 1.0


def _near_spans(continuation: list[int], array: SuffixArray) -> list[int]:
    """The rows with a span that is near the continuation."""
    length, shared = len(continuation), min(SHARED_TOKENS, len(continuation))
    near = set(array.places(continuation).rows.tolist())
    for row, offsets in _shared_runs(continuation, array).items():
        if row in near:
            continue
        document = array.document(row)
        # Spans that hold a shared run whole.
        starts = {
            start
            for offset in offsets
            for start in range(
                max(0, offset + shared - length), min(offset, len(document) - length) + 1
            )
        }
        if starts and _largest_jaccard(continuation, document, sorted(starts)) >= SPAN_JACCARD:
            near.add(row)
    return sorted(near)


def _largest_jaccard(continuation: list[int], document: np.ndarray, starts: list[int]) -> float:
    """The largest weighted Jaccard similarity with the spans of a document at some starts."""
    length = len(continuation)
    tokens, counts = np.unique(continuation, return_counts=True)
    part = document[starts[0] : starts[-1] + length]
    held = np.cumsum(part == tokens[:, None], axis=1)
    held = np.concatenate([np.zeros((len(tokens), 1), dtype=held.dtype), held], axis=1)
    in_span = held[:, length:] - held[:, :-length]
    common = np.minimum(in_span, counts[:, None]).sum(axis=0)[np.array(starts) - starts[0]].max()
    return float(common / (2 * length - common))


def _shared_runs(ids: list[int], array: SuffixArray) -> dict[int, list[int]]:
    """From the rows that share a run of ten tokens with a sequence to the offsets of such runs."""
    length = min(SHARED_TOKENS, len(ids))
    found: dict[int, list[int]] = {}
    for gram in sorted({tuple(ids[i : i + length]) for i in range(len(ids) - length + 1)}):
        places = array.places(gram)
        for row, offset in zip(places.rows.tolist(), places.offsets.tolist(), strict=True):
            found.setdefault(row, []).append(offset)
    return dict(sorted(found.items()))


def _templates(
    ids: list[int],
    array: SuffixArray,
    tokenizer: "PreTrainedTokenizerBase",
    embed: Embed | None,
) -> list[int]:
    """The rows whose best-aligned part is a template of the window."""
    from rapidfuzz.distance import Levenshtein

    def text(tokens: Sequence[int]) -> str:
        return str(tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))

    # Where the window stands whole, the best-aligned part is an exact copy.
    copies = set(array.places(ids).rows.tolist())
    wanted = text(ids)
    near, texts = [], []
    for row, offsets in _shared_runs(ids, array).items():
        if row in copies:
            continue
        document = array.document(row)
        around = document[max(0, min(offsets) - len(ids)) : max(offsets) + 2 * len(ids)].tolist()
        part = text(around[slice(*best_window(ids, around))])
        distance = Levenshtein.distance(wanted, part, score_cutoff=TEMPLATE_CHARACTERS)
        if 0 < distance < TEMPLATE_CHARACTERS:
            near.append(row)
            texts.append(part)
    if embed is None or not near:
        return near
    vectors = embed([wanted, *texts])
    norms = np.linalg.norm(vectors, axis=1)
    # A text without a direction is similar to none.
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = vectors[1:] @ vectors[0] / (norms[1:] * norms[0])
    return [row for row, cosine in zip(near, cosines, strict=True) if cosine >= TEMPLATE_COSINE]


def _documents(windows: Windows, duplicates: Duplicates | None) -> NearPairs:
    """The documents similar to the one that each window was read from."""
    if duplicates is None:
        nothing = np.zeros(len(windows), dtype=bool)
        return _pairs([], nothing, "the corpus's duplicates are not given")
    is_known = windows.rows >= 0
    found = [
        (place, row)
        for place in np.flatnonzero(is_known).tolist()
        for row in sorted(
            neighbor.row
            for neighbor in duplicates.neighbors(int(windows.rows[place]))
            if neighbor.jaccard >= DOCUMENT_JACCARD
        )
    ]
    unknown = len(windows) - int(is_known.sum())
    note = f"{unknown:,} windows are of no document of this corpus" if unknown else ""
    return _pairs(found, is_known, note)


def _pairs(found: list[tuple[int, int]], is_defined: np.ndarray, note: str = "") -> NearPairs:
    columns = np.array(found, dtype=np.int64).reshape(-1, 2)
    return NearPairs(columns[:, 0], columns[:, 1], is_defined, note)


def _keys(windows: np.ndarray, rows: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(windows.tolist(), rows.tolist(), strict=True))
