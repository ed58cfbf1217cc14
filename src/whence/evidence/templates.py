"""Templates: texts that agree once numbers, identifiers and names are masked.

"Build 4711 of Ada failed"  and  "Build 12 of Bob failed"   are both   "Build 0 of Aa failed"
"""

import re
from itertools import pairwise

# Alternatives in this order; each becomes one word that stands for its class.
_CLASSES = {
    "uuid": r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b",
    "url": r"\bhttps?://\S+|\bwww\.\S+",
    "mail": r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    "hex": r"\b0[xX][0-9a-fA-F]+\b|\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b",
    "number": r"\d+(?:[.,:/-]\d+)*",
    "identifier": r"\b\w*(?:_\w+|[a-z][A-Z]\w*)\b",
    # A capital inside a sentence; at the start of one it says nothing.
    "name": r"(?<=[\w,;:'\"] )[A-Z]\w+(?: [A-Z]\w+)*",
}
_SLOT = re.compile("|".join(f"(?P<{name}>{form})" for name, form in _CLASSES.items()))
_WORD = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"\d+")


def normalize(text: str) -> list[str]:
    """Splits a text into words and marks, with numbers, identifiers and names replaced.

    Example:
        >>> normalize("see Build 4711 of Ada")
        ['see', '<name>', '<number>', 'of', '<name>']
    """
    words: list[str] = []
    end = 0
    for match in _SLOT.finditer(text):
        words += _WORD.findall(text[end : match.start()])
        words.append(f"<{match.lastgroup}>")
        end = match.end()
    return words + _WORD.findall(text[end:])


def is_slot(word: str) -> bool:
    """Whether `normalize` put a word in the place of a number, an identifier or a name."""
    return len(word) > 2 and word[0] == "<" and word[-1] == ">"


def split(text: str) -> list[str]:
    """Splits a text into words and marks, with nothing replaced."""
    return _WORD.findall(text)


def is_incrementing(text: str) -> bool:
    """Whether a text counts: at least four numbers, most of them by the same step other than 0."""
    numbers = [int(number) for number in _NUMBER.findall(text) if len(number) < 10]
    steps = [b - a for a, b in pairwise(numbers)]
    best = max((steps.count(step) for step in set(steps) if step), default=0)
    return len(steps) >= 3 and best >= 0.8 * len(steps)


def is_repeating(ids: "list[int] | tuple[int, ...]") -> bool:
    """Whether a sequence repeats itself: nine of ten tokens recur after one period.

    The period is at most a third of the sequence, so that each part is there three times.
    """
    return any(
        sum(a == b for a, b in zip(ids, ids[period:], strict=False)) >= 0.9 * (len(ids) - period)
        for period in range(1, len(ids) // 3 + 1)
    )
