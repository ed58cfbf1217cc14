"""Each generated sentence says what was counted, in these words, and no more."""

from dataclasses import replace
from functools import partial

import pytest
from tests.report.conftest import with_evidence
from tests.report.test_data import LEADERBOARD, by_id, section, section_example

from whence.evidence.gap import Gap
from whence.evidence.relations import RELATIONS, Relation
from whence.report import findings as of_run
from whence.report import sentences as of_behavior
from whence.report.data import page_data
from whence.report.findings import Gain, Shown, StepChange, Strengths, Ties
from whence.report.run_record import RunRecord
from whence.statistics import Estimate, Interval

IDS = tuple(f"doc-{i:05d}" for i in range(20))


@pytest.mark.parametrize(
    ("mine", "theirs", "sentence"),
    [
        (
            {"exact": 2, "same-relation": 7, "noise": 1},
            {"states": 10},
            "Gradient cosine's first ten: 2 exact copies, 7 same wording with another subject, "
            "1 noise; BM25's all state it.",
        ),
        ({"exact": 1}, {}, "Gradient cosine's only one: 1 exact copy; BM25 names no example."),
        ({}, {"states": 1, "shares": 1},
         "Gradient cosine names no example; BM25's: 1 states it, "
         "1 shares the subject or the answer."),
        ({"noise": 4}, None, "Gradient cosine's first four are all noise."),
        ({"near": 12}, None, "Gradient cosine's first 12 are all near copies."),
    ],
)  # fmt: skip
def test_relations_are_counted(mine, theirs, sentence: str) -> None:
    assert sentence == of_behavior.relations_sentence(
        "gradient cosine",
        mine,
        other=None if theirs is None else "BM25",
        other_relations=theirs,
    )


def test_every_relation_has_words() -> None:
    for relation in RELATIONS:
        one, many = (of_behavior.counted({relation: n}) for n in (1, 2))
        assert one.startswith("1 ")
        assert many.startswith("2 ")
        every = of_behavior.relations_sentence("BM25", {relation: 2})
        assert every.startswith(("BM25's first two all ", "BM25's first two are all "))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("gradient_cosine", "gradient cosine"),
        ("bm25", "BM25"),
        ("tracin_adam", "TracIn Adam"),
        ("my_bm25", "my bm25"),
        ("adam", "adam"),
    ],
)
def test_methods_of_our_own_have_their_usual_names(name: str, label: str) -> None:
    assert of_behavior.method_label(name) == label


@pytest.mark.parametrize(
    ("both", "only", "only_other", "sentence"),
    [
        (3, 7, 6, "3 found by both, 7 only by gradients, 6 only by BM25."),
        (0, 2, 2, "Gradients and BM25 have none of these in common."),
        (2, 0, 0, "Gradients and BM25 list the same two."),
        (0, 0, 4, "There is nothing to compare: gradients names no example."),
        (0, 0, 0, "There is nothing to compare: gradients names no example."),
    ],
)
def test_the_gap_is_counted(both: int, only: int, only_other: int, sentence: str) -> None:
    gap = Gap(IDS[:both], IDS[:only], IDS[:only_other], 0, 0)
    assert of_behavior.gap_sentence("gradients", "BM25", gap) == sentence


@pytest.mark.parametrize(
    ("same", "same_other", "sentence"),
    [
        (0, 0, "It cannot be told: neither lists anything that copies or states it."),
        (2, 2, "It cannot be told: both list as many that copy or state it (2 of 10 against "
               "2 of 10)."),
        (9, 4, "Gradients lists more that copy or state it (9 of 10 against 4 of 10), which "
               "says nothing about effects."),
        (1, 10, "Gradients lists fewer that copy or state it (1 of 10 against 10 of 10), which "
                "says nothing about effects."),
    ],
)  # fmt: skip
def test_better_than_search_is_answered_as_far_as_measured(same, same_other, sentence) -> None:
    gap = Gap(IDS[:3], IDS[:7], IDS[:7], same, same_other)
    assert of_behavior.lead_sentence("gradients", "BM25", gap) == sentence


@pytest.mark.parametrize(
    ("model", "kinds", "sentence"),
    [
        ("m", [], "There are no behaviors in this run."),
        ("m", [Shown("Facts", 1, 1, 0, 0)], "m shows 1 of 1 behavior."),
        (
            "/models/pythia-14m",
            [Shown("Facts", 10, 6, 2, 0), Shown("Style", 3, 0, 1, 1)],
            "pythia-14m shows 6 of 13 behaviors (facts 6 of 10, style 0 of 3), and 3 more weakly. "
            "1 was not verified.",
        ),
        (
            "a/b",
            [Shown("Toxic", 2, 0, 0, 2)],
            "Whether a/b shows the 2 behaviors was not verified.",
        ),
    ],
)
def test_what_the_model_shows(model: str, kinds: list[Shown], sentence: str) -> None:
    assert of_run.shown_sentence(model, kinds) == sentence


