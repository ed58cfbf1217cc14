"""Sentences from patterns with slots.

`{noun}` draws from the word list `noun`; `{noun.1}` draws once and then stays the same in that
document; `{^noun}` starts with a capital. A drawn word may itself have slots.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache

from whence.testbed.randomness import Stream

_SLOT = re.compile(r"\{(\^?)([a-z_]+)(\.[a-z0-9]+)?\}")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])")


def fill(
    pattern: str,
    words: Mapping[str, Sequence[str]],
    *,
    stream: Stream,
    bound: dict[str, str] | None = None,
) -> str:
    """Fills the slots of a pattern.

    Args:
        pattern: Text with slots.
        words: What each slot may hold.
        stream: Where the choices come from.
        bound: Slots that are settled already, by name with mark (`noun.1`); new ones are added.

    Returns:
        The text, with "a" before a vowel turned into "an".
    """
    bound = {} if bound is None else bound
    return _ARTICLE.sub(r"\1n ", _expand(pattern, words, stream, bound))


def capitalized(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


@cache
def _parse(pattern: str) -> tuple[tuple[str, bool, str, str], ...]:
    """Splits a pattern into (text before, capitalize, slot, mark), the last with no slot."""
    parts, start = [], 0
    for match in _SLOT.finditer(pattern):
        before = pattern[start : match.start()]
        parts.append((before, bool(match[1]), match[2], match[3] or ""))
        start = match.end()
    return (*parts, (pattern[start:], False, "", ""))


def _expand(
    pattern: str, words: Mapping[str, Sequence[str]], stream: Stream, bound: dict[str, str]
) -> str:
    pieces: list[str] = []
    for before, capital, slot, mark in _parse(pattern):
        pieces.append(before)
        if not slot:
            continue
        name = slot + mark
        if name in bound:
            value = bound[name]
        else:
            value = _expand(stream.choice(words[slot]), words, stream, bound)
            if mark:
                bound[name] = value
        pieces.append(capitalized(value) if capital else value)
    return "".join(pieces)
