"""The suffix array finds what a plain scan finds, and nothing across documents."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus.token_corpus import corpus_of

from whence.corpus.duplicates import (
    Match,
    Occurrence,
    SuffixArray,
    build_suffix_array,
    read_suffix_array,
)
from whence.errors import CorpusError, SettingsError

Documents = list[list[int]]
# Few different tokens, so that much repeats; documents may be empty.
DOCUMENTS = st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=8)
QUERY = st.lists(st.integers(0, 4), min_size=1, max_size=6)


def build(documents: Documents) -> SuffixArray:
    return build_suffix_array(corpus_of(documents))


def scan(documents: Documents, query: Sequence[int]) -> list[tuple[int, int]]:
    n = len(query)
    return [
        (row, offset)
        for row, document in enumerate(documents)
        for offset in range(len(document) - n + 1)
        if document[offset : offset + n] == list(query)
    ]


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, QUERY)
def test_counts_and_places_are_those_of_a_scan(documents: Documents, query: list[int]) -> None:
    array, places = build(documents), scan(documents, query)
    assert array.count(query) == len(places)
    assert array.occurrences(query, 1000) == [Occurrence(*place) for place in places]
    assert array.occurrences(query, 2) == places[:2]
    rows = sorted({row for row, _ in places})
    assert array.count_documents(query) == len(rows)


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, st.lists(st.integers(0, 4), max_size=8))
def test_the_longest_match_is_that_of_a_scan(documents: Documents, query: list[int]) -> None:
    for start, match in enumerate(build(documents).longest_match(query)):
        counts = [
            len(scan(documents, query[start:end])) for end in range(start + 1, len(query) + 1)
        ]
        length = sum(count > 0 for count in counts)
        assert match == Match(length, counts[length - 1] if length else 0)


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, st.integers(1, 6), st.sampled_from([None, 0, 3, 9]))
def test_incidence_lists_each_ngram_of_each_document_once(
    documents: Documents, n: int, end_of_text: int | None
) -> None:
    expected = {
        (row, tuple(document[i : i + n]))
        for row, document in enumerate(documents)
        for i in range(len(document) - n + 1)
        if end_of_text not in document[i : i + n]
    }
    found = build(documents).incidence(n, end_of_text=end_of_text)
    assert len(found.rows) == len(expected)
    assert Counter(found.rows.tolist()) == Counter(row for row, _ in expected)
    # Rows by n-gram: the same family of sets, whatever the n-grams are numbered.
    rows_of: dict[tuple[int, ...], list[int]] = {}
    for row, ngram in sorted(expected):
        rows_of.setdefault(ngram, []).append(row)
    ours = [
        tuple(found.rows[found.ngrams == number].tolist()) for number in range(found.num_ngrams)
    ]
    assert Counter(ours) == Counter(map(tuple, rows_of.values()))
    assert found.num_documents.tolist() == [len(rows) for rows in ours]


def test_no_match_joins_two_documents() -> None:
    # Both documents end with an end-of-text token, as passages do, and one holds it inside.
    array = build([[5, 6, 0], [7, 8, 0], [5, 6, 0, 7, 8, 0]])
    assert array.count([6, 0, 7]) == 1
    assert array.occurrences([0, 7], 9) == [(2, 2)]
    assert array.count([0]) == 4
    assert array.count([0, 0]) == 0


def test_what_the_corpus_cannot_hold_occurs_nowhere() -> None:
    array = build([[1, 2, 3]])
    for token in (-1, 65_534, 65_535, 2**31 - 1, 2**40):
        assert array.count([token]) == 0
        assert array.count([1, token]) == 0
        assert array.longest_match([1, token, 2]) == [Match(1, 1), Match(0, 0), Match(1, 1)]


@pytest.mark.parametrize("largest", [65_533, 65_534, 65_535, 65_536, 2**31 - 1])
def test_large_vocabularies_are_searched_as_small_ones(largest: int) -> None:
    documents = [[largest, 1, 255, 256], [1, 255, largest], [256, largest, 1]]
    array = build(documents)
    for query in ([largest], [largest, 1], [255, 256], [1, 255], [largest - 1]):
        assert array.occurrences(query, 9) == scan(documents, query)


@pytest.mark.parametrize("documents", [[], [[]], [[], []], [[4]]])
def test_tiny_corpora_are_searched(documents: Documents, tmp_path: Path) -> None:
    array = build(documents)
    array.save(tmp_path)
    for opened in (array, read_suffix_array(tmp_path)):
        assert opened.num_documents == len(documents)
        assert opened.num_tokens == sum(map(len, documents))
        assert opened.count([4]) == opened.num_tokens
        assert opened.count([4, 4]) == 0
        assert opened.incidence(1).num_ngrams == opened.num_tokens


def test_an_array_read_back_is_the_same_and_stays_on_disk(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 9, size=length).tolist() for length in (30, 0, 40, 7)]
    array = build(documents)
    array.save(tmp_path)
    opened = read_suffix_array(tmp_path)
    for start in range(20):
        query = documents[2][start : start + 3]
        assert opened.occurrences(query, 99) == array.occurrences(query, 99)
        assert opened.longest_match(query) == array.longest_match(query)
    assert opened.document(2).tolist() == documents[2]
    assert isinstance(opened._order.base, np.memmap)


def test_a_broken_array_is_refused(tmp_path: Path) -> None:
    build([[1, 2]]).save(tmp_path)
    (tmp_path / "order.npy").write_bytes(b"no array")
    with pytest.raises(CorpusError, match="cannot be read"):
        read_suffix_array(tmp_path)


def test_an_empty_query_is_refused() -> None:
    array = build([[1, 2]])
    for search in (array.count, array.count_documents, lambda q: array.occurrences(q, 1)):
        with pytest.raises(SettingsError, match="without tokens"):
            search([])
    assert array.longest_match([]) == []


def test_a_negative_token_id_is_refused() -> None:
    with pytest.raises(CorpusError, match="-7"):
        build([[1, -7]])
