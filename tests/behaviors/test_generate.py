"""What a model says depends on its prompt and the seed, and on nothing else."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from whence.behaviors.generate import greedy_continuations, sample_continuations
from whence.errors import BehaviorError, ModelError
from whence.records import LoadedModel

TEXTS = [
    "The capital of",
    "Ode:",
    "In Japan the",
    "Memo: the budget meeting",
    "x",
    "The capital of",
]


def _prompts(model: LoadedModel) -> list[list[int]]:
    return [list(model.tokenizer.encode(text)) for text in TEXTS]


def _plain_greedy(
    model: LoadedModel, prompt: list[int], num_tokens: int
) -> tuple[list[int], float]:
    model.model.eval()
    ids, gaps = list(prompt), []
    with torch.no_grad():
        for _ in range(num_tokens):
            logits = model.model(torch.tensor([ids])).logits[0, -1]
            first, second = logits.sort(descending=True).values[:2].tolist()
            gaps.append(first - second)
            ids.append(int(logits.argmax()))
    return ids[len(prompt) :], min(gaps)


@pytest.mark.parametrize("name", ["initial", "llama"])
@pytest.mark.parametrize("token_batch_size", [1, 8192])
def test_greedy_equals_recomputing_everything(
    request: pytest.FixtureRequest, name: str, token_batch_size: int
) -> None:
    model: LoadedModel = request.getfixturevalue(name)
    prompts = _prompts(model)
    found = greedy_continuations(model, prompts, num_tokens=9, token_batch_size=token_batch_size)
    for continuation, prompt in zip(found, prompts, strict=True):
        ids, gap = _plain_greedy(model, prompt, 9)
        assert list(continuation.token_ids) == ids
        assert continuation.smallest_gap_nats == pytest.approx(gap, abs=1e-4)


def test_greedy_equals_transformers(stories: LoadedModel, pile_mini: LoadedModel) -> None:
    for model in (stories, pile_mini):
        prompts = _prompts(model)
        found = greedy_continuations(model, prompts, num_tokens=12)
        for continuation, prompt in zip(found, prompts, strict=True):
            ids = torch.tensor([prompt])
            out = model.model.generate(  # pyright: ignore
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=12,
                min_new_tokens=12,
                pad_token_id=0,
            )
            own = continuation.token_ids
            # `min_new_tokens` forbids the end token, which our loop walks over.
            if model.tokenizer.eos_token_id not in own:
                assert list(own) == out[0, len(prompt) :].tolist()


def test_a_tie_goes_to_the_lowest_id_and_shows(initial: LoadedModel) -> None:
    model = copy.deepcopy(initial.model)
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()  # pyright: ignore
    (found,) = greedy_continuations(replace(initial, model=model), [[5]], num_tokens=3)
    assert found == ((0, 0, 0), 0.0)


def _sample(model: LoadedModel, prompts: list[list[int]], **other: int) -> list:
    asked = {"num_samples": 6, "num_tokens": 8, "seed": 3} | other
    return sample_continuations(model, prompts, temperature=1.0, **asked)  # pyright: ignore


@pytest.mark.parametrize("name", ["initial", "llama"])
def test_samples_belong_to_prompt_and_seed(request: pytest.FixtureRequest, name: str) -> None:
    model: LoadedModel = request.getfixturevalue(name)
    prompts = _prompts(model)
    together = _sample(model, prompts)
    assert together == [_sample(model, [prompt])[0] for prompt in prompts]
    assert together == _sample(model, prompts, token_batch_size=1)
    assert together == _sample(model, prompts[::-1])[::-1]
    assert together[0] == together[-1]
    assert together != _sample(model, prompts, seed=4)
    assert len({tuple(s) for s in together[0]}) > 1


def test_more_samples_keep_their_distribution(llama: LoadedModel) -> None:
    prompt = _prompts(llama)[0]
    llama.model.eval()
    with torch.no_grad():
        logits = llama.model(torch.tensor([prompt])).logits[0, -1].double()
    for temperature in (0.5, 1.0):
        (samples,) = sample_continuations(
            llama, [prompt], num_samples=20_000, num_tokens=1, temperature=temperature, seed=0
        )
        # An end-of-text token, which ends a sample at once, is counted as token 0.
        counts = np.bincount([s[0] if s else 0 for s in samples], minlength=len(logits))
        expected = (logits / temperature).softmax(-1).numpy() * len(samples)
        expected[0] += expected[5]
        expected[5] = 0
        usual = expected > 20
        spread = ((counts - expected)[usual] / np.sqrt(expected[usual])) ** 2
        # Chi-square: its mean is the number of cells, its standard deviation about sqrt(2 cells).
        assert spread.sum() < usual.sum() + 5 * np.sqrt(2 * usual.sum())


def test_a_sample_ends_before_any_end_token(llama: LoadedModel) -> None:
    ends = {0, 5}
    (samples,) = _sample(llama, [[7, 8]], num_samples=400, num_tokens=20)
    assert not any(ends & set(sample) for sample in samples)
    assert any(len(sample) < 20 for sample in samples)


def test_a_low_temperature_is_greedy(initial: LoadedModel) -> None:
    prompt = _prompts(initial)[0]
    (greedy,) = greedy_continuations(initial, [prompt], num_tokens=5)
    (samples,) = sample_continuations(
        initial, [prompt], num_samples=5, num_tokens=5, temperature=1e-6, seed=0
    )
    assert set(samples) == {greedy.token_ids}


def test_an_over_long_prompt_loses_its_left(initial: LoadedModel) -> None:
    prompt = list(range(1, 200))
    room = initial.context_length - 6
    assert greedy_continuations(initial, [prompt], num_tokens=6) == greedy_continuations(
        initial, [prompt[-room:]], num_tokens=6
    )


def test_bad_prompts(initial: LoadedModel) -> None:
    with pytest.raises(BehaviorError, match="prompt 1 is empty"):
        greedy_continuations(initial, [[1], []], num_tokens=2)
    with pytest.raises(BehaviorError, match="128 tokens are requested"):
        greedy_continuations(initial, [[1]], num_tokens=128)
    with pytest.raises(ModelError, match="token id 9999"):
        _sample(initial, [[9999]])
    assert greedy_continuations(initial, [], num_tokens=2) == []


def test_logits_that_are_not_finite_are_refused_by_name(initial: LoadedModel) -> None:
    model = copy.deepcopy(initial.model)
    with torch.no_grad():
        model.get_output_embeddings().weight[3] = float("nan")  # pyright: ignore
    broken = replace(initial, model=model)
    with pytest.raises(ModelError, match="not finite on gold"):
        greedy_continuations(broken, [[1]], num_tokens=2, names=["gold"])
    with pytest.raises(ModelError, match="not finite on gold"):
        sample_continuations(
            broken, [[1]], num_samples=2, num_tokens=2, temperature=1.0, seed=0, names=["gold"]
        )
