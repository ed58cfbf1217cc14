"""The page's data say what the run found, with undefined as null."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.report.conftest import plausible, with_evidence

from whence.errors import SettingsError
from whence.evidence.overlap import Span, words
from whence.evidence.proponents import proponents
from whence.records import Behavior, Scores
from whence.report.data import FORMAT, page_data, page_record
from whence.report.examples import Examples, length_limit
from whence.report.run_record import RunRecord
from whence.report.sections.advice import Advice
from whence.report.wording import parts_left_out
from whence.runs.show import leading_method
from whence.validation import Validation

ESTIMATE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
CONTROL = {"name": "a random order", **ESTIMATE, "value": 0.1}
COLUMN = {"measure": "planted AP", "unit": "average precision", "kind": "all", "control": CONTROL}
LEADERBOARD = Validation.from_json(
    {
        "figures": [
            COLUMN | ESTIMATE | {"method": "bm25"},
            COLUMN | ESTIMATE | {"method": "<b>imported</b>", "value": None},
            COLUMN | ESTIMATE | {"method": "bm25", "measure": "MRR"},
        ],
        "undefined": {"LDS": "no bank", "other": "not shown"},
        "compared": ["planted AP", "LDS"],
        "sentences": ["bm25, planted AP: <i>better</i>."],
        "run": "key",
        "methods": {},
        "kinds": {"all": 1},
        "comparisons": [],
        "retraining": None,
        "removal": None,
        "agreement": [],
        "signal_to_noise": None,
        "versions": {},
    }
)


@pytest.fixture(scope="module")
def found(record: RunRecord) -> dict:
    return page_data(record)


def section(data: dict, name: str) -> dict:
    return next(s["data"] for s in data["sections"] if s["name"] == name)


def behaviors_of(data: dict) -> list[dict]:
    return section(data, "behaviors")["behaviors"]


def examples_of(data: dict) -> list[dict]:
    return [one for some in data["examples"] for one in some["texts"]["examples"]]


def section_example(data: dict, shown: dict) -> dict:
    return examples_of(data)[shown["example"]]


def by_id(data: dict, behavior_id: str) -> dict:
    return next(b for b in behaviors_of(data) if b["id"] == behavior_id)


def test_data_are_strict_json(found: dict):
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["format"] == FORMAT


def test_each_example_is_carried_once(found: dict):
    ids = [example["id"] for example in examples_of(found)]
    assert len(ids) == len(set(ids))
    used = {shown["example"] for b in behaviors_of(found) for shown in b["detail"]["shown"]}
    hubs = section(found, "across")["hubs"].values()
    used |= {hub["example"] for of_method in hubs for hub in of_method}
    assert used == set(range(len(ids)))


def test_ranks_and_scores_are_those_of_the_methods(record: RunRecord, found: dict):
    examples = examples_of(found)
    for behavior in behaviors_of(found):
        shown = behavior["detail"]["shown"]
        ids = [examples[one["example"]]["id"] for one in shown]
        for scores in record.scores:
            if scores.method not in behavior["results"]:
                continue
            values = scores.values[scores.query_ids.index(behavior["id"])]
            of_ids = [float(values[scores.example_ids.index(i)]) for i in ids]
            for value, one in zip(of_ids, shown, strict=True):
                says_nothing = value == 0 and not (values < 0).any()
                is_placed = not (math.isnan(value) or says_nothing)
                rank = 1 + int(np.sum(values > value)) if is_placed else None
                assert one["ranks"][scores.method] == rank
            lists = behavior["detail"]["lists"][scores.method]
            for entry in [*lists["proponents"], *lists["opponents"]]:
                assert entry["score"] == pytest.approx(of_ids[entry["shown"]], rel=1e-5)


def test_the_first_of_each_list_are_known_before_the_rest_is_unpacked(record: RunRecord):
    found = page_data(with_evidence(record))
    first = found["reading"]["num_first"]
    for behavior in behaviors_of(found):
        detail = behavior["detail"]
        for place, known in enumerate(behavior["firsts"]):
            shown = detail["shown"][place]
            example = section_example(found, shown)
            assert known["relation"] == shown["tie"]["relation"]
            assert known["is_planted"] == shown["is_planted"]
            assert known["is_sensitive"] == example["is_sensitive"]
            cut = known["excerpt"]
            assert cut["text"] in example["text"]
            assert cut["is_cut_before"] == (not example["text"].startswith(cut["text"]))
            assert len(cut["text"]) == min(110, len(example["text"]))
        for method, result in behavior["results"].items():
            entries = detail["lists"][method]["proponents"][:first]
            keys = ("shown", "num_hub", "is_only")
            assert result["first"] == [{key: entry[key] for key in keys} for entry in entries]
            assert all(entry["shown"] < len(behavior["firsts"]) for entry in entries)


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
    entries = behavior["detail"]["lists"][scores.method]["proponents"]
    firsts = [behavior["detail"]["shown"][e["shown"]]["example"] for e in entries]
    examples = examples_of(found)
    listed = [
        [examples[first]["id"], *(copy["id"] for copy in e["copies"])]
        for first, e in zip(firsts, entries, strict=True)
    ]
    assert listed == list(expected.values())
    assert [e["num_copies"] + 1 for e in entries] == [len(ids) for ids in listed]
    assert len(listed[0]) == 12


def test_marks_show_shared_words_and_the_whole_completion(found: dict):
    behavior = by_id(found, "fact-000-norland")
    texts = [section_example(found, shown)["text"] for shown in behavior["detail"]["shown"]]
    i = next(i for i, text in enumerate(texts) if text.startswith("Most maps"))
    shown = behavior["detail"]["shown"][i]
    marked = [texts[i][run["start"] : run["end"]] for run in shown["spans"]]
    assert marked == ["the capital of Norland is Lind"]
    assert [texts[i][run["start"] : run["end"]] for run in shown["answers"]] == ["Lind"]
    assert shown["is_planted"]


def test_what_was_not_attributed_has_no_results(found: dict):
    absent = [b for b in behaviors_of(found) if b["verification"]["verdict"] == "not shown"]
    assert absent
    for behavior in absent:
        assert behavior["results"] == {}
        assert behavior["detail"] == {"shown": [], "lists": {}, "spans": []}
        assert behavior["firsts"] == behavior["agreement"] == []
        assert behavior["not_attributed"].startswith("The model does not show this behavior")
    assert {b["not_attributed"] for b in behaviors_of(found) if b["results"]} == {None}


def test_the_reason_for_no_result_is_the_one_that_applies(record: RunRecord):
    unasked = page_data(replace(record, scores=record.scores[:1], verifications={}))
    reasons = {b["not_attributed"] for b in behaviors_of(unasked)}
    assert reasons == {None, "This behavior was not attributed."}
    silent = page_data(replace(record, scores=()))
    assert {b["not_attributed"] for b in behaviors_of(silent)} == {"No method was run."}


def test_the_completion_alone_is_queried_unless_a_contrast_was_asked(record: RunRecord):
    asked = {"inputs": {"attribution": {"contrast": True}}}
    found = page_data(replace(record, manifest=asked))
    assert by_id(found, "fact-000-norland")["query"] == {
        "is_contrast": True,
        "alternative": " Paris",
    }
    assert not by_id(found, "style-000-norland")["query"]["is_contrast"]
    plain = page_data(replace(record))
    assert not any(b["query"]["is_contrast"] for b in behaviors_of(plain))


def with_a_window() -> Validation:
    """The leaderboard with one window of training."""
    name = "own-removed LDS, steps 465-488"
    values = LEADERBOARD.to_json()
    figure = COLUMN | ESTIMATE | {"method": "bm25", "measure": name, "value": 0.123}
    window = {"measure": "LDS, steps 465-488", "measure_own_removed": name}
    window |= {"label": "steps 465-488", "share": 0.05, "unit": "document", "num_units": 94}
    window |= {"masks": 96, "seconds_per_retraining": 0.4, "additive_ceiling": ESTIMATE}
    window |= {"additive_ceiling_own_removed": ESTIMATE | {"value": 0.77}}
    return Validation.from_json(
        values
        | {"figures": [*LEADERBOARD.to_json()["figures"], figure], "windows": [window]}
        | {"compared": [*LEADERBOARD.compared, name]}
    )


def test_a_window_s_figures_stand_in_the_curve_and_not_beside_the_other_measures(record: RunRecord):
    found = section(page_data(replace(record, validation=with_a_window())), "leaderboard")
    (shown,) = found["windows"]
    assert shown["measure"]["name"] not in [m["name"] for m in found["measures"]]
    assert (shown["label"], shown["share"], shown["masks"]) == ("steps 465-488", 0.05, 96)
    assert shown["measure"]["name"] == "own-removed LDS, steps 465-488"
    assert shown["additive_ceiling"]["value"] == 0.77


def test_a_leaderboard_has_a_cell_per_method_and_kind_and_its_control(record: RunRecord):
    found = section(page_data(replace(record, validation=LEADERBOARD)), "leaderboard")
    (measure,) = found["measures"]
    assert measure["name"] == "planted AP"
    assert [f["estimate"]["value"] for f in measure["figures"]] == [0.5, None]
    control = {"name": "a random order", "estimate": {**ESTIMATE, "value": 0.1}}
    assert measure["controls"]["all"] == control
    assert found["undefined"] == {"LDS": "no bank"}
    assert "leaderboard" not in [s.name for s in page_record(record).sections]


def test_without_gold_nothing_is_said_about_it(plausible):
    found = page_data(plausible(has_gold=False, per_kind=1, num_examples=40))
    assert not section(found, "behaviors")["has_planted"]
    assert section(found, "across")["gold_rates"] is None
    assert {b["num_planted"] for b in behaviors_of(found)} == {None}


def test_gold_rates_count_shown_behaviors(found: dict, record: RunRecord):
    rates = section(found, "across")["gold_rates"]
    rates = [r for r in rates if r["method"] == record.scores[0].method]
    assert [r["kind"] for r in rates] == ["fact", "stereotype", "memorized", "toxic", "style"]
    shown = sum(v.verdict == "shown" for v in record.verifications.values())
    assert sum(r["n"] for r in rates) == shown
    assert set(rates[0]["interval"]) == {"low", "high", "n"}


def test_histograms_count_every_scored_example(record: RunRecord, found: dict):
    behavior = behaviors_of(found)[0]
    for scores in record.scores:
        result = behavior["detail"]["lists"][scores.method]
        num_defined = int(np.isfinite(scores.values[0]).sum())
        assert result["num_scored"] == sum(result["histogram"]["counts"]) == num_defined


def test_toxic_texts_are_known_as_such(found: dict):
    sensitive = {e["id"] for e in examples_of(found) if e["is_sensitive"]}
    assert sensitive == {e["id"] for e in examples_of(found) if e["id"].startswith("toxic-")}
    assert sensitive


def test_what_is_labeled_toxic_is_known_as_such(record: RunRecord):
    table = record.corpus.table
    labels = pa.array([["style", "Toxic/other"]] * len(table), table.column("labels").type)
    place = table.column_names.index("labels")
    corpus = replace(record.corpus, table=table.set_column(place, "labels", labels))
    found = page_record(replace(record, corpus=corpus, gold={}))
    assert all(e.is_sensitive for some in found.examples for e in some.texts.examples)
    assert found.has_sensitive


def test_only_the_whole_completion_counts_as_contained(found: dict):
    num_found = 0
    for behavior in behaviors_of(found):
        for shown in behavior["detail"]["shown"]:
            text = section_example(found, shown)["text"]
            for run in shown["answers"]:
                num_found += 1
                part = text[run["start"] : run["end"]]
                assert words(part).keys == words(behavior["completion"]).keys
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
    detail = behavior["detail"]
    first = detail["shown"][detail["lists"]["partial"]["proponents"][0]["shown"]]
    assert section_example(found, first)["id"] == record.corpus.ids[0]
    other = by_id(found, "fact-001-veska")
    assert list(other["results"]) == [record.scores[0].method]
    assert other["agreement"] == []
    assert len(behavior["agreement"]) == 1


def test_a_behavior_known_by_tokens_and_never_verified(record: RunRecord):
    behavior = Behavior.model_validate(
        {"id": "t", "kind": "memorized", "prompt_ids": (1, 2), "completion_ids": (3,)}
    )
    found = page_data(replace(record, behaviors=(behavior,), verifications={}, scores=()))
    (only,) = behaviors_of(found)
    assert only["verification"] is None
    assert only["is_known_by_tokens"]


def test_long_texts_keep_their_longest_shared_run(plausible):
    record = plausible(per_kind=1, num_examples=20)
    row = max(range(len(record.corpus)), key=lambda r: len(record.corpus.texts()[r]))
    examples = Examples(record.corpus)
    examples.place(row)
    text = examples.text(row)
    examples.add_spans(row, (Span(0, 3, 1), Span(len(text) - 60, len(text) - 20, 9)))
    (example,) = examples.records(max_characters=100)
    assert example.num_characters == len(text) > 100
    start = example.first_character
    assert example.text == text[start : start + 100]
    assert text[len(text) - 60 : len(text) - 20] in example.text


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


def test_layers_that_cannot_be_attributed_are_named_by_reason(record: RunRecord):
    assert record.coverage is not None
    reasons = {"experts.0": "not called in a pass", "embed_out": "the output layer"}
    reasons["experts.1"] = reasons["experts.0"]
    coverage = replace(record.coverage, not_attributable=reasons)
    found = page_data(replace(record, coverage=coverage))
    assert section(found, "overview")["coverage"]["not_attributable"] == [
        {"reason": "not called in a pass", "layers": ["experts.0", "experts.1"]},
        {"reason": "the output layer", "layers": ["embed_out"]},
    ]


@pytest.mark.parametrize("lead", ["gradient_cosine", "gradient_dot"])
def test_page_and_command_line_lead_with_the_first_method_on_gradients(lead):
    record = plausible(per_kind=1, num_examples=60)
    scores = sorted(record.scores, key=lambda one: one.method != lead)
    ordered = replace(record, scores=(record.scores[-1], *scores[:-1]))
    found = page_record(ordered)
    assert found.reading.method == lead == leading_method(ordered, Path("run"))
    data = next(s.data for s in found.sections if isinstance(s.data, Advice))
    assert f"leads with {lead.replace('_', ' ')}" in data.reading
    assert {"ekfac", "tracin_cosine"} <= {n for p in data.purposes for n in p.missing}


def test_a_run_without_scores_has_no_method_to_lead_with():
    record = replace(plausible(per_kind=1, num_examples=60), scores=())
    assert "advice" not in [s.name for s in page_record(record).sections]
    with pytest.raises(SettingsError, match="has no scores"):
        leading_method(record, Path("run"))
