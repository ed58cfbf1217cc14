"""Descriptors against slow oracles that follow their formulas word by word."""

import math
from collections import Counter

import numpy as np
import pytest
from tests.evidence.test_ties import query_of

from whence.corpus.duplicates import find_duplicates
from whence.evidence import collect, concentration
from whence.evidence.descriptors import DESCRIPTORS, UNITS, Attribution, describe
from whence.evidence.null import calibrate
from whence.evidence.null_queries import Shape, length_class, null_queries
from whence.evidence.proponents import proponents, ranks
from whence.records import Scores
from whence.testbed import behaviors, corpus, held_out_texts
from whence.testbed.tables import tokenizer

K = 10


@pytest.fixture(scope="module")
def attribution() -> Attribution:
    examples = corpus("nano")
    asked = [b for b in behaviors("nano") if b.kind in ("fact", "memorized")][:12]
    texts = [tokenizer().encode(text).ids for text in held_out_texts("notices", num=80, seed=9)]
    nulls = null_queries(texts, [Shape(6, 4)] * 25 + [Shape(32, 32)] * 25, examples, decode=str)
    rng = np.random.default_rng(0)
    ids = tuple(b.id for b in asked)
    hub = rng.normal(size=len(examples)) * 2
    values = (rng.normal(size=(len(ids), len(examples))) + hub).astype(np.float32)
    values[0, 5] = np.nan
    drawn = (rng.normal(size=(len(nulls), len(examples))) + hub).astype(np.float32)
    scores = (
        Scores("drawn", ids, examples.ids, values, family="gradient", null_values=drawn),
        Scores("bm25", ids, examples.ids, values * (values > 2), family="text"),
        Scores("silent", ids, examples.ids, -np.abs(values), family="text"),
    )
    queries = tuple(query_of(behavior) for behavior in asked)
    duplicates = find_duplicates(examples)
    evidence = collect(scores, asked, queries, nulls, examples, duplicates, k=K)
    return Attribution(scores, tuple(asked), queries, nulls, examples, duplicates, evidence)


@pytest.fixture(scope="module")
def table(attribution: Attribution) -> dict[tuple[str, str, str, str], float]:
    rows = describe(attribution)
    found = {(r.method, r.behavior, r.unit, r.descriptor): r.value for r in rows}
    assert len(found) == len(rows)
    return found


def z_of(attribution: Attribution, query: int) -> np.ndarray:
    scores = attribution.scores[0]
    nulls = calibrate(scores, [length_class(one) for one in attribution.nulls])
    return nulls[length_class(attribution.queries[query])].standardize(scores.values[query])


def calibrated(attribution: Attribution) -> list[int]:
    """Queries of lengths that some null query has."""
    known = {length_class(query) for query in attribution.nulls}
    found = [r for r, query in enumerate(attribution.queries) if length_class(query) in known]
    assert 4 <= len(found) < len(attribution.queries)
    return [*found[:2], *found[-2:]]


def lists(attribution: Attribution, unit: str) -> list[list[int]]:
    """The first ten documents, or the best documents of the first ten clusters, by plain walks."""
    clusters = attribution.duplicates.cluster_80
    found = []
    for query in range(len(attribution.queries)):
        rows = proponents(attribution.scores[0], query).tolist()
        if unit == "cluster":
            seen, kept = set(), []
            for row in rows:
                if clusters[row] not in seen:
                    seen.add(clusters[row])
                    kept.append(row)
            rows = kept
        found.append(rows[:K])
    return found


def slow_concentration(mass: list[float]) -> dict[str, float]:
    total, n = sum(mass), len(mass)
    p = [one / total for one in mass]
    h = -sum(one * math.log(one) for one in p if one > 0)
    return {
        "gini": sum(abs(a - b) for a in mass for b in mass) / (2 * n * n * (total / n)),
        "normalized_entropy": h / math.log(n),
        "effective_number": 1 / sum(one * one for one in p),
        "perplexity": math.exp(h),
        "top_1_share": max(p),
        "top_10_share": sum(sorted(p)[-10:]),
        "top_percent_share": sum(sorted(p)[-max(1, round(n / 100)) :]),
    }


@pytest.mark.parametrize("unit", UNITS)
def test_concentration_is_that_of_the_positive_part_of_z(unit: str, attribution, table):
    clusters = attribution.duplicates.cluster_80
    for query in calibrated(attribution):
        z = z_of(attribution, query)
        known = {row: float(one) for row, one in enumerate(z) if math.isfinite(one)}
        if unit == "cluster":
            best: dict[int, float] = {}
            for row, one in known.items():
                best[clusters[row]] = max(best.get(clusters[row], -math.inf), one)
            known = best
        expected = slow_concentration([max(one, 0.0) for one in known.values()])
        expected["largest_z"] = max(known.values())
        above = sum(one for one in known.values() if one > 0)
        below = -sum(one for one in known.values() if one < 0)
        expected["proponent_ratio"] = math.log(above / below)
        name = attribution.queries[query].id
        found = {key: table["drawn", name, unit, key] for key in expected}
        assert found == pytest.approx(expected, rel=1e-6)


def test_equal_masses_are_spread_and_a_single_one_is_concentrated():
    equal, single = np.ones(50), np.eye(50)[3]
    assert concentration.effective_number(equal) == pytest.approx(50)
    assert concentration.perplexity(equal) == pytest.approx(50)
    assert concentration.normalized_entropy(equal) == pytest.approx(1)
    assert concentration.gini(equal) == pytest.approx(0)
    assert concentration.effective_number(single) == 1
    assert concentration.perplexity(single) == 1
    assert concentration.normalized_entropy(single) == 0
    assert concentration.gini(single) == pytest.approx(49 / 50)
    assert concentration.top_share(single, 10) == 1


