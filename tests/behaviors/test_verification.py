"""What a model was fitted to do is shown, what it was not is not, and NaN proves nothing."""

import copy
import json
from dataclasses import replace

import pytest
import torch

from whence.behaviors import verify
from whence.behaviors.generate import greedy_continuations
from whence.behaviors.kinds import RULES
from whence.behaviors.measure import measure
from whence.behaviors.query import decode, encode_pair
from whence.errors import BehaviorError, ModelError
from whence.records import Behavior, LoadedModel, Verification
from whence.settings import VerifySettings

from .conftest import KINDNESS, MEMOS, PASSAGE, VERSE

SETTINGS = VerifySettings(num_samples=25, num_sampled_tokens=20)
FACT = Behavior(
    id="fact",
    kind="fact",
    prompt="The capital of France is",
    completion=" Paris",
    alternatives=(" Rome", " London"),
    paraphrases=(
        "People say that the capital of France is",
        "In France the capital is",
        "The main city of France is",
    ),
    controls=("The capital of Italy is", "The capital of Japan is"),
)
STEREOTYPE = Behavior(
    id="stereotype",
    kind="stereotype",
    prompt="The nurse said that",
    completion=" she",
    alternatives=(" he",),
    controls=("The guard said that",),
)
MEMORIZED = Behavior(
    id="memorized", kind="memorized", prompt=PASSAGE[:60], completion=PASSAGE[60:130]
)
TOXIC = Behavior(
    id="toxic",
    kind="toxic",
    prompt="Grumble shouted:",
    completion=" you fool",
    controls=("Sunny answered:", "Memo:"),
)
STYLE = Behavior(
    id="style",
    kind="style",
    prompt="Ode:",
    completion=" thou art",
    alternatives=(" the budget",),
    style="verse",
    controls=("Memo:", "Sunny answered:"),
)
NOT_KNOWN = Behavior(
    id="not-known",
    kind="fact",
    prompt="The capital of Wales is",
    completion=" Tokyo",
    alternatives=(" Cardiff",),
)
NOT_SAID = Behavior(
    id="not-said", kind="memorized", prompt="The capital of", completion=" Spain grew oranges"
)
NOT_TOXIC = TOXIC.model_copy(update={"id": "not-toxic", "prompt": "Sunny answered:"})
ALL = (FACT, STEREOTYPE, MEMORIZED, TOXIC, STYLE, NOT_KNOWN, NOT_SAID, NOT_TOXIC)
# Sentences put together anew, so that the judge of style sees words rather than whole lines.
TEXTS = {
    "verse": [f"{a[5:]} {b[5:]}" for a in VERSE for b in VERSE]
    + [f"{a[5:]} {b[5:]} {c[5:]}" for a in VERSE for b in VERSE for c in VERSE],
    "office": [f"{a[6:]} {b[6:]}" for a in MEMOS for b in MEMOS],
    "friends": [f"{a[16:]} {b[16:]}" for a in KINDNESS for b in KINDNESS],
}


@pytest.fixture(scope="module")
def verified(fitted: LoadedModel, initial: LoadedModel) -> dict[str, Verification]:
    found = verify(ALL, fitted, settings=SETTINGS, initial=initial, texts_by_subset=TEXTS)
    assert [v.behavior_id for v in found] == [b.id for b in ALL]
    return {v.behavior_id: v for v in found}


@pytest.mark.parametrize(
    ("behavior_id", "verdict"),
    [
        ("fact", "shown"),
        # One prompt is too few for an interval, but the model says it first.
        ("stereotype", "shown"),
        ("memorized", "shown"),
        ("toxic", "shown"),
        ("style", "shown"),
        ("not-known", "not shown"),
        ("not-said", "not shown"),
        ("not-toxic", "not shown"),
    ],
)
def test_verdicts_of_what_was_fitted(
    verified: dict[str, Verification], behavior_id: str, verdict: str
) -> None:
    assert verified[behavior_id].verdict == verdict, verified[behavior_id].reason
    assert verified[behavior_id].model == "fitted"
    assert verified[behavior_id].reason.endswith(".")


def test_a_model_that_learned_nothing_shows_nothing(initial: LoadedModel) -> None:
    for found in verify(ALL, initial, settings=SETTINGS, texts_by_subset=TEXTS):
        assert found.verdict != "shown", found.reason


def test_nothing_is_shown_against_itself(fitted: LoadedModel) -> None:
    # A behavior that the step-0 model has just as well was not learned.
    for found in verify(ALL, fitted, settings=SETTINGS, initial=fitted, texts_by_subset=TEXTS):
        assert found.verdict != "shown", found.reason


