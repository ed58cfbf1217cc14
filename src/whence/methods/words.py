"""The words of a text, for methods that compare words."""

from whence.corpus.words import SEARCH as WORD
from whence.corpus.words import search_words as words

__all__ = ["WORD", "words"]
