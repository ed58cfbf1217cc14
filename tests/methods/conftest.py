"""A small fitted model, a corpus with planted copies, and everything that methods need."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from whence.methods.requests import Context
from whence.methods.rows import GradientRows
from whence.records import Corpus, LoadedModel, Query, Term
from whence.settings import (
    AttributionSettings,
    EkfacCgSettings,
    IndexSettings,
    RandomSettings,
    SourceSettings,
    TracinSettings,
)

VOCABULARY = 80


def corpus_of(sequences: Sequence[Sequence[int]], ids: Sequence[str]) -> Corpus:
    """A corpus of given tokens, whose text has one word per token."""
    size = len(sequences)
    table = pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "text": pa.array([text_of(s) for s in sequences], pa.string()),
            "hash": pa.array([str(i) for i in ids], pa.string()),
            "subset": pa.array([None] * size, pa.string()),
            "source": pa.array(["test"] * size, pa.string()),
            "position": pa.array(list(range(size)), pa.int64()),
            "step": pa.array([None] * size, pa.int64()),
            "input_ids": pa.array([list(s) for s in sequences], pa.list_(pa.int32())),
            "num_truncated_tokens": pa.array([0] * size, pa.int32()),
            "labels": pa.array([[] for _ in range(size)], pa.list_(pa.string())),
        }
    )
    return Corpus(name="tiny", description="planted", table=table)


def dated(corpus: Corpus) -> Corpus:
    """The same corpus, as if training had seen each example in the order of its id's number."""
    steps = pa.array([int(name[1:]) + 1 for name in corpus.ids], pa.int64())
    place = corpus.table.column_names.index("step")
    return replace(corpus, table=corpus.table.set_column(place, "step", steps))


def text_of(tokens: Sequence[int]) -> str:
    """One word per token."""
    return " ".join(f"w{t}" for t in tokens)


def query_of(name: str, tokens: Sequence[int], *, num_prompt_tokens: int) -> Query:
    """A plain query."""
    return Query(
        id=name, terms=(Term(tuple(tokens), num_prompt_tokens, 1.0),), text=text_of(tokens)
    )


def fit(sequences: Sequence[Sequence[int]], *, steps: int) -> LoadedModel:
    """A tiny GPT-NeoX, trained a little on some sequences."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    network = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
    )
    torch.random.set_rng_state(state)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(steps):
        tokens = torch.tensor([list(sequences[step % len(sequences)])])
        optimizer.zero_grad()
        network(tokens, labels=tokens).loss.backward()
        optimizer.step()
    return LoadedModel(
        model=network.eval(),
        tokenizer=None,  # pyright: ignore[reportArgumentType]
        name="tiny",
        fingerprint="tiny",
        context_length=64,
    )


def rows_of(
    model: LoadedModel, corpus: Corpus, queries: Sequence[Query], modules: Sequence[str]
) -> GradientRows:
    """Gradients of examples and queries, each module's multiplied with a fixed random matrix."""
    import torch

    from whence.gradients.passes.queries import query_gradients

    documents = [
        Query(name, (Term(tuple(corpus.input_ids(row)), 1, 1.0),), "")
        for row, name in enumerate(corpus.ids)
    ]
    generator = torch.Generator().manual_seed(4)
    parts: list[list[np.ndarray]] = [[], []]
    projections = {}
    for side, asked in enumerate((documents, queries)):
        found = query_gradients(model, asked, modules=modules, token_batch_size=256)
        for name in modules:
            width = found[name].shape[1]
            if name not in projections:
                projections[name] = torch.randn(width, 36, generator=generator) / 6
            parts[side].append((found[name] @ projections[name]).numpy())
    examples, asked = (np.concatenate(side, axis=1) for side in parts)
    return GradientRows(examples, asked, dict.fromkeys(modules, 36), {"projection_dim": 6})


def context_of(
    model: LoadedModel, corpus: Corpus, queries: Sequence[Query], modules: Sequence[str]
) -> Context:
    """What a pass over the corpus may use, of a model that no study names."""
    return Context(
        own=lambda: model,
        own_fingerprint=model.fingerprint,
        corpus=corpus,
        queries=tuple(queries),
        models=None,  # pyright: ignore[reportArgumentType]
        settings=AttributionSettings(),
        index=IndexSettings(token_batch_size=256),
        keep=lambda name, _: Path("unused") / name,
        modules=tuple(modules),
    )


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    """The helpers above; test modules cannot import a sibling."""
    return SimpleNamespace(corpus_of=corpus_of, query_of=query_of, text_of=text_of, fit=fit)


