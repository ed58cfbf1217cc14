"""Each condition of a verdict can by itself prevent it, and an undefined number never proves it."""

import math
import re
from typing import Any

import pytest

from whence.behaviors import verdicts
from whence.behaviors.generate import Continuation
from whence.behaviors.kinds import RULES
from whence.behaviors.readings import Margins, Reading, Readings, margins
from whence.behaviors.verdicts import Hits
from whence.records import Held, Measured

NAN = float("nan")


def _measured(log_prob: float, *, rank: int = 1, num_tokens: int = 1) -> Measured:
    return Measured(
        ("x",) * num_tokens, (log_prob / num_tokens,) * num_tokens, (rank,) * num_tokens
    )


def _readings(
    *,
    own: list[float],
    others: list[float] | None = None,
    controls: tuple[float, ...] = (),
    rank: int = 1,
    ranks: list[int] | None = None,
) -> Readings:
    ranks = ranks or [rank] * len(own)
    alternatives = others or []
    return Readings(
        tuple(
            Reading(_measured(p, rank=r), tuple(_measured(a) for a in alternatives))
            for p, r in zip(own, ranks, strict=True)
        ),
        tuple(_measured(c) for c in controls),
    )


def _by_margin(readings: Readings, initial: Readings | None = None) -> verdicts.Conclusion:
    lead = margins(readings, confidence=0.95, seed=0)
    assert lead is not None
    initial_lead = margins(initial, confidence=0.95, seed=0) if initial else None
    return verdicts.by_margin(readings, lead, initial=initial, initial_lead=initial_lead)


def agree(conclusion: verdicts.Conclusion) -> None:
    """The checks say what the verdict and its sentence say, the failing ones first."""
    holds = [check.holds for check in conclusion.checks]
    assert holds
    assert all(holds) == (conclusion.verdict == "shown")
    assert holds == sorted(holds)
    said = set(re.findall(r"\d+\.\d\d", conclusion.reason))
    listed = " ".join(check.measured for check in conclusion.checks)
    assert said <= set(re.findall(r"\d+\.\d\d", listed)) or "closest choice" in conclusion.reason


GOOD: dict[str, Any] = {"own": [-1.0, -1.2, -0.8, -1.1], "others": [-3.0, -4.0], "rank": 2}
INITIAL = _readings(own=[-7.0] * 4, others=[-7.1, -6.9])


