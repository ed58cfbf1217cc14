"""The corpus: readers, tokenization, identity and training position of each example."""

from whence.corpus.documents import Document
from whence.corpus.examples import Examples, make_examples, schema
from whence.corpus.load import load_corpus
from whence.corpus.mmap import step_of_row
from whence.corpus.store import read_corpus, save_corpus

__all__ = [
    "Document",
    "Examples",
    "load_corpus",
    "make_examples",
    "read_corpus",
    "save_corpus",
    "schema",
    "step_of_row",
]
