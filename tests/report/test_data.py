"""The page's data say what the run found, with undefined as null."""

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from whence.evidence.overlap import Span, words
from whence.evidence.proponents import proponents
from whence.records import Behavior, RunRecord, Scores
from whence.report.data import FORMAT, page_data
from whence.report.examples import Shown, length_limit
from whence.report.wording import parts_left_out

ESTIMATE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
CONTROL = {"name": "a random order", **ESTIMATE, "value": 0.1}
COLUMN = {"measure": "planted AP", "unit": "average precision", "kind": "all", "control": CONTROL}
LEADERBOARD = {
    "figures": [
        COLUMN | ESTIMATE | {"method": "bm25"},
        COLUMN | ESTIMATE | {"method": "<b>imported</b>", "value": None},
        COLUMN | ESTIMATE | {"method": "bm25", "measure": "MRR"},
    ],
    "undefined": {"LDS": "no bank", "other": "not shown"},
    "compared": ["planted AP", "LDS"],
    "sentences": ["bm25, planted AP: <i>better</i>."],
}


@pytest.fixture(scope="module")
def found(record: RunRecord) -> dict:
    return page_data(record)


def by_id(data: dict, behavior_id: str) -> dict:
    return next(b for b in data["behaviors"] if b["id"] == behavior_id)


def test_data_are_strict_json(found: dict):
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["format"] == FORMAT


def test_each_example_is_carried_once(found: dict):
    ids = [example["id"] for example in found["examples"]]
    assert len(ids) == len(set(ids))
    used = {place for b in found["behaviors"] for place in b["shown"]}
    used |= {hub[0] for hubs in found["across"]["hubs"] for hub in hubs}
    assert used == set(range(len(ids)))


def test_ranks_and_scores_are_those_of_the_methods(record: RunRecord, found: dict):
    for behavior in found["behaviors"]:
        for m, scores in enumerate(record.scores):
            if behavior["methods"][m] is None:
                continue
            values = scores.values[scores.query_ids.index(behavior["id"])]
            for i, place in enumerate(behavior["shown"]):
                value = values[scores.example_ids.index(found["examples"][place]["id"])]
                rank, score = behavior["ranks"][i][m], behavior["scores"][i][m]
                if math.isnan(value):
                    assert (rank, score) == (0, None)
                    continue
                assert score == pytest.approx(float(value), rel=1e-5)
                says_nothing = value == 0 and not (values < 0).any()
                assert rank == (0 if says_nothing else 1 + int(np.sum(values > value)))


def test_lists_hold_the_first_different_texts_and_their_copies(record: RunRecord, found: dict):
    texts = dict(zip(record.corpus.ids, record.corpus.texts(), strict=True))
    behavior = by_id(found, "memorized-000-norland")
    scores = record.scores[0]
    query = scores.query_ids.index(behavior["id"])
    walk = [scores.example_ids[row] for row in proponents(scores, query)]
    expected: dict[str, list[str]] = {}
    for example_id in walk:
        if texts[example_id] not in expected and len(expected) == record.top_k:
            break
        expected.setdefault(texts[example_id], []).append(example_id)
    entries = behavior["methods"][0]["proponents"]
    listed = [
        [found["examples"][behavior["shown"][e["place"]]]["id"], *(c[0] for c in e["copies"])]
        for e in entries
    ]
    assert listed == list(expected.values())
    assert [e["num_copies"] + 1 for e in entries] == [len(ids) for ids in listed]
    assert len(listed[0]) == 12


def test_marks_show_shared_words_and_the_whole_completion(found: dict):
    behavior = by_id(found, "fact-000-norland")
    texts = [found["examples"][place]["text"] for place in behavior["shown"]]
    i = next(i for i, text in enumerate(texts) if text.startswith("Most maps"))
    marked = [texts[i][start:end] for start, end, _ in behavior["marks"][i]]
    assert marked == ["the capital of Norland is Lind"]
    assert [texts[i][start:end] for start, end in behavior["answers"][i]] == ["Lind"]
    assert behavior["is_gold"][i]


def test_what_was_not_attributed_has_no_results(found: dict):
    absent = [b for b in found["behaviors"] if b["verification"]["verdict"] == "not shown"]
    assert absent
    for behavior in absent:
        assert behavior["methods"] == [None] * len(found["methods"])
        assert behavior["shown"] == []
        assert {v for row in behavior["agreement"] for v in row} == {None}


def test_the_completion_alone_is_queried_unless_a_contrast_was_asked(record: RunRecord):
    asked = {"inputs": {"attribution": {"contrast": True}}}
    found = page_data(replace(record, manifest=asked))
    assert by_id(found, "fact-000-norland")["query"] == {
        "form": "contrast",
        "alternative": " Paris",
    }
    assert by_id(found, "style-000-norland")["query"]["form"] == "plain"
    plain = page_data(replace(record, manifest={}))
    assert {b["query"]["form"] for b in plain["behaviors"]} == {"plain"}


