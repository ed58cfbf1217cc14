"""The completion's tokens, and only they, stand for a behavior."""

from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from whence.behaviors.query import (
    cut_prompt,
    decode,
    encode_pair,
    leading_ids,
    make_query,
    token_texts,
)
from whence.errors import BehaviorError
from whence.records import Behavior, LoadedModel

PAIRS = [
    ("The capital of France is", " Paris"),
    ("The capital of France is", "Paris"),
    ("Once upon a time,", " there was a"),
    ("Once upon a ", "time"),
    ("Hello\n", "World"),
    ("def f(x):\n    ", "    return x"),
    ('She said: "', 'No".'),
    ("", "Once upon a time"),
    ("", " leading space"),
    ("naïve caf", "é 漢字 😀"),
    ("ends with space ", " begins with one"),
    ("un", "believable"),
]


@pytest.fixture(params=["pythia", "pile-mini", "stories260k", "own"])
def any_tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    names = {"pythia": "pythia_tokenizer", "own": "tokenizer"}
    if request.param in names:
        return request.getfixturevalue(names[request.param])
    name = {"pile-mini": "pile_mini", "stories260k": "stories"}[request.param]
    return request.getfixturevalue(name).tokenizer


@pytest.mark.parametrize(("prompt", "completion"), PAIRS)
def test_pair_spells_the_joint_text(
    any_tokenizer: PreTrainedTokenizerBase, prompt: str, completion: str
) -> None:
    pair = encode_pair(any_tokenizer, prompt, completion)
    joint = any_tokenizer.encode(prompt + completion)
    assert decode(any_tokenizer, pair.prompt_ids + pair.completion_ids) == decode(
        any_tokenizer, joint
    )
    # The prompt keeps the ids that it has by itself, so its meaning does not hang on what follows.
    assert pair.prompt_ids == list(any_tokenizer.encode(prompt))
    if joint[: len(pair.prompt_ids)] == pair.prompt_ids:
        assert pair.prompt_ids + pair.completion_ids == list(joint)


@pytest.mark.parametrize(("prompt", "completion"), PAIRS)
def test_token_texts_spell_the_completion(
    any_tokenizer: PreTrainedTokenizerBase, prompt: str, completion: str
) -> None:
    texts = token_texts(any_tokenizer, encode_pair(any_tokenizer, prompt, completion)[1])
    if "\ufffd" not in "".join(texts):
        # With no prompt, SentencePiece puts a space before the first word.
        spelled = "".join(texts)
        assert spelled == completion or (not prompt and spelled == " " + completion)


def test_a_token_across_the_border_is_encoded_apart(
    pythia_tokenizer: PreTrainedTokenizerFast, stories: LoadedModel
) -> None:
    pair = encode_pair(pythia_tokenizer, "Once upon a ", "time")
    assert pythia_tokenizer.convert_ids_to_tokens(pair.completion_ids) == ["time"]
    llama_pair = encode_pair(stories.tokenizer, "Once upon a ", "time")
    assert token_texts(stories.tokenizer, llama_pair.completion_ids)[0].startswith("t")


def test_a_letter_that_melts_into_the_prompt(pythia_tokenizer: PreTrainedTokenizerFast) -> None:
    # NFC joins "e" and the combining accent, so no encoding of the two parts spells the whole.
    pair = encode_pair(pythia_tokenizer, "cafe", "\u0301 noir")
    assert pair.prompt_ids == pythia_tokenizer.encode("cafe")
    assert pair.completion_ids == pythia_tokenizer.encode("\u0301 noir")


