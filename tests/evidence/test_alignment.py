"""Windows, runs and edit similarity, against plain dynamic programming."""

import random

import pytest

from whence.evidence import alignment
from whence.evidence.alignment import AlignedQuery, best_window, edit_similarity, n_grams, occurs


def distance(a, b) -> int:
    """The Levenshtein distance, cell by cell."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        new = [i]
        for j, y in enumerate(b, start=1):
            new.append(min(row[j] + 1, new[-1] + 1, row[j - 1] + (x != y)))
        row = new
    return row[-1]


def longest_run(a, b) -> int:
    return max(
        (
            n
            for n in range(1, len(a) + 1)
            for start in range(len(a) - n + 1)
            if any(a[start : start + n] == b[i : i + n] for i in range(len(b) - n + 1))
        ),
        default=0,
    )


@pytest.mark.parametrize("seed", range(25))
def test_no_window_is_nearer_than_the_best_one(seed: int):
    rng = random.Random(seed)
    vocabulary = rng.choice([2, 5, 40])
    query = [rng.randrange(vocabulary) for _ in range(rng.randrange(1, 12))]
    example = [rng.randrange(vocabulary) for _ in range(rng.randrange(0, 25))]
    if seed % 2:
        place = rng.randrange(len(example) + 1)
        copy = [token for token in query if rng.random() > 0.2]
        example = example[:place] + copy + example[place:]

    start, end = best_window(query, example)

    all_distances = [
        distance(query, example[i:j])
        for i in range(len(example) + 1)
        for j in range(i, len(example) + 1)
    ]
    assert 0 <= start <= end <= len(example)
    assert distance(query, example[start:end]) == min(all_distances)


@pytest.mark.parametrize("seed", range(200))
def test_of_several_best_windows_it_is_the_first_to_end_and_then_the_longest(seed: int):
    rng = random.Random(seed)
    vocabulary = rng.choice([1, 2, 3, 6])
    query = [rng.randrange(vocabulary) for _ in range(rng.randrange(1, 9))]
    example = [rng.randrange(vocabulary + 1) for _ in range(rng.randrange(0, 14))]
    windows = [(i, j) for j in range(len(example) + 1) for i in range(j + 1)]
    least = min(distance(query, example[i:j]) for i, j in windows)
    expected = next((i, j) for i, j in windows if distance(query, example[i:j]) == least)
    assert best_window(query, example) == expected
    assert alignment._best_window(query, example) == expected


@pytest.mark.parametrize("num_distinct", [254, 255, 256, 400])
def test_a_query_may_have_any_number_of_distinct_tokens(num_distinct: int):
    rng = random.Random(num_distinct)
    query = [*range(num_distinct), 0, 1]
    copy = [token for token in query if rng.random() > 0.1]
    example = [rng.randrange(10**6) for _ in range(300)] + copy + [5] * 20
    assert best_window(query, example) == alignment._best_window(query, example)
    start, end = best_window(query, example)
    assert edit_similarity(query, example[start:end]) > 0.8


@pytest.mark.parametrize("seed", range(25))
def test_measures_are_those_of_plain_python(seed: int):
    rng = random.Random(seed)
    query = [rng.randrange(6) for _ in range(rng.randrange(2, 15))]
    example = [rng.randrange(6) for _ in range(rng.randrange(0, 30))]
    cut = rng.randrange(len(query))
    aligned = AlignedQuery(tuple(query[:cut]), tuple(query[cut:]))

    found = aligned.overlap(example)

    n = min(5, len(query))
    grams = {tuple(query[i : i + n]) for i in range(len(query) - n + 1)}
    others = {tuple(example[i : i + n]) for i in range(len(example) - n + 1)}
    assert found.longest_run == longest_run(query, example)
    assert found.containment == len(grams & others) / len(grams)
    assert found.has_query == (longest_run(query, example) == len(query))
    assert found.has_completion == (longest_run(query[cut:], example) == len(query) - cut)
    if found.longest_run < min(3, len(query)):
        assert found.window is None
        assert found.edit_similarity is None
    else:
        start, end = found.window
        longer = max(len(query), end - start)
        expected = 1 - distance(query, example[start:end]) / longer
        assert found.edit_similarity == pytest.approx(expected)


def test_a_copy_inside_a_long_document_is_its_best_window():
    query = list(range(100, 164))
    example = [7] * 500 + query + [8] * 500

    found = AlignedQuery(tuple(query[:32]), tuple(query[32:])).overlap(example)

    assert found.window == (500, 564)
    assert (found.edit_similarity, found.jaccard, found.longest_run) == (1.0, 1.0, 64)


def test_empty_examples_share_nothing():
    found = AlignedQuery((1, 2), (3,)).overlap([])
    assert found == (0, False, False, 0.0, None, None, None)


def test_a_run_of_bytes_across_tokens_is_no_occurrence():
    # 256 = 0x100: its bytes also stand in the middle of other tokens.
    assert not occurs([256], [1 << 16, 1])
    assert occurs([256], [1, 256])


def test_short_sequences_have_no_n_grams():
    assert n_grams([1, 2], 5) == frozenset()
    assert edit_similarity([], []) == 1.0
