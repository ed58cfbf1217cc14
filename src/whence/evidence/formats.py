"""The format of a text: what kind of document it looks like, by rules that one can read.

A corpus rarely says more of a document than where it comes from, and two license headers are alike
at a glance without a common word. Formats are told by shape (lines, marks, digits) and by words
that belong to a form and not to a topic.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

# A text is judged by its first characters: a header says what a file is.
_NUM_CHARACTERS = 4_000
_MIN_CHARACTERS = 20

_LICENSE = re.compile(
    r"copyright|licen[cs]e|warrant(?:y|ies)|redistribut|permitted|permission|liab(?:le|ility)"
    r"|all rights reserved|as[- ]is\b|merchantability|hereby granted|free of charge|with or without"
    r"|this software|associated documentation|copies? of this|above notice|notice file|foundation",
    re.IGNORECASE,
)
_TAG = re.compile(r"</?[a-zA-Z!?][^<>\n]{0,200}>")
_CODE_LINE = re.compile(
    r"[;{}]\s*$|^\s*(?:#\s*(?:include|define|ifdef|ifndef|endif|pragma|if|else)\b|import\s+[\w.]+"
    r"|from\s+[\w.]+\s+import\b|using\s+[\w.]+;|package\s+[\w.]+|def\s+\w+\s*\(|class\s+\w+"
    r"|return\b|public\s|private\s|static\s|const\s|var\s|let\s|func(?:tion)?\s+\w+|//|/\*|\*/?\s"
    r"|@\w+)",
)
_KEY_VALUE = re.compile(r"^\s*[\"']?[\w.\-/ ]{1,40}[\"']?\s*[:=]\s*\S")
_LIST_ITEM = re.compile(r"^\s*(?:[-*•·+]|\(?\d{1,3}[.)]|[a-z][.)])\s+\S")
_TEX = re.compile(r"\\(?:begin|end|frac|mathbb|mathrm|cite|ref|usepackage|documentclass|sum|int)\b")
_CITATION = re.compile(
    r"\bet al\b|\bdoi\b|\(\d{4}[a-z]?\)|\bpp?\. ?\d|\bvol\. ?\d|\bNo\. ?\d|\bU\.S\.|\bF\.[23]d\b"
    r"|\[\d+\]"
)
_MAIL = re.compile(r"^(?:From|To|Subject|Date|Sent|Cc|Reply-To|Message-ID):\s", re.MULTILINE)
_DIALOGUE = re.compile(
    r"^\s*(?:\[\d\d:\d\d(?::\d\d)?\])?\s*([A-Z][\w .'-]{0,20}|<\w+>)(?::|(?<=>))\s\S", re.MULTILINE
)
_URL = re.compile(r"https?://|www\.|\w\.(?:com|org|net)\b")


class _Shape(NamedTuple):
    """What the rules look at: shares are of non-empty lines, or of characters."""

    text: str
    lines: list[str]

    def share(self, form: re.Pattern[str]) -> float:
        return sum(bool(form.search(line)) for line in self.lines) / len(self.lines)

    def per_word(self, form: re.Pattern[str]) -> float:
        return len(form.findall(self.text)) / max(1, len(self.text.split()))

    def characters(self, is_one: Callable[[str], bool]) -> float:
        marks = [character for character in self.text if not character.isspace()]
        return sum(map(is_one, marks)) / max(1, len(marks))


def _is_conversation(shape: _Shape) -> bool:
    """Whether lines start with speakers, who speak again; the keys of a table do not recur."""
    speakers = _DIALOGUE.findall(shape.text)
    return (
        len(speakers) >= 3
        and len(set(speakers)) <= 0.6 * len(speakers)
        and shape.share(_DIALOGUE) >= 0.3
    )


# In this order; the first that holds is the format. Each: its name, and its rule.
_RULES: tuple[tuple[str, Callable[[_Shape], bool]], ...] = (
    ("license header", lambda s: len(set(_LICENSE.findall(s.text.lower()))) >= 3),
    ("e-mail", lambda s: len(_MAIL.findall(s.text)) >= 2),
    ("formulas", lambda s: s.per_word(_TEX) >= 0.01),
    ("markup", lambda s: s.per_word(_TAG) >= 0.1),
    ("code", lambda s: len(s.lines) >= 3 and s.share(_CODE_LINE) >= 0.4),
    ("numbers", lambda s: s.characters(str.isdigit) >= 0.3),
    ("links", lambda s: s.per_word(_URL) >= 0.1),
    ("conversation", _is_conversation),
    ("key and value", lambda s: len(s.lines) >= 4 and s.share(_KEY_VALUE) >= 0.6),
    ("list", lambda s: len(s.lines) >= 4 and s.share(_LIST_ITEM) >= 0.4),
    ("citations", lambda s: s.per_word(_CITATION) >= 0.02),
    ("other script", lambda s: s.characters(lambda c: c.isalpha() and not c.isascii()) >= 0.5),
    ("marks", lambda s: s.characters(lambda c: not c.isalnum()) >= 0.3),
)
PROSE = "prose"
FORMATS = (*(name for name, _ in _RULES), PROSE)


def text_format(text: str | None) -> str | None:
    """Names the format of a text.

    Args:
        text: A document, or a query's prompt and completion.

    Returns:
        One of `FORMATS`; None for a text that is unknown or too short to have one.

    Example:
        >>> text_format("The sun set behind the hills, and nobody in the village spoke.")
        'prose'
    """
    found = (text or "").strip()[:_NUM_CHARACTERS]
    if len(found) < _MIN_CHARACTERS:
        return None
    shape = _Shape(found, [line for line in found.splitlines() if line.strip()])
    return next((name for name, holds in _RULES if holds(shape)), PROSE)
