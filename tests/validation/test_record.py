"""A validation is read back as it was written, keeps its keys, and refuses another form."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from whence.errors import ArtifactError
from whence.statistics import Estimate, Interval
from whence.validation import Comparison, Control, Cost, Figure, Validation
from whence.validation.record import (
    Agreement,
    BankSummary,
    MethodRemovals,
    OwnEffect,
    RemovalSummary,
    SignalToNoise,
    WindowSummary,
)

SURE = Estimate(0.5, Interval(0.25, 0.75, 7), 7)
SPARSE = Estimate(-1.0, None, 2)
UNDEFINED = Estimate(None, None, 0)

VALIDATION = Validation(
    run="key",
    methods={"bm25": Cost(seconds=1.5, bytes_per_example=0.0)},
    kinds={"all": 7, "fact": 7},
    families={"all": 2, "fact": 2},
    figures=(
        Figure(
            measure="LDS",
            unit="Spearman's correlation",
            kind="all",
            method="bm25",
            estimate=SURE,
            no_skill_p_value=0.01,
            control=Control(name="random", estimate=SPARSE),
        ),
    ),
    comparisons=(
        Comparison(
            measure="LDS",
            kind="all",
            method="tfidf",
            reference="bm25",
            difference=UNDEFINED,
            p_value=0.5,
            adjusted_p_value=None,
            verdict="undefined",
        ),
    ),
    undefined={"QLD": "no bank was given."},
    retraining=BankSummary(
        masks=4,
        masks_of_second_seed=2,
        groups=46,
        seconds_per_retraining=7.5,
        reliability=SURE,
        reliability_own_removed=UNDEFINED,
        ceiling=0.7,
        ceiling_own_removed=None,
        significant_share_of_inert_groups=0.05,
        significant_share_of_phantom_groups=0.04,
        significant_share_off_the_diagonal=None,
        own_effects={"q": {"g": OwnEffect(effect_nats=2.0, standard_error_nats=0.1)}},
    ),
    windows=(
        WindowSummary(
            measure="LDS, steps 465-488",
            measure_own_removed="own-removed LDS, steps 465-488",
            label="steps 465-488",
            since=464,
            until=488,
            share=0.05,
            unit="document",
            num_units=96,
            masks=96,
            seconds_per_retraining=0.4,
            additive_ceiling=SURE,
            additive_ceiling_own_removed=SPARSE,
        ),
    ),
    removal=RemovalSummary(
        num_removed=20,
        num_random=19,
        methods={
            "bm25": MethodRemovals(
                per_query_nats={"q": 0.5}, p_values={"q": 0.05}, num_beyond_all_random=1
            )
        },
    ),
    agreement=(
        Agreement(
            method="tfidf",
            reference="bm25",
            k=10,
            jaccard=SURE,
            rank_biased_overlap=SPARSE,
            chance_jaccard=0.1,
        ),
    ),
    signal_to_noise={"bm25": SignalToNoise(estimate=UNDEFINED, per_query={"q": None})},
    compared=("LDS",),
    sentences=("QLD is undefined here.",),
    versions={"whence": "0.1.0"},
)


def stored() -> dict[str, Any]:
    return json.loads(json.dumps(VALIDATION.to_json(), allow_nan=False, sort_keys=True))


def test_a_validation_is_the_same_after_its_way_through_a_file():
    assert Validation.from_json(stored()) == VALIDATION


def test_an_estimate_is_four_values_beside_the_others():
    values = stored()
    assert values["figures"][0] == {
        "measure": "LDS",
        "unit": "Spearman's correlation",
        "kind": "all",
        "method": "bm25",
        "value": 0.5,
        "low": 0.25,
        "high": 0.75,
        "n": 7,
        "no_skill_p_value": 0.01,
        "control": {"name": "random", "value": -1.0, "low": None, "high": None, "n": 2},
    }
    assert values["comparisons"][0]["value"] is None
    assert values["agreement"][0]["jaccard"] == SURE.as_dict()
    assert values["signal_to_noise"]["bm25"] == UNDEFINED.as_dict() | {"per_query": {"q": None}}


def test_a_validation_of_before_windows_is_read():
    values = stored()
    for key in ("windows", "families"):
        del values[key]
    for one in values["comparisons"]:
        del one["p_value"], one["adjusted_p_value"]
    del values["figures"][0]["no_skill_p_value"]
    assert Validation.from_json(values).windows == ()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda values: values.pop("sentences"), "sentences"),
        (lambda values: values["figures"][0].pop("low"), r"figures\.0"),
        (lambda values: values["figures"][0].pop("unit"), r"figures\.0\.unit"),
        (lambda values: values["comparisons"][0].update(verdict="best"), "verdict"),
        (lambda values: values["retraining"].update(more=1), r"retraining\.more"),
        (lambda values: values.update(figures=None), "figures"),
    ],
)
def test_another_form_is_refused_with_its_place(change, place: str):
    values = stored()
    change(values)
    with pytest.raises(ArtifactError, match=f"{place}.*whence validate"):
        Validation.from_json(values)


def test_a_record_cannot_be_changed():
    with pytest.raises(ValidationError):
        VALIDATION.run = "another"  # pyright: ignore[reportAttributeAccessIssue]