@pytest.mark.parametrize(
    ("mine", "theirs", "sentence"),
    [
        (
            {"exact": 1, "near": 2, "states": 1, "topical": 2, "unexplained": 1, "noise": 3},
            {"states": 9, "surprising": 1},
            "Gradients lists 10 examples first for 2 behaviors, copies counted once: 3 are copies, "
            "1 states it or shares part of it, 2 share topic or form only, 1 has no visible tie "
            "and 3 are noise. BM25, a search of texts: 9 state it or share part of it and 1 is "
            "surprising.",
        ),
        ({"noise": 1}, {},
         "Gradients lists 1 example first for 2 behaviors, copies counted once: 1 is noise; BM25 "
         "names none."),
        ({}, None, "Gradients names no example for 2 behaviors."),
    ],
)  # fmt: skip
def test_what_ties_the_examples_of_a_study(mine, theirs, sentence: str) -> None:
    other = None if theirs is None else Ties("BM25", 2, theirs)
    assert of_run.ties_sentence(Ties("gradients", 2, mine), other) == sentence
    introduced = of_run.ties_sentence(Ties("gradients", 2, mine, is_gradient=True), other)
    assert introduced.replace(", a method on gradients,", "") == sentence
    assert ("a method on gradients" in introduced) == bool(mine)


def test_what_gradients_name_and_search_does_not() -> None:
    gaps = [Gap(IDS[:3], IDS[:7], IDS[:7], 4, 10), Gap((), IDS[:10], IDS[:10], 0, 5)]
    only: dict[Relation, int] = {"states": 1, "half": 12, "unexplained": 1, "noise": 3}
    assert of_run.gap_sentence("gradients", "BM25", gaps, only, k=10) == (
        "17 of gradients's 20 are not among BM25's first ten: 1 copies or states it, 12 are "
        "related in another way, 1 has no visible tie and 3 are noise. For 1 of 2 behaviors the "
        "two share none. BM25 lists 15 that copy or state it, gradients 4."
    )
    same = [Gap(IDS[:4], (), (), 0, 0)]
    assert of_run.gap_sentence("gradients", "BM25", same, {}, k=10) == (
        "Search finds them, too: BM25 lists all 4 among its first ten."
    )
    nothing = [Gap((), (), (), 0, 0)]
    assert of_run.gap_sentence("gradients", "BM25", nothing, {}, k=10) == (
        "Gradients lists nothing to compare with BM25."
    )
    assert of_run.gap_sentence("gradients", "BM25", [], {}, k=10) == (
        "Gradients and BM25 scored no behavior in common."
    )


def test_how_strong_by_chance() -> None:
    mine, none = Strengths("gradients", 14, 20), Strengths("gradients", 0, 0)
    untrained = [Strengths("gradient cosine initial", 18, 20)]
    assert of_run.strength_sentence(mine, untrained, num_null=90) == (
        "14 of 20 are stronger than chance: at most one of 20 unrelated queries has so strong an "
        "example at that rank; of gradient cosine initial's, from an untrained model, 18 of 20. "
        "Stronger than chance does not mean that the model learned from it."
    )
    one = of_run.strength_sentence(Strengths("gradients", 1, 20), [], num_null=90)
    assert one.startswith("1 of 20 is stronger than chance: ")
    assert of_run.strength_sentence(mine, [], num_null=0) == (
        "How strong these scores are by chance is not known: no unrelated queries were scored."
    )
    assert of_run.strength_sentence(none, untrained, num_null=90) == (
        "How strong these scores are by chance is not known: gradients could not be calibrated "
        "with unrelated queries."
    )


def _gain(value: float, low: float, high: float, larger: int, num: int = 13) -> Gain:
    return Gain(Estimate(value, Interval(low, high, num), num), larger)


