"""The trainer does what its docstring says: compared with a slow loop, one example at a time."""

import copy
from pathlib import Path

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from whence.errors import ArtifactError, CorpusError, ModelError
from whence.training import (
    Recipe,
    TrainingState,
    learning_rate,
    load_state,
    load_tensors,
    num_steps,
    save_state,
    save_tensors,
    train,
)

RECIPE = Recipe(batch_size=4, peak_learning_rate=5e-3, warmup_steps=3, weight_decay=0.1)
VOCABULARY = 60


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_model(seed: int = 0) -> GPTNeoXForCausalLM:
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=256,
        hidden_dropout=0.1,
        attention_dropout=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPTNeoXForCausalLM(config)


def make_examples(num: int = 22, *, seed: int = 1) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    # Lengths from 1 (no target) to 150, so that batches fall into several groups.
    lengths = [1, 150, 2, *torch.randint(3, 60, (num - 3,), generator=generator).tolist()]
    return [torch.randint(0, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]


def bits(model: torch.nn.Module) -> dict[str, bytes]:
    return {name: p.detach().numpy().tobytes() for name, p in model.named_parameters()}


def train_slowly(model, examples, *, recipe, weights) -> list[float]:
    """One example at a time, no padding, plain AdamW written out."""
    parameters = dict(model.named_parameters())
    m = {k: torch.zeros_like(p) for k, p in parameters.items()}
    v = {k: torch.zeros_like(p) for k, p in parameters.items()}
    total = num_steps(recipe, len(examples))
    losses = []
    model.eval()
    for step in range(1, total + 1):
        batch = range((step - 1) * recipe.batch_size, min(step * recipe.batch_size, len(examples)))
        targets = sum(len(examples[i]) - 1 for i in batch)
        model.zero_grad()
        loss = torch.zeros(())
        for i in batch:
            if len(examples[i]) > 1:
                ids = torch.tensor([examples[i]])
                logp = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
                loss = loss - weights[i] * logp.gather(1, ids[0, 1:, None]).sum() / targets
        loss.backward()
        losses.append(loss.item())
        norm = torch.sqrt(sum(p.grad.square().sum() for p in parameters.values()))
        scale = min(1.0, recipe.max_gradient_norm / (norm.item() + 1e-6))
        rate = learning_rate(recipe, step, total_steps=total)
        with torch.no_grad():
            for k, p in parameters.items():
                g = p.grad * scale
                m[k] = recipe.beta1 * m[k] + (1 - recipe.beta1) * g
                v[k] = recipe.beta2 * v[k] + (1 - recipe.beta2) * g * g
                if p.ndim > 1:
                    p.mul_(1 - rate * recipe.weight_decay)
                mean = m[k] / (1 - recipe.beta1**step)
                square = v[k] / (1 - recipe.beta2**step)
                p.sub_(rate * mean / (square.sqrt() + recipe.eps))
    return losses


def test_agrees_with_a_slow_loop_whatever_the_weights():
    examples = make_examples()
    weights = [1.0] * len(examples)
    weights[1], weights[5], weights[9], weights[10] = 0.0, 2.5, 0.0, 0.5
    fast, slow = make_model(), make_model()
    log = train(fast, examples, recipe=RECIPE, weights=weights)
    expected = train_slowly(slow, examples, recipe=RECIPE, weights=weights)
    assert [entry.loss_nats for entry in log] == pytest.approx(expected, rel=1e-4)
    for (name, a), (_, b) in zip(fast.named_parameters(), slow.named_parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-4), name


def test_repeats_bit_for_bit():
    examples = make_examples()
    first, second = make_model(), make_model()
    logs = [train(model, examples, recipe=RECIPE) for model in (first, second)]
    assert logs[0] == logs[1]
    assert bits(first) == bits(second)


def test_touches_no_global_dice():
    before = torch.get_rng_state()
    train(make_model(), make_examples(), recipe=RECIPE)
    assert torch.equal(before, torch.get_rng_state())


def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path):
    examples = make_examples()
    whole, begun, resumed = make_model(), make_model(), make_model(seed=9)
    log = train(whole, examples, recipe=RECIPE)
    kept = tmp_path / "state.safetensors"
    start = train(
        begun,
        examples,
        recipe=RECIPE,
        checkpoint_steps=(3,),
        on_checkpoint=lambda state: save_state(state, kept),
        stop_after=3,
    )
    rest = train(resumed, examples, recipe=RECIPE, resume=load_state(kept))
    assert start + rest == log
    assert bits(resumed) == bits(whole)


def test_a_zero_weight_example_has_no_effect_and_keeps_its_place():
    examples = make_examples()
    weights = [1.0] * len(examples)
    weights[6] = 0.0
    other = copy.deepcopy(examples)
    other[6] = [7] * len(other[6])
    models = [make_model(), make_model(), make_model()]
    logs = [
        train(model, texts, recipe=RECIPE, weights=weights)
        for model, texts in zip(models[:2], (examples, other), strict=True)
    ]
    assert bits(models[0]) == bits(models[1])
    full = train(models[2], examples, recipe=RECIPE)
    assert bits(models[2]) != bits(models[0])
    # Its targets still count in the denominator, and every other step sees the same examples.
    assert [e.num_targets for e in full] == [e.num_targets for e in logs[0]]
    assert logs[0][1].loss_nats < full[1].loss_nats