def test_what_is_undefined_is_nan_and_never_0(attribution, table):
    nothing = np.zeros(9)
    for measure in (
        concentration.gini,
        concentration.entropy,
        concentration.normalized_entropy,
        concentration.effective_number,
        concentration.perplexity,
        concentration.top_percent_share,
    ):
        assert math.isnan(measure(nothing))
        assert math.isnan(measure(nothing[:0]))
    assert math.isnan(concentration.proponent_ratio(np.ones(4)))
    assert math.isnan(concentration.normalized_entropy(np.ones(1)))
    for name in attribution.scores[0].query_ids:
        # No null was scored, and no example is a proponent.
        of = [value for key, value in table.items() if key[:2] == ("silent", name)]
        assert all(math.isnan(value) for value in of)
        assert math.isnan(table["bm25", name, "document", "largest_z"])
        assert table["bm25", name, "document", "early_share"] >= 0


@pytest.mark.parametrize("unit", UNITS)
def test_lists_are_described_by_their_first_ten_entries(unit: str, attribution, table):
    clusters, sizes = attribution.duplicates.cluster_80, attribution.duplicates.size_80
    rows = lists(attribution, unit)
    keys = [{clusters[row] if unit == "cluster" else row for row in of} for of in rows]
    pool = Counter(attribution.subsets)
    n, last = len(attribution.corpus), len(attribution.corpus) - 1
    for query, name in enumerate(attribution.scores[0].query_ids):
        own = rows[query]
        others = [
            sum(
                (clusters[row] if unit == "cluster" else row) in keys[other]
                for other in range(len(rows))
                if other != query
            )
            for row in own
        ]
        shares = [
            count / len(own) for count in Counter(attribution.subsets[r] for r in own).values()
        ]
        named = Counter(attribution.subsets[r] for r in own)
        nulls = attribution.scores[0].null_values
        first = [set(np.argsort(-of, kind="stable")[:10].tolist()) for of in nulls]
        ties = [attribution.evidence.tie(name, attribution.corpus.ids[row]) for row in own]
        num_tokens = len(attribution.queries[query].terms[0].input_ids)
        aligned = [t.edit_similarity for t in ties if t.edit_similarity is not None]
        expected = {
            "sharing": np.mean(others),
            "mean_position": np.mean([row / last for row in own]),
            "median_position": np.median([row / last for row in own]),
            "early_share": np.mean([row / last < 0.1 for row in own]),
            "subset_entropy": -sum(q * math.log(q) for q in shares),
            "subset_divergence": sum(
                c / len(own) * math.log((c / len(own)) / (pool[s] / n)) for s, c in named.items()
            ),
            "hubness": np.mean([sum(row in of for of in first) / len(nulls) for row in own]),
            "longest_run": np.mean([t.longest_run for t in ties]),
            "run_share": np.mean([t.longest_run / num_tokens for t in ties]),
            "containment": np.mean([t.containment for t in ties]),
            "edit_similarity": np.mean(aligned) if aligned else math.nan,
            "query_likeness": np.mean([t.topic_similarity for t in ties]),
        }
        bm25 = ranks(attribution.scores[1], query)
        places = [bm25[row] or (bm25 > 0).sum() + 1 for row in own]
        expected["bm25_rank"] = np.median(places)
        if unit == "document":
            expected["distinct_clusters"] = len({clusters[row] for row in own}) / len(own)
        else:
            expected["copies_per_cluster"] = np.mean([sizes[row] for row in own])
        found = {key: table["drawn", name, unit, key] for key in expected}
        assert found == pytest.approx({k: float(v) for k, v in expected.items()}, nan_ok=True)
        tiers = [f"{tier}_share" for tier in ("copy", "claim", "topic", "no_tie")]
        assert sum(table["drawn", name, unit, tier] for tier in tiers) == pytest.approx(1)


def test_the_slope_is_that_of_a_line_through_all_documents(attribution, table):
    x = np.arange(len(attribution.corpus)) / (len(attribution.corpus) - 1)
    for query in calibrated(attribution)[:3]:
        z = z_of(attribution, query)
        line = np.polyfit(x[np.isfinite(z)], z[np.isfinite(z)], 1)
        name = attribution.queries[query].id
        assert table["drawn", name, "document", "position_slope"] == pytest.approx(
            line[0], rel=1e-6
        )


def test_entries_are_alike_by_the_cosine_of_their_words(attribution, table):
    words, texts = attribution.words, attribution.corpus.texts()
    own = lists(attribution, "document")[4]
    pairs = [
        float(words.similarity(texts[a], np.array([b]))[0])
        for i, a in enumerate(own)
        for b in own[i + 1 :]
    ]
    name = attribution.queries[4].id
    found = table["drawn", name, "document", "mutual_likeness"]
    assert found == pytest.approx(np.nanmean(pairs), rel=1e-4)


def test_every_descriptor_is_in_the_table_once_per_unit_that_it_has(attribution, table):
    name = attribution.queries[0].id
    for unit in UNITS:
        found = {key[3] for key in table if key[:3] == ("drawn", name, unit)}
        assert found == {one.name for one in DESCRIPTORS.values() if unit in one.units}
