"""Kinds are told apart as often as they differ: tests at chance, gains of nothing, matched sets."""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from tests.evidence.test_ties import query_of

from whence.corpus.duplicates import find_duplicates
from whence.errors import ArtifactError, SettingsError
from whence.evidence import (
    Comparison,
    collect,
    compare,
    format_comparison,
    read_comparison,
    save_comparison,
)
from whence.evidence.comparison import CONTROLS, MIN_BEHAVIORS
from whence.evidence.descriptors import Attribution
from whence.evidence.families import families
from whence.evidence.kind_tests import (
    SHRINKAGE,
    balanced_accuracy,
    benjamini_hochberg,
    kruskal_wallis,
    leave_family_out,
    permanova,
    permuted_labels,
    rank_features,
    separation,
)
from whence.evidence.length_matching import CALIPER, match_lengths
from whence.evidence.null_queries import Shape
from whence.records import Behavior, Measured, Query, Scores, Term, Verification
from whence.testbed import behaviors, corpus

# Families of unequal sizes, and labels that belong to families.
FAMILIES = np.repeat(np.arange(24), [1, 2, 3, 4] * 6)
LABELS = np.array([family % 3 for family in FAMILIES])


def drawn(seed: int, *, columns: int = 4, shift: float = 0.0) -> np.ndarray:
    """Rows that are alike within a family, with labels shifted."""
    rng = np.random.default_rng(seed)
    of_family = rng.normal(size=(24, columns))
    noise = rng.normal(size=(len(FAMILIES), columns))
    return rank_features(of_family[FAMILIES] + 0.3 * noise + shift * LABELS[:, None], LABELS)


def permuted(seed: int, num: int = 99) -> np.ndarray:
    return permuted_labels(LABELS, FAMILIES, np.random.default_rng(seed), num=num)


def test_the_classifier_is_linear_discriminant_analysis_without_the_family():
    for seed in range(5):
        features = drawn(seed, shift=0.7)
        expected = np.empty(len(LABELS), dtype=int)
        for family in range(24):
            rest = family != FAMILIES
            slow = LinearDiscriminantAnalysis(
                solver="lsqr", shrinkage=SHRINKAGE, priors=[1 / 3] * 3
            ).fit(features[rest], LABELS[rest])
            expected[~rest] = slow.predict(features[~rest])
        assert leave_family_out(features, LABELS, FAMILIES).tolist() == expected.tolist()


def test_permanova_is_that_of_pairwise_distances_of_family_means():
    rows, others = drawn(3, shift=0.3), permuted(0)
    features = np.array([rows[family == FAMILIES].mean(axis=0) for family in range(24)])
    first = [FAMILIES.tolist().index(family) for family in range(24)]

    def pseudo_f(labels: np.ndarray) -> tuple[float, float]:
        square = ((features[:, None] - features[None]) ** 2).sum(axis=2)
        n, total, within = len(labels), square.sum() / 2 / len(labels), 0.0
        for label in range(3):
            own = labels == label
            within += square[np.ix_(own, own)].sum() / 2 / own.sum()
        return ((total - within) / 2) / (within / (n - 3)), 1 - within / total

    found = permanova(rows, LABELS, FAMILIES, others)
    f, r2 = pseudo_f(LABELS[first])
    reached = sum(pseudo_f(other[first])[1] >= r2 - 1e-12 for other in others)
    assert found == pytest.approx((f, r2, (reached + 1) / 100))


def test_labels_are_permuted_family_by_family():
    mixed = LABELS.copy()
    mixed[FAMILIES == 23] = [0, 1, 1, 1]
    for row in permuted_labels(mixed, FAMILIES, np.random.default_rng(0), num=50):
        units = {(f, b): set() for f, b in zip(FAMILIES, mixed, strict=True)}
        for f, before, after in zip(FAMILIES, mixed, row, strict=True):
            units[f, before].add(after)
        assert all(len(labels) == 1 for labels in units.values())
        old = Counter(label for _, label in units)
        assert Counter(next(iter(labels)) for labels in units.values()) == old


