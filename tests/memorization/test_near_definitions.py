"""Each definition of a near-duplicate finds what comparing everything with everything finds."""

import math
from collections import Counter

import numpy as np
import pytest
from tests.corpus.token_corpus import corpus_of
from tests.memorization.pythia_standin import PROMPT, write_tokenizer

from whence.corpus.duplicates import build_suffix_array, find_duplicates
from whence.evidence.alignment import AlignedQuery
from whence.memorization.copies import CLASSES, find_copies
from whence.memorization.near_definitions import (
    NearDefinitions,
    near_definitions,
    weighted_jaccard,
)
from whence.memorization.windows import Windows
from whence.records import Corpus


def replaced(tokens: np.ndarray, places: range) -> np.ndarray:
    changed = tokens.copy()
    changed[list(places)] = changed[list(places)] % 499 + 1
    return changed


@pytest.fixture(scope="module")
def contents() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 500, (4, 64))


@pytest.fixture(scope="module")
def corpus(contents: np.ndarray) -> Corpus:
    rng = np.random.default_rng(1)
    documents = [rng.integers(1, 500, int(rng.integers(70, 160))) for _ in range(40)]
    for number, content in enumerate(contents):
        row = 10 * number
        documents[row][:64] = content  # the window's own document
        documents[row + 1][5:69] = content
        documents[row + 2][3:67] = replaced(content, range(0, 64, 12))  # every twelfth token
        documents[row + 3][-34:-2] = content[PROMPT:]  # the continuation, near the end
        documents[row + 4][-32:] = replaced(content[PROMPT:], range(8))
        documents[row + 5][20:52] = np.sort(content[PROMPT:])  # the same tokens in another order
        documents[row + 6][2:14] = content[PROMPT : PROMPT + 12]  # a run of 12, no more
        documents[row + 7] = documents[row].copy()  # the same document but for one token
        documents[row + 7][66] = 7
        documents[row + 8][:32] = content[:PROMPT]  # the prompt alone
    return corpus_of([document.tolist() for document in documents])


@pytest.fixture(scope="module")
def windows(contents: np.ndarray) -> Windows:
    rows = np.array([0, 10, 20, -1])
    return Windows(("a", "b", "c", "d"), contents, PROMPT, rows, np.zeros(4, dtype=np.int64))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def found(windows: Windows, corpus: Corpus, tokenizer) -> NearDefinitions:
    array = build_suffix_array(corpus)
    duplicates = find_duplicates(corpus, suffix_array=array)
    return near_definitions(windows, array, tokenizer, duplicates=duplicates)


def listed(found: NearDefinitions, definition) -> list[tuple[int, int]]:
    pairs = found.pairs[definition]
    return list(zip(pairs.windows.tolist(), pairs.rows.tolist(), strict=True))


def near_span(continuation: list[int], document: list[int]) -> bool:
    length = len(continuation)
    grams = {tuple(continuation[i : i + 10]) for i in range(length - 9)}
    for start in range(len(document) - length + 1):
        span = document[start : start + length]
        shares = any(tuple(span[i : i + 10]) in grams for i in range(length - 9))
        counts = [Counter(continuation), Counter(span)]
        tokens = set(continuation) | set(span)
        smaller = sum(min(c[t] for c in counts) for t in tokens)
        larger = sum(max(c[t] for c in counts) for t in tokens)
        if shares and smaller / larger >= 0.6:
            return True
    return False


def test_near_spans_are_those_of_comparing_every_span(
    found: NearDefinitions, windows: Windows, corpus: Corpus
) -> None:
    expected = [
        (place, row)
        for place, continuation in enumerate(windows.continuations.tolist())
        for row in range(len(corpus))
        if row != windows.rows[place] and near_span(continuation, corpus.input_ids(row))
    ]
    assert listed(found, "span") == expected
    # Copies, near ones and continuations, at the end of a document, too; not other orders.
    assert [row for place, row in expected if place == 0] == [1, 2, 3, 4, 7]