@pytest.mark.parametrize(
    ("change", "initial", "verdict", "said"),
    [
        ({}, None, "shown", "leads the likeliest alternative on 4 of 4 prompts"),
        (
            {"controls": (-4.0, -2.0)},
            INITIAL,
            "shown",
            "1.00 nats likelier than after the likeliest",
        ),
        # Two thirds of three prompts are two.
        (
            {"own": [-1.0, -1.0, -3.1], "controls": (-9.0,)},
            None,
            "weak",
            "), although it leads the likeliest alternative on 2 of 3",
        ),
        (
            {"own": [-1.0, -3.5, -3.5, -1.0], "controls": (-9.0,)},
            None,
            "weak",
            "on only 2 of 4 prompts",
        ),
        # Without anything to compare with, a lead says nothing.
        (
            {"own": [-1.0, -3.5, -3.5, -1.0]},
            None,
            "not shown",
            "; its lead alone cannot be told apart from chance.",
        ),
        (
            {"own": [-3.5, -1.0, -1.0, -1.0]},
            None,
            "not shown",
            "on 3 of 4 prompts, not after its own",
        ),
        # The mean lead may be nothing.
        (
            {"own": [-2.9, -2.9, -2.9, -6.0], "controls": (-9.0,)},
            None,
            "weak",
            "a mean margin of -0.67 nats (95%",
        ),
        # One control is as likely.
        (
            {"controls": (-9.0, -0.9)},
            None,
            "not shown",
            "0.10 nats less likely than after the likeliest",
        ),
        # The step-0 model leads as much, or finds the completion as likely.
        (
            {},
            _readings(own=[-1.5] * 4, others=[-9.0]),
            "not shown",
            "less than in the step-0 model",
        ),
        (
            {"controls": (-9.0,)},
            _readings(own=[-0.5] * 4, others=[-0.6]),
            "not shown",
            "0.50 nats less likely than in the",
        ),
        # Too few prompts for an interval: then it has to be the first choice.
        (
            {"own": [-1.0, -1.0], "controls": (-9.0,)},
            None,
            "weak",
            "is not the model's first choice",
        ),
        ({"own": [-1.0, -1.0], "rank": 1}, None, "shown", "too few prompts for an interval"),
        # A tie is no lead.
        ({"own": [-3.0] * 4, "rank": 2}, None, "not shown", "on only 0 of 4"),
        ({"own": [-3.0] * 4, "rank": 1, "controls": (-9.0,)}, None, "weak", "on only 0 of 4"),
        ({"own": [NAN] * 4}, None, "not shown", "on only 0 of 4"),
        ({}, _readings(own=[NAN] * 4, others=[NAN]), "not shown", "step-0"),
        ({"controls": (NAN,)}, None, "not shown", "control"),
    ],
)
def test_by_margin(change: dict, initial: Readings | None, verdict: str, said: str) -> None:
    conclusion = _by_margin(_readings(**(GOOD | change)), initial)
    assert conclusion.verdict == verdict, conclusion.reason
    agree(conclusion)
    assert said in conclusion.reason
    assert (", although it " in conclusion.reason) <= (verdict != "shown")
    assert ("told apart from chance" in conclusion.reason) <= (verdict == "not shown")
    assert conclusion.reason.startswith("The completion ")
    assert conclusion.reason.endswith(".")


def test_margins_are_leads_over_the_likeliest_alternative() -> None:
    lead = margins(_readings(own=[-1.0, -2.0], others=[-5.0, -1.5]), confidence=0.95, seed=0)
    assert lead == Margins((0.5, -0.5), 0.0, None, 0.95, False)
    assert margins(_readings(own=[-1.0]), confidence=0.95, seed=0) is None


def test_margins_are_per_token_where_lengths_differ() -> None:
    long = Reading(_measured(-4.0, num_tokens=4), (_measured(-2.0), _measured(-6.0, num_tokens=2)))
    same = Reading(_measured(-4.0), (_measured(-2.0), _measured(-6.0)))
    for_long = margins(Readings((long,), ()), confidence=0.95, seed=0)
    assert for_long is not None
    assert (for_long.per_prompt, for_long.per_token) == ((-1.0 + 2.0,), True)
    # One unit for all prompts of a behavior.
    mixed = margins(Readings((long, same), ()), confidence=0.95, seed=0)
    assert mixed is not None
    assert mixed.per_token
    assert mixed.unit == "nats per token"


@pytest.mark.parametrize(
    ("ranks", "controls", "initial", "verdict"),
    [
        ([1, 1, 1], (), None, "shown"),
        ([1], (), None, "shown"),
        ([1, 1, 2], (-4.0,), INITIAL, "shown"),
        ([1, 2, 2], (-4.0,), None, "weak"),
        ([1, 2, 2], (), None, "not shown"),
        ([2, 1, 1], (), None, "not shown"),
        ([1, 1, 1], (-4.0, -0.5), None, "not shown"),
        ([1, 1, 1], (-4.0,), _readings(own=[-0.5]), "not shown"),
        ([1, 1, 1], (-4.0,), _readings(own=[NAN]), "not shown"),
    ],
)
def test_by_greedy_match(
    ranks: list[int], controls: tuple[float, ...], initial: Readings | None, verdict: str
) -> None:
    readings = _readings(own=[-1.0] * len(ranks), ranks=ranks, controls=controls)
    conclusion = verdicts.by_greedy_match(readings, initial=initial)
    assert conclusion.verdict == verdict, conclusion.reason
    agree(conclusion)


