"""Null queries have the study's shapes and share no text with the corpus."""

import random

import pyarrow as pa
import pytest

from whence.evidence.null_queries import Shape, length_class, null_queries, shapes
from whence.records import Corpus, Query, Term


def corpus_of(*rows: list[int]) -> Corpus:
    ids = pa.array(list(rows), pa.list_(pa.int32()))
    return Corpus("c", "", pa.table({"id": [f"e{i}" for i in range(len(rows))], "input_ids": ids}))


def query(prompt: int, completion: int) -> Query:
    return Query(
        f"{prompt}+{completion}", (Term(tuple(range(prompt + completion)), prompt, 1.0),), ""
    )


def test_each_length_class_has_an_equal_share():
    asked = [query(6, 1)] * 50 + [query(9, 2)] * 50 + [query(12, 5)] * 3 + [query(32, 32)] * 2
    found = shapes(asked, 100)
    counts = dict.fromkeys(map(length_class, asked), 0)
    for prompt, completion in found:
        counts[length_class(query(prompt, completion))] += 1
    assert sorted(counts.values()) == [33, 33, 34]
    assert {Shape(6, 1), Shape(9, 2)} <= set(found)


def test_no_shapes_are_wanted_of_no_queries_and_of_zero_nulls():
    assert shapes([query(3, 1)], 0) == ()
    assert shapes([], 0) == ()


@pytest.mark.parametrize("shape", [Shape(4, 1), Shape(12, 4), Shape(32, 32)])
def test_queries_share_no_run_with_any_example(shape: Shape):
    rng = random.Random(0)
    examples = [[rng.randrange(30) for _ in range(80)] for _ in range(40)]
    texts = [[rng.randrange(30) for _ in range(70)] for _ in range(60)]
    for place, text in enumerate(texts[:30]):
        start = rng.randrange(60)
        text[2:12] = examples[place][start : start + 10]
    found = null_queries(texts, [shape] * 40, corpus_of(*examples), decode=str)
    n = min(8, max(4, sum(shape) // 2))
    runs = {tuple(e[i : i + n]) for e in examples for i in range(len(e) - n + 1)}
    assert found
    assert [q.id for q in found] == [f"null/{i + 1}" for i in range(len(found))]

    def is_shared(ids) -> bool:
        return bool(runs & {tuple(ids[i : i + n]) for i in range(sum(shape) - n + 1)})

    for one in found:
        (term,) = one.terms
        assert (term.num_prompt_tokens, len(term.input_ids)) == (shape[0], sum(shape))
        assert not is_shared(term.input_ids)
    assert len(found) == min(40, sum(not is_shared(text) for text in texts))


def test_short_texts_serve_the_shapes_that_fit_them():
    found = null_queries(
        [[1, 2, 3], [4] * 9], [Shape(5, 4), Shape(2, 1)], corpus_of([7]), decode=str
    )
    assert sorted(len(q.terms[0].input_ids) for q in found) == [3, 9]


def test_a_contrast_subtracts_another_completion():
    texts = [[i] * 4 for i in range(10, 13)]
    found = null_queries(texts, [Shape(3, 1)] * 3, corpus_of([7]), decode=str, contrast=True)
    for one in found:
        completion, other = one.terms
        assert (completion.weight, other.weight) == (1.0, -1.0)
        assert completion.input_ids[:3] == other.input_ids[:3]
        assert completion.input_ids[3] != other.input_ids[3]


def test_without_texts_there_are_no_queries():
    assert null_queries([], [Shape(2, 1)], corpus_of([7]), decode=str) == ()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_texts_are_read_until_they_suffice_and_the_first_that_fit_are_taken(share: float):
    rng = random.Random(1)
    example = list(range(100, 140))
    texts = [[rng.randrange(90) for _ in range(20)] for _ in range(3000)]
    for text in texts:
        if rng.random() < share:
            text[3:13] = example[5:15]
    num_read = 0

    def read():
        nonlocal num_read
        for text in texts:
            num_read += 1
            yield text

    wanted = [Shape(16, 4)] * 50
    found = null_queries(read(), wanted, corpus_of(example), decode=str)
    fit = [place for place, text in enumerate(texts) if 105 not in text]
    assert [q.terms[0].input_ids for q in found] == [tuple(texts[place]) for place in fit[:50]]
    assert fit[49] < num_read <= max(100, 4 * fit[49])
