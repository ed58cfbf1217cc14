"""What has no visible tie is tried, against controls, and every step is counted."""

from dataclasses import replace

import numpy as np
import pytest
from tests.methods.conftest import VOCABULARY, corpus_of, fit, query_of

from whence.evidence import Evidence, Strength, Tie
from whence.records import Scores
from whence.statistics import holm
from whence.validation import applied, read_surprises
from whence.validation.surprises import find_surprises, surprises_stage

NUM = 260


@pytest.fixture(scope="module")
def examples() -> list[list[int]]:
    rng = np.random.default_rng(0)
    copy = rng.integers(2, VOCABULARY, 14).tolist()
    return [copy, *(rng.integers(2, VOCABULARY, n).tolist() for n in rng.integers(8, 16, NUM))]


@pytest.fixture(scope="module")
def searched(examples):
    return corpus_of(examples, [f"d{i:03d}" for i in range(len(examples))])


@pytest.fixture(scope="module")
def models(examples, model):
    return tuple(replace(fit(examples, steps=n), tokenizer=model.tokenizer) for n in (3, 1))


@pytest.fixture(scope="module")
def asked(examples):
    return [
        query_of("copied", examples[0], num_prompt_tokens=6),
        query_of("other", examples[9], num_prompt_tokens=3),
    ]


def tie(behavior: str, example: str, relation: str = "unexplained", run: int = 0) -> Tie:
    unknown = (None,) * 7
    return Tie(behavior, example, relation, "", False, run, 0.0, *unknown)


def strength(behavior: str, example: str, *, tail: float = 0.01, method: str = "g") -> Strength:
    return Strength(method, behavior, example, "proponents", 1, 1, 1.0, 9.0, tail, 0)


def evidence_of(*pairs: tuple[Tie, Strength]) -> Evidence:
    return Evidence(
        ties=tuple(one for one, _ in pairs),
        strengths=tuple(one for _, one in pairs),
        behaviors=(),
        calibrations=(),
        families={"g": "gradient", "s": "text"},
        num_null=100,
    )


def pair(behavior: str, example: str, relation: str = "unexplained", run: int = 0, **of):
    return tie(behavior, example, relation, run), strength(behavior, example, **of)


def test_an_example_with_an_effect_is_confirmed_and_one_without_falls(
    searched, models, asked, tmp_path
):
    # The copy is called unexplained here, as if nobody had seen that it is one.
    evidence = evidence_of(pair("copied", "d000"), pair("copied", "d050"), pair("other", "d051"))
    before = [p.detach().clone() for p in models[0].model.parameters()]

    found = find_surprises(evidence, (), asked, searched, *models)

    fates = {(c.behavior_id, c.example_id): c for c in found.candidates}
    copy = fates["copied", "d000"]
    assert copy.fate == "surprising"
    assert copy.screen_nats > 0.01
    assert copy.screen_p == 1 / 61
    assert copy.confirm_p == 1 / 61
    assert copy.holm_p == pytest.approx(3 / 61)
    assert {fates["copied", "d050"].fate, fates["other", "d051"].fate} <= {
        "failed the screen",
        "failed the confirmation",
    }
    assert found.confirmed == (copy,)
    assert (found.num_screen_controls, found.num_confirm_controls) == (60, 60)
    kept = models[0].model.parameters()
    assert all((a == b).all() for a, b in zip(before, kept, strict=True))
    relations = {t.example_id: t.relation for t in applied(evidence, found).ties}
    assert relations == {"d000": "surprising", "d050": "noise", "d051": "noise"}
    stage = surprises_stage(evidence, (), asked, searched, *models, evidence_key="k")
    tmp_path = tmp_path / "s"
    tmp_path.mkdir()
    stage.make(tmp_path)
    assert read_surprises(tmp_path) == found


def test_every_step_of_the_funnel_is_counted(searched, models, asked):
    text = np.zeros((1, len(searched)), dtype=np.float32)
    text[0, 77] = 1.0
    bm25 = Scores("bm25", ("copied",), searched.ids, text, family="text")
    evidence = evidence_of(
        pair("copied", "d010", tail=0.5),
        pair("copied", "d011", "exact"),
        pair("copied", "d077"),
        pair("copied", "d012", run=5),
        pair("copied", "d013"),
        pair("other", "d014"),
        pair("other", "d015", method="s"),
    )

    found = find_surprises(evidence, (bm25,), asked, searched, *models, max_candidates=1)

    assert [step.num_left for step in found.funnel[:6]] == [6, 5, 4, 3, 2, 1]
    assert [one.fate == "not tried" for one in found.candidates] == [False, True]
    assert applied(evidence, found).tie("other", "d014").relation == "unexplained"


def test_without_candidates_nothing_is_tried(searched, models, asked):
    found = find_surprises(evidence_of(), (), asked, searched, *models)
    assert [step.num_left for step in found.funnel] == [0] * 6
    assert found.candidates == ()
    assert found.undefined is None


def test_reduced_precision_and_small_corpora_are_undefined(searched, models, asked):
    evidence = evidence_of(pair("copied", "d000"))
    half = replace(models[1], model=fit([[1, 2, 3]], steps=1).model.bfloat16())
    found = find_surprises(evidence, (), asked, searched, models[0], half)
    assert "lose small steps" in found.undefined
    small = corpus_of([[1, 2, 3]] * 20, [f"d{i:03d}" for i in range(20)])
    found = find_surprises(evidence, (), asked, small, *models)
    assert "random controls" in found.undefined


def test_holm_is_the_step_down_procedure():
    assert holm([]) == []
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_holm_makes_false_claims_at_the_level():
    rng = np.random.default_rng(0)
    wrong = np.mean([min(holm(rng.random(20).tolist())) <= 0.05 for _ in range(2000)])
    # 5 % ± 1.5 % (three standard deviations).
    assert wrong == pytest.approx(0.05, abs=0.015)