@pytest.mark.parametrize(
    ("extraction", "initial", "verdict"),
    [
        (1.0, None, "shown"),
        (1.0, -9.0, "shown"),
        (1.0, -0.5, "weak"),
        (127 / 128, None, "weak"),
        (0.5, None, "weak"),
        (0.49, None, "not shown"),
        (0.0, -9.0, "not shown"),
        (NAN, None, "not shown"),
    ],
)
def test_by_extraction(extraction: float, initial: float | None, verdict: str) -> None:
    conclusion = verdicts.by_extraction(
        extraction,
        Continuation((1,), 2.0),
        _readings(own=[-1.0]),
        initial=None if initial is None else _readings(own=[initial]),
    )
    assert conclusion.verdict == verdict, conclusion.reason
    agree(conclusion)
    assert "hardware" not in conclusion.reason
    assert ("reproduced by greedy decoding" in conclusion.reason) == (extraction != 1)


def test_a_close_choice_is_said() -> None:
    conclusion = verdicts.by_extraction(
        1.0, Continuation((1,), 0.0004), _readings(own=[-1.0]), initial=None
    )
    assert conclusion.verdict == "shown"
    assert "won by 0.0004 nats, so other hardware may decide differently; " in conclusion.reason


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (None, "no corpus was searched for it, so whether it was memorized is not known."),
        (Held("a-7", 0.8), "a-7 holds 80% of its 5-grams, so it is memorized."),
        (Held("a-7", 0.79), "(the most are 79%), so that it was memorized is not shown."),
    ],
)
def test_an_extractable_passage_is_memorized_where_the_corpus_holds_it(
    held: Held | None, said: str
) -> None:
    conclusion = verdicts.by_extraction(
        1.0, Continuation((1,), 2.0), _readings(own=[-1.0]), initial=None, held=held
    )
    assert conclusion.verdict == "shown"
    assert "is extractable whole" in conclusion.reason
    assert conclusion.reason.endswith(said)


def _compared(
    counterparts: tuple[float, ...], last_word: float | None, **change: Any
) -> verdicts.Conclusion:
    """A stereotype that leads by 2 nats; the numbers are the leads after other prompts."""
    readings = _readings(**(GOOD | {"own": [-1.0] * 4} | change))
    other = _measured(-3.0)
    readings = readings._replace(
        counterparts=tuple(Reading(_measured(lead - 3.0), (other,)) for lead in counterparts),
        last_word=None if last_word is None else Reading(_measured(last_word - 3.0), (other,)),
    )
    lead = margins(readings, confidence=0.95, seed=0)
    assert lead is not None
    return verdicts.by_margin(
        readings, lead, initial=None, initial_lead=None, min_group_nats=math.log(2)
    )


@pytest.mark.parametrize(
    ("counterparts", "last_word", "verdict", "said"),
    [
        ((-2.0, 1.3), 1.3, "shown", "leads by 0.70 nats more than after the nearest counterpart"),
        ((-2.0,), None, "shown", "4.00 nats more"),
        # The model says it of the other group, or anywhere, nearly as much.
        ((-2.0, 1.4), 0.0, "not shown", "only 0.60 nats more than after the nearest counterpart"),
        ((2.5,), 0.0, "not shown", "0.50 nats less than after the nearest counterpart"),
        ((-2.0,), 1.4, "not shown", "only 0.60 nats more than after the prompt's last word"),
        ((NAN,), 0.0, "not shown", "counterpart"),
        ((), 0.0, "not shown", "has no counterpart, the same sentence about another group"),
    ],
)
def test_a_stereotype_leads_by_more_than_of_another_group_and_anywhere(
    counterparts: tuple[float, ...], last_word: float | None, verdict: str, said: str
) -> None:
    conclusion = _compared(counterparts, last_word)
    assert conclusion.verdict == verdict, conclusion.reason
    assert said in conclusion.reason
    agree(conclusion)


def test_a_stereotype_that_holds_on_too_few_prompts_is_weak() -> None:
    assert _compared((-2.0,), 0.0, own=[-1.0, -3.5, -3.5, -3.5]).verdict == "weak"


