"""A measurement equals the plain computation, whatever it shares a batch with."""

from dataclasses import replace

import pytest
import torch

from whence.behaviors.measure import measure
from whence.behaviors.query import Pair, encode_pair
from whence.errors import BehaviorError, ModelError
from whence.records import LoadedModel, Measured

TEXTS = [
    ("The capital of France is", " Paris"),
    ("The", " capital of Italy is Rome, and that of England is London"),
    ("In Japan the capital is Tokyo. " * 3, " People say so."),
    ("Ode:", " thou art fair"),
    ("x", "y"),
]


def _pairs(model: LoadedModel) -> list[Pair]:
    return [encode_pair(model.tokenizer, *texts) for texts in TEXTS]


def _plain(model: LoadedModel, pair: Pair) -> list[tuple[float, int]]:
    """One sequence, one token at a time, no batch, no mask, in float64 after the logits."""
    model.model.eval()
    found = []
    ids = list(pair.prompt_ids)
    with torch.no_grad():
        for token in pair.completion_ids:
            log_probs = model.model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
            larger = sum(float(x) >= float(log_probs[token]) for x in log_probs)
            found.append((float(log_probs[token]), larger))
            ids.append(token)
    return found


@pytest.mark.parametrize("name", ["initial", "llama"])
@pytest.mark.parametrize("token_batch_size", [2, 100, 8192])
def test_equals_one_token_at_a_time(
    request: pytest.FixtureRequest, name: str, token_batch_size: int
) -> None:
    model: LoadedModel = request.getfixturevalue(name)
    pairs = _pairs(model)
    for found, pair in zip(
        measure(model, pairs, token_batch_size=token_batch_size), pairs, strict=True
    ):
        plain = _plain(model, pair)
        assert found.log_probs_nats == pytest.approx([p for p, _ in plain], abs=2e-5)
        assert list(found.ranks) == [rank for _, rank in plain]
        assert len(found.tokens) == len(pair.completion_ids)


def test_real_models_too(stories: LoadedModel, pile_mini: LoadedModel) -> None:
    for model in (stories, pile_mini):
        pairs = _pairs(model)
        for found, pair in zip(measure(model, pairs), pairs, strict=True):
            assert found.log_probs_nats == pytest.approx(
                [p for p, _ in _plain(model, pair)], abs=5e-5
            )


def test_order_does_not_matter(initial: LoadedModel) -> None:
    pairs = _pairs(initial)
    there, back = measure(initial, pairs), measure(initial, pairs[::-1])[::-1]
    for a, b in zip(there, back, strict=True):
        assert a.tokens == b.tokens
        assert a.log_probs_nats == pytest.approx(b.log_probs_nats, abs=1e-6)


def test_dropout_is_off_and_comes_back(initial: LoadedModel) -> None:
    initial.model.train()
    assert measure(initial, _pairs(initial)) == measure(initial, _pairs(initial))
    assert initial.model.training


def test_bfloat16_is_measured_in_float32(initial: LoadedModel) -> None:
    import copy

    half = replace(initial, model=copy.deepcopy(initial.model).bfloat16())
    pairs = _pairs(initial)[:1]
    (found,) = measure(half, pairs)
    (full,) = measure(initial, pairs)
    assert found.log_prob_nats == pytest.approx(full.log_prob_nats, abs=0.1)
    with torch.no_grad():
        half.model.eval()
        logits = half.model(torch.tensor([pairs[0].prompt_ids])).logits[0, -1].float()
    expected = logits.log_softmax(-1)[pairs[0].completion_ids[0]]
    assert found.log_probs_nats[0] == pytest.approx(float(expected), abs=1e-6)


def test_a_tie_counts_against_the_token(initial: LoadedModel) -> None:
    import copy

    model = copy.deepcopy(initial.model)
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()  # pyright: ignore
    (found,) = measure(replace(initial, model=model), [Pair([1], [2])])
    size = len(initial.tokenizer)
    assert found.ranks == (size,)
    assert not found.is_greedy
    assert found.log_prob_nats == pytest.approx(-torch.tensor(float(size)).log().item())


def test_greedy_means_the_models_own_choice(initial: LoadedModel) -> None:
    prompt = encode_pair(initial.tokenizer, "The capital of", " x").prompt_ids
    initial.model.eval()
    with torch.no_grad():
        order = initial.model(torch.tensor([prompt])).logits[0, -1].argsort(descending=True)
    found = measure(initial, [Pair(prompt, [int(order[k])]) for k in (0, 1, 7)])
    assert [m.ranks for m in found] == [(1,), (2,), (8,)]
    assert [m.is_greedy for m in found] == [True, False, False]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused_by_name(initial: LoadedModel, value: float) -> None:
    import copy

    model = copy.deepcopy(initial.model)
    with torch.no_grad():
        model.get_output_embeddings().weight[3] = value  # pyright: ignore
    with pytest.raises(ModelError, match="not finite on gold"):
        measure(replace(initial, model=model), [Pair([1], [2])], names=["gold"])


def test_ids_beyond_the_models_vocabulary(initial: LoadedModel) -> None:
    size = len(initial.tokenizer)
    with pytest.raises(ModelError, match=f"token id {size}"):
        measure(initial, [Pair([1], [size])])
    with pytest.raises(ModelError):
        measure(initial, [Pair([-1], [1])])


def test_nothing_to_predict(initial: LoadedModel) -> None:
    with pytest.raises(BehaviorError, match="empty"):
        measure(initial, [Pair([], [1, 2])])
    assert measure(initial, []) == []


def test_total_is_the_sum_of_the_tokens(initial: LoadedModel) -> None:
    for found in measure(initial, _pairs(initial)):
        assert isinstance(found, Measured)
        assert found.log_prob_nats == pytest.approx(sum(found.log_probs_nats))
        assert all(p <= 0 for p in found.log_probs_nats)