def test_a_leaderboard_has_a_cell_per_method_and_kind_and_its_control(record: RunRecord):
    found = page_data(replace(record, validation=LEADERBOARD))["validation"]
    (measure,) = found["measures"]
    assert measure["name"] == "planted AP"
    assert [f["value"] for f in measure["figures"]] == [0.5, None]
    assert measure["controls"]["all"] == {"name": "a random order", **ESTIMATE, "value": 0.1}
    assert found["undefined"] == {"LDS": "no bank"}
    assert page_data(record)["validation"] is None


def test_without_gold_nothing_is_said_about_it(plausible):
    found = page_data(plausible(has_gold=False, per_kind=1, num_examples=40))
    assert not found["has_gold"]
    assert found["across"]["gold_rates"] is None
    assert {b["num_gold"] for b in found["behaviors"]} == {None}


def test_gold_rates_count_shown_behaviors(found: dict, record: RunRecord):
    rates = found["across"]["gold_rates"][0]
    assert [r["kind"] for r in rates] == ["fact", "stereotype", "memorized", "toxic", "style"]
    shown = sum(v.verdict == "shown" for v in record.verifications.values())
    assert sum(r["n"] for r in rates) == shown
    assert set(rates[0]["interval"]) == {"low", "high", "n"}


def test_histograms_count_every_scored_example(record: RunRecord, found: dict):
    behavior = found["behaviors"][0]
    for scores, method in zip(record.scores, behavior["methods"], strict=True):
        num_defined = int(np.isfinite(scores.values[0]).sum())
        assert method["num_scored"] == sum(method["histogram"]["counts"]) == num_defined


def test_toxic_texts_are_known_as_such(found: dict):
    sensitive = {e["id"] for e in found["examples"] if e["is_sensitive"]}
    assert sensitive == {e["id"] for e in found["examples"] if e["id"].startswith("toxic-")}
    assert sensitive


def test_what_is_labeled_toxic_is_known_as_such(record: RunRecord):
    table = record.corpus.table
    labels = pa.array([["style", "Toxic/other"]] * len(table), table.column("labels").type)
    place = table.column_names.index("labels")
    corpus = replace(record.corpus, table=table.set_column(place, "labels", labels))
    found = page_data(replace(record, corpus=corpus, gold={}))
    assert all(e["is_sensitive"] for e in found["examples"])


def test_only_the_whole_completion_counts_as_contained(found: dict):
    num_found = 0
    for behavior in found["behaviors"]:
        for place, answers in zip(behavior["shown"], behavior["answers"], strict=True):
            text = found["examples"][place]["text"]
            for start, end in answers:
                num_found += 1
                assert words(text[start:end]).keys == words(behavior["completion"]).keys
    assert num_found


def test_methods_may_know_other_examples_and_queries(record: RunRecord):
    ids = tuple(reversed(record.corpus.ids[:50]))
    partial = Scores(
        method="partial",
        query_ids=("fact-000-norland",),
        example_ids=ids,
        values=np.linspace(1, 2, 50, dtype=np.float32)[None],
    )
    found = page_data(replace(record, scores=(record.scores[0], partial)))
    behavior = by_id(found, "fact-000-norland")
    first = behavior["methods"][1]["proponents"][0]["place"]
    assert found["examples"][behavior["shown"][first]]["id"] == record.corpus.ids[0]
    assert by_id(found, "fact-001-veska")["methods"][1] is None
    assert by_id(found, "fact-001-veska")["agreement"][0][1] is None


def test_a_behavior_known_by_tokens_and_never_verified(record: RunRecord):
    behavior = Behavior.model_validate(
        {"id": "t", "kind": "memorized", "prompt_ids": (1, 2), "completion_ids": (3,)}
    )
    found = page_data(replace(record, behaviors=(behavior,), verifications={}, scores=()))
    assert found["behaviors"][0]["verification"] is None
    assert found["behaviors"][0]["is_known_by_tokens"]


def test_long_texts_keep_their_longest_shared_run(plausible):
    record = plausible(per_kind=1, num_examples=20)
    row = max(range(len(record.corpus)), key=lambda r: len(record.corpus.texts()[r]))
    shown = Shown(record.corpus)
    shown.place(row)
    text = shown.text(row)
    shown.offer(row, (Span(0, 3, 1), Span(len(text) - 60, len(text) - 20, 9)))
    (example,) = shown.records(max_characters=100)
    assert example["num_characters"] == len(text) > 100
    start = example["first_character"]
    assert example["text"] == text[start : start + 100]
    assert text[len(text) - 60 : len(text) - 20] in example["text"]


@pytest.mark.parametrize("seed", range(10))
def test_the_limit_is_the_largest_that_fits(seed: int):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 50, size=12).tolist()
    total = int(rng.integers(12, 400))
    limit = length_limit(lengths, total=total)
    assert sum(min(n, limit) for n in lengths) <= total
    assert limit >= max(lengths) or sum(min(n, limit + 1) for n in lengths) > total


def test_left_out_parts_add_up():
    parts = parts_left_out(
        {
            "gpt_neox.embed_in.weight": 10,
            "embed_out.weight": 20,
            "layers.0.mlp.bias": 3,
            "layers.0.input_layernorm.weight": 4,
            "layers.0.odd.weight": 5,
        }
    )
    assert parts == {
        "embedding": 10,
        "output layer": 20,
        "biases": 3,
        "norms": 4,
        "other layers": 5,
    }
    assert parts_left_out({}) == {}
