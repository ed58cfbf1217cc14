"""Text for a terminal: nothing in it moves a cursor or changes a direction."""

import unicodedata

_UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Persian, Indic scripts and emoji are written with these.
_JOINERS = "\u200c\u200d"


def visible(text: str) -> str:
    """Makes characters visible that would move a cursor, change a direction or end a string.

    Line feeds and tabs stay. All that is printed goes through here or through JSON's escapes.
    """
    return "".join(c if is_safe(c) or c in "\n\t" else _name(c) for c in text)


def is_safe(character: str) -> bool:
    """Whether a terminal only draws a character: no control, format or surrogate code point."""
    if character.isascii():
        return character.isprintable()
    return character in _JOINERS or unicodedata.category(character) not in _UNSAFE


def _name(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
