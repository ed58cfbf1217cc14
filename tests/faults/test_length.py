"""The last token of an example is only a target: one more than the context fits, in every pass."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from whence.errors import CorpusError
from whence.records import Corpus, LoadedModel, Query, Term
from whence.settings import CorpusSettings, IndexSettings

CONTEXT, VOCABULARY = 16, 300
FAMILIES = ("neox", "gpt2")


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> LoadedModel:
    """A random model with rotary positions, or with a table of them."""
    return tiny(request.param, CONTEXT)


def tiny(family: str, context: int) -> LoadedModel:
    from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    if family == "neox":
        network: Any = GPTNeoXForCausalLM(
            GPTNeoXConfig(
                vocab_size=VOCABULARY,
                hidden_size=8,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=8,
                max_position_embeddings=context,
                initializer_range=0.3,
            )
        )
    else:
        network = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=VOCABULARY,
                n_embd=8,
                n_layer=1,
                n_head=2,
                n_positions=context,
                initializer_range=0.3,
                bos_token_id=0,
                eos_token_id=0,
            )
        )
    return LoadedModel(network.eval(), None, family, family, context)  # pyright: ignore


def corpus_of(sequences: list[list[int]]) -> Corpus:
    import pyarrow as pa

    from whence.corpus import schema

    size = len(sequences)
    values: dict[str, list[Any]] = {name: [None] * size for name in schema().names}
    values |= {"id": [f"e{i}" for i in range(size)], "input_ids": sequences, "text": [""] * size}
    return Corpus("test", "a test", pa.table(values, schema=schema()))


def sequences(*lengths: int) -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.integers(1, VOCABULARY, size=length).tolist() for length in lengths]


def modules_of(model: LoadedModel) -> tuple[str, ...]:
    from transformers.pytorch_utils import Conv1D

    parts = model.model.base_model.named_modules()
    return tuple(name for name, m in parts if isinstance(m, torch.nn.Linear | Conv1D))


def losses(network: Any, tokens: list[int]) -> torch.Tensor:
    """The loss at each position, with the last token as a target alone."""
    logits = network(torch.tensor([tokens[:-1]])).logits[0]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(tokens[1:]), reduction="none")


def gradient(model: LoadedModel, tokens: list[int]) -> np.ndarray:
    from transformers.pytorch_utils import Conv1D

    network = copy.deepcopy(model.model).double().requires_grad_(True)
    layers = [network.base_model.get_submodule(name) for name in modules_of(model)]
    found = torch.autograd.grad(losses(network, tokens).sum(), [part.weight for part in layers])  # pyright: ignore
    parts = zip(found, layers, strict=True)
    return np.concatenate(
        [(g.T if isinstance(m, Conv1D) else g).flatten().numpy() for g, m in parts]
    )


def query_of(tokens: list[int]) -> Query:
    return Query("q", (Term(tuple(tokens), 2, 1.0),), "q")


LENGTHS = (17, 5, 16, 17, 2)


def test_streamed_products_of_the_longest_example(model: LoadedModel) -> None:
    from whence.gradients import streamed_products

    rows = sequences(*LENGTHS)
    query = query_of(sequences(9)[0])
    found = streamed_products(
        model, corpus_of(rows), (query,), modules=modules_of(model), token_batch_size=64
    )
    expected = [np.linalg.norm(gradient(model, row)) for row in rows]
    np.testing.assert_allclose(found.example_norms, expected, rtol=1e-4)


def test_an_index_of_the_longest_example(model: LoadedModel, tmp_path: Path) -> None:
    from whence.gradients import build_index, require_engine

    require_engine()
    rows = sequences(*LENGTHS)
    index = build_index(
        model,
        corpus_of(rows),
        tmp_path / "index",
        IndexSettings(token_batch_size=64),
    )
    assert index is not None
    norms = np.linalg.norm(np.asarray(index.gradients, dtype=np.float64), axis=1)
    expected = [np.linalg.norm(gradient(model, row)) for row in rows]
    np.testing.assert_allclose(norms, expected, rtol=1e-4)


def test_a_reading_of_the_longest_example(model: LoadedModel) -> None:
    from whence.methods.reading import read_examples

    rows = sequences(*LENGTHS)
    settings = IndexSettings(token_batch_size=64)
    found = read_examples(model, corpus_of(rows), settings=settings)
    with torch.no_grad():
        expected = [losses(model.model, row).mean().item() for row in rows]
    np.testing.assert_allclose(found.mean_losses_nats, expected, rtol=1e-5)
    assert np.isfinite(found.middle_states).all()
    assert np.isfinite(found.last_states).all()


def test_curvature_of_the_longest_example(model: LoadedModel) -> None:
    from whence.gradients import require_engine
    from whence.gradients.curvature.ekfac import ekfac_preconditioner

    require_engine()
    arguments: dict[str, Any] = {
        "modules": modules_of(model)[:1],
        "token_batch_size": 64,
        "damping": 0.1,
        "labels": "given",
        "label_seed": 0,
    }
    ekfac_preconditioner(model, corpus_of(sequences(*LENGTHS)), **arguments)
    arguments["labels"] = "sampled"
    ekfac_preconditioner(model, corpus_of(sequences(*LENGTHS)), **arguments)


def test_token_parts_of_the_longest_example(model: LoadedModel) -> None:
    from whence.gradients.passes.queries import query_gradients
    from whence.gradients.passes.tokens import split_products

    rows = sequences(*LENGTHS)
    modules = modules_of(model)
    query = query_of(sequences(9)[0])
    asked = query_gradients(model, (query,), modules=modules, token_batch_size=64)
    found = split_products(model, {name: part[0] for name, part in asked.items()}, rows)
    assert [len(part) for part in found] == list(LENGTHS)
    flat = np.concatenate([asked[name][0].double().cpu().numpy() for name in modules])
    expected = [float(flat @ gradient(model, row)) for row in rows]
    np.testing.assert_allclose([part.sum() for part in found], expected, rtol=1e-3, atol=1e-4)


def test_second_moments_of_the_longest_example(model: LoadedModel) -> None:
    from whence.models.second_moments import estimate_second_moments

    found = estimate_second_moments(model, sequences(17, 17, 16), batch_size=2)
    assert all(bool(values.isfinite().all()) for values in found.values())


def test_training_on_the_longest_example(model: LoadedModel) -> None:
    from whence.training.trainer import _predictions

    rows = sequences(17, 5)
    logits, labels = _predictions(model.model, rows)
    assert logits.shape[:2] == labels.shape == (2, 16)
    expected = model.model(torch.tensor([rows[0][:-1]])).logits[0]
    torch.testing.assert_close(logits[0], expected)


def test_two_more_than_the_context_are_refused(model: LoadedModel) -> None:
    from whence.gradients.passes.batches import check_fits

    check_fits(model, corpus_of(sequences(17)))
    with pytest.raises(CorpusError, match="`e0` has 18 tokens"):
        check_fits(model, corpus_of(sequences(18)))
    with pytest.raises(CorpusError, match="`e0` has 17 tokens"):
        check_fits(model, corpus_of(sequences(17)), spare_target=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_pythias_own_map_cannot_be_indexed(family: str, tokenizer: Any, tmp_path: Path) -> None:
    from whence.corpus import load_corpus
    from whence.gradients import build_index, require_engine

    require_engine()
    model = tiny(family, 2048)
    (tmp_path / "x.bin").write_bytes((np.arange(4098) % 250 + 3).astype("<u2").tobytes())
    settings = CorpusSettings(source=str(tmp_path / "x.bin"))
    corpus = load_corpus(settings, tokenizer, context_length=2048)
    assert corpus.lengths.tolist() == [2049, 2049]
    index = build_index(
        model,
        corpus,
        tmp_path / "index",
        IndexSettings(projection_dim=2),
    )
    assert index is not None
    assert np.abs(np.asarray(index.gradients)).sum() > 0