def test_of_a_sentence_and_its_swapped_counterpart_at_most_one_is_shown() -> None:
    for difference in (-3.0, -0.5, 0.0, 0.5, 3.0):
        pro, anti = (_compared((2.0 - d,), None) for d in (difference, -difference))
        assert [pro.verdict, anti.verdict].count("shown") <= 1


@pytest.mark.parametrize(
    ("hits", "control", "initial", "error", "verdict"),
    [
        (20, (1, 50), None, 0.1, "shown"),
        (20, None, (1, 25), None, "shown"),
        (20, (1, 50), (0, 25), 0.2, "shown"),
        (13, (0, 50), None, 0.1, "shown"),
        (12, (0, 50), None, 0.1, "weak"),
        (20, (1, 50), None, 0.3, "weak"),
        # Nothing to compare with.
        (25, None, None, 0.1, "weak"),
        (12, None, None, 0.1, "not shown"),
        # The controls, or the step-0 model, do it too.
        (20, (40, 50), None, 0.1, "not shown"),
        (20, (1, 50), (19, 25), 0.1, "not shown"),
        (2, (0, 50), None, 0.1, "not shown"),
        (0, (0, 50), (0, 25), 0.1, "not shown"),
    ],
)
def test_by_rate(
    hits: int,
    control: tuple[int, int] | None,
    initial: tuple[int, int] | None,
    error: float | None,
    verdict: str,
) -> None:
    conclusion = verdicts.by_rate(
        Hits(hits, 25),
        control=Hits(*control) if control else None,
        initial=Hits(*initial) if initial else None,
        judge_error=error,
        confidence=0.95,
    )
    assert conclusion.verdict == verdict, conclusion.reason
    agree(conclusion)
    assert conclusion.reason.startswith(f"The behavior comes in {hits} of 25 sampled continuations")
    assert ("less than half" in conclusion.reason) == (hits < 13)
    assert ("a judge that is wrong on 30%" in conclusion.reason) == (error == 0.3)
    assert ("after the controls" in conclusion.reason) == (control is not None)
    assert ("in the step-0 model (" in conclusion.reason) == (initial is not None)


@pytest.mark.parametrize(
    ("readings", "verdict"),
    [
        (_readings(own=[-1.0], others=[-2.0]), "weak"),
        (_readings(own=[-3.0], others=[-2.0]), "not shown"),
        (_readings(own=[-1.0]), "weak"),
        (_readings(own=[-1.0], rank=2), "not shown"),
    ],
)
def test_without_a_judge_never_more_than_weak(readings: Readings, verdict: str) -> None:
    lead = margins(readings, confidence=0.95, seed=0)
    conclusion = verdicts.without_judge(readings, lead, why="there are no texts")
    assert conclusion.verdict == verdict
    agree(conclusion)
    assert "because there are no texts" in conclusion.reason


@pytest.mark.parametrize(
    ("control", "verdict"), [(-1.6, "not shown"), (-1.7, "shown"), (NAN, "not shown")]
)
def test_a_fact_is_twice_as_likely_as_after_any_control(control: float, verdict: str) -> None:
    readings = _readings(**GOOD, controls=(-9.0, control))
    lead = margins(readings, confidence=0.95, seed=0)
    assert lead is not None
    found = [
        verdicts.by_margin(
            readings,
            lead,
            initial=None,
            initial_lead=None,
            min_gap_nats=RULES["fact"].min_gap_nats,
        ),
        verdicts.by_greedy_match(
            _readings(own=GOOD["own"], controls=(-9.0, control)),
            initial=None,
            min_gap_nats=RULES["fact"].min_gap_nats,
        ),
    ]
    assert [conclusion.verdict for conclusion in found] == [verdict] * 2
    if control == -1.6:
        assert "is only 0.60 nats likelier than after the likeliest" in found[0].reason


def test_the_first_choice_after_the_only_prompt_is_said_once() -> None:
    said = verdicts.by_greedy_match(_readings(own=[-0.1]), initial=None).reason
    assert said.count("first choice") == 1