def distance(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def test_templates_differ_by_fewer_than_20_characters_and_by_at_least_one(
    found: NearDefinitions, windows: Windows, corpus: Corpus, tokenizer
) -> None:
    expected = []
    for place, ids in enumerate(windows.tokens.tolist()):
        for row in range(len(corpus)):
            document = corpus.input_ids(row)
            span = AlignedQuery((), tuple(ids)).overlap(document).window
            if row == windows.rows[place] or span is None:
                continue
            part = tokenizer.decode(document[slice(*span)], clean_up_tokenization_spaces=False)
            if 0 < distance(tokenizer.decode(ids), part) < 20:
                expected.append((place, row))
    assert listed(found, "template") == expected
    assert [row for place, row in expected if place == 0] == [2]
    assert "cosine of embeddings was left out" in found.pairs["template"].note


def test_equal_windows_of_two_documents_have_each_other(
    windows: Windows, corpus: Corpus, tokenizer
) -> None:
    # The content stands whole in documents 0, 1 and 7.
    twice = Windows(("a", "b"), windows.tokens[[0, 0]], PROMPT, np.array([0, 7]), np.zeros(2, int))
    found = near_definitions(twice, build_suffix_array(corpus), tokenizer)
    assert listed(found, "span") == [(0, r) for r in (1, 2, 3, 4, 7)] + [
        (1, r) for r in (0, 1, 2, 3, 4)
    ]
    assert listed(found, "template") == [(0, 2), (1, 2)]


def test_embeddings_decide_where_a_model_is_named(
    windows: Windows, corpus: Corpus, tokenizer
) -> None:
    array = build_suffix_array(corpus)

    def same(texts):
        return np.ones((len(texts), 3))

    def opposite(texts):
        return np.array([[1.0, 0.0]] + [[0.5, 1.0]] * (len(texts) - 1))

    def silent(texts):
        return np.zeros((len(texts), 2))

    by = {
        embed.__name__: near_definitions(windows, array, tokenizer, embed=embed)
        for embed in (same, opposite, silent)
    }
    assert [len(found.pairs["template"].rows) for found in by.values()] == [4, 0, 0]
    assert by["same"].pairs["template"].note == ""


def test_documents_are_near_that_share_most_of_their_5_grams(
    found: NearDefinitions, windows: Windows, corpus: Corpus
) -> None:
    def grams(row: int) -> set[tuple[int, ...]]:
        ids = corpus.input_ids(row)
        return {tuple(ids[i : i + 5]) for i in range(len(ids) - 4)}

    expected = [
        (place, row)
        for place, own in enumerate(windows.rows.tolist())
        for row in range(len(corpus))
        if own >= 0
        and row != own
        and len(grams(own) & grams(row)) >= 0.8 * len(grams(own) | grams(row))
    ]
    assert listed(found, "document") == expected
    assert [row for place, row in expected if place == 0] == [7]


def test_of_a_window_without_a_document_the_last_definition_says_nothing(
    found: NearDefinitions, windows: Windows, corpus: Corpus, tokenizer
) -> None:
    counts = found.pairs["document"].counts().tolist()
    assert counts[:3] == [1.0, 1.0, 1.0]
    assert math.isnan(counts[3])
    assert "1 windows are of no document" in found.pairs["document"].note
    without = near_definitions(windows, build_suffix_array(corpus), tokenizer)
    assert np.isnan(without.pairs["document"].counts()).all()


def test_the_table_says_what_each_makes_of_the_classes_of_copies(
    found: NearDefinitions, windows: Windows, corpus: Corpus, tokenizer
) -> None:
    copies = find_copies(windows, corpus, build_suffix_array(corpus), tokenizer)
    rows = {row.definition: row for row in found.table(copies)}
    span = rows["span"]
    assert (span.num_windows, span.num_with, span.median) == (4, 4, 5.0)
    assert span.num_pairs == sum(span.classes.values()) == len(found.pairs["span"].rows)
    names = {
        (w, r): CLASSES[c]
        for w, r, c in zip(copies.windows, copies.rows, copies.classes, strict=True)
    }
    plain = Counter(names.get(pair, "no copy") for pair in listed(found, "span"))
    assert span.classes == dict(plain)
    assert rows["document"].num_windows == 3
    both, one, other = found.agreement("span", "document")
    assert both + other == len(found.pairs["document"].rows)
    assert both + one == sum(window < 3 for window, _ in listed(found, "span"))


def test_weighted_jaccard_counts_tokens_as_often_as_they_occur() -> None:
    assert weighted_jaccard([1, 2, 2], [1, 1, 2]) == 0.5
    assert weighted_jaccard([1, 1, 2, 3], [1, 2, 2, 2]) == 2 / 6
    assert weighted_jaccard([], []) == 1.0
    assert weighted_jaccard([1], [2]) == 0.0
