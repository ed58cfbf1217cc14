"""Words that a document shares with a query, and their positions.

The longest common runs of words come first, as in OLMoTrace; a run of stop words, or of words
that most documents have, is not worth a mark.

Source:
    Liu et al., "OLMoTrace: Tracing Language Model Outputs Back to Trillions of Training Tokens",
    ACL 2025 demonstrations: maximal spans, long and rare ones preferred. Here words instead of
    tokens, one document at a time instead of a suffix array of the corpus.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from whence.corpus.words import words

# Function words only: a shared one says nothing about where a behavior comes from.
_FUNCTION_WORDS = """
a about after all also an and any are as at be because been before but by can could did do does
for from had has have he her here his how i if in into is it its me more most my no not of on
one only or other our out over she so some such than that the their them then there these they
this those to up us was we were what when where which while who will with would you your
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())

# What a word counts for that none of the documents behind the shares has.
_UNSEEN_SHARE = 1e-4


class Span(NamedTuple):
    """A run of shared words: characters `start` to `end` (exclusive) of the document."""

    start: int
    end: int
    num_words: int


def word_shares(texts: Iterable[str]) -> dict[str, float]:
    """Computes in which share of the texts each word occurs.

    Args:
        texts: The corpus.

    Returns:
        From a word's comparable form to a share in (0, 1]; empty for no texts.
    """
    counts: Counter[str] = Counter()
    num_texts = 0
    for text in texts:
        num_texts += 1
        counts.update(set(words(text).keys))
    return {word: count / num_texts for word, count in counts.items()}


def shared_spans(
    query_text: str,
    document_text: str,
    *,
    max_per_document: int = 40,
    shares: Mapping[str, float] | None = None,
    common: float = 0.2,
    stop_words: Collection[str] = STOP_WORDS,
) -> tuple[Span, ...]:
    """Finds the runs of words that a document shares with a query.

    A run is as long as it can be; where two overlap, the one that carries more keeps the words
    that both claim. What a run carries is the sum over its words of `-log(share)`, the surprise in
    nats of meeting the word in a document; without shares it is its number of words.

    Args:
        query_text: What is looked for, such as prompt and completion.
        document_text: Where it is looked for.
        max_per_document: How many runs to keep at most: the ones that carry most.
        shares: In which share of the corpus's documents each word occurs, from `word_shares`.
        common: A word in more than this share of the documents counts as a stop word.
        stop_words: Words that do not count alone. Pass `()` to mark them too.

    Returns:
        Runs in document order, without overlap; empty where nothing worth a mark is shared.
    """
    document = words(document_text)
    weight = _weights(set(document.keys), shares, common=common, stop_words=stop_words)
    weights = [weight[key] for key in document.keys]
    candidates = [
        (sum(weights[first:last]), first, last)
        for first, last in _maximal_runs(words(query_text).keys, document.keys)
    ]
    candidates.sort(key=lambda run: (-run[0], run[1] - run[2], run[1]))
    taken = [False] * len(document.keys)
    chosen: list[tuple[int, int]] = []
    for _, start, end in candidates:
        if len(chosen) == max_per_document:
            break
        first, last = start, end
        # No maximal run contains another, so what is taken of it lies at its ends.
        while first < last and taken[first]:
            first += 1
        while first < last and taken[last - 1]:
            last -= 1
        if sum(weights[first:last]) == 0:
            continue
        taken[first:last] = [True] * (last - first)
        chosen.append((first, last))
    return tuple(
        Span(document.places[first][0], document.places[last - 1][1], last - first)
        for first, last in sorted(chosen)
    )


class Marks(NamedTuple):
    """What a document shares with a behavior.

    `spans` are the shared runs of words; `answers` are the places of the whole completion, also
    where it is made of stop words.
    """

    spans: tuple[Span, ...]
    answers: tuple[Span, ...]


def mark_text(
    prompt: str, completion: str, document_text: str, *, shares: Mapping[str, float]
) -> Marks:
    """Finds what a document shares with a behavior's prompt and completion.

    Args:
        prompt: The behavior's prompt.
        completion: Its completion.
        document_text: Where they are looked for.
        shares: In which share of the corpus's documents each word occurs, from `word_shares`.
    """
    num_words = len(words(completion).keys)
    answers = shared_spans(completion, document_text, stop_words=())
    return Marks(
        shared_spans(prompt + completion, document_text, shares=shares),
        tuple(span for span in answers if span.num_words == num_words),
    )


def _weights(
    keys: Collection[str],
    shares: Mapping[str, float] | None,
    *,
    common: float,
    stop_words: Collection[str],
) -> dict[str, float]:
    if shares is None:
        return {key: float(key not in stop_words) for key in keys}
    share = {key: shares.get(key, _UNSEEN_SHARE) for key in keys}
    return {
        key: 0.0 if key in stop_words or share[key] > common else -math.log(share[key])
        for key in keys
    }


def _maximal_runs(query: Sequence[str], document: Sequence[str]) -> list[tuple[int, int]]:
    """Finds the runs `document[first:last]` that occur in the query and cannot grow.

    Uses the suffix automaton of the query (Blumer et al., 1985), so that the cost is linear in
    both lengths: repetitive documents would be quadratic otherwise.
    """
    transitions, links, lengths = _suffix_automaton(query)
    runs: list[tuple[int, int]] = []
    state = length = 0
    for position, word in enumerate(document):
        previous = length
        while state and word not in transitions[state]:
            state = links[state]
            length = lengths[state]
        if word in transitions[state]:
            state = transitions[state][word]
            length += 1
        else:
            length = 0
        if previous and length <= previous:
            runs.append((position - previous, position))
    if length:
        runs.append((len(document) - length, len(document)))
    return runs


def _suffix_automaton(
    sequence: Sequence[str],
) -> tuple[list[dict[str, int]], list[int], list[int]]:
    transitions: list[dict[str, int]] = [{}]
    links, lengths = [-1], [0]
    last = 0
    for word in sequence:
        current = len(transitions)
        transitions.append({})
        lengths.append(lengths[last] + 1)
        links.append(0)
        state = last
        while state != -1 and word not in transitions[state]:
            transitions[state][word] = current
            state = links[state]
        if state != -1:
            target = transitions[state][word]
            if lengths[state] + 1 == lengths[target]:
                links[current] = target
            else:
                clone = len(transitions)
                transitions.append(dict(transitions[target]))
                lengths.append(lengths[state] + 1)
                links.append(links[target])
                while state != -1 and transitions[state].get(word) == target:
                    transitions[state][word] = clone
                    state = links[state]
                links[target] = links[current] = clone
        last = current
    return transitions, links, lengths