def test_kruskal_wallis_has_one_value_per_family():
    values = drawn(1, shift=0.5)[:, 0]
    once = np.array([values[family == FAMILIES].mean() for family in range(24)])
    numbers = np.arange(24)
    found = kruskal_wallis(values, LABELS, FAMILIES)
    assert found == pytest.approx(kruskal_wallis(once, numbers % 3, numbers))
    assert found.n == 24
    values[FAMILIES == 4] = np.nan
    assert kruskal_wallis(values, LABELS, FAMILIES).n == 23


def test_what_does_not_vary_is_undefined_and_not_significant():
    same = np.ones(len(LABELS))
    assert np.isnan(kruskal_wallis(same, LABELS, FAMILIES).p)
    assert np.isnan(kruskal_wallis(same * np.nan, LABELS, FAMILIES).p)
    assert rank_features(np.stack([same, same * np.nan], axis=1), LABELS).shape[1] == 0
    nothing = rank_features(same[:, None], LABELS)
    assert np.isnan(permanova(nothing, LABELS, FAMILIES, permuted(0)).p)
    found = separation(nothing, LABELS, FAMILIES, permuted(0))
    assert np.isnan([found.accuracy, found.p]).all()
    assert np.isnan(found.permuted).all()


def test_ranks_do_not_depend_on_units_and_keep_gaps_in_the_middle():
    values = np.array([[3.0], *([[100.0]] * 9), [np.nan], [1e9]])
    one = np.zeros(12, dtype=int)
    expected = [0.5 / 11, *([5 / 11 + 0.5 / 11] * 9), 0.5, 10.5 / 11]
    assert rank_features(values, one)[:, 0] == pytest.approx(expected)
    assert (rank_features(np.log(values), one) == rank_features(values, one)).all()


def test_who_has_no_value_does_not_tell_the_kind():
    """One label has no value at all, and so one place in the middle for all of its rows."""
    values = np.random.default_rng(0).normal(size=(len(LABELS), 2))
    values[LABELS == 1, 0] = np.nan
    assert rank_features(values, LABELS).shape[1] == 1
    values[:, 1] = np.nan
    assert np.isnan(separation(rank_features(values, LABELS), LABELS, FAMILIES, permuted(0)).p)


def test_undefined_p_values_do_not_count():
    assert benjamini_hochberg([0.01, 0.04, 0.03])[0] == pytest.approx(0.03)
    found = benjamini_hochberg([0.01, np.nan, 0.04, 0.03])
    assert found[0] == pytest.approx(0.03)
    assert np.isnan(found[1])


def test_labels_that_differ_are_found():
    features = drawn(0, shift=1.5)
    assert permanova(features, LABELS, FAMILIES, permuted(1)).p == 0.01
    found = separation(features, LABELS, FAMILIES, permuted(1))
    assert found.accuracy > 0.6
    assert found.p == 0.01
    assert found.accuracy == balanced_accuracy(found.is_right, LABELS)


@pytest.mark.parametrize("size", [3, 10])
def test_a_label_of_few_large_families_is_told_as_often_as_chance_tells_it(size: int):
    """With a row per behavior, .09 of the sets with families of 3 had p <= .05, and .00 of 10."""
    labels = np.repeat([0, 1], [4 * size, 13])
    families = np.concatenate([np.repeat(np.arange(4), size), np.arange(4, 17)])
    rng, found = np.random.default_rng(0), []
    for _ in range(600):
        rows = rng.normal(size=(17, 4))[families] + 0.3 * rng.normal(size=(len(labels), 4))
        others = permuted_labels(labels, families, rng, num=39)
        found.append(permanova(rank_features(rows, labels), labels, families, others).p <= 0.05)
    # 600 sets: 5 % ± 2.7 % (three standard deviations).
    assert np.mean(found) == pytest.approx(0.05, abs=0.027)


@pytest.mark.slow
def test_labels_drawn_at_random_are_found_in_one_of_twenty_sets():
    """Rows of one family are alike, so that tests by rows would find far more."""
    reached = []
    for seed in range(400):
        features = drawn(1000 + seed)
        others = permuted(seed, num=39)
        whole = features.mean(axis=1)
        reached.append(
            [
                permanova(features, LABELS, FAMILIES, others).p <= 0.05,
                separation(features, LABELS, FAMILIES, others).p <= 0.05,
                kruskal_wallis(whole, LABELS, FAMILIES).p <= 0.05,
                kruskal_wallis(whole, LABELS, np.arange(len(LABELS))).p <= 0.05,
            ]
        )
    rates = np.mean(reached, axis=0)
    # 400 sets: 5 % ± 3.3 % (three standard deviations).
    assert rates[:3] == pytest.approx([0.05] * 3, abs=0.033)
    assert rates[3] > 0.15, "the simulation cannot tell families from rows"


