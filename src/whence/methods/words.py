"""Which words does a text have, to a method that compares words?"""

import re

WORD = r"\w+"


def words(text: str | None) -> list[str]:
    """Splits a text into runs of letters, digits and underscores, in lower case."""
    return re.findall(WORD, (text or "").lower())
