"""What is attributed is what Bergson finds, and every parameter is counted once."""

from typing import Any

import pytest
from tests.models.conftest import make_model, make_tokenizer

from whence.errors import ModelError
from whence.models import attributed_modules, coverage
from whence.records import LoadedModel


def loaded(model: Any) -> LoadedModel:
    return LoadedModel(model, make_tokenizer(), "tiny", "0", 32)


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=8, n_positions=16, n_embd=8, n_layer=2, n_head=2))


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=8,
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=12,
            tie_word_embeddings=True,
        )
    )


MODELS = {"gpt-neox": make_model, "gpt2": gpt2, "llama": llama}


@pytest.mark.parametrize("kind", MODELS)
# Importing Bergson makes third-party libraries warn about what they will remove.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_names_and_sizes_are_bergsons(kind: str) -> None:
    collector = pytest.importorskip("bergson.collector.collector", exc_type=ImportError)
    model = loaded(MODELS[kind]())
    theirs = collector.HookCollectorBase.discover_targets(model.model.base_model)
    assert attributed_modules(model) == tuple(theirs)
    assert dict(coverage(model).modules) == {
        name: shape.numel() for name, (_, shape, _) in theirs.items()
    }


@pytest.mark.parametrize("kind", MODELS)
def test_biases_are_counted_where_they_are_attributed(kind: str) -> None:
    model = loaded(MODELS[kind]())
    without, counted = coverage(model), coverage(model, include_bias=True)
    layers = [model.model.base_model.get_submodule(name) for name in counted.modules]
    biases = sum(layer.bias.numel() for layer in layers if layer.bias is not None)
    assert (biases > 0) == (kind != "llama")
    assert counted.num_attributed == without.num_attributed + biases
    assert counted.num_parameters == without.num_parameters


@pytest.mark.parametrize("kind", MODELS)
def test_every_parameter_is_counted_once(kind: str) -> None:
    model = loaded(MODELS[kind]())
    counted = coverage(model)
    assert counted.num_parameters == sum(p.numel() for p in model.model.parameters())
    assert not any(name.endswith("bias") for name in counted.modules)
    assert any("embed" in name or "wte" in name for name in counted.left_out)


def test_pythia_14m_is_attributed_to_8_percent() -> None:
    model = make_model(
        vocab_size=50304,
        hidden_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=512,
    )
    counted = coverage(loaded(model))
    assert counted.num_parameters == 14_067_712
    assert counted.num_attributed == 12 * 6 * 128**2
    assert len(counted.modules) == 24
    assert round(counted.num_attributed / counted.num_parameters, 2) == 0.08


def test_globs_choose_modules() -> None:
    model = loaded(make_model(num_hidden_layers=2))
    everything = attributed_modules(model)
    mlp = attributed_modules(model, modules="*.mlp.*")
    assert mlp == tuple(name for name in everything if ".mlp." in name)
    both = attributed_modules(model, modules="layers.1.*, *.mlp.*")
    assert both == tuple(n for n in everything if ".mlp." in n or n.startswith("layers.1."))
    part = coverage(model, modules="*.mlp.*")
    assert part.num_attributed < coverage(model).num_attributed
    assert part.num_parameters == coverage(model).num_parameters


@pytest.mark.parametrize("globs", ["*.mpl.*", "*.mlp.*,lm_head", ""])
def test_refuses_a_glob_that_matches_nothing(globs: str) -> None:
    with pytest.raises(ModelError, match=r"No module .* matches") as caught:
        attributed_modules(loaded(make_model()), modules=globs)
    assert "layers.0.attention.query_key_value" in caught.value.remedy
