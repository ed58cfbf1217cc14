"""A search counts occurrences, documents, subsets and steps as a scan of the tokens does."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus.token_corpus import corpus_of

from whence.corpus.duplicates import build_suffix_array
from whence.corpus.search import Counts, Finding, Pattern, search_corpus
from whence.errors import SettingsError
from whence.records import Corpus

Documents = list[list[int]]
SUBSETS, STEPS = ("a", "b", None), (None, 3, 9, 4)


def corpus(documents: Documents) -> Corpus:
    """A corpus whose row i has the i-th subset and step of those above, in turn."""
    plain = corpus_of(documents)
    rows = plain.table.to_pylist()
    for row, record in enumerate(rows):
        record.update(subset=SUBSETS[row % 3], step=STEPS[row % 4])
    return Corpus("t", "t", pa.Table.from_pylist(rows, schema=plain.table.schema))


def find(documents: Documents, *forms: list[int], before_step: int = 5, limit: int = 99) -> Finding:
    loaded = corpus(documents)
    patterns = [Pattern(f"form {i}", tuple(form)) for i, form in enumerate(forms)]
    array = build_suffix_array(loaded)
    return search_corpus(loaded, array, patterns, before_step=before_step, limit=limit)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2), max_size=8), max_size=8),
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3), min_size=1, max_size=2),
)
def test_a_finding_is_that_of_a_scan(documents: Documents, forms: list[list[int]]) -> None:
    ends = {
        (row, offset + len(form))
        for form in forms
        for row, document in enumerate(documents)
        for offset in range(len(document) - len(form) + 1)
        if document[offset : offset + len(form)] == form
    }
    found = find(documents, *forms)

    def counts(rows: list[int]) -> Counts:
        held = [row for row, _ in ends if row in rows]
        return Counts(len(held), len(set(held)))

    rows = sorted({row for row, _ in ends})
    assert found.counts == counts(rows)
    assert dict(found.subsets) == {
        SUBSETS[k]: counts([row for row in rows if row % 3 == k])
        for k in range(3)
        if any(row % 3 == k for row in rows)
    }
    steps = [step for row in rows if (step := STEPS[row % 4]) is not None]
    assert (found.first_step, found.last_step) == (
        min(steps, default=None),
        max(steps, default=None),
    )
    assert found.num_without_step == len(rows) - len(steps)
    assert found.before == counts([row for row in rows if (STEPS[row % 4] or 9) < 5])
    assert sorted((p.row, p.offset + p.num_tokens) for p in found.places) == sorted(ends)
    assert [p.id for p in found.places] == [f"d{p.row}" for p in found.places]
    assert (found.longest is None) == bool(ends) or not any(
        token in document for document in documents for form in forms for token in form
    )


def test_forms_that_end_at_the_same_token_are_one_occurrence() -> None:
    # A tokenizer of bytes: the text after a space contains the text as given.
    found = find([[32, 7, 8, 9, 7, 8]], [7, 8], [32, 7, 8])
    assert [counts for _, counts in found.forms] == [Counts(2, 1), Counts(1, 1)]
    assert found.counts == Counts(2, 1)
    assert [(p.offset, p.num_tokens) for p in found.places] == [(0, 3), (4, 2)]


def test_of_what_is_not_found_the_longest_part_is_named() -> None:
    found = find([[1, 2, 3], [2, 3], [2, 3]], [9, 1, 2, 9, 2, 3, 9])
    assert found.counts == Counts(0, 0)
    assert found.longest is not None
    assert found.longest == ((2, 3), Counts(3, 3))
    assert find([[1]], [5, 6]).longest is None


def test_no_more_places_than_the_limit_are_listed_and_all_are_counted() -> None:
    found = find([[1, 1, 1], [1]], [1], limit=2)
    assert [(p.row, p.offset) for p in found.places] == [(0, 0), (0, 1)]
    assert found.counts == Counts(4, 2)
    for wrong in ({"limit": -1}, {"limit": 2**70}, {"before_step": -1}, {"before_step": 2**70}):
        with pytest.raises(SettingsError, match=str(*wrong.values())):
            find([[1]], [1], **wrong)


def test_documents_without_steps_have_no_first_step() -> None:
    plain = corpus_of([[1, 2]])
    found = search_corpus(plain, build_suffix_array(plain), [Pattern("ids", (1,))])
    assert (found.first_step, found.last_step, found.before) == (None, None, None)
    assert found.num_without_step == 1