@pytest.fixture(scope="session")
def planted() -> SimpleNamespace:
    """Thirty random documents; number 7 and 19 are copies of the queries, 3 is empty."""
    from torch import nn

    from whence.gradients import streamed_products
    from whence.gradients.curvature.adamw_influence import adamw_influence_scores
    from whence.gradients.curvature.magic import magic_scores
    from whence.gradients.curvature.source import Segment, source_scores
    from whence.gradients.passes.capture import VOCABULARY as WORDS
    from whence.methods import FINAL, MethodInputs, Products, Rows, View, views
    from whence.methods.influence import EkfacCgPass, EkfacPass
    from whence.methods.products import shared_between_sides
    from whence.methods.unrolled import AdamwInfluencePass, MagicPass, SourcePass
    from whence.models import estimate_second_moments
    from whence.training import Recipe

    generator = np.random.default_rng(0)
    documents = [generator.integers(1, VOCABULARY, size=14).tolist() for _ in range(30)]
    documents[3] = []
    copies = {"first": 7, "second": 19}
    queries = tuple(
        query_of(name, documents[row], num_prompt_tokens=4) for name, row in copies.items()
    )
    corpus = corpus_of(documents, [f"d{i}" for i in range(30)])
    kept = [d for d in documents if d]
    models = {
        view: fit(kept, steps=n)
        for view, n in {FINAL: 60, View("initial"): 0, View(20): 20, View(40): 40}.items()
    }
    model = models[FINAL]
    moments = {view: estimate_second_moments(m, kept, batch_size=4) for view, m in models.items()}
    corrections = {View("final", "adam"): moments[FINAL]} | {
        View(step, "adam_step"): shared_between_sides(moments[View(step)]) for step in (20, 40)
    }
    modules = [n for n, m in model.model.base_model.named_modules() if isinstance(m, nn.Linear)]

    segments = [
        Segment(0, 15, 0.04, 0.0, lambda: (models[View(20)], moments[View(20)])),
        Segment(15, 30, 0.02, 0.0, lambda: (models[FINAL], moments[FINAL])),
    ]

    def inputs_for(which: Corpus) -> MethodInputs:
        products = {
            view: streamed_products(
                models[View(view.checkpoint)],
                which,
                queries,
                modules=modules,
                token_batch_size=256,
                second_moments=corrections[view],
            )
            for view in corrections
        } | {
            view: streamed_products(seen, which, queries, modules=modules, token_batch_size=256)
            for view, seen in models.items()
        }
        products[views.VOCABULARY] = streamed_products(
            model, which, queries, modules=WORDS, token_batch_size=256
        )
        settings = AttributionSettings(
            random=RandomSettings(seed=5),
            tracin=TracinSettings(checkpoints=(20, 40), learning_rates=(3e-3, 1e-3)),
            source=SourceSettings(checkpoints=(15, 30)),
            # Well conditioned and solved to rounding: the order of summation does not count.
            ekfac_cg=EkfacCgSettings(damping=300.0, tolerance=1e-6, max_iterations=50),
        )
        results = {Products(view): found for view, found in products.items()}
        for request in (EkfacPass(settings.ekfac), EkfacCgPass(settings.ekfac_cg)):
            results[request] = request.compute(context_of(model, which, queries, modules))
        results[SourcePass(settings.source)] = source_scores(
            model, dated(which), queries, segments=segments, modules=modules, token_batch_size=256
        )
        results[MagicPass(settings.magic)] = magic_scores(
            models[View(20)],
            dated(which),
            queries,
            recipe=Recipe(batch_size=2, peak_learning_rate=1e-3, warmup_steps=2),
        )
        # Of the first step, whose moments are its own gradient's, Adam feels no weight.
        results[AdamwInfluencePass(settings.adamw_influence)] = adamw_influence_scores(
            models[View(20)],
            dated(which),
            queries,
            recipe=Recipe(batch_size=10, peak_learning_rate=1e-3, warmup_steps=2, eps=1e-2),
        )
        results[Rows()] = rows_of(model, which, queries, modules)
        return MethodInputs(queries, which, model, results, settings)

    return SimpleNamespace(
        documents=documents,
        copies=copies,
        corpus=corpus,
        model=model,
        models=models,
        moments=moments,
        modules=modules,
        inputs=inputs_for(corpus),
        inputs_for=inputs_for,
    )
