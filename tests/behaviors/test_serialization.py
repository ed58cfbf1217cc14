"""A verification is read back as it was written, and a file never holds NaN."""

import json
from dataclasses import fields, replace

import pytest

from whence.behaviors import verification_from_json, verification_to_json
from whence.errors import ArtifactError
from whence.records import Interval, Measured, Rate, Verification

RATE = Rate(
    judge="wordlist 1",
    num_samples=25,
    rate=0.8,
    interval=Interval(0.6, 0.9, 25),
    control_rate=None,
    control_interval=None,
    judge_error=0.2,
    judge_error_interval=Interval(0.1, 0.3, 100),
    sample='you "fool"\n\x00',
)
FULL = Verification(
    behavior_id="a",
    kind="toxic",
    verdict="shown",
    reason="The behavior comes.",
    model="m",
    completion=Measured((" you", "\ufffd"), (-0.5, -1.25), (1, 3)),
    alternatives_nats={" me": -3.0, " b": -4.0},
    margin_nats=1.5,
    margin_interval=Interval(0.5, 2.5, 4),
    paraphrase_margins_nats=(1.0, 2.0),
    control_gap_nats=0.1,
    initial_log_prob_nats=-9.0,
    extraction=None,
    rate=RATE,
)
BARE = replace(
    FULL,
    margin_nats=None,
    margin_interval=None,
    paraphrase_margins_nats=(),
    alternatives_nats={},
    control_gap_nats=None,
    initial_log_prob_nats=None,
    extraction=1.0,
    rate=None,
)


@pytest.mark.parametrize("verification", [FULL, BARE], ids=["full", "bare"])
def test_comes_back_unchanged(verification: Verification) -> None:
    text = json.dumps(verification_to_json(verification), allow_nan=False, sort_keys=True)
    back = verification_from_json(json.loads(text))
    assert back == verification
    assert isinstance(back.completion, Measured)
    assert isinstance(back.completion.tokens, tuple)
    assert type(back.margin_interval) is type(verification.margin_interval)
    if back.rate:
        assert isinstance(back.rate.judge_error_interval, Interval)


def test_every_field_is_written() -> None:
    values = verification_to_json(FULL)
    assert set(values) == {field.name for field in fields(Verification)}
    assert set(values["rate"]) == {field.name for field in fields(Rate)}
    assert values["margin_interval"] == {"low": 0.5, "high": 2.5, "n": 4}


@pytest.mark.parametrize(
    "break_it",
    [
        lambda values: values.pop("verdict"),
        lambda values: values.pop("rate"),
        lambda values: values.update(extra=1),
        lambda values: values["rate"].pop("judge"),
        lambda values: values.update(completion=None),
        lambda values: values.update(margin_interval={"low": 0}),
        lambda values: values["completion"].update(ranks=None),
    ],
)
def test_another_form_is_refused(break_it) -> None:
    values = verification_to_json(FULL)
    break_it(values)
    with pytest.raises(ArtifactError, match="not of this version's form"):
        verification_from_json(values)
