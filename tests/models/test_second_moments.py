"""Second moments are those that Adam would have, whether estimated or read from a file."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from whence.errors import CorpusError, ModelError
from whence.models import Factored, estimate_second_moments, load_second_moments
from whence.records import LoadedModel


@pytest.fixture
def small() -> LoadedModel:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    state = torch.random.get_rng_state()
    torch.manual_seed(3)
    network = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=40,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
        )
    )
    torch.random.set_rng_state(state)
    return LoadedModel(network.eval(), SimpleNamespace(), "small", "small", 32)  # pyright: ignore


def _sequences(num: int) -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.integers(1, 40, size=12).tolist() for _ in range(num)]


def _gradient(model: LoadedModel, sequences: list[list[int]]) -> dict[str, torch.Tensor]:
    """The gradient of the mean loss of some sequences of one length."""
    model.model.zero_grad()
    ids = torch.tensor(sequences)
    model.model(ids, labels=ids).loss.backward()
    return {
        name: parameter.grad.clone() if parameter.grad is not None else torch.zeros(())
        for name, parameter in model.model.named_parameters()
    }


def test_the_estimate_is_the_formula_over_single_gradients(small: LoadedModel) -> None:
    sequences = _sequences(9)
    found = estimate_second_moments(small, sequences, batch_size=4, max_gradient_norm=None)
    single = [_gradient(small, [sequence]) for sequence in sequences]
    for name, values in found.items():
        stacked = torch.stack([gradients[name].double() for gradients in single])
        mean, variance = stacked.mean(0), stacked.var(0, unbiased=True)
        expected = (mean**2 - variance / 9).clamp(min=0) + variance / 4
        torch.testing.assert_close(values.double(), expected, rtol=1e-4, atol=1e-12)


def test_the_estimate_meets_the_mean_square_of_real_batches(small: LoadedModel) -> None:
    """Batches of 8 from the same source; the naive mean square of single gradients is too large."""
    found = estimate_second_moments(small, _sequences(256), batch_size=8, max_gradient_norm=None)
    generator = np.random.default_rng(7)
    batches = [
        _gradient(small, [generator.integers(1, 40, size=12).tolist() for _ in range(8)])
        for _ in range(64)
    ]
    single = [_gradient(small, [sequence]) for sequence in _sequences(64)]
    total = {"estimate": 0.0, "batches": 0.0, "single": 0.0}
    for name, values in found.items():
        total["estimate"] += float(values.sum())
        total["batches"] += float(sum(b[name].square().sum() for b in batches)) / len(batches)
        total["single"] += float(sum(s[name].square().sum() for s in single)) / len(single)
    assert total["estimate"] == pytest.approx(total["batches"], rel=0.1)
    assert total["single"] > 1.5 * total["batches"]


def test_clipping_scales_the_whole_batch(small: LoadedModel) -> None:
    free = estimate_second_moments(small, _sequences(8), batch_size=4, max_gradient_norm=None)
    norm = sum(float(v.sum()) for v in free.values()) ** 0.5
    tight = estimate_second_moments(small, _sequences(8), batch_size=4, max_gradient_norm=norm / 2)
    loose = estimate_second_moments(small, _sequences(8), batch_size=4, max_gradient_norm=norm * 2)
    for name, values in free.items():
        torch.testing.assert_close(tight[name], values / 4)
        torch.testing.assert_close(loose[name], values)


def test_the_model_is_left_as_it_was(small: LoadedModel) -> None:
    first = next(small.model.parameters())
    first.requires_grad_(False)
    small.model.train()
    estimate_second_moments(small, _sequences(3), batch_size=4)
    assert not first.requires_grad
    assert small.model.training
    assert all(parameter.grad is None for parameter in small.model.parameters())


def test_one_sequence_is_not_enough(small: LoadedModel) -> None:
    with pytest.raises(CorpusError, match="from 1 sequences"):
        estimate_second_moments(small, _sequences(1), batch_size=4)


def _adam(model: LoadedModel, groups) -> torch.optim.Adam:
    optimizer = torch.optim.Adam(groups, lr=1e-3, betas=(0.9, 0.95))
    for _ in range(3):
        _gradient(model, _sequences(4))
        optimizer.step()
    return optimizer


def _truth(model: LoadedModel, optimizer: torch.optim.Adam) -> dict[str, torch.Tensor]:
    return {
        name: optimizer.state[parameter]["exp_avg_sq"] / (1 - 0.95**3)
        for name, parameter in model.model.named_parameters()
    }


@pytest.mark.parametrize("num_groups", [1, 2])
def test_a_trainers_optimizer_file_is_read_by_parameter(
    small: LoadedModel, tmp_path, num_groups: int
) -> None:
    named = dict(small.model.named_parameters())
    plain = [p for n, p in named.items() if n.endswith("bias") or "norm" in n]
    kept = {id(p) for p in plain}
    groups = [
        {"params": [p for p in named.values() if id(p) not in kept], "weight_decay": 0.1},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizer = _adam(small, groups if num_groups == 2 else list(named.values()))
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    found = load_second_moments(tmp_path / "optimizer.pt", small)
    for name, expected in _truth(small, optimizer).items():
        torch.testing.assert_close(found[name], expected)


def test_names_in_the_file_are_preferred(small: LoadedModel, tmp_path) -> None:
    named = list(reversed(list(small.model.named_parameters())))
    optimizer = _adam(small, named)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    found = load_second_moments(tmp_path / "optimizer.pt", small)
    for name, expected in _truth(small, optimizer).items():
        torch.testing.assert_close(found[name], expected)


@pytest.mark.parametrize("form", ["{}", "exp_avg_sq/{}", "{}.exp_avg_sq"])
def test_safetensors_are_read_by_name(small: LoadedModel, tmp_path, form: str) -> None:
    from safetensors.torch import save_file

    truth = {n: torch.rand_like(p.detach()) for n, p in small.model.named_parameters()}
    save_file({form.format(n): v for n, v in truth.items()}, tmp_path / "v.safetensors")
    found = load_second_moments(tmp_path / "v.safetensors", small)
    for name, expected in truth.items():
        torch.testing.assert_close(found[name], expected)


def test_gpt_neox_names_are_known(small: LoadedModel, tmp_path) -> None:
    from safetensors.torch import save_file

    theirs = {
        "sequential.0.word_embeddings.weight": "gpt_neox.embed_in.weight",
        "sequential.2.attention.query_key_value.weight": (
            "gpt_neox.layers.0.attention.query_key_value.weight"
        ),
        "sequential.2.mlp.dense_4h_to_h.bias": "gpt_neox.layers.0.mlp.dense_4h_to_h.bias",
        "sequential.4.norm.weight": "gpt_neox.final_layer_norm.weight",
        "sequential.5.final_linear.weight": "lm_head.weight",
    }
    parameters = dict(small.model.named_parameters())
    truth = {name: torch.rand_like(parameters[ours].detach()) for name, ours in theirs.items()}
    save_file(truth, tmp_path / "v.safetensors")
    found = load_second_moments(tmp_path / "v.safetensors", small)
    assert found.keys() == set(theirs.values())
    for name, ours in theirs.items():
        torch.testing.assert_close(found[ours], truth[name])
    state = {n: {"exp_avg_sq": value} for n, value in enumerate(truth.values())}
    groups = [{"params": list(state), "param_names": list(theirs)}]
    torch.save({"state": state, "param_groups": groups}, tmp_path / "optimizer.pt")
    numbered = load_second_moments(tmp_path / "optimizer.pt", small)
    assert numbered.keys() == found.keys()


def test_adafactors_factors_are_kept_and_have_a_root(small: LoadedModel, tmp_path) -> None:
    named = dict(small.model.named_parameters())
    state = {
        number: {
            "exp_avg_sq_row": torch.rand(p.shape[:-1]),
            "exp_avg_sq_col": torch.rand(p.shape[-1:]),
        }
        for number, p in enumerate(named.values())
        if p.ndim == 2
    }
    groups = [{"params": list(range(len(named))), "param_names": list(named)}]
    torch.save({"state": state, "param_groups": groups}, tmp_path / "optimizer.pt")
    found = load_second_moments(tmp_path / "optimizer.pt", small)
    for number, name in enumerate(named):
        if number in state:
            row, col = state[number]["exp_avg_sq_row"], state[number]["exp_avg_sq_col"]
            torch.testing.assert_close(found[name], Factored(row, col))
            assert found[name].shape == named[name].shape
            rooted = found[name].root()
            torch.testing.assert_close(
                torch.outer(*rooted) / rooted.row.mean(),
                (torch.outer(row, col) / row.mean()).sqrt().double(),
            )
    assert len(found) == len(state)


class Surprise:
    """Something that only unpickling could bring back."""


def test_what_does_not_fit_or_could_run_code_is_refused(small: LoadedModel, tmp_path) -> None:
    from safetensors.torch import save_file

    def refused(name: str, said: str) -> None:
        with pytest.raises(ModelError, match=said) as caught:
            load_second_moments(tmp_path / name, small)
        assert caught.value.remedy

    torch.save({"state": {0: Surprise()}, "param_groups": []}, tmp_path / "code.pt")
    refused("code.pt", "not a file of plain tensors")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps({"state": {}}))
    refused("raw.pt", "plain tensors|no `state`")
    torch.save({"weights": torch.ones(1)}, tmp_path / "weights.pt")
    refused("weights.pt", "no `state` and `param_groups`")
    torch.save({"state": {}, "param_groups": [{"params": [0, 1]}]}, tmp_path / "other.pt")
    refused("other.pt", "state of 2 parameters")
    refused("missing.pt", "no file")
    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors")
    refused("x.safetensors", "has the name of a parameter")
    name, _ = next(iter(small.model.named_parameters()))
    save_file({name: torch.ones(3)}, tmp_path / "shape.safetensors")
    refused("shape.safetensors", r"have shape \(3,\)")
