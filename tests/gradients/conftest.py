"""Tiny random models of three families, integer corpora, and an oracle: autograd, one by one."""

import copy
import os
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from whence.records import Corpus, LoadedModel, Query, Term

VOCABULARY = 61
CONTEXT = 48


def tiny(family: str, *, dtype: str = "float32", seed: int = 0) -> LoadedModel:
    """A random model with about ten thousand weights; no tokenizer is needed here."""
    import torch
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        GPTNeoXConfig,
        GPTNeoXForCausalLM,
        LlamaConfig,
        LlamaForCausalLM,
    )

    generator = torch.random.get_rng_state()
    torch.manual_seed(seed)
    if family == "neox":
        model = GPTNeoXForCausalLM(
            GPTNeoXConfig(
                vocab_size=VOCABULARY,
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=24,
                max_position_embeddings=CONTEXT,
                initializer_range=0.3,
            )
        )
    elif family == "llama":
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                intermediate_size=24,
                max_position_embeddings=CONTEXT,
                initializer_range=0.3,
            )
        )
    else:
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=VOCABULARY,
                n_embd=16,
                n_layer=2,
                n_head=2,
                n_positions=CONTEXT,
                initializer_range=0.3,
                bos_token_id=0,
                eos_token_id=0,
            )
        )
    torch.random.set_rng_state(generator)
    model = model.to(getattr(torch, dtype)).eval()
    return LoadedModel(
        model=model,
        tokenizer=None,  # pyright: ignore[reportArgumentType]
        name=f"tiny-{family}",
        fingerprint=f"{family}-{dtype}-{seed}",
        context_length=CONTEXT,
    )


def save(model: LoadedModel, directory: Path) -> None:
    """Writes a model, and a tokenizer of made-up words, as Bergson loads them."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    model.model.save_pretrained(directory)
    vocabulary = {f"t{i}": i for i in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="t0"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(directory)


def modules_of(model: LoadedModel) -> tuple[str, ...]:
    """Every linear layer of the base model, in order."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    base = model.model.base_model
    return tuple(name for name, m in base.named_modules() if isinstance(m, nn.Linear | Conv1D))


def corpus_of(sequences: Sequence[Sequence[int]], *, ids: Sequence[str] | None = None) -> Corpus:
    """A corpus of given tokens."""
    size = len(sequences)
    names = list(ids) if ids is not None else [f"e{i}" for i in range(size)]
    table = pa.table(
        {
            "id": pa.array(names, pa.string()),
            "text": pa.array([" ".join(map(str, s)) for s in sequences], pa.string()),
            "hash": pa.array([str(hash(tuple(s))) for s in sequences], pa.string()),
            "subset": pa.array([None] * size, pa.string()),
            "source": pa.array(["test"] * size, pa.string()),
            "position": pa.array(list(range(size)), pa.int64()),
            "step": pa.array([None] * size, pa.int64()),
            "input_ids": pa.array([list(s) for s in sequences], pa.list_(pa.int32())),
            "num_truncated_tokens": pa.array([0] * size, pa.int32()),
            "labels": pa.array([[] for _ in range(size)], pa.list_(pa.string())),
        }
    )
    return Corpus(name="tiny", description="random tokens", table=table)


def resident() -> int:
    """Bytes of this process that are in memory now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def random_sequences(lengths: Sequence[int], *, seed: int = 0) -> list[list[int]]:
    """Uniformly random tokens."""
    generator = np.random.default_rng(seed)
    return [generator.integers(1, VOCABULARY, size=n).tolist() for n in lengths]


def query_of(name: str, *terms: tuple[Sequence[int], int, float]) -> Query:
    """A query of (tokens, number of prompt tokens, weight)."""
    return Query(id=name, terms=tuple(Term(tuple(t), n, w) for t, n, w in terms), text=name)


def oracle(model: LoadedModel, tokens: Sequence[int], *, num_prompt_tokens: int = 0) -> np.ndarray:
    """The gradient of one sequence's summed loss, by autograd in float64, outputs × inputs."""
    import torch
    from transformers.pytorch_utils import Conv1D

    names = modules_of(model)
    if len(tokens) < 2:
        size = sum(model.model.base_model.get_submodule(n).weight.numel() for n in names)
        return np.zeros(size)
    network = copy.deepcopy(model.model).double().requires_grad_(True)
    logits = network(torch.tensor([list(tokens)])).logits[0]
    log_probs = logits.log_softmax(-1)
    first = max(1, num_prompt_tokens)
    loss = -sum(log_probs[t - 1, tokens[t]] for t in range(first, len(tokens)))
    layers = [network.base_model.get_submodule(name) for name in names]
    gradients = torch.autograd.grad(loss, [layer.weight for layer in layers])
    return np.concatenate(
        [
            (g.T if isinstance(layer, Conv1D) else g).flatten().numpy()
            for g, layer in zip(gradients, layers, strict=True)
        ]
    )


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    """The helpers above; test modules cannot import a sibling."""
    return SimpleNamespace(
        tiny=tiny,
        save=save,
        modules_of=modules_of,
        corpus_of=corpus_of,
        random_sequences=random_sequences,
        resident=resident,
        query_of=query_of,
        oracle=oracle,
        Interrupting=Interrupting,
    )


@pytest.fixture
def cuda():
    """A CUDA device."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return torch.device("cuda")


@pytest.fixture(params=["neox", "llama", "gpt2"])
def family(request: pytest.FixtureRequest) -> str:
    """The three architectures that are supported on purpose."""
    return request.param


class Interrupting:
    """A progress that raises after a number of advances, as a kill would stop the work."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.totals: list[float | None] = []

    @contextmanager
    def task(self, name, *, total, unit):
        self.totals.append(total)
        yield self

    def advance(self, amount=1.0):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    def note(self, message):
        pass