def test_a_matched_set_has_equal_lengths_in_every_kind():
    rng = np.random.default_rng(4)
    kinds = [str(k) for k in rng.choice(["a", "b", "c"], size=200)]
    shapes = [
        Shape(int(rng.integers(4, 40)), int(rng.integers(1, 4) + (kind == "c"))) for kind in kinds
    ]
    names = [str(row // 2) for row in range(200)]
    found = match_lengths(
        kinds, shapes, families=names, rng=np.random.default_rng(0), min_per_kind=12
    )
    assert found is not None
    assert found.kinds == ("a", "b", "c")
    by_kind = {kind: [r for r in found.rows if kinds[r] == kind] for kind in found.kinds}
    completions = [Counter(shapes[r].num_completion_tokens for r in of) for of in by_kind.values()]
    assert completions[0] == completions[1] == completions[2]
    assert completions[0].total() >= 12
    prompts = [sorted(shapes[r].num_prompt_tokens for r in of) for of in by_kind.values()]
    for a, b in itertools.combinations(prompts, 2):
        assert all(max(x, y) / min(x, y) < CALIPER for x, y in zip(a, b, strict=True))


def test_the_largest_matched_set_is_found():
    """Compared with all selections of a small set."""
    kinds = ["a"] * 4 + ["b"] * 5
    shapes = [Shape(8, n) for n in (1, 1, 2, 3, 1, 2, 2, 2, 5)]
    found = match_lengths(
        kinds, shapes, families=list("abcdefghi"), rng=np.random.default_rng(0), min_per_kind=1
    )
    assert found is not None
    best = 0
    for size in range(1, 5):
        for a in itertools.combinations(range(4), size):
            for b in itertools.combinations(range(4, 9), size):
                if sorted(shapes[r] for r in a) == sorted(shapes[r] for r in b):
                    best = max(best, size)
    assert len(found.rows) == 2 * best == 4


def test_nothing_is_matched_where_lengths_differ():
    kinds, shapes = ["a"] * 9 + ["b"] * 9, [Shape(5, 1)] * 9 + [Shape(5, 2)] * 9
    names = [str(row) for row in range(18)]
    rng = np.random.default_rng(0)
    assert match_lengths(kinds, shapes, families=names, rng=rng, min_per_kind=1) is None


def test_a_family_is_one_relation_style_subject_or_text():
    def made(name: str, kind: str, ids: range, **fields: str) -> tuple[Behavior, Query]:
        behavior = Behavior(id=name, kind=kind, completion="x", **fields)  # pyright: ignore
        return behavior, Query(name, (Term(tuple(ids), 1, 1.0),), "")

    pairs = [
        made("m1", "memorized", range(100, 130)),
        made("f1", "fact", range(5), relation="capital", subject="France"),
        made("f2", "fact", range(6), relation="capital", subject="Japan"),
        made("f3", "fact", range(7), relation="currency", subject="Japan"),
        made("s1", "stereotype", range(8), relation="pronoun", subject="nurse"),
        made("s2", "stereotype", range(9), relation="pronoun", subject="pilot"),
        made("t1", "toxic", range(10), subject="Roast:"),
        made("t2", "toxic", range(11), subject="Roast:"),
        made("y1", "style", range(12), style="verse"),
        made("m2", "memorized", range(117, 140)),
        made("m3", "memorized", range(118, 150)),
        made("m4", "memorized", range(128, 150)),
    ]
    found = families([b for b, _ in pairs], [q for _, q in pairs])
    groups: dict[str, set[str]] = {}
    for name, family in found.items():
        groups.setdefault(family, set()).add(name)
    assert {frozenset(of) for of in groups.values()} == {
        frozenset(of.split()) for of in ("m1 m2 m3 m4", "f1 f2", "f3", "s1", "s2", "t1 t2", "y1")
    }
    assert all(family in of for family, of in groups.items())
    assert found["m4"] == "m1", "the first behavior names its family"


@pytest.fixture(scope="module")
def attribution() -> Attribution:
    """Behaviors of nano with scores that say nothing, but for one method that knows the kind."""
    examples = corpus("nano")
    asked = tuple(b for b in behaviors("nano") if b.kind in ("stereotype", "memorized", "style"))
    ids = tuple(b.id for b in asked)
    rng = np.random.default_rng(0)

    def scores(method: str, family: str, seed: int) -> Scores:
        values = np.random.default_rng(seed).random((len(ids), len(examples)), dtype=np.float32)
        return Scores(method, ids, examples.ids, values, family=family)  # pyright: ignore

    knowing = rng.random((len(ids), len(examples)), dtype=np.float32)
    kinds = sorted({b.kind for b in asked})
    for row, behavior in enumerate(asked):
        # Each kind has its own fifty examples, of which its behaviors share some.
        place = 300 * kinds.index(behavior.kind)
        own = np.arange(place, place + 50)
        if behavior.kind == "style":
            own = np.flatnonzero(np.array(examples.table.column("subset")) == "verse")[:50]
        knowing[row, own] += 1 + rng.random(50)
    methods = (
        Scores("knowing", ids, examples.ids, knowing, family="gradient"),
        replace(scores("same", "gradient", 7)),
        scores("gradient_cosine_initial", "untrained", 7),
        scores("bm25", "text", 8),
        scores("random", "control", 9),
    )
    queries = tuple(query_of(behavior) for behavior in asked)
    duplicates = find_duplicates(examples)
    evidence = collect(methods, asked, queries, (), examples, duplicates, k=10)
    return Attribution(methods, asked, queries, (), examples, duplicates, evidence)


def verification(behavior: Behavior, query: Query) -> Verification:
    n = len(query.terms[0].input_ids) - query.terms[0].num_prompt_tokens
    measured = Measured(("x",) * n, (-0.5,) * n, (1,) * n)
    blank = dict.fromkeys(Verification.__dataclass_fields__)
    given = {"behavior_id": behavior.id, "kind": behavior.kind, "completion": measured}
    return Verification(**{**blank, **given})  # pyright: ignore


@pytest.fixture(scope="module")
def comparison(attribution: Attribution) -> Comparison:
    pairs = zip(attribution.behaviors, attribution.queries, strict=True)
    return compare(attribution, {b.id: verification(b, q) for b, q in pairs})


def test_a_control_gains_nothing_over_itself(comparison: Comparison):
    gains = [
        g for g in comparison.gains if (g.method, g.control) == ("same", "gradient_cosine_initial")
    ]
    defined = [gain for gain in gains if gain.value == gain.value]
    assert len(defined) >= 12
    for gain in defined:
        assert gain.value == 0
        assert not gain.is_shown
        assert (gain.low, gain.high) == (0, 0) or np.isnan(gain.low)


def test_every_figure_stands_beside_its_four_controls(comparison: Comparison):
    assert {gain.method for gain in comparison.gains} == {"knowing", "same"}
    for one in comparison.separations:
        beside = {
            other.method
            for other in comparison.separations
            if (other.selection, other.unit, other.features)
            == (one.selection, one.unit, one.features)
        }
        assert beside == {*CONTROLS, "knowing", "same"}
    for gain in comparison.gains:
        figures = {
            one.method: one.accuracy
            for one in comparison.separations
            if (one.selection, one.unit, one.features) == (gain.selection, gain.unit, gain.features)
        }
        expected = figures[gain.method] - figures[gain.control]
        assert gain.value == pytest.approx(expected, nan_ok=True)


def test_kept_descriptors_are_at_chance_in_a_random_order(comparison: Comparison):
    [selection] = [one for one in comparison.selections if one.name == "all"]
    for unit, kept in selection.kept.items():
        assert kept
        assert not set(kept) & {"lexical", "relations"}
        for name in (*kept, "kept"):
            [found] = [
                one
                for one in comparison.separations
                if (one.selection, one.unit, one.features, one.method)
                == ("all", unit, name, "random")
            ]
            assert found.accuracy_p > 0.05


def test_a_method_that_knows_the_kind_is_found(comparison: Comparison):
    found = {
        one.method: one
        for one in comparison.separations
        if (one.selection, one.unit, one.features) == ("all", "document", "order")
    }
    assert found["knowing"].accuracy_p <= 0.05 < found["same"].accuracy_p
    # Behaviors of one kind share what they list, whatever their family.
    shared = {(one.method, one.kind): one for one in comparison.kind_overlap}
    for kind in ("memorized", "style"):
        assert shared["knowing", kind].within > 3 * shared["knowing", kind].between
        assert shared["knowing", kind].p <= 0.05
    subsets = [one for one in comparison.enrichment if one.q <= 0.05]
    assert subsets
    assert {(one.method, one.kind) for one in subsets} == {("knowing", "style")}
    assert max(subsets, key=lambda one: one.ratio).subset == "verse"


def test_an_overlap_is_the_jaccard_similarity_of_first_clusters(
    attribution: Attribution, comparison: Comparison
):
    clusters = attribution.duplicates.cluster_80

    def first(method: str, name: str) -> set[int]:
        entries = attribution.entries(method, name, "cluster")
        return {clusters[r] for r in attribution.corpus.rows([e.example_id for e in entries])}

    for one in comparison.overlap[::37]:
        a, b = first(one.method, one.first), first(one.method, one.second)
        assert one.jaccard == pytest.approx(len(a & b) / len(a | b))


def test_a_subset_is_compared_with_its_share_of_the_corpus(
    attribution: Attribution, comparison: Comparison
):
    pool = Counter(attribution.subsets)
    for one in comparison.enrichment:
        assert one.corpus_share == pytest.approx(pool[one.subset] / len(attribution.corpus))
        assert one.ratio == pytest.approx(one.share / one.corpus_share)
    of_one = [e for e in comparison.enrichment if (e.method, e.kind) == ("knowing", "style")]
    assert sum(one.share for one in of_one) == pytest.approx(1)
    assert {one.num_entries for one in of_one} == {
        10 * len(comparison.selections[0].behaviors["style"])
    }


def test_what_no_descriptor_measures_is_undefined_and_gains_nothing(comparison: Comparison):
    """Without null queries nothing is known of concentration."""
    for one in comparison.separations:
        if one.features == "concentration" and one.method != "query":
            assert one.num_features == 0
            assert np.isnan([one.accuracy, one.low, one.accuracy_p, one.r2]).all()
    for gain in comparison.gains:
        if gain.features == "concentration":
            assert np.isnan([gain.value, gain.low, gain.detectable]).all()
            assert not gain.is_shown
    assert all("concentration" not in kept for kept in comparison.selections[0].kept.values())


def test_sentences_say_what_cannot_be_said(comparison: Comparison):
    text = " ".join(comparison.sentences)
    assert "same is not shown to add anything to" in text
    assert "nothing can be said beyond the length of the query" in text
    assert "Not compared: stereotype" in text or "stereotype (" in text
    assert "permuted labels reach" in text
    assert "random" in format_comparison(comparison)


def test_a_comparison_is_read_as_it_was_written(comparison: Comparison, tmp_path):
    save_comparison(comparison, tmp_path)
    found = read_comparison(tmp_path)
    assert found.to_json() == comparison.to_json()
    assert repr(found.tests) == repr(comparison.tests)
    assert repr(found.descriptors) == repr(comparison.descriptors)
    assert found.selections == comparison.selections


def test_a_broken_comparison_is_refused(comparison: Comparison, tmp_path):
    save_comparison(comparison, tmp_path)
    (tmp_path / "gains.parquet").write_bytes(b"no table")
    with pytest.raises(ArtifactError, match="whence compare"):
        read_comparison(tmp_path)


def test_too_few_behaviors_are_refused(attribution: Attribution):
    few = tuple(b.id for b in attribution.behaviors[: MIN_BEHAVIORS + 1])
    rows = range(len(few))
    less = replace(
        attribution,
        behaviors=attribution.behaviors[: len(few)],
        queries=attribution.queries[: len(few)],
        scores=tuple(
            replace(s, query_ids=few, values=s.values[list(rows)]) for s in attribution.scores
        ),
    )
    pairs = zip(less.behaviors, less.queries, strict=True)
    with pytest.raises(SettingsError, match="at least 6 attributed behaviors"):
        compare(less, {b.id: verification(b, q) for b, q in pairs})