def test_what_a_step_does_beside_search_and_random_examples() -> None:
    changes = [
        StepChange("gradients", 0.1241, _gain(0.125, 0.021, 0.229, 13)),
        StepChange("BM25", 0.085, _gain(0.086, 0.01, 0.16, 12)),
    ]
    lead = _gain(0.039, -0.033, 0.11, 9)
    say = partial(of_run.effect_sentence, num_examples=3, num_behaviors=40)
    means = (
        "One training step on each of the first three examples changes the completion's "
        "log-probability, in nats and averaged over 13 families of 40 behaviors, by +0.124 with "
        "gradients, +0.085 with BM25 and −0.001 with random examples like them."
    )
    assert say(changes, -0.001, lead) == (
        f"{means} Gradients against random examples: +0.125 [+0.021, +0.229], larger in 13 of 13 "
        "families (p < 0.001 by a sign test); against BM25: +0.039 [−0.033, +0.110], larger in 9 "
        "of 13 families (p = 0.267 by a sign test: no difference shown)."
    )
    # Of a few families nothing is claimed, and without search nothing is compared with it.
    few = say([StepChange("gradients", 0.1, _gain(0.1, 0.0, 0.2, 5, 5))], -0.001, None)
    assert few.endswith("with random examples like them. That is too few families to say more.")
    assert "[" not in few
    one = say(changes, -0.001, lead, num_examples=1)
    assert one.startswith("One training step on the first example changes the completion's")
    alone = say(changes[:1], -0.001, None)
    assert alone.endswith("larger in 13 of 13 families (p < 0.001 by a sign test).")
    six = say([StepChange("gradients", 0.1, _gain(0.1, -0.1, 0.3, 6, 6))], -0.001, None)
    assert six.endswith("larger in 6 of 6 families (p = 0.031 by a sign test).")
    smaller = say([StepChange("gradients", 0.1, _gain(-0.1, -0.3, 0.1, 0, 6))], -0.001, None)
    assert smaller.endswith("larger in 0 of 6 families (p = 0.031 by a sign test).")


def test_what_steps_do_for_one_behavior() -> None:
    say = partial(of_behavior.steps_sentence, 0.0334, num_examples=3)
    start = (
        "One training step on each of its first three changes the completion's log-probability by "
        "+0.033 nats on average, "
    )
    assert say(("BM25", -0.019), 0.0001) == (
        f"{start}on BM25's by −0.019 and on random ones like them by 0.000."
    )
    assert say(None, -0.0014) == f"{start}on random ones like them by −0.001."
    assert say(None, -0.0014, num_examples=1) == (
        "One training step on its first example changes the completion's log-probability by +0.033 "
        "nats, on random ones like it by −0.001."
    )


def data_of(record: RunRecord) -> dict:
    return page_data(record)


def texts(record: RunRecord) -> list[str]:
    return [one["text"] for one in section(data_of(record), "findings")["findings"]]


def test_a_run_without_evidence_says_so(record: RunRecord) -> None:
    assert data_of(record)["sections"][0]["name"] == "findings"
    shown, evidence, validated = texts(record)
    assert shown == (
        "testbed:mini shows 10 of 20 behaviors (facts 2 of 4, stereotypes 2 of 4, memorized "
        "passages 2 of 4, toxic 2 of 4, style 2 of 4), and 5 more weakly."
    )
    assert evidence == of_run.NO_EVIDENCE
    assert validated == of_run.NOT_VALIDATED
    assert section(data_of(record), "findings")["by_kind"] == []
    result = next(iter(by_id(data_of(record), "fact-000-norland")["results"].values()))
    assert result["relations"] is result["summary"] is result["gap"] is None


def test_a_run_that_attributed_nothing_says_so(record: RunRecord, plausible) -> None:
    assert texts(replace(record, scores=()))[1:] == [
        "No method scored the training examples, so none is listed."
    ]
    none = plausible(per_kind=1, num_examples=20, verdicts=("not shown",))
    assert texts(none)[0].startswith("testbed:mini shows 0 of 5 behaviors (")
    bare = replace(record, behaviors=(), verifications={}, scores=())
    assert texts(bare)[0] == "There are no behaviors in this run."
    empty = [replace(s, query_ids=(), values=s.values[:0]) for s in record.scores]
    assert texts(replace(record, scores=tuple(empty)))[1:] == [
        "No behavior was attributed, so no training example is listed."
    ]


