"""Targets, pool and shares: what is computed with weights is what the whole corpus gives."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from whence.memorization.attribution import Named, PoolScores, pool_scores
from whence.memorization.copies import CLASSES, Copies
from whence.memorization.onset import onset
from whence.memorization.pool import Pool, choose_pool, classes_in
from whence.memorization.scan import Scan
from whence.memorization.shares import (
    SHARE_CLASSES,
    Ranking,
    all_shares,
    differences,
    mean_shares,
    own_ranks,
    shares_of,
)
from whence.memorization.targets import Targets, choose_targets
from whence.memorization.windows import Windows
from whence.records import Corpus

COSINE, RANDOM = Named("cosine", 5), Named("random", None)


def _corpus(num: int) -> Corpus:
    table = pa.table(
        {
            "id": [f"d{i}" for i in range(num)],
            "input_ids": pa.array([[1, 2, 3]] * num, pa.list_(pa.int32())),
        }
    )
    return Corpus("c", "", table)


def _copies(num_windows: int, num_rows: int, rng: np.random.Generator) -> Copies:
    pairs = [
        (w, r, int(rng.integers(len(CLASSES))))
        for w in range(num_windows)
        for r in sorted(rng.choice(num_rows, 12, replace=False).tolist())
    ]
    windows, rows, classes = (np.array(part) for part in zip(*pairs, strict=True))
    return Copies(num_windows, windows, rows, classes, np.ones(len(pairs)), rows + 1)


def test_every_copy_is_in_the_pool_and_weights_count_the_corpus() -> None:
    rng = np.random.default_rng(0)
    copies, corpus = _copies(5, 400, rng), _corpus(400)
    pool = choose_pool(copies, corpus, num_random=50, num_weak=3, seed=0)
    near = {
        int(r)
        for r, c in zip(copies.rows, copies.classes, strict=True)
        if CLASSES[c] != "weak-near"
    }
    assert near <= set(pool.rows.tolist())
    assert pool.weights.sum() == pytest.approx(400)
    assert all(pool.weights[np.isin(pool.rows, sorted(near))] == 1)
    whole = choose_pool(copies, corpus, num_random="all", num_weak=3, seed=0)
    assert whole.is_whole
    found = classes_in(copies, 5, whole)
    for w, r, c in zip(copies.windows, copies.rows, copies.classes, strict=True):
        assert found[w, r] == c
    assert (found >= 0).sum() == len(copies.rows)


@pytest.mark.parametrize("num_random", [50, "all"])
def test_what_comes_later_in_training_than_the_model_is_in_no_pool(num_random) -> None:
    rng = np.random.default_rng(0)
    copies, corpus = _copies(5, 400, rng), _corpus(400)
    steps = pa.array([None if i % 40 == 0 else 1 + i // 4 for i in range(400)], pa.int64())
    corpus = replace(corpus, table=corpus.table.append_column("step", steps))
    pool = choose_pool(copies, corpus, num_random=num_random, num_weak=3, seen_by=50, seed=0)
    seen = np.array([s is None or s <= 50 for s in steps.to_pylist()])
    assert seen[pool.rows].all()
    assert pool.weights.sum() == pytest.approx(seen.sum())
    assert pool.num_unseen == (~seen).sum()
    assert f"{(~seen).sum()} come later" in pool.sentence()
    assert pool.is_whole == (num_random == "all")


def test_shares_of_weighted_pools_average_to_those_of_the_corpus() -> None:
    rng = np.random.default_rng(1)
    num, copies = 400, _copies(1, 400, rng)
    values = rng.random((1, num)).astype(np.float32) + 0.01
    # Copies are ahead of most, so that several classes are among the first ten.
    values[0, copies.rows] += 0.9
    targets = Targets(np.array([0]), ("memorized",), np.array([0]), np.array([0]))

    def shares(pool: Pool) -> np.ndarray:
        classes = classes_in(copies, 1, pool)
        ranking = Ranking(
            PoolScores({COSINE: values[:, pool.rows]}),
            classes,
            np.zeros(classes.shape, dtype=bool),
            pool,
            pool.rows,
            targets,
        )
        return shares_of(ranking, COSINE, 0, "examples", k=10)

    corpus = _corpus(num)
    exact = shares(choose_pool(copies, corpus, num_random="all", num_weak=3, seed=0))
    order: list[int] = np.argsort(-values[0]).tolist()
    named = dict(zip(copies.rows.tolist(), copies.classes.tolist(), strict=True))
    first = [r for r in order if CLASSES[named.get(r, 1)] != "self" or r not in named][:10]
    labels = [CLASSES[named[r]] if r in named else "rest" for r in first]
    expected = [labels.count(name) / 10 for name in SHARE_CLASSES]
    assert exact.tolist() == pytest.approx(expected)
    drawn = [
        shares(choose_pool(copies, corpus, num_random=200, num_weak=2, seed=seed))
        for seed in range(300)
    ]
    assert np.abs(np.mean(drawn, axis=0) - exact).max() < 0.03


def _ranking(classes: list[list[str | None]], values: list[list[float]], **more: object) -> Ranking:
    places = [[-1 if c is None else CLASSES.index(c) for c in row] for row in classes]  # pyright: ignore[reportArgumentType]
    num = len(classes[0])
    targets = more.get("targets") or Targets(
        np.arange(len(classes)),
        ("memorized",) * len(classes),
        np.arange(len(classes)),
        np.arange(len(classes)),
    )
    assert isinstance(targets, Targets)
    return Ranking(
        PoolScores({COSINE: np.array(values, dtype=np.float32)}),
        np.array(places, dtype=np.int8),
        np.zeros((len(classes), num), dtype=bool),
        Pool(np.arange(num), np.ones(num), num),
        np.array(more.get("clusters", range(num))),
        targets,
    )


def test_the_own_example_counts_in_no_share_and_has_its_rank() -> None:
    ranking = _ranking([["self", "exact", None, "near"]], [[0.5, 0.9, 0.8, 0.1]])
    found = dict(zip(SHARE_CLASSES, shares_of(ranking, COSINE, 0, "examples", k=2), strict=True))
    assert found == {
        "exact": 0.5,
        "continuation": 0,
        "near": 0,
        "weak-near": 0,
        "related": 0,
        "rest": 0.5,
    }
    (rank,) = own_ranks(ranking)
    assert (rank.median, rank.worst, rank.n) == (3, 3, 1)


def test_a_cluster_counts_once_and_negative_scores_never() -> None:
    ranking = _ranking(
        [["exact", "exact", "exact", None, None]],
        [[0.9, 0.8, 0.7, 0.6, -0.5]],
        clusters=[7, 7, 7, 3, 4],
    )
    by_cluster = shares_of(ranking, COSINE, 0, "clusters", k=10)
    assert by_cluster[SHARE_CLASSES.index("exact")] == 0.5
    by_example = shares_of(ranking, COSINE, 0, "examples", k=10)
    assert by_example[SHARE_CLASSES.index("exact")] == 0.75
    nothing = _ranking([[None, None]], [[-1.0, -2.0]])
    assert np.isnan(shares_of(nothing, COSINE, 0, "examples", k=10)).all()


def test_controls_are_subtracted_from_their_own_targets() -> None:
    targets = Targets(
        np.arange(4),
        ("memorized", "memorized", "same family", "as many copies"),
        np.array([0, 1, 1, 0]),
        np.array([0, 1, 1, 0]),
    )
    ranking = _ranking(
        [["exact", None], ["exact", None], [None, "exact"], [None, None]],
        [[0.9, 0.1], [0.2, 0.9], [0.9, 0.1], [0.9, 0.1]],
        targets=targets,
    )
    found = all_shares(ranking, k=1)
    rows = differences(found, targets, ["a", "b", "b", "a"], untrained={})
    exact = {
        d.minus: d.difference.value
        for d in rows
        if d.unit == "examples" and d.share_class == "exact"
    }
    assert exact == {"same family": 0.0, "as many copies": 1.0}
    means = {
        (s.group, s.share_class): s.share.value
        for s in mean_shares(found, targets, ["a", "b", "b", "a"])
        if s.unit == "examples"
    }
    assert means["memorized", "exact"] == 0.5


def test_sums_over_checkpoints_leave_the_untrained_model_out() -> None:
    rng = np.random.default_rng(2)
    by_step = {
        step: {name: rng.normal(size=(2, 3)) for name in ("cosine", "dot")} for step in (0, 4, 9)
    }
    search = {name: rng.normal(size=(2, 3)) for name in ("bm25", "random")}
    found = pool_scores(by_step, search, {0: 1.0, 4: 0.5, 9: 0.1}).values
    wanted = 0.5 * by_step[4]["dot"] + 0.1 * by_step[9]["dot"]
    assert np.allclose(found[Named("tracin", None)], wanted)
    assert np.allclose(
        found[Named("tracin_cosine", None)], by_step[4]["cosine"] + by_step[9]["cosine"]
    )
    assert set(found) >= {RANDOM, Named("cosine", 0), Named("dot", 9)}


def test_controls_are_never_extractible_and_have_as_many_copies() -> None:
    rng = np.random.default_rng(3)
    base = rng.integers(0, 500, (6, 64))
    # Families of four windows; in each the first two are memorized.
    tokens = np.repeat(base, 4, axis=0)
    tokens[np.arange(24), -1] = np.arange(24)
    others = rng.integers(500, 999, (20, 64))
    tokens = np.concatenate([tokens, others]).astype(np.int32)
    places = np.arange(len(tokens))
    windows = Windows(tuple(map(str, places)), tokens, 32, places, places * 0)
    memorized = (places < 24) & (places % 4 < 2)
    counts = rng.integers(1, 40, len(tokens))
    late = np.where(memorized & (places % 4 == 1), 1, 0)
    scans = [
        Scan(s, np.repeat((memorized & (late <= k))[:, None], 32, axis=1), np.zeros((44, 32)))
        for k, s in enumerate((10, 20))
    ]
    family_of = np.where(memorized, places // 4 * 4, -1)
    found = choose_targets(
        windows, scans, onset(scans, "stable"), family_of, counts, per_family=2, max_targets=60
    )
    chosen = found.places[found.numbers("memorized")]
    assert sorted(chosen.tolist()) == places[memorized].tolist()
    assert not memorized[found.places[len(chosen) :]].any()
    for number in found.numbers("same family"):
        assert found.places[number] // 4 == found.places[found.of[number]] // 4
    for number in found.numbers("as many copies"):
        assert found.places[number] >= 24
    assert len(set(found.places.tolist())) == len(found.places)