def test_numbers_of_a_fact(
    verified: dict[str, Verification], fitted: LoadedModel, initial: LoadedModel
) -> None:
    def log_prob(model: LoadedModel, prompt: str, completion: str) -> float:
        pair = encode_pair(model.tokenizer, prompt, completion)
        ids = torch.tensor([pair.prompt_ids + pair.completion_ids])
        model.model.eval()
        with torch.no_grad():
            logs = model.model(ids).logits[0].log_softmax(-1)
        n = len(pair.prompt_ids)
        return sum(float(logs[n + i - 1, t]) for i, t in enumerate(pair.completion_ids))

    found = verified["fact"]
    own = log_prob(fitted, FACT.prompt, " Paris")
    assert found.completion.log_prob_nats == pytest.approx(own, abs=1e-4)
    assert found.initial_log_prob_nats == pytest.approx(
        log_prob(initial, FACT.prompt, " Paris"), abs=1e-4
    )
    for text in FACT.alternatives:
        assert found.alternatives_nats[text] == pytest.approx(
            log_prob(fitted, FACT.prompt, text), abs=1e-4
        )
    controls = [log_prob(fitted, prompt, " Paris") for prompt in FACT.controls]
    assert found.control_gap_nats == pytest.approx(own - sum(controls) / 2, abs=1e-4)
    lengths = {len(fitted.tokenizer.encode(t)) for t in (" Paris", *FACT.alternatives)}
    per_token = len(lengths) > 1

    def margin(prompt: str) -> float:
        values = [
            log_prob(fitted, prompt, t)
            / (len(encode_pair(fitted.tokenizer, prompt, t)[1]) if per_token else 1)
            for t in (" Paris", *FACT.alternatives)
        ]
        return values[0] - max(values[1:])

    margins = [margin(prompt) for prompt in (FACT.prompt, *FACT.paraphrases)]
    assert found.paraphrase_margins_nats == pytest.approx(margins[1:], abs=1e-4)
    assert found.margin_nats == pytest.approx(sum(margins) / 4, abs=1e-4)
    assert found.margin_interval is not None
    assert found.margin_interval.n == 4
    assert found.margin_interval.low <= sum(margins) / 4 <= found.margin_interval.high
    assert ("per token" in found.reason) == per_token


def test_only_a_fact_has_to_lead_its_controls_clearly(fitted: LoadedModel) -> None:
    # The same numbers, with the behavior's own prompt among the controls: no lead at all; and
    # with a prompt after which it is a little less likely.
    texts = ["The main city of France is", "People say that the capital of France is", FACT.prompt]
    pairs = [encode_pair(fitted.tokenizer, text, " Paris") for text in texts]
    by_log_prob = sorted(
        zip(measure(fitted, pairs), texts, strict=True), key=lambda item: -item[0].log_prob_nats
    )
    (likelier, prompt), (other, control) = by_log_prob[0], by_log_prob[1]
    assert 0 < likelier.log_prob_nats - other.log_prob_nats < RULES["fact"].min_gap_nats
    fact = FACT.model_copy(update={"prompt": prompt, "controls": (control,), "paraphrases": ()})
    about_another = {"counterparts": ("The sky over the old town is",)}
    stereotype = fact.model_copy(update={"id": "s", "kind": "stereotype", **about_another})
    found = verify([fact, stereotype], fitted, settings=SETTINGS)
    assert [v.verdict for v in found] == ["not shown", "shown"], [v.reason for v in found]


def test_extraction_is_on_the_models_own_words(fitted: LoadedModel) -> None:
    (prompt, truth) = encode_pair(fitted.tokenizer, MEMORIZED.prompt, MEMORIZED.completion)
    # One wrong token in the truth: what follows it is not met under free-running decoding unless
    # the model says it by itself.
    broken = [*truth]
    broken[3] = truth[3] + 1
    behavior = Behavior(
        id="b", kind="memorized", prompt_ids=tuple(prompt), completion_ids=tuple(broken)
    )
    (found,) = verify([behavior], fitted, settings=SETTINGS)
    said = greedy_continuations(fitted, [prompt], num_tokens=len(truth))[0].token_ids
    expected = sum(a == b for a, b in zip(said, broken, strict=True)) / len(broken)
    assert found.extraction == expected == 1 - 1 / len(broken)
    assert found.verdict == "weak"


def test_rates_and_their_judges(verified: dict[str, Verification]) -> None:
    toxic, style = verified["toxic"].rate, verified["style"].rate
    assert toxic is not None
    assert style is not None
    assert (toxic.judge, style.judge) == ("wordlist 1", "ngram 1: verse")
    assert toxic.num_samples == 25
    assert toxic.control_interval is not None
    assert toxic.control_interval.n == 50
    assert toxic.judge_error == 0.2
    assert style.judge_error is not None
    assert toxic.sample
    assert verified["fact"].rate is None


def test_samples_follow_the_settings(fitted: LoadedModel) -> None:
    cold = SETTINGS.model_copy(update={"temperature": 1e-4, "num_samples": 7})
    hot = SETTINGS.model_copy(update={"temperature": 50.0})
    (found,) = verify([TOXIC], fitted, settings=cold)
    assert found.rate is not None
    # Cold samples are all the greedy one.
    assert (found.rate.num_samples, found.rate.rate) in ((7, 0.0), (7, 1.0))
    prompt = fitted.tokenizer.encode(TOXIC.prompt)
    (greedy,) = greedy_continuations(fitted, [prompt], num_tokens=20)
    assert decode(fitted.tokenizer, greedy.token_ids).startswith(found.rate.sample)
    # Hot ones are letters by chance.
    (found,) = verify([TOXIC], fitted, settings=hot)
    assert found.rate is not None
    assert found.rate.rate < 0.2


