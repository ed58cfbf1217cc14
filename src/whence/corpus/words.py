r"""Splits a text into words, in every script, for plain search and for marks on a page.

Three kinds of text need more than a run of letters. Chinese, Japanese, Thai, Lao, Khmer and
Burmese have no spaces between words, so that each character, with its marks, stands for itself. A
combining mark belongs to its letter, although `\w` does not match it. And letters of equal meaning
have several spellings in Unicode (composed, decomposed, full width), which have to compare equal.

A search and a mark differ in one thing only: a search splits plain English as `\w+` does, so that
`max_length` is one word and `don't` two; a mark shows `don't` as one word, and `max_length` as two.
"""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

# Scripts written without spaces: Thai, Lao, Burmese, Khmer, New Tai Lue, Tai Tham, kana, Bopomofo,
# Han, Yi, Javanese, Tai Viet and half-width kana.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u3005-\u3007\u3040-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u9fff\ua000-\ua4cf\ua980-\ua9df\uaa60-\uaadf\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
_MARK = "\u0300"
_CHARACTER = rf"(?=\w)[{_UNSPACED}]{_MARK}*"
_LETTERS = rf"(?:[^\W_{_UNSPACED}]|{_MARK})+"
_SEARCHED = re.compile(rf"({_CHARACTER})|(?:[^\W{_UNSPACED}]|{_MARK})+")
_MARKED = re.compile(rf"{_CHARACTER}|{_LETTERS}(?:['\u2019]{_LETTERS})*")
_ASCII_SEARCHED = re.compile(r"\w+")
SEARCH = r"\w+, with combining marks; unspaced scripts: characters and pairs of them"


class Words(NamedTuple):
    """The words of a text in a comparable form, and where each starts and ends, in characters."""

    keys: tuple[str, ...]
    places: tuple[tuple[int, int], ...]


# A document is compared with a query and with its completion, and a query with many documents.
@lru_cache(maxsize=64)
def words(text: str) -> Words:
    """Splits a text into words that compare equal whatever their case and composition.

    Args:
        text: Any text. Underscores and punctuation separate words.

    Returns:
        Words in order; places count Unicode code points, as Python does.
    """
    if text.isascii():
        matches = list(_MARKED.finditer(text.lower()))
        return Words(tuple(m[0] for m in matches), tuple(m.span() for m in matches))
    places = tuple(m.span() for m in _MARKED.finditer(text.translate(_AS_MARKS)))
    return Words(tuple(_key(text[start:end]) for start, end in places), places)


def search_words(text: str | None) -> list[str]:
    r"""Splits a text into the words that a plain search counts.

    Args:
        text: Any text; None has no words.

    Returns:
        Runs of letters, digits and underscores in a comparable form: of plain English, those of
        `\w+` in lower case. Of a script without spaces each character, and after it the pair that
        it makes with the one before: a character alone says little, and where words end is not
        written.
    """
    if not text:
        return []
    if text.isascii():
        return _ASCII_SEARCHED.findall(text.lower())
    found: list[str] = []
    last_start = last_end = -1
    for match in _SEARCHED.finditer(text.translate(_AS_MARKS)):
        start, end = match.span()
        found.append(_key(text[start:end]))
        if match[1] is None:
            continue
        if start == last_end:
            found.append(_key(text[last_start:end]))
        last_start, last_end = start, end
    return found


class _Marks(dict[int, int]):
    """Maps every combining mark to one that the patterns know, and other characters to themselves.

    One character for one, so that places stay.
    """

    def __missing__(self, code: int) -> int:
        # The voicing marks of half-width kana are letters to Unicode.
        is_mark = unicodedata.category(chr(code))[0] == "M" or code in (0xFF9E, 0xFF9F)
        self[code] = ord(_MARK) if is_mark else code
        return self[code]


_AS_MARKS = _Marks()


def _key(word: str) -> str:
    folded = unicodedata.normalize("NFKC", word).casefold()
    return unicodedata.normalize("NFKC", folded).replace("\u2019", "'")
