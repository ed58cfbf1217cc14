"""Texts are found by their words as comparing all texts with all documents finds them."""

import random

import numpy as np
import pytest

from whence.corpus.words import search_words
from whence.evidence.ties import best_similarity
from whence.memorization.text_matches import SPAN_WORDS, match_texts, word_corpus

WORDS = [f"word{i}" for i in range(300)]


def grams(text: str, n: int) -> set[tuple[str, ...]]:
    words = search_words(text)
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def contains(part: str, whole: str) -> bool:
    return f" {' '.join(search_words(part))} " in f" {' '.join(search_words(whole))} "


@pytest.fixture(scope="module")
def planted() -> tuple[list[str], list[str]]:
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(4, 60))) for _ in range(30)]
    documents = [" ".join(rng.choices(WORDS, k=rng.randint(0, 150))) for _ in range(120)]
    for number, text in enumerate(texts):
        words = text.split()
        near = [rng.choice(WORDS) if rng.random() < 0.1 else word for word in words]
        part = words[: SPAN_WORDS + number % 3 - 1]
        for tokens in (words, near, part, [word.upper() + "," for word in words])[: number % 5]:
            row = rng.randrange(len(documents))
            documents[row] = f"{documents[row]} {' '.join(tokens)} {rng.choice(WORDS)}"
    return texts, documents


def test_counts_are_those_of_comparing_all_with_all(planted: tuple[list[str], list[str]]) -> None:
    texts, documents = planted
    found = match_texts(texts, word_corpus(documents))
    whole = [sum(contains(text, doc) for doc in documents) for text in texts]
    spans = [
        sum(bool(grams(text, SPAN_WORDS) & grams(doc, SPAN_WORDS)) for doc in documents)
        for text in texts
    ]
    near = [
        sum(
            not contains(text, doc)
            and best_similarity(search_words(text), search_words(doc)) >= 0.8
            for doc in documents
        )
        for text in texts
    ]
    assert found.count("whole").tolist() == whole
    assert found.count("span").tolist() == spans
    assert found.num_words.tolist() == [len(text.split()) for text in texts]
    # A near copy may share no run of five words, and is then not found.
    assert (found.count("near") <= np.array(near)).all()
    long = found.num_words >= 30
    assert found.count("near")[long].sum() == np.array(near)[long].sum() > 3


def test_case_and_punctuation_make_no_difference() -> None:
    corpus = word_corpus(["The End. Of, the (Story)! and more", "the end of a story"])
    assert match_texts(["the end of the story"], corpus).count("whole").tolist() == [1]


def test_words_that_the_corpus_lacks_match_nothing() -> None:
    corpus = word_corpus(["a " * 30, "a b c d e f g h i j k l m n", ""])
    unknown = match_texts(["zz " * 20, "", "zz b zz"], corpus)
    assert unknown.num_words.tolist() == [20, 0, 3]
    for kind in ("whole", "near", "span"):
        assert unknown.count(kind).tolist() == [0, 0, 0]


def test_the_public_strings_are_found_where_spans_of_13_words_are(data) -> None:
    import csv
    import gzip
    import itertools
    import json

    path = data / "memorized/gpt-neo-125m_strings_with_pile_counts.csv"
    with path.open(newline="") as lines:
        texts = [row["paragraph"] for row in itertools.islice(csv.DictReader(lines), 40)]
    with gzip.open(data / "pile-mini/train.jsonl.gz") as lines:
        documents = [json.loads(line)["text"] for line in itertools.islice(lines, 1500)]
    held = set().union(*(grams(document, SPAN_WORDS) for document in documents))
    found = match_texts(texts, word_corpus(documents)).count("span") > 0
    assert found.tolist() == [bool(grams(text, SPAN_WORDS) & held) for text in texts]
    assert found.sum() >= 5
