"""Runs of words of a behavior's text that its examples share, and how often the corpus has them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import log
from typing import NamedTuple

from whence.corpus.words import words
from whence.evidence.overlap import STOP_WORDS
from whence.report.schema import Behavior, QuerySpan, ShownExample

# As many as a reader can tell apart in a text.
NUM_SPANS = 16
# A corpus of more text is not searched for spans when a page is written.
MAX_CORPUS_CHARACTERS = 100_000_000
# What a word counts for that none of the documents behind the shares has.
_UNSEEN_SHARE = 1e-4

Keys = tuple[str, ...]


class _Run(NamedTuple):
    """Words `first` to `last` (exclusive) of a query."""

    first: int
    last: int


def query_spans(
    query: str,
    shown: Sequence[ShownExample],
    texts: Sequence[str],
    *,
    shares: Mapping[str, float],
) -> list[QuerySpan]:
    """Finds the runs of a query's words that its examples share.

    Those that carry most come first; what a run carries is the sum over its words of `-log(share)`,
    function words left out. Where two overlap, the first is marked in the text.

    Args:
        query: Prompt and completion.
        shown: The examples, with the runs that each of them shares with the query.
        texts: Their whole texts, in the same order.
        shares: In which share of the corpus's documents each word occurs.

    Returns:
        At most `NUM_SPANS` spans with different words; how often the corpus has them is not known
        yet.
    """
    split = words(query)
    runs = [_runs(split.keys, one, text) for one, text in zip(shown, texts, strict=True)]
    weight = [
        0.0 if key in STOP_WORDS else -log(shares.get(key, _UNSEEN_SHARE)) for key in split.keys
    ]
    candidates = {run: sum(weight[run.first : run.last]) for found in runs for run in found}
    chosen = sorted(
        (run for run, carried in candidates.items() if carried),
        key=lambda run: (-candidates[run], run),
    )[:NUM_SPANS]
    marked: list[_Run] = []
    for run in chosen:
        if all(run.last <= one.first or run.first >= one.last for one in marked):
            marked.append(run)
    return [
        QuerySpan(
            start=split.places[run.first][0],
            end=split.places[run.last - 1][1],
            num_words=run.last - run.first,
            is_marked=run in marked,
            num_documents=None,
            shown=[
                place
                for place, found in enumerate(runs)
                if any(one.first <= run.first and one.last >= run.last for one in found)
            ],
        )
        for run in chosen
    ]


def _runs(query: Keys, shown: ShownExample, text: str) -> list[_Run]:
    """Where in the query the runs that an example shares with it stand, at their first place."""
    found = []
    for span in shown.spans:
        keys = words(text[span.start : span.end]).keys
        first = _find(query, keys)
        if first is not None:
            found.append(_Run(first, first + len(keys)))
    return found


def _find(query: Keys, keys: Keys) -> int | None:
    places = (i for i in range(len(query) - len(keys) + 1) if query[i : i + len(keys)] == keys)
    return next(places, None) if keys else None


def with_counts(
    behaviors: Sequence[Behavior], queries: Sequence[str], texts: Iterable[str | None]
) -> list[Behavior]:
    """Counts in how many documents of a corpus each span stands.

    Args:
        behaviors: Behaviors with spans.
        queries: Their texts, in the same order.
        texts: The documents.
    """
    keys = [
        [words(query[span.start : span.end]).keys for span in behavior.detail.spans]
        for behavior, query in zip(behaviors, queries, strict=True)
    ]
    counts = count_documents({one for some in keys for one in some}, texts)
    found = []
    for behavior, some in zip(behaviors, keys, strict=True):
        spans = [
            replace(span, num_documents=counts[one])
            for span, one in zip(behavior.detail.spans, some, strict=True)
        ]
        found.append(replace(behavior, detail=replace(behavior.detail, spans=spans)))
    return found


def count_documents(runs: Iterable[Keys], texts: Iterable[str | None]) -> dict[Keys, int]:
    """Counts the documents that hold each of some runs of words."""
    counts = dict.fromkeys(runs, 0)
    by_first: dict[str, list[Keys]] = {}
    for run in counts:
        by_first.setdefault(run[0], []).append(run)
    for text in texts:
        keys = words(text or "").keys
        held = {
            run
            for place, key in enumerate(keys)
            for run in by_first.get(key, ())
            if keys[place : place + len(run)] == run
        }
        for run in held:
            counts[run] += 1
    return counts