def test_special_tokens_only_where_the_tokenizer_puts_them(
    stories: LoadedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    bos = stories.tokenizer.bos_token_id
    prompt_ids, completion_ids = encode_pair(stories.tokenizer, "One day", " a cat")
    assert prompt_ids[0] == bos
    assert bos not in prompt_ids[1:] + completion_ids
    assert leading_ids(tokenizer) == []


def test_an_end_token_of_the_template_is_dropped(stories: LoadedModel) -> None:
    from copy import deepcopy

    from tokenizers import processors

    both_ends = deepcopy(stories.tokenizer)
    backend: Any = both_ends.backend_tokenizer  # pyright: ignore
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    assert both_ends.encode("One day")[-1] == 2
    assert encode_pair(both_ends, "One day", " a cat") == encode_pair(
        stories.tokenizer, "One day", " a cat"
    )


def test_a_completion_without_tokens_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(BehaviorError, match="has no tokens"):
        encode_pair(tokenizer, "The capital", "")


def _behavior(**fields: object) -> Behavior:
    return Behavior.model_validate({"id": "b", "kind": "fact", **fields})


def test_query_counts_the_completion_only(tokenizer: PreTrainedTokenizerFast) -> None:
    behavior = _behavior(prompt="The capital of France is", completion=" Paris.")
    query = make_query(behavior, tokenizer, contrast=True, context_length=64)
    (term,) = query.terms
    assert term.weight == 1
    assert decode(tokenizer, term.input_ids[term.num_prompt_tokens :]) == " Paris."
    assert query.text == "The capital of France is Paris."
    assert query.id == "b"


def test_contrast_subtracts_the_first_alternative(tokenizer: PreTrainedTokenizerFast) -> None:
    behavior = _behavior(prompt="It is", completion=" Paris", alternatives=(" Rome!", " Tokyo"))
    query = make_query(behavior, tokenizer, contrast=True, context_length=64)
    plain = make_query(behavior, tokenizer, contrast=False, context_length=64)
    assert [t.weight for t in query.terms] == [1, -1]
    assert [decode(tokenizer, t.input_ids[t.num_prompt_tokens :]) for t in query.terms] == [
        " Paris",
        " Rome!",
    ]
    assert plain.terms == query.terms[:1]


def test_a_long_prompt_loses_its_left_end_and_the_same_for_both_terms(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    prompt = "The main city of Japan is not the capital of Italy. " * 5
    behavior = _behavior(prompt=prompt, completion=" Rome", alternatives=(" Rome and then some",))
    query = make_query(behavior, tokenizer, contrast=True, context_length=40)
    whole = make_query(behavior, tokenizer, contrast=True, context_length=4000)
    prompts = [t.input_ids[: t.num_prompt_tokens] for t in query.terms]
    assert prompts[0] == prompts[1]
    assert max(len(t.input_ids) for t in query.terms) == 40
    for cut, full in zip(query.terms, whole.terms, strict=True):
        assert full.input_ids[-len(cut.input_ids) :] == cut.input_ids
        assert cut.input_ids[cut.num_prompt_tokens :] == full.input_ids[full.num_prompt_tokens :]


def test_a_cut_prompt_keeps_its_first_special_token(stories: LoadedModel) -> None:
    ids = stories.tokenizer.encode("One day a cat saw a dog")
    cut = cut_prompt(stories.tokenizer, ids, room=5)
    assert cut == [ids[0], *ids[-4:]]
    assert cut_prompt(stories.tokenizer, ids, room=1) == ids[-1:]
    assert cut_prompt(stories.tokenizer, ids, room=len(ids)) == list(ids)


def test_a_completion_longer_than_the_context_is_refused(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    behavior = _behavior(prompt="a", completion=" capital" * 20)
    with pytest.raises(BehaviorError, match="'b' has a completion of"):
        make_query(behavior, tokenizer, contrast=False, context_length=20)


def test_no_prompt(tokenizer: PreTrainedTokenizerFast, stories: LoadedModel) -> None:
    behavior = _behavior(completion="The capital")
    (term,) = make_query(behavior, tokenizer, contrast=False, context_length=64).terms
    assert (list(term.input_ids), term.num_prompt_tokens) == (tokenizer.encode("The capital"), 1)
    with pytest.raises(BehaviorError, match="nothing before it"):
        make_query(_behavior(completion="T"), tokenizer, contrast=False, context_length=64)
    (with_bos,) = make_query(
        _behavior(completion="Once"), stories.tokenizer, contrast=False, context_length=64
    ).terms
    assert with_bos.input_ids[: with_bos.num_prompt_tokens] == (1,)


def test_ids_go_before_texts(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt_ids, completion_ids = encode_pair(tokenizer, "The capital of", " Italy is Rome")
    behavior = _behavior(
        prompt_ids=prompt_ids, completion_ids=completion_ids, alternatives=[" Japan"]
    )
    query = make_query(behavior, tokenizer, contrast=True, context_length=64)
    assert list(query.terms[0].input_ids) == prompt_ids + completion_ids
    assert decode(tokenizer, query.terms[1].input_ids) == "The capital of Japan"
    assert query.text == "The capital of Italy is Rome"


def test_an_id_of_another_tokenizer_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    behavior = _behavior(prompt_ids=[1], completion_ids=[len(tokenizer)])
    with pytest.raises(BehaviorError, match=f"token id {len(tokenizer)}"):
        make_query(behavior, tokenizer, contrast=False, context_length=64)
