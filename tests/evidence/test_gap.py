"""What one method names and another does not is compared by cluster, and told by relation."""

import random

import pytest

from whence.evidence.gap import SAME_CONTENT, compared_methods, find_gap, first_clusters
from whence.evidence.record import Evidence, Strength
from whence.evidence.relations import RELATIONS, Relation
from whence.evidence.ties import Tie


def evidence_of(lists: dict[str, list[str]], relations: dict[str, Relation]) -> Evidence:
    """One behavior `b`; each method lists examples that stand for clusters, best first."""
    strengths = [
        Strength(method, "b", example, "proponents", place, place, 1.0, None, None, None)
        for method, ids in lists.items()
        for place, example in enumerate(ids, 1)
    ]
    ties = [
        Tie("b", example, relation, "", False, 0, 0.0, *(None,) * 7)
        for example, relation in relations.items()
    ]
    return Evidence(tuple(ties), tuple(strengths), (), (), {}, 0)


@pytest.mark.parametrize("seed", range(20))
def test_clusters_are_compared_and_not_examples(seed: int) -> None:
    rng = random.Random(seed)
    ids = [f"e{i}" for i in range(30)]
    cluster_of = {i: rng.randrange(12) for i in ids}

    def ranking() -> list[str]:
        """The first member of each cluster, in a random order."""
        seen: dict[int, str] = {}
        for i in rng.sample(ids, len(ids)):
            seen.setdefault(cluster_of[i], i)
        return list(seen.values())

    lists = {"a": ranking(), "b": ranking()}
    relations: dict[str, Relation] = {i: rng.choice([*RELATIONS]) for i in ids}
    gap = find_gap(evidence_of(lists, relations), "b", "a", "b", cluster_of=cluster_of, k=5)
    mine, theirs = lists["a"][:5], lists["b"][:5]
    copies = {i for i in mine for j in theirs if cluster_of[i] == cluster_of[j]}
    assert gap.both == tuple(i for i in mine if i in copies)
    assert gap.only == tuple(i for i in mine if i not in copies)
    assert len(gap.only_other) == 5 - len(copies)
    assert {cluster_of[i] for i in gap.only_other}.isdisjoint({cluster_of[i] for i in mine})
    assert gap.num_same == len([i for i in mine if relations[i] in SAME_CONTENT])


def test_members_behind_the_first_of_a_cluster_do_not_count() -> None:
    first = Strength("a", "b", "x", "proponents", 1, 1, 1.0, None, None, None)
    copy = Strength("a", "b", "y", "proponents", 2, None, 1.0, None, None, None)
    evidence = Evidence((), (first, copy), (), (), {}, 0)
    assert first_clusters(evidence, "a", "b", k=10) == (first,)


@pytest.mark.parametrize(
    ("mine", "theirs", "lead"),
    [
        ((), (), "unknown"),
        (("noise",), ("topical",), "unknown"),
        (("states",), ("exact",), "as many"),
        (("states", "near"), ("exact", "same-relation"), "more"),
        (("templated",), ("self",), "fewer"),
    ],
)
def test_only_copies_and_statements_decide_who_leads(mine, theirs, lead) -> None:
    lists = {"a": [f"a{i}" for i in range(len(mine))], "b": [f"b{i}" for i in range(len(theirs))]}
    relations = dict(zip([*lists["a"], *lists["b"]], [*mine, *theirs], strict=True))
    gap = find_gap(evidence_of(lists, relations), "b", "a", "b", cluster_of={}, k=10)
    assert gap.lead == lead


@pytest.mark.parametrize(
    ("families", "chosen"),
    [
        ({}, (None, None)),
        ({"random": "control"}, ("random", None)),
        ({"bm25": "text"}, (None, "bm25")),
        ({"tfidf": "text", "bm25": "text", "imported": "unknown"}, ("imported", "bm25")),
        ({"ngram_overlap": "text", "random": "control", "trak": "gradient"},
         ("trak", "ngram_overlap")),
    ],
)  # fmt: skip
def test_a_run_is_read_by_gradients_and_search_where_it_has_them(families, chosen) -> None:
    assert compared_methods(families) == chosen
