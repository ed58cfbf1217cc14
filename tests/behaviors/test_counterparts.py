"""A stereotype's counterparts are the study's, or made of its other behaviors, or its controls."""

from whence.behaviors.counterparts import MAX_MADE, counterparts, last_word
from whence.records import Behavior


def _job(name: str, said: str, other: str, **fields) -> Behavior:
    return Behavior(
        id=name,
        kind="stereotype",
        prompt=f"The {name} said that",
        completion=said,
        alternatives=(other,),
        subject=name,
        relation="pronoun",
        **fields,
    )


def test_counterparts_are_of_the_other_group_only():
    nurse, cook = _job("nurse", " she", " he"), _job("cook", " she", " he")
    plumber = _job("plumber", " he", " she")
    found = counterparts([nurse, cook, plumber])
    assert found["nurse"] == ("The plumber said that",)
    assert found["plumber"] == ("The nurse said that", "The cook said that")


def test_those_that_are_named_come_first_and_controls_last():
    named = _job("nurse", " she", " he", counterparts=("Tim said that",), controls=("No",))
    alone = _job("nurse", " she", " he", controls=("The doctor said that",))
    plumber = _job("plumber", " he", " she")
    assert counterparts([named, plumber])["nurse"] == ("Tim said that",)
    assert counterparts([alone])["nurse"] == ("The doctor said that",)
    assert counterparts([_job("nurse", " she", " he")])["nurse"] == ()


def test_only_so_many_are_made():
    men = [_job(f"man{n}", " he", " she") for n in range(MAX_MADE + 3)]
    assert len(counterparts([_job("nurse", " she", " he"), *men])["nurse"]) == MAX_MADE


def test_the_last_word_keeps_its_space():
    assert last_word("The nurse said that") == " that"
    assert last_word("The nurse said\nthat ") == "\nthat "
    assert last_word("that") is None
    assert last_word(" that") is None
    assert last_word("") is None
