"""Faults of models that do not behave as a plain transformer does; each test failed once."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.models.conftest import make_model, make_tokenizer
from tests.models.families import build

from whence.behaviors.generate import greedy_continuations, sample_continuations
from whence.behaviors.measure import measure
from whence.behaviors.query import Pair
from whence.errors import ModelError
from whence.gradients import streamed_products
from whence.gradients.passes.capture import VOCABULARY, capturing
from whence.gradients.passes.workers import working
from whence.methods.reading import read
from whence.models import attributed_modules, coverage, load_model
from whence.models.forward import company
from whence.models.network import evaluating, logits, pad
from whence.models.probe import decoding, not_attributable, notes
from whence.records import Corpus, LoadedModel, Query, Term
from whence.settings import ModelSettings

CONTEXT = 64


class Words:
    """Stands for a tokenizer where only ids matter."""

    eos_token_id = None

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [str(i) for i in ids]

    def decode(self, ids: Any, **_: Any) -> str:
        return str(ids)


def loaded(name: str, *, dtype: str = "float64") -> LoadedModel:
    network = build(name, dtype=dtype)
    return LoadedModel(network, Words(), name, "0", CONTEXT)  # pyright: ignore[reportArgumentType]


def drawn(*lengths: int, seed: int = 0) -> list[list[int]]:
    draws = np.random.default_rng(seed)
    return [draws.integers(5, 90, size=n).tolist() for n in lengths]


def corpus_of(sequences: list[list[int]]) -> Corpus:
    columns = {
        "id": [str(row) for row in range(len(sequences))],
        "input_ids": pa.array(sequences, type=pa.list_(pa.int32())),
    }
    return Corpus(name="drawn", description="", table=pa.table(columns))


def products(model: LoadedModel, sequences: list[list[int]], modules: Any = None) -> Any:
    (asked,) = drawn(12, seed=1)
    query = Query("q", (Term(tuple(asked), 4, 1.0),), "")
    modules = attributed_modules(model) if modules is None else modules
    return streamed_products(
        model, corpus_of(sequences), (query,), modules=modules, token_batch_size=4096
    )


def scored(name: str, sequences: list[list[int]]) -> list[float]:
    pairs = [Pair(ids[:4], ids[4:]) for ids in sequences]
    return [one.log_prob_nats for one in measure(loaded(name, dtype="float32"), pairs)]


# Rows depend on company.
@pytest.mark.parametrize("name", ["Phi3 with longrope", "Llama with dynamic NTK"])
def test_positions_that_depend_on_the_batch_change_no_number(name: str) -> None:
    together = drawn(60, 10, 14, 30)
    alone = [scored(name, [ids])[0] for ids in together]
    np.testing.assert_allclose(scored(name, together), alone, rtol=1e-5)
    found = products(loaded(name), together)
    singly = [products(loaded(name), [ids]) for ids in together]
    np.testing.assert_allclose(found.dots[0], [one.dots[0, 0] for one in singly], rtol=1e-5)
    norms = [one.example_norms[0] for one in singly]
    np.testing.assert_allclose(found.example_norms, norms, rtol=1e-5)
    states = read(loaded(name), together, token_batch_size=4096).last_states
    expected = [read(loaded(name), [ids], token_batch_size=64).last_states[0] for ids in together]
    np.testing.assert_allclose(states, expected, rtol=1e-4, atol=1e-6)
    assert company(loaded(name)).free_length == 16
    assert any("16 tokens" in note for note in notes(loaded(name)))


def test_a_pass_over_a_long_sequence_changes_no_later_pass() -> None:
    long, short = drawn(60, 30)
    model = loaded("Llama with dynamic NTK")
    with evaluating(model.model):
        before = logits(model.model, torch.tensor([short]))
        logits(model.model, torch.tensor([long]))
        torch.testing.assert_close(logits(model.model, torch.tensor([short])), before)


def test_workers_share_no_frequencies() -> None:
    opened = []

    class Open:
        def __init__(self, own: LoadedModel) -> None:
            opened.append(own)

        def __enter__(self) -> Any:
            return lambda item: item

        def __exit__(self, *_: Any) -> None:
            pass

    with working(loaded("Phi3 with longrope"), Open, num_workers=2):  # pyright: ignore
        pass
    tables = [own.model.base_model.rotary_emb.inv_freq.data_ptr() for own in opened]  # pyright: ignore
    assert len(set(tables)) == 2


# Greedy continuation and missing caches.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Mamba", "RWKV", "LFM2", "Jamba", "MiniMax"])
def test_continuations_are_those_of_generate_whatever_the_cache(name: str) -> None:
    prompts = drawn(6, 6, 14)
    found = greedy_continuations(loaded(name, dtype="float32"), prompts, num_tokens=6)
    for prompt, continuation in zip(prompts, found, strict=True):
        network = build(name, dtype="float32")
        network.generation_config.eos_token_id = None
        ids = torch.tensor([prompt])
        own = network.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, pad_token_id=2
        )
        assert continuation.token_ids == tuple(own[0, len(prompt) :].tolist())
    samples = sample_continuations(
        loaded(name, dtype="float32"), prompts, num_samples=2, num_tokens=3, temperature=1, seed=0
    )
    assert [len(one) for one in samples] == [2, 2, 2]


@pytest.mark.parametrize("is_generate_right", [False, True])
def test_a_cache_that_gives_other_logits_is_not_used(is_generate_right: bool) -> None:
    network = build("Llama", dtype="float32")
    forward = network.forward

    def broken(*args: Any, past_key_values: Any = None, **kwargs: Any) -> Any:
        output = forward(*args, past_key_values=past_key_values, **kwargs)
        is_prepared = is_generate_right and kwargs.get("attention_mask") is not None
        if (
            past_key_values is not None
            and not is_prepared
            and past_key_values.get_seq_length() > kwargs["input_ids"].shape[1]
        ):
            output.logits = output.logits.flip(-1)
        return output

    network.forward = broken
    model = replace(loaded("Llama"), model=network)
    if is_generate_right:  # Otherwise the model's own words are not those of a pass over all.
        prompts = drawn(6, 14)
        found = greedy_continuations(model, prompts, num_tokens=4)
        whole = greedy_continuations(loaded("Llama", dtype="float32"), prompts, num_tokens=4)
        assert [one.token_ids for one in found] == [one.token_ids for one in whole]
    assert decoding(model) != "cache"


# Scaled and tied embeddings.
@pytest.mark.parametrize("name", ["Gemma", "Gemma3", "BioGpt", "OPT", "Cohere", "Gemma2"])
def test_vocabulary_gradients_are_autograds_where_embeddings_are_scaled_or_tied(name: str) -> None:
    examples = drawn(20, 9, 2)
    found = products(loaded(name), examples, VOCABULARY)
    network = build(name)
    layers = (network.get_input_embeddings(), network.get_output_embeddings())
    weights = list({id(part.weight): part.weight for part in layers}.values())

    def gradient(ids: list[int], given: int) -> torch.Tensor:
        tokens = torch.tensor([ids])
        scores = network(tokens, use_cache=False).logits[0, :-1][given:]
        loss = torch.nn.functional.cross_entropy(scores, tokens[0, 1 + given :], reduction="sum")
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])

    (asked,) = drawn(12, seed=1)
    query = gradient(asked, 3)
    rows = torch.stack([gradient(ids, 0) for ids in examples])
    np.testing.assert_allclose(found.example_norms, rows.norm(dim=1).numpy(), rtol=1e-6)
    np.testing.assert_allclose(found.dots[0], (rows @ query).numpy(), rtol=1e-5)


# Layers that cannot be attributed.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("OPT", "inputs are not of shape"),
        ("Qwen2Moe", "inputs are not of shape"),
        ("PhiMoe", "inputs are not of shape"),
        ("Mamba", "not called"),
        ("Gemma3 with vision", "not called"),
    ],
)
def test_layers_without_a_gradient_are_left_out_counted_and_named(name: str, reason: str) -> None:
    model = loaded(name, dtype="float32")
    counted = coverage(model)
    assert any(reason in why for why in counted.not_attributable.values())
    assert counted.num_parameters == sum(p.numel() for p in model.model.parameters())
    assert counted.modules
    assert products(model, drawn(20, 9)).example_norms.all()
    (note,) = [note for note in notes(model) if "cannot be attributed" in note]
    assert reason in note


def test_a_shared_weight_is_no_layer_of_its_own() -> None:
    model = loaded("Llama")
    first, second = (block.mlp for block in model.model.base_model.layers)  # pyright: ignore
    second.up_proj.weight = first.up_proj.weight
    assert set(not_attributable(model)) == {"layers.0.mlp.up_proj", "layers.1.mlp.up_proj"}


def test_a_layer_that_is_never_called_is_refused_by_name() -> None:
    with (
        capturing(loaded("Mamba"), ["layers.0.mixer.dt_proj"], lambda *_: None) as backward,
        pytest.raises(ModelError, match=r"layers\.0\.mixer\.dt_proj"),
    ):
        backward(pad(drawn(9)))


def test_packed_weights_are_counted_as_what_they_stand_for_and_not_attributed() -> None:
    model = loaded("Llama")
    linear = model.model.base_model.layers[0].mlp.up_proj  # pyright: ignore
    number, plain = linear.weight.numel(), linear.weight.detach().clone()

    class Packed(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ plain.mT

    packed = Packed(linear.in_features, linear.out_features, bias=False)
    half = torch.zeros(number // 2, 1, dtype=torch.uint8)
    packed.weight = torch.nn.Parameter(half, requires_grad=False)
    model.model.base_model.layers[0].mlp.up_proj = packed  # pyright: ignore
    counted = coverage(model)
    assert "quantized" in counted.not_attributable["layers.0.mlp.up_proj"]
    assert counted.left_out["model.layers.0.mlp.up_proj.weight"] == number


def test_globs_exclude() -> None:
    model = loaded("Llama")
    everything = attributed_modules(model)
    chosen = attributed_modules(model, modules="*,!*up_proj, !layers.0.*")
    assert chosen == tuple(n for n in everything if "up_proj" not in n and "layers.0" not in n)
    assert attributed_modules(model, modules="!*up_proj,!*router*") == tuple(
        name for name in everything if "up_proj" not in name
    )
    with pytest.raises(ModelError, match="excludes every module"):
        attributed_modules(model, modules="*up_proj,!*")


# Models of unusual shape.
@pytest.mark.parametrize("name", ["OPT of 350m", "Gemma3 with vision", "CTRL", "OpenAIGPT"])
def test_models_of_unusual_shape_are_read_measured_and_differentiated(name: str) -> None:
    examples = drawn(20, 9)
    found = read(loaded(name), examples, token_batch_size=4096)
    assert np.isfinite(found.middle_states).all()
    assert np.isfinite(found.last_states).all()
    measured = scored(name, examples)
    np.testing.assert_allclose(measured, [scored(name, [ids])[0] for ids in examples], rtol=1e-5)
    assert products(loaded(name), examples).example_norms.all()


def test_a_model_that_sees_later_tokens_is_refused_in_one_sentence() -> None:
    network = build("Llama", dtype="float32")
    for block in network.model.layers:
        block.self_attn.is_causal = False
    plain = network.model.forward

    def seeing(input_ids: Any, **kwargs: Any) -> Any:
        output = plain(input_ids, **kwargs)
        states = output.last_hidden_state
        output.last_hidden_state = states + states.mean(dim=1, keepdim=True)
        return output

    network.model.forward = seeing
    with pytest.raises(ModelError, match="depend on later tokens"):
        company(replace(loaded("Llama"), model=network))


def test_a_model_that_mixes_up_a_batch_runs_one_sequence_at_a_time() -> None:
    network = build("Llama", dtype="float32")
    plain = network.model.forward

    def mixing(input_ids: Any, **kwargs: Any) -> Any:
        output = plain(input_ids, **kwargs)
        output.last_hidden_state = output.last_hidden_state * (1 + 0.1 * len(input_ids))
        return output

    network.model.forward = mixing
    model = replace(loaded("Llama"), model=network)
    assert company(model).alone
    examples = drawn(12, 12)
    pairs = [Pair(ids[:4], ids[4:]) for ids in examples]
    together = [one.log_prob_nats for one in measure(model, pairs)]
    assert together == [measure(model, [pair])[0].log_prob_nats for pair in pairs]


def test_what_a_model_cannot_do_is_one_sentence() -> None:
    network = build("Llama", dtype="float32")

    def failing(*_: Any, **__: Any) -> Any:
        raise KeyError("pixel_values")

    network.forward = failing
    with pytest.raises(ModelError, match=r"cannot run a batch of two sequences.*pixel_values"):
        company(replace(loaded("Llama"), model=network))


# What is loaded.
def stored(folder: Path, *, tokenizer: Any = None, **changes: Any) -> ModelSettings:
    make_model(num_hidden_layers=2).save_pretrained(folder)
    (tokenizer or make_tokenizer()).save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return ModelSettings(name=str(folder))


def test_a_configuration_with_fewer_layers_than_are_stored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"layers\.1\..*fewer layers"):
        load_model(stored(tmp_path, num_hidden_layers=1))


def test_weights_that_the_configuration_has_no_place_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"bias.*no place"):
        load_model(stored(tmp_path, attention_bias=False))


def test_weights_beside_the_model_are_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    settings = stored(tmp_path)
    path = tmp_path / "model.safetensors"
    save_file(load_file(path) | {"v_head.weight": torch.zeros(1)}, path, {"format": "pt"})
    (note,) = load_model(settings).notes
    assert "v_head.weight" in note


def test_an_unknown_quantization_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'mystery'"):
        load_model(stored(tmp_path, quantization_config={"quant_method": "mystery", "bits": 4}))


def test_a_special_token_beyond_the_embeddings_is_no_other_tokenizer(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tuple("abcdefg"))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    assert max(tokenizer.get_vocab().values()) == 8
    assert load_model(stored(tmp_path, tokenizer=tokenizer)).tokenizer is not None
