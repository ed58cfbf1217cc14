"""The index on disk answers as the suffix array in memory does."""

import importlib.util
from pathlib import Path
from random import Random

import pytest
from tests.corpus.token_corpus import corpus_of

from whence.corpus.duplicates import build_suffix_array
from whence.corpus.infini_gram import InfiniGram, build_infini_gram
from whence.errors import CorpusError, SettingsError

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("infini_gram") is None,
    reason="the optional package infini-gram is not installed",
)
DOCUMENTS = [[1, 2, 3, 0], [], [2, 3, 1, 2, 3], [7, 0], [65_533]]


@needs_package
def test_it_finds_what_the_suffix_array_finds(tmp_path: Path) -> None:
    corpus = corpus_of(DOCUMENTS)
    array, index = build_suffix_array(corpus), build_infini_gram(corpus, tmp_path / "an index")
    for opened in (index, InfiniGram(tmp_path / "an index")):
        for query in ([1], [2, 3], [3, 0], [0], [0, 2], [7, 0], [9], [65_533], [65_534], [2**31]):
            assert opened.count(query) == array.count(query)
            assert opened.count_documents(query) == array.count_documents(query)
            for limit in (0, 1, 9):
                assert opened.occurrences(query, limit) == array.occurrences(query, limit)
        query = [2, 3, 1, 9, 7, 0, 65_535, -1, 3]
        assert opened.longest_match(query) == array.longest_match(query)


@needs_package
def test_what_it_cannot_answer_is_refused(tmp_path: Path) -> None:
    index = build_infini_gram(corpus_of(DOCUMENTS), tmp_path / "index")
    with pytest.raises(SettingsError, match="without tokens"):
        index.count([])
    with pytest.raises(CorpusError, match="is not empty"):
        build_infini_gram(corpus_of(DOCUMENTS), tmp_path / "index")
    with pytest.raises(CorpusError, match="36 GB of memory for token ids up to 70,000"):
        build_infini_gram(corpus_of([[70_000]]), tmp_path / "wide")
    with pytest.raises(CorpusError, match="holds no token"):
        build_infini_gram(corpus_of([[]]), tmp_path / "empty")


@pytest.mark.skipif(
    importlib.util.find_spec("infini_gram") is not None,
    reason="the optional package infini-gram is installed",
)
def test_without_the_package_its_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"pip install whence\[infini-gram\]"):
        build_infini_gram(corpus_of(DOCUMENTS), tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_folder_that_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no whole infini-gram index"):
        InfiniGram(tmp_path)


@needs_package
@pytest.mark.slow
def test_a_thousand_spans_have_equal_counts(tmp_path: Path) -> None:
    random = Random(0)
    words = [[random.randrange(3000) for _ in range(random.randint(1, 12))] for _ in range(3000)]
    documents = [
        [token for _ in range(random.randint(0, 60)) for token in random.choice(words)]
        for _ in range(5000)
    ]
    assert sum(map(len, documents)) > 2**19
    corpus = corpus_of(documents)
    array, index = build_suffix_array(corpus), build_infini_gram(corpus, tmp_path / "index")
    long = [document for document in documents if len(document) > 64]
    for _ in range(1000):
        document = random.choice(long)
        length = random.randint(1, 32)
        start = random.randrange(len(document) - length)
        span = document[start : start + length]
        assert index.count(span) == array.count(span) > 0
        assert index.occurrences(span, 50) == array.occurrences(span, 50)