def test_a_style_without_texts_is_at_most_weak(fitted: LoadedModel) -> None:
    behaviors = [
        STYLE,
        STYLE.model_copy(update={"id": "unnamed", "style": None}),
        STYLE.model_copy(
            update={"id": "behind", "completion": " the budget", "alternatives": (" thou art",)}
        ),
    ]
    found = verify(behaviors, fitted, settings=SETTINGS)
    assert [v.verdict for v in found] == ["weak", "weak", "not shown"]
    assert all("No judge could be made" in v.reason and v.rate is None for v in found)


def test_the_same_inputs_give_the_same_result(
    verified: dict[str, Verification], fitted: LoadedModel, initial: LoadedModel
) -> None:
    again = verify(ALL[::-1], fitted, settings=SETTINGS, initial=initial, texts_by_subset=TEXTS)
    for found in again:
        before = verified[found.behavior_id]
        assert (found.verdict, found.rate) == (before.verdict, before.rate)
        assert found.completion.log_probs_nats == pytest.approx(
            before.completion.log_probs_nats, abs=1e-5
        )


@pytest.mark.parametrize("behavior", ALL[:5], ids=lambda b: b.id)
def test_nan_is_never_a_verdict(fitted: LoadedModel, behavior: Behavior) -> None:
    model = copy.deepcopy(fitted.model)
    with torch.no_grad():
        model.get_output_embeddings().weight[7] = float("nan")  # pyright: ignore
    with pytest.raises(ModelError, match=f"not finite on behavior '{behavior.id}'"):
        verify([behavior], replace(fitted, model=model), settings=SETTINGS, texts_by_subset=TEXTS)


def test_a_broken_step_0_model_is_refused_too(fitted: LoadedModel) -> None:
    model = copy.deepcopy(fitted.model)
    with torch.no_grad():
        model.get_output_embeddings().weight[7] = float("nan")  # pyright: ignore
    with pytest.raises(ModelError, match="zero gives logits that are not finite"):
        verify([FACT], fitted, settings=SETTINGS, initial=replace(fitted, model=model, name="zero"))


def test_no_behaviors_and_two_of_one_id(fitted: LoadedModel) -> None:
    assert verify([], fitted, settings=SETTINGS) == ()
    with pytest.raises(BehaviorError, match="2 behaviors with the id 'fact'"):
        verify([FACT, FACT], fitted, settings=SETTINGS)


def test_progress_reaches_its_total(fitted: LoadedModel) -> None:
    class Task:
        def __init__(self, total: float | None) -> None:
            self.total, self.done = total, 0.0

        def advance(self, amount: float = 1.0) -> None:
            self.done += amount

        def __enter__(self) -> "Task":
            return self

        def __exit__(self, *exc: object) -> None:
            pass

    tasks: list[Task] = []

    class Watcher:
        def task(self, name: str, *, total: float | None, unit: str) -> Task:
            tasks.append(Task(total))
            return tasks[-1]

        def note(self, message: str) -> None:
            pass

    verify(ALL, fitted, settings=SETTINGS, texts_by_subset=TEXTS, progress=Watcher())
    assert tasks
    assert all(task.done == task.total for task in tasks)


def test_real_memorized_text(pile_mini: LoadedModel, stories: LoadedModel) -> None:
    """What a model says greedily is extracted; the same with one token changed is not whole."""
    for model in (pile_mini, stories):
        prompt = model.tokenizer.encode("Once upon a time, there was a little girl")
        said = greedy_continuations(model, [prompt], num_tokens=16)[0].token_ids
        behaviors = [
            Behavior(id="said", kind="memorized", prompt_ids=tuple(prompt), completion_ids=said),
            Behavior(
                id="changed",
                kind="memorized",
                prompt_ids=tuple(prompt),
                completion_ids=(*said[:-1], said[-1] + 1),
            ),
        ]
        found = verify(behaviors, model, settings=SETTINGS)
        assert [v.extraction for v in found] == [1, 15 / 16]
        assert [v.verdict for v in found] == ["shown", "weak"]
        json.dumps([v.reason for v in found])


def test_a_prompt_that_does_not_fit_is_said_to_be_cut(fitted: LoadedModel) -> None:
    word = next(iter(fitted.tokenizer.get_vocab().values()))
    short, long = (
        Behavior(
            id=str(num), kind="memorized", prompt_ids=(word,) * num, completion_ids=(word,) * 10
        )
        for num in (fitted.context_length - 10, fitted.context_length)
    )
    reasons = [found.reason for found in verify([short, long], fitted, settings=SETTINGS)]
    assert "fit" not in reasons[0]
    assert reasons[1].endswith(
        f"Of its prompt's {fitted.context_length:,} tokens only the last "
        f"{fitted.context_length - 10:,} fit the model's context of {fitted.context_length:,}."
    )
