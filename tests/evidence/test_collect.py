"""The evidence of a run: what is judged, stored and read back."""

from dataclasses import replace

import numpy as np
import pytest
from tests.evidence.test_ties import query_of

from whence.corpus.duplicates import find_duplicates
from whence.errors import ArtifactError
from whence.evidence import Evidence, collect, is_visible, read_evidence, save_evidence
from whence.evidence.null_queries import Shape, null_queries
from whence.evidence.proponents import opponents, proponents
from whence.records import Scores
from whence.testbed import behaviors, corpus, held_out_texts
from whence.testbed.tables import tokenizer

K = 5


@pytest.fixture(scope="module")
def inputs() -> dict:
    examples = corpus("nano")
    asked = [b for b in behaviors("nano") if b.kind in ("fact", "memorized")][:10]
    texts = [tokenizer().encode(text).ids for text in held_out_texts("notices", num=80, seed=9)]
    nulls = null_queries(texts, [Shape(6, 1)] * 25 + [Shape(32, 32)] * 25, examples, decode=str)
    rng = np.random.default_rng(0)
    shape, null_shape = (len(asked), len(examples)), (len(nulls), len(examples))
    values = rng.normal(size=shape).astype(np.float32)
    ids = tuple(b.id for b in asked)
    drawn = rng.normal(size=null_shape).astype(np.float32)
    methods = [
        Scores("drawn", ids, examples.ids, values, family="gradient", null_values=drawn),
        Scores("search", ids, examples.ids, np.abs(values) * (values > 2), family="text"),
    ]
    return {
        "scores": methods,
        "behaviors": asked,
        "queries": [query_of(behavior) for behavior in asked],
        "nulls": nulls,
        "corpus": examples,
        "duplicates": find_duplicates(examples),
        "k": K,
    }


@pytest.fixture(scope="module")
def evidence(inputs: dict) -> Evidence:
    return collect(**inputs)


def test_every_listed_example_has_a_tie_and_a_strength(inputs: dict, evidence: Evidence):
    examples = inputs["corpus"]
    for scores in inputs["scores"]:
        for query, query_id in enumerate(scores.query_ids):
            for side, rows in (
                ("proponents", proponents(scores, query, k=K)),
                ("opponents", opponents(scores, query, k=K)),
            ):
                listed = evidence.listed(scores.method, query_id, side=side)
                assert [s.example_id for s in listed[: len(rows)]] == [
                    examples.ids[r] for r in rows
                ]
                for one, row in zip(listed, rows, strict=False):
                    assert evidence.tie(query_id, one.example_id)
                    assert one.score == pytest.approx(float(scores.values[query, row]))


def test_each_list_has_k_clusters(inputs: dict, evidence: Evidence):
    clusters = inputs["duplicates"].cluster_80
    for query_id in inputs["scores"][0].query_ids:
        listed = evidence.listed("drawn", query_id)
        first = [s for s in listed if s.cluster_place is not None]
        rows = inputs["corpus"].rows([s.example_id for s in first])
        assert sorted(s.cluster_place for s in first) == list(range(1, K + 1))
        assert len({clusters[row] for row in rows}) == K
        assert evidence.relations("drawn", query_id, k=K).values()
        assert sum(evidence.relations("drawn", query_id, k=K).values()) == K
        assert sum(evidence.relations("drawn", query_id, k=K, by_cluster=False).values()) == K


def test_what_has_no_visible_tie_is_noise_unless_above_the_null(inputs: dict, evidence: Evidence):
    calibrated = {one.behavior_id for one in evidence.strengths if one.tail is not None}
    seen = set()
    for tie in evidence.ties:
        found = evidence.strength("drawn", tie.behavior_id, tie.example_id)
        is_strong = bool(found and found.is_above_null)
        if not is_visible(tie.relation):
            is_open = is_strong or tie.behavior_id not in calibrated
            assert tie.relation == ("unexplained" if is_open else "noise")
            seen.add((tie.relation, tie.behavior_id in calibrated))
    assert ("noise", True) in seen
    assert len(calibrated) >= 5


def test_without_a_null_nothing_is_called_noise(inputs: dict):
    scores = [replace(one, null_values=None) for one in inputs["scores"]]
    found = collect(**{**inputs, "scores": scores, "nulls": ()})
    assert found.calibrations == ()
    assert all(one.z is None for one in found.strengths)
    assert "noise" not in {tie.relation for tie in found.ties}


def test_evidence_is_read_as_it_was_written(evidence: Evidence, tmp_path):
    save_evidence(evidence, tmp_path)
    assert read_evidence(tmp_path) == evidence


def test_broken_evidence_is_refused(evidence: Evidence, tmp_path):
    save_evidence(evidence, tmp_path)
    (tmp_path / "ties.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_evidence(tmp_path)


def test_documents_that_state_a_fact_are_counted(evidence: Evidence):
    counts = {one.behavior_id: one.num_stating for one in evidence.behaviors}
    assert all((n is None) == (not i.startswith("fact/")) for i, n in counts.items())
    assert max(n for n in counts.values() if n is not None) > 10
