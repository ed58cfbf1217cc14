"""A completion that lacks its leading space is remarked on exactly where the model says so."""

from pathlib import Path

import pytest

from whence.behaviors import make_query
from whence.behaviors.spacing import spacing_note
from whence.models import load_model
from whence.records import Behavior, LoadedModel
from whence.settings import ModelSettings

PROMPT = "the capital of france is"


@pytest.fixture(scope="module")
def model(tiny_files: Path) -> LoadedModel:
    return load_model(ModelSettings(name=str(tiny_files / "model")))


def note(model: LoadedModel, prompt: str, completion: str) -> str | None:
    return spacing_note(Behavior(id="q", kind="fact", prompt=prompt, completion=completion), model)


def test_a_missing_space_is_remarked_on_with_both_log_probabilities(model: LoadedModel) -> None:
    found = note(model, PROMPT, "paris")
    assert found is not None
    assert "starts without a space" in found
    assert 'Write the completion " paris"' in found
    assert "nats instead of" in found


@pytest.mark.parametrize(
    ("prompt", "completion", "said"),
    [
        (PROMPT + " ", "paris", "the prompt ends with a space"),
        (PROMPT, "  paris", "starts with several spaces"),
    ],
)
def test_other_spaces_are_remarked_on(
    model: LoadedModel, prompt: str, completion: str, said: str
) -> None:
    found = note(model, prompt, completion)
    assert found is not None
    assert said in found


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        (PROMPT, " paris"),
        # The model does not find a space likelier where it knows neither spelling.
        (PROMPT, "zzz"),
        (PROMPT, ", paris"),
        (PROMPT + "\n", "paris"),
        ("", "paris road"),
        (PROMPT, " "),
        ("word " * 500, "paris"),
    ],
)
def test_nothing_is_said_where_no_space_is_missing(
    model: LoadedModel, prompt: str, completion: str
) -> None:
    assert note(model, prompt, completion) is None


def test_a_behavior_known_by_its_tokens_is_as_it_is(model: LoadedModel) -> None:
    ids = (
        make_query(
            Behavior(id="q", kind="fact", prompt=PROMPT, completion=" paris"),
            model.tokenizer,
            contrast=False,
            context_length=model.context_length,
        )
        .terms[0]
        .input_ids
    )
    behavior = Behavior(
        id="q", kind="fact", prompt_ids=ids[:-1], completion_ids=ids[-1:], completion="paris"
    )
    assert spacing_note(behavior, model) is None
