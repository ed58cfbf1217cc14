"""Which words does a text have, to a method that compares words?"""

from whence.corpus.words import SEARCH as WORD
from whence.corpus.words import search_words as words

__all__ = ["WORD", "words"]