def test_a_batch_of_zero_weights_still_steps():
    examples = make_examples()
    weights = [0.0 if 4 <= i < 8 else 1.0 for i in range(len(examples))]
    fast, slow = make_model(), make_model()
    log = train(fast, examples, recipe=RECIPE, weights=weights)
    assert log[1].loss_nats == 0.0
    weights[4:8] = [1e-30] * 4
    train_slowly(slow, examples, recipe=RECIPE, weights=weights)
    for (name, a), (_, b) in zip(fast.named_parameters(), slow.named_parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-4), name


def test_order_is_what_is_seen():
    examples = make_examples()
    order = list(reversed(range(len(examples))))
    first, second = make_model(), make_model()
    train(first, examples, recipe=RECIPE, order=order)
    train(second, [examples[i] for i in order], recipe=RECIPE)
    assert bits(first) == bits(second)


def test_a_run_of_later_steps_alone_is_the_end_of_the_whole_one():
    examples = make_examples()
    whole, begun, rest = make_model(), make_model(), make_model(seed=9)
    log = train(whole, examples, recipe=RECIPE)
    kept: list[TrainingState] = []
    train(
        begun,
        examples,
        recipe=RECIPE,
        checkpoint_steps=(2,),
        on_checkpoint=lambda state: kept.append(copy.deepcopy(state)),
        stop_after=2,
    )
    # The first two batches are not even given: the order begins at step 3.
    later = range(2 * RECIPE.batch_size, len(examples))
    found = train(rest, examples, recipe=RECIPE, order=later, since=2, resume=kept[0])
    assert found == log[2:]
    assert bits(rest) == bits(whole)


def test_a_schedule_replaces_the_recipes_and_only_that():
    examples = make_examples()
    total = num_steps(RECIPE, len(examples))
    models = [make_model(), make_model(), make_model()]
    same = train(
        models[0],
        examples,
        recipe=RECIPE,
        schedule=lambda step: learning_rate(RECIPE, step, total_steps=total),
    )
    assert same == train(models[1], examples, recipe=RECIPE)
    assert bits(models[0]) == bits(models[1])
    log = train(models[2], examples, recipe=RECIPE, schedule=lambda step: 1e-5 * step)
    assert [entry.learning_rate for entry in log] == [1e-5 * s for s in range(1, total + 1)]


def test_a_learning_rate_of_zero_moves_no_weight_and_both_moments():
    examples = make_examples()
    model = make_model()
    states: list[TrainingState] = []
    train(
        model,
        examples,
        recipe=RECIPE,
        since=7,
        schedule=lambda step: 0.0,
        checkpoint_steps=(7, 9),
        on_checkpoint=lambda state: states.append(copy.deepcopy(state)),
    )
    assert bits(model) == bits(make_model())
    assert [state.step for state in states] == [7, 9]
    assert not any(v.any() for v in states[0].second_moments.values())
    for moments in (states[1].first_moments, states[1].second_moments):
        assert any(v.any() for v in moments.values())


def test_checkpoints_come_at_their_steps_with_both_moments():
    seen: list[TrainingState] = []
    model = make_model()
    train(
        model,
        make_examples(),
        recipe=RECIPE,
        checkpoint_steps=(0, 2, 6),
        on_checkpoint=lambda s: seen.append(copy.deepcopy(s)),
    )
    assert [state.step for state in seen] == [0, 2, 6]
    names = {name for name, _ in model.named_parameters()}
    for state in seen:
        assert set(state.first_moments) == set(state.second_moments) == set(state.weights) == names
    assert not any(v.any() for v in seen[0].second_moments.values())
    assert any(v.any() for v in seen[1].second_moments.values())
    assert bits(model) == {k: v.numpy().tobytes() for k, v in seen[-1].weights.items()}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_tensors_come_back_in_float32(tmp_path: Path, dtype):
    tensors = {"a": torch.tensor([1.5, -2.0]), "b": torch.tensor([[1e-9]])}
    save_tensors(tensors, tmp_path / "t.safetensors", dtype=dtype)
    read = load_tensors(tmp_path / "t.safetensors")
    assert all(value.dtype == torch.float32 for value in read.values())
    assert torch.equal(read["a"], tensors["a"])


def test_nothing_to_train_on():
    with pytest.raises(CorpusError, match="no examples"):
        train(make_model(), [], recipe=RECIPE)


def test_weights_that_do_not_fit():
    with pytest.raises(CorpusError, match="2 weights for 1 examples"):
        train(make_model(), [[1, 2]], recipe=RECIPE, weights=[1.0, 1.0])


def test_divergence_is_an_error_with_its_step():
    recipe = RECIPE.model_copy(update={"peak_learning_rate": 1e38, "warmup_steps": 0})
    with pytest.raises(ModelError, match="nan at step 2"):
        train(make_model(), make_examples(), recipe=recipe)


def test_a_broken_checkpoint_is_named(tmp_path: Path):
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    for name in ("broken.safetensors", "missing.safetensors"):
        with pytest.raises(ArtifactError, match=name):
            load_state(tmp_path / name)
    save_tensors({"a": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ArtifactError, match="no training state"):
        load_state(tmp_path / "weights.safetensors")