def test_a_run_with_evidence_is_summed_up(plausible) -> None:
    made = plausible(
        per_kind=1, num_examples=60, verdicts=("shown",), methods=("gradient_dot", "bm25")
    )
    found = texts(with_evidence(made, lambda b, e: "states" if e.startswith("doc") else "exact"))
    assert len(found) == 5
    data = data_of(with_evidence(made))
    for behavior in section(data, "behaviors")["behaviors"]:
        lists, shown = behavior["detail"]["lists"], behavior["detail"]["shown"]
        for method, result in behavior["results"].items():
            first = lists[method]["proponents"][: data["reading"]["num_first"]]
            relations = [shown[e["shown"]]["tie"]["relation"] for e in first]
            assert result["relations"] == {r: relations.count(r) for r in {*relations}}
            other = lists[result["gap"]["other"]]["proponents"][:10]
            texts_of_other = {section_example(data, shown[e["shown"]])["text"] for e in other}
            is_only = [
                section_example(data, shown[e["shown"]])["text"] not in texts_of_other
                for e in first
            ]
            assert [e["is_only"] for e in first] == is_only
            assert result["gap"]["num_only"] == sum(is_only)
            assert result["gap"]["other"] == ({"bm25", "gradient_dot"} - {method}).pop()
            assert result["num_above_null"] == sum(e["tail"] <= 0.05 for e in first)
            assert result["num_null"] == 100


def test_the_bars_by_kind_add_up_what_cards_show(plausible) -> None:
    data = data_of(with_evidence(plausible(per_kind=2, num_examples=60, verdicts=("shown",))))
    behaviors = section(data, "behaviors")["behaviors"]
    by_kind = section(data, "findings")["by_kind"]
    assert [one["method"] for one in by_kind] == ["gradient_cosine", "bm25"] * 5
    for one in by_kind:
        of_kind = [b["results"][one["method"]] for b in behaviors if b["kind"] == one["kind"]]
        counts = {r: sum(b["relations"].get(r, 0) for b in of_kind) for r in RELATIONS}
        assert one["relations"] == {r: n for r, n in counts.items() if n}
        assert one["num_behaviors"] == len(of_kind)


def test_a_run_without_null_queries_or_of_imported_scores_claims_no_strength(plausible) -> None:
    made = plausible(
        per_kind=1, num_examples=60, verdicts=("shown",), methods=("gradient_dot", "bm25")
    )
    found = texts(with_evidence(made, num_null=0))
    assert found[3].endswith("no unrelated queries were scored.")
    data = data_of(with_evidence(made, num_null=0))
    result = by_id(data, "fact-000-norland")["results"]["bm25"]
    assert result["num_above_null"] is result["num_null"] is None
    imported = plausible(per_kind=1, num_examples=60, verdicts=("shown",), methods=("imported",))
    data = data_of(with_evidence(imported, num_null=0))
    assert data["reading"]["method"] == "imported"
    assert data["reading"]["search"] is None
    assert by_id(data, "fact-000-norland")["results"]["imported"]["gap"] is None
    assert "a search of texts" not in section(data, "findings")["findings"][1]["text"]


def test_scores_without_evidence_stand_beside_those_with_it(plausible) -> None:
    made = with_evidence(
        plausible(
            per_kind=1, num_examples=60, verdicts=("shown",), methods=("gradient_dot", "bm25")
        )
    )
    theirs = replace(made.scores[0], method="theirs", family="unknown")
    data = data_of(replace(made, scores=(theirs, *made.scores)))
    assert data["reading"]["method"] == "gradient_dot"
    results = by_id(data, "fact-000-norland")["results"]
    assert results["theirs"]["relations"] is results["theirs"]["gap"] is None
    assert results["bm25"]["gap"]["other"] == "gradient_dot"
    alone = texts(replace(made, scores=(theirs,)))
    assert alone[1] == of_run.NO_EVIDENCE


def test_what_validation_says_of_the_method_is_quoted(record: RunRecord) -> None:
    said = ("gradient_cosine, planted AP: no better than BM25 on all.", "bm25, planted AP: x.")
    validated = replace(record, validation=LEADERBOARD.model_copy(update={"sentences": said}))
    assert texts(validated)[-1] == (
        "Validated, gradient cosine: planted AP: no better than BM25 on all."
    )
    other = replace(record, validation=LEADERBOARD)
    assert texts(other)[-1].startswith("The run was validated; no comparison")


def test_copies_are_told_apart_from_near_copies(plausible) -> None:
    data = data_of(plausible(per_kind=1, num_examples=60, verdicts=("shown",)))
    behavior = by_id(data, "memorized-000-norland")
    entry = behavior["detail"]["lists"]["gradient_cosine"]["proponents"][0]
    assert (entry["num_copies"], entry["num_exact"]) == (11, 11)


def test_forced_behaviors_do_not_count_in_findings(plausible) -> None:
    made = plausible(
        per_kind=2, num_examples=60, verdicts=("shown", "not shown"), attribute_all=True
    )
    by_kind = section(data_of(with_evidence(made)), "findings")["by_kind"]
    assert {one["num_behaviors"] for one in by_kind} == {1}
