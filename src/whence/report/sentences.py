"""The page's sentences on what the examples of a behavior are: counts of relations, in words.

A sentence says what was counted and no more: relations are found in texts, and that an example
copies or states a behavior does not show that it had an effect.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from whence.evidence.gap import Gap
from whence.evidence.relations import RELATIONS, Relation
from whence.statistics import rounded

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORDS = {
    "adam": "Adam",
    "adamw": "AdamW",
    "bm25": "BM25",
    "cg": "CG",
    "ekfac": "EK-FAC",
    "magic": "MAGIC",
    "ngram": "n-gram",
    "source": "SOURCE",
    "tfidf": "TF-IDF",
    "trackstar": "TrackStar",
    "tracin": "TracIn",
    "trak": "TRAK",
}


class _Phrase(NamedTuple):
    """How examples of one relation are counted, and what all of a list are or do."""

    one: str
    many: str
    all: str


_PHRASES: Mapping[Relation, _Phrase] = {
    "self": _Phrase("its own source", "its own source", "are all its own source"),
    "exact": _Phrase("exact copy", "exact copies", "are all exact copies"),
    "continuation": _Phrase(
        "exact copy of the completion",
        "exact copies of the completion",
        "are all exact copies of the completion",
    ),
    "near": _Phrase("near copy", "near copies", "are all near copies"),
    "weak-near": _Phrase("weak near copy", "weak near copies", "are all weak near copies"),
    "templated": _Phrase(
        "of the same template", "of the same template", "all have the same template"
    ),
    "states": _Phrase("states it", "state it", "all state it"),
    "other-answer": _Phrase(
        "gives another answer", "give another answer", "all give another answer"
    ),
    "same-relation": _Phrase(
        "same wording with another subject",
        "same wording with another subject",
        "all have the same wording with another subject",
    ),
    "half": _Phrase("states one half of it", "state one half of it", "all state one half of it"),
    "shares": _Phrase(
        "shares the subject or the answer",
        "share the subject or the answer",
        "all share the subject or the answer",
    ),
    "topical": _Phrase("on the same topic", "on the same topic", "are all on the same topic"),
    "same-style": _Phrase("in the same style", "in the same style", "are all in the same style"),
    "same-format": _Phrase(
        "in the same format", "in the same format", "are all in the same format"
    ),
    "same-subset": _Phrase(
        "from the same subset only",
        "from the same subset only",
        "are all from the same subset only",
    ),
    "surprising": _Phrase("surprising", "surprising", "are all surprising"),
    "unexplained": _Phrase(
        "without a visible tie", "without a visible tie", "all have no visible tie"
    ),
    "noise": _Phrase("noise", "noise", "are all noise"),
}
assert set(_PHRASES) == set(RELATIONS)


def method_label(name: str) -> str:
    """What a sentence calls a method: `gradient_cosine` is gradient cosine, `bm25` is BM25."""
    from whence.methods import is_method

    if not is_method(name):
        return name.replace("_", " ")
    return " ".join(_WORDS.get(word, word) for word in name.split("_"))


def capitalized(text: str) -> str:
    """Writes the first letter large, as at the start of a sentence; the rest stays."""
    return text[:1].upper() + text[1:]


def in_words(count: int) -> str:
    """Writes a count up to ten as a word, and a larger one in digits."""
    return _NUMBERS[count] if 0 <= count < len(_NUMBERS) else str(count)


def listed(parts: Sequence[str]) -> str:
    """Joins parts by commas, and the last by "and"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def counted(relations: Mapping[Relation, int]) -> str:
    """Counts relations in words, such as "2 exact copies, 1 noise", in their order."""
    return ", ".join(f"{n} {phrase(relation, n)}" for relation, n in relations.items())


def phrase(relation: Relation, count: int) -> str:
    """Words what stands behind a count of one relation, such as "exact copies"."""
    found = _PHRASES[relation]
    return found.one if count == 1 else found.many


def relations_sentence(
    label: str,
    relations: Mapping[Relation, int],
    *,
    other: str | None = None,
    other_relations: Mapping[Relation, int] | None = None,
) -> str:
    """Sums up what a method lists first for a behavior, and what another method lists.

    Args:
        label: What the method is called.
        relations: The relations of its first clusters, with counts, in the order of the cascade.
        other: What the method beside it is called; None leaves it out.
        other_relations: The same counts of that method.
    """
    first = capitalized(_clause(label, relations, is_first=True))
    if other is None or other_relations is None:
        return f"{first}."
    return f"{first}; {_clause(other, other_relations, is_first=False)}."


def _clause(label: str, relations: Mapping[Relation, int], *, is_first: bool) -> str:
    total = sum(relations.values())
    if not total:
        return f"{label} names no example"
    whose = f"{label}'s first {in_words(total)}" if is_first else f"{label}'s"
    if total == 1:
        return f"{label}'s only one: {counted(relations)}"
    if len(relations) == 1:
        return f"{whose} {_PHRASES[next(iter(relations))].all}"
    return f"{whose}: {counted(relations)}"


def gap_sentence(label: str, other: str, gap: Gap) -> str:
    """Says how many clusters two methods have in common."""
    num_mine, num_other = len(gap.both) + len(gap.only), len(gap.both) + len(gap.only_other)
    for name, count in ((label, num_mine), (other, num_other)):
        if not count:
            return f"There is nothing to compare: {name} names no example."
    if not gap.both:
        return f"{capitalized(label)} and {other} have none of these in common."
    if not gap.only and not gap.only_other:
        return f"{capitalized(label)} and {other} list the same {in_words(num_mine)}."
    return (
        f"{len(gap.both)} found by both, {len(gap.only)} only by {label}, "
        f"{len(gap.only_other)} only by {other}."
    )


def steps_sentence(
    mean_nats: float, other: tuple[str, float] | None, random_nats: float, *, num_examples: int
) -> str:
    """Says what one training step on each of a method's first examples does to the completion.

    Args:
        mean_nats: The mean change of the completion's log-probability.
        other: The label of the method that it is compared with, and the same of its examples.
        random_nats: The same of random examples like them.
        num_examples: How many first examples of the method were stepped on, one by one.
    """
    beside = [] if other is None else [f"on {other[0]}'s by {change(other[1])}"]
    if num_examples == 1:
        where, average, like = "its first example", "", "it"
    else:
        where, average = f"each of its first {in_words(num_examples)}", " on average"
        like = "them"
    beside.append(f"on random ones like {like} by {change(random_nats)}")
    return (
        f"One training step on {where} changes the completion's log-probability by "
        f"{change(mean_nats)} nats{average}, {' and '.join(beside)}."
    )


def change(nats: float) -> str:
    """Writes a change with its sign."""
    return rounded(nats, 3, sign=True)


def lead_sentence(label: str, other: str, gap: Gap) -> str:
    """Answers whether a method is better than another here, as far as relations tell."""
    num_mine, num_other = len(gap.both) + len(gap.only), len(gap.both) + len(gap.only_other)
    counts = f"({gap.num_same} of {num_mine} against {gap.num_same_other} of {num_other})"
    match gap.lead:
        case "unknown":
            return "It cannot be told: neither lists anything that copies or states it."
        case "as many":
            return f"It cannot be told: both list as many that copy or state it {counts}."
        case "more":
            start = f"{capitalized(label)} lists more that copy or state it"
        case "fewer":
            start = f"{capitalized(label)} lists fewer that copy or state it"
    return f"{start} {counts}, which says nothing about effects."
