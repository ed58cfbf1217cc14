"""Duplicates are exactly those that comparing every pair of documents finds."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus.token_corpus import corpus_of

from whence.corpus.duplicates import Duplicates, detection, duplicates_stage, find_duplicates
from whence.corpus.duplicates.record import read_duplicates, save_duplicates
from whence.errors import CorpusError

Documents = list[list[int]]


def shingles(document: list[int], n: int = 5) -> frozenset[tuple[int, ...]]:
    if 0 < len(document) < n:
        return frozenset([tuple(document)])
    return frozenset(tuple(document[i : i + n]) for i in range(len(document) - n + 1))


def jaccard(one: list[int], other: list[int]) -> float:
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b) if a | b else 0.0


def brute_force(documents: Documents, threshold: float) -> dict[tuple[int, int], float]:
    pairs = combinations(range(len(documents)), 2)
    found = {(i, j): jaccard(documents[i], documents[j]) for i, j in pairs}
    return {pair: value for pair, value in found.items() if value >= threshold}


def components(num: int, pairs: list[tuple[int, int]]) -> list[int]:
    label = list(range(num))
    for _ in range(num):
        for i, j in pairs:
            label[i] = label[j] = min(label[i], label[j])
    return label


def all_pairs(found: Duplicates) -> dict[tuple[int, int], float]:
    """Every similar pair, from the neighbors of each row."""
    pairs: dict[tuple[int, int], float] = {}
    for row in range(len(found)):
        for other, value in found.neighbors(row):
            pair = (min(row, other), max(row, other))
            assert pairs.setdefault(pair, value) == value
    return pairs


def check(documents: Documents) -> None:
    found = find_duplicates(corpus_of(documents))
    assert found.is_exact
    pairs = brute_force(documents, 0.5)
    assert all_pairs(found) == pairs
    for threshold, cluster in ((0.5, found.cluster_50), (0.8, found.cluster_80)):
        linked = [pair for pair, value in pairs.items() if value >= threshold]
        assert cluster.tolist() == components(len(documents), linked)
    grams = [shingles(d, 13) if len(d) >= 13 else frozenset() for d in documents]
    shares = [pair for pair in combinations(range(len(documents)), 2) if _meet(grams, pair)]
    assert np.flatnonzero(found.shares_boilerplate).tolist() == sorted(
        {r for p in shares for r in p}
    )
    sizes = np.bincount(components(len(documents), shares), minlength=1)
    assert found.largest_chain == (sizes.max() if shares else 0)


def _meet(grams: list[frozenset[tuple[int, ...]]], pair: tuple[int, int]) -> bool:
    return bool(grams[pair[0]] & grams[pair[1]])


def edited(seed: int, *, num_bases: int, num_copies: int, length: int) -> Documents:
    """Documents that differ from some base in a few tokens or in length, and share openings."""
    rng = np.random.default_rng(seed)
    opening = rng.integers(0, 50, size=20).tolist()
    documents: Documents = []
    for _ in range(num_bases):
        base = rng.integers(0, 50, size=rng.integers(3, length)).tolist()
        if rng.random() < 0.5:
            base = opening + base
        for _ in range(int(rng.integers(1, num_copies + 1))):
            copy = list(base)
            for place in rng.integers(0, len(base), size=rng.integers(0, 6)):
                copy[place] = int(rng.integers(0, 50))
            documents.append(copy[: len(copy) - int(rng.integers(0, 4))])
    return [documents[i] for i in rng.permutation(len(documents))]


@pytest.mark.parametrize("seed", range(8))
def test_pairs_and_clusters_are_those_of_comparing_all_pairs(seed: int) -> None:
    check(edited(seed, num_bases=12, num_copies=6, length=90))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), max_size=30), max_size=12))
def test_documents_of_few_words_are_compared_as_others(documents: Documents) -> None:
    check(documents)


@pytest.mark.parametrize("documents", [[], [[]], [[], []], [[1]], [[1, 2], [1, 2]], [[1] * 5] * 2])
def test_tiny_corpora_have_the_duplicates_that_they_have(documents: Documents) -> None:
    check(documents)


@pytest.mark.parametrize("block", [1, 50])
def test_the_size_of_blocks_changes_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = edited(3, num_bases=10, num_copies=6, length=60)
    monkeypatch.setattr("whence.corpus.duplicates.pairs._BLOCK", block)
    check(documents)


@pytest.mark.parametrize("num_shared", [1, 2, 1000])
def test_the_length_of_prefixes_changes_nothing(
    num_shared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = edited(4, num_bases=10, num_copies=6, length=60)
    monkeypatch.setattr("whence.corpus.duplicates.pairs._NUM_SHARED", num_shared)
    check(documents)


def test_a_similarity_of_exactly_the_threshold_counts() -> None:
    # Five of ten 5-grams are shared, then eight of ten.
    half = [[*range(9), 20, 21], [*range(9), 30, 31, 32]]
    assert jaccard(*half) == 0.5
    most = [[*range(12), 40], [*range(12), 41]]
    assert jaccard(*most) == 0.8
    check(half)
    check(most)


@pytest.mark.parametrize("num_shingles", [10, 32, 34, 400])
def test_half_of_a_document_is_similar_by_exactly_the_threshold(num_shingles: int) -> None:
    # The least that two documents can share at a similarity of 0.5.
    whole = list(range(num_shingles + 4))
    half = whole[: num_shingles // 2 + 4]
    assert jaccard(whole, half) == 0.5
    others = [[*range(5000 + 50 * i, 5000 + 50 * i + 20)] for i in range(3)]
    # Every n-gram is in several documents, so that none is rare.
    check([whole, half, *others, whole[num_shingles // 2 :], whole[3:9]])


def test_many_copies_have_few_pairs_and_one_cluster() -> None:
    text = list(range(40))
    found = find_duplicates(corpus_of([text] * 500 + [[99, *text]]))
    assert len(found.pairs) == 500
    assert found.clusters_80.largest == (501,)
    assert found.copies.largest == (500,)
    assert len(found.neighbors(7)) == 500
    assert found.size_80.tolist() == [501] * 501


def test_a_shared_line_is_boilerplate_and_no_duplicate() -> None:
    line = list(range(13))
    texts = [[*line, *range(100 * i, 100 * i + 60)] for i in range(1, 6)]
    found = find_duplicates(corpus_of([*texts, list(range(900, 980))]))
    assert found.clusters_50.num_groups == 0
    assert found.shares_boilerplate.tolist() == [True] * 5 + [False]
    assert found.largest_chain == 5
    assert found.to_json()["shares_boilerplate"] == 5


def test_ngrams_across_the_end_of_text_do_not_count() -> None:
    # Rows that pack documents, as a memory map does: only what stands around the 0 is the same.
    around = [1, 2, 3, 4, 0, 5, 6, 7, 8]
    short = corpus_of([[*around, 10], [*around, 11]])
    assert find_duplicates(short).clusters_50.num_groups == 1
    assert find_duplicates(short, end_of_text=0).clusters_50.num_groups == 0
    wide = [*range(20, 30), 0, *range(30, 40)]
    long = corpus_of([[*wide, 50], [*wide, 51]])
    assert find_duplicates(long).shares_boilerplate.all()
    assert not find_duplicates(long, end_of_text=0).shares_boilerplate.any()


def test_minhash_finds_nearly_all_clusters_and_no_wrong_pair() -> None:
    documents = edited(5, num_bases=150, num_copies=5, length=120)
    exact = find_duplicates(corpus_of(documents))
    some = find_duplicates(corpus_of(documents), exact=False)
    assert not some.is_exact
    expected, found = all_pairs(exact), all_pairs(some)
    assert found.items() <= expected.items()
    assert len(found) >= 0.95 * len(expected)
    assert (some.cluster_80 == exact.cluster_80).mean() >= 0.99


def test_minhash_keeps_a_large_cluster_together_with_few_pairs() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 1000, size=200).tolist()
    documents = [[*base[:100], 5000 + i, *base[100:]] for i in range(400)]
    found = find_duplicates(corpus_of(documents), exact=False)
    assert found.clusters_80.largest == (400,)
    assert len(found.pairs) < 400 * 40


def test_above_the_limit_minhash_proposes(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = edited(6, num_bases=5, num_copies=5, length=60)
    for limit in ("MAX_EXACT_DOCUMENTS", "MAX_EXACT_PRODUCTS"):
        with monkeypatch.context() as patch:
            patch.setattr(detection, limit, 3)
            assert not find_duplicates(corpus_of(documents)).is_exact


@pytest.mark.parametrize("documents", [[], [[1]], [list(range(30))] * 3])
def test_a_record_read_back_is_the_same(documents: Documents, tmp_path: Path) -> None:
    found = find_duplicates(corpus_of(documents))
    save_duplicates(found, tmp_path)
    read = read_duplicates(tmp_path)
    for name, value in vars(found).items():
        np.testing.assert_array_equal(getattr(read, name), value)
        assert np.asarray(getattr(read, name)).dtype == np.asarray(value).dtype, name
    assert read.to_json() == found.to_json()
    assert [read.neighbors(row) for row in range(len(read))] == [
        found.neighbors(row) for row in range(len(found))
    ]


def test_the_summary_says_what_was_found_and_what_was_not_compared() -> None:
    copies = corpus_of([[*range(40)], [*range(39), 99], [*range(50, 90)]])
    assert find_duplicates(copies).summary() == (
        "2 of 3 documents are similar to another (Jaccard of 5-grams ≥ 0.5), in clusters of up to "
        "2. Clusters: 1; at ≥ 0.8 1, of 2 documents."
    )
    none = corpus_of([[*range(40)], [*range(50, 90)]])
    said = "No two of 2 documents are similar (Jaccard of 5-grams ≥ 0.5)."
    assert find_duplicates(none).summary() == said
    assert find_duplicates(none, exact=False).summary() == f"{said} Not all pairs were compared."


def test_a_broken_record_is_refused(tmp_path: Path) -> None:
    save_duplicates(find_duplicates(corpus_of([[1, 2]])), tmp_path)
    (tmp_path / "pairs.parquet").write_bytes(b"")
    with pytest.raises(CorpusError, match="cannot be read"):
        read_duplicates(tmp_path)


def test_the_stage_is_made_again_for_another_corpus_or_end_of_text(tmp_path: Path) -> None:
    corpus = corpus_of([list(range(30))] * 2)
    keys = {
        duplicates_stage(corpus, "a").key,
        duplicates_stage(corpus, "b").key,
        duplicates_stage(corpus, "a", end_of_text=0).key,
    }
    assert len(keys) == 3
    stage = duplicates_stage(corpus, "a")
    stage.make_in(tmp_path / "stage")
    assert stage.is_current_in(tmp_path / "stage")
    assert stage.read(tmp_path / "stage").clusters_80.num_documents == 2


@pytest.mark.slow
def test_real_documents_have_the_pairs_of_brute_force(data: Path) -> None:
    import gzip
    import json

    texts = []
    with gzip.open(data / "pile-mini" / "train.jsonl.gz", "rt") as lines:
        for line, _ in zip(lines, range(600), strict=False):
            texts.append([*json.loads(line)["text"].encode()][:300])
    check(texts)
    assert find_duplicates(corpus_of(texts)).clusters_50.num_groups
