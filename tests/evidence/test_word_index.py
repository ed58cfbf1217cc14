"""Postings, pairs and TF-IDF of a corpus's words, against plain Python and scikit-learn."""

import itertools
import random

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from whence.corpus.words import search_words
from whence.evidence.topics import Topics
from whence.evidence.word_index import WordIndex


def drawn(seed: int, num: int = 60) -> list[str | None]:
    rng = random.Random(seed)
    texts = [" ".join(rng.choices([*"abcdefgh"], k=rng.randrange(12))) for _ in range(num)]
    return [*texts, None, ""]


@pytest.mark.parametrize("seed", range(4))
def test_postings_and_pairs_are_those_of_a_scan(seed: int):
    texts = drawn(seed)
    index = WordIndex(texts)
    words = [search_words(text) for text in texts]
    for wanted in (["a"], ["a", "b"], ["c", "h", "e"], ["zz"], []):
        expected = [row for row, of in enumerate(words) if set(wanted) <= set(of)]
        assert index.documents_with(wanted).tolist() == expected
    pairs = [*itertools.product("abcz", repeat=2)]
    expected = {p: sum(p in itertools.pairwise(of) for of in words) for p in pairs}
    assert index.pair_counts(pairs) == expected


def test_similarity_is_that_of_scikit_learn():
    texts = drawn(7)
    known = [row for row, text in enumerate(texts) if text and search_words(text)]
    index = WordIndex([texts[row] for row in known])
    vectorizer = TfidfVectorizer(analyzer=search_words)
    vectors = vectorizer.fit_transform([texts[row] for row in known])
    for query in ("a b b h", "c", "e unknown e"):
        expected = (vectors @ vectorizer.transform([query]).T).toarray()[:, 0]
        found = index.similarity(query, np.arange(len(known)))
        assert found == pytest.approx(expected, abs=1e-6)


def test_without_words_a_similarity_is_undefined():
    index = WordIndex(["a b", "", None])
    assert np.isnan(index.similarity("a", np.array([1, 2]))).all()
    assert np.isnan(index.similarity("unknown", np.array([0]))).all()


def test_an_empty_corpus_has_no_words():
    index = WordIndex([])
    assert index.documents_with(["a"]).tolist() == []
    assert index.pair_counts([("a", "b")]) == {("a", "b"): 0}


def test_one_random_pair_in_a_thousand_reaches_the_threshold_of_a_topic():
    rng = random.Random(0)
    vocabulary = [f"w{i}" for i in range(300)]
    texts = [" ".join(rng.choices(vocabulary, k=40)) for _ in range(400)]
    topics = Topics(WordIndex(texts), texts, ["s"] * 400, seed=0)
    index = WordIndex(texts)
    threshold = topics.threshold(" ".join(rng.choices(vocabulary, k=16)), 0)
    queries = [" ".join(rng.choices(vocabulary, k=16)) for _ in range(100)]
    reached = np.mean([index.similarity(q, np.arange(400)) >= threshold for q in queries])
    assert 0.0002 < reached < 0.004


def test_a_small_corpus_has_no_threshold():
    texts = ["a b c"] * 5
    assert np.isnan(Topics(WordIndex(texts), texts, [None] * 5, seed=0).threshold("a", 0))
