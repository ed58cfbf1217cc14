"""Concept Influence: which examples move hidden states along a direction, instead of one loss?

The query's gradient is that of −v · h: v is a direction of unit length in the hidden states after
one layer, and h their mean over the query's completion. So a document scores high if a step on it
moves the completion's hidden states along v. The directions are differences of mean hidden states:
`texts` between the documents of the training before the window that have the trait (the style's, or
the rude replies) and those that lack it, `replies` between the completions of the trait's queries
and the same said plainly. `projection` is the paper's approximation, v · h of the document itself.

Source: Kowal et al., "Concept Influence", arXiv 2602.14869. Cosines take the place of its inverse
curvature, so that `gradient_cosine` differs from it in nothing but the query.

Where the outcome is v · h itself instead of the completion's log-probability, on nano, the same
scores have to predict it: else the gradient, and not the idea, would be wrong.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from whence import testbed
from whence.behaviors.query import encode_completions, make_queries
from whence.cli.console import progress
from whence.gradients.passes.capture import layer
from whence.gradients.passes.streamed import Preconditioner, streamed_products
from whence.methods.views import cosines
from whence.models.coverage import attributed_modules
from whence.models.forward import all_hidden_states
from whence.records import Behavior, Corpus, GradientProducts, LoadedModel, Query, Scores
from whence.runs.validating import make_retrainings
from whence.statistics import mean_estimate, paired_estimate
from whence.testbed import RetrainingSettings, load_checkpoint, retrained_model, window_ids
from whence.testbed.tables import training_weights
from whence.validation.bank import Bank, BankSettings, load_bank, own_groups
from whence.validation.families import families
from whence.validation.lds import Predicted, lds, predict
from whence.validation.retraining import place_of, starting_state

WORLDS = ("nano", "nano@1")
KINDS = ("toxic", "style")
SINCE, MASKS = 464, 96
# The first masks, after which hidden states are read too.
MASKS_WITH_STATES = 32
# After each of nano's two layers; after the last, with the final norm, as the output layer reads.
LAYERS = (1, 2)
PLACES = ("completion", "predicting")
NUM_RANDOM = 8
REFERENCE, UNTRAINED = "gradient_cosine", "gradient_cosine_initial"
TOKENS = 4096


class World(NamedTuple):
    """One testbed with its bank, and all toxic replies and styles that it has support for."""

    size: str
    bank: Bank
    corpus: Corpus
    examples: Corpus
    behaviors: tuple[Behavior, ...]
    queries: tuple[Query, ...]
    own: Mapping[str, tuple[int, ...] | None]


def concept_rows(place: Path) -> list[dict[str, Any]]:
    """Measures every world, and puts them together."""
    values: dict[str, dict[tuple[str, str], float]] = {}
    units: dict[tuple[str, str], str] = {}
    for size in WORLDS:
        known = families([b for b in testbed.behaviors(size) if b.kind in KINDS])
        units |= {(size, q): f"{size} {family}" for q, family in known.items()}
        for method, of in _values(size, place).items():
            values.setdefault(method, {}).update({(size, q): value for q, value in of.items()})
    return [
        _row(method, kind, keys, values, [units[key] for key in keys])
        for kind in ("all", *KINDS)
        for method, own in values.items()
        for keys in [[key for key in own if kind in ("all", key[1].split("/")[0])]]
    ] + _projection_rows(_world(WORLDS[0], place), place)


def _values(size: str, place: Path) -> dict[str, dict[str, float]]:
    """The correlation of each method and query of a world, kept for the next call."""
    path = place / f"{size}.json"
    if not path.is_file():
        found = {
            method: dict(zip(one.query_ids, one.correlations.per_query.tolist(), strict=True))
            for method, one in _predictions(_world(size, place), place / "cache").items()
        }
        path.write_text(json.dumps(found), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def _row(
    method: str,
    kind: str,
    keys: Sequence[tuple[str, str]],
    values: Mapping[str, Mapping[tuple[str, str], float]],
    units: Sequence[str],
) -> dict[str, Any]:
    """Means over queries, with intervals over each world's families."""
    own = [values[method][key] for key in keys]
    beyond = {
        f"beyond {reference}": paired_estimate(
            own, [values[reference][key] for key in keys], families=units
        ).as_dict()
        for reference in (REFERENCE, UNTRAINED)
    }
    about = {"measure": "own-removed LDS", "kind": kind, "method": method}
    about |= {"worlds": len(WORLDS), "families": len(set(units))}
    better = sum(a > values[REFERENCE][key] for a, key in zip(own, keys, strict=True))
    return about | mean_estimate(own, families=units).as_dict() | {"queries won": better} | beyond


def _projection_rows(world: World, place: Path) -> list[dict[str, Any]]:
    """How well scores predict v · h at the window's end, for the directions of texts."""
    model = load_checkpoint(world.size, cache=place / "cache")
    reference = cosines(_products(world, model))
    kept = _kept_states(world, place)
    rows = []
    of_texts = _text_directions(world, model)
    for number, (depth, directions) in enumerate(zip(LAYERS, of_texts, strict=True)):
        outcomes = np.einsum("rqw,qw->rq", kept[:, :, number], directions.numpy())
        ids = tuple(query.id for query in world.queries)
        bank = replace(
            world.bank,
            query_ids=ids,
            included=world.bank.included[: len(outcomes)],
            log_probs_nats=outcomes.astype(np.float64),
        )
        found = {
            "concept, texts": _influence(world, model, directions, depth, "completion"),
            REFERENCE: reference,
        }
        for method, scores in found.items():
            of = Scores(method, ids, world.examples.ids, scores.astype(np.float32))
            predicted = predict(of, bank, own=world.own, own_removed=True)
            about = {"measure": f"own-removed LDS of v · h, layer {depth}", "kind": "all"}
            estimate = lds(predicted, families=families(world.behaviors)).as_dict()
            rows.append(about | {"method": method} | estimate | {"worlds": 1})
    return rows


def _kept_states(world: World, place: Path) -> np.ndarray:
    """Means over completions of hidden states after each retraining, [run, query, layer, width]."""
    path = place / f"states-{world.size}.npy"
    if not path.is_file():
        settings = RetrainingSettings(size=world.size, since=SINCE)
        start = starting_state(settings, place_of(settings, place / "bank"))
        names = list(world.bank.groups)
        found = []
        for included in world.bank.included[:MASKS_WITH_STATES]:
            dropped = [name for name, is_in in zip(names, included, strict=True) if not is_in]
            model = retrained_model(settings, dropped=dropped, start=start)
            found.append([_completion_states(model, query) for query in world.queries])
        np.save(path, np.array(found))
    return np.load(path)


def _completion_states(model: LoadedModel, query: Query) -> list[np.ndarray]:
    (term,) = query.terms
    with torch.no_grad():
        states = all_hidden_states(model.model, torch.tensor([term.input_ids])).hidden_states
    return [states[n][0, term.num_prompt_tokens :].mean(dim=0).numpy() for n in LAYERS]


def _world(size: str, place: Path) -> World:
    make_retrainings(
        place / "bank",
        size=size,
        num_masks=MASKS,
        since=SINCE,
        unit="document",
        progress=progress(),
    )
    retraining = RetrainingSettings(size=size, since=SINCE)
    settings = BankSettings(retraining=retraining, unit="document", num_masks=MASKS, num_second=0)
    bank = load_bank(settings, place / "bank")
    own = own_groups(bank, testbed.gold(size))
    asked = [b for b in testbed.behaviors(size) if b.kind in KINDS and own[b.id] is not None]
    model, corpus = load_checkpoint(size, step=0), testbed.corpus(size)
    rows = corpus.rows(list(window_ids(retraining)))
    return World(
        size,
        bank,
        corpus,
        replace(corpus, table=corpus.table.take(rows)),
        tuple(asked),
        make_queries(asked, model.tokenizer, contrast=False, context_length=model.context_length),
        own,
    )


def _predictions(world: World, cache: Path) -> dict[str, Predicted]:
    """Predictions of each method, by the trained and by the untrained model."""

    def of(values: np.ndarray) -> Predicted:
        ids = tuple(query.id for query in world.queries)
        scores = Scores("concept", ids, world.examples.ids, values.astype(np.float32))
        return predict(scores, world.bank, own=world.own, own_removed=True)

    found = {}
    models = {
        "": load_checkpoint(world.size, cache=cache),
        ", untrained": load_checkpoint(world.size, step=0),
    }
    for suffix, model in models.items():
        found[UNTRAINED if suffix else REFERENCE] = of(cosines(_products(world, model)))
        for depth, of_texts in zip(LAYERS, _text_directions(world, model), strict=True):
            directions = {"texts": of_texts, "replies": _reply_directions(world, model, depth)}
            for kind, direction in directions.items():
                for at in PLACES:
                    label = f"concept, {kind}, layer {depth}, {at}{suffix}"
                    found[label] = of(_influence(world, model, direction, depth, at))
            states = _mean_states(model, _tokens(world.examples))[:, depth]
            found[f"projection, texts, layer {depth}{suffix}"] = of((of_texts @ states.T).numpy())
            if not suffix:
                draws = [
                    of(_influence(world, model, one, depth, "completion"))
                    for one in _random_directions(of_texts)
                ]
                further = tuple(one.predicted for one in draws[1:])
                found[f"concept, random direction, layer {depth}"] = replace(
                    draws[0], further=further
                )
    return found


def _products(world: World, model: LoadedModel, rows: Any = None) -> GradientProducts:
    given = None if rows is None else Preconditioner(lambda _: rows, {"query": "concept"})
    found = streamed_products(
        model,
        world.examples,
        world.queries,
        modules=attributed_modules(model),
        token_batch_size=TOKENS,
        preconditioner=given,
    )
    if rows is None:
        return found
    norms = torch.cat(list(rows.values()), dim=1).norm(dim=1)
    return replace(found, query_norms=norms.numpy())


def _influence(
    world: World, model: LoadedModel, directions: Tensor, depth: int, at: str
) -> np.ndarray:
    """Cosines of the documents' gradients with those of −v · h."""
    modules = attributed_modules(model)
    weights = [layer(model, name).get_parameter("weight") for name in modules]
    rows: dict[str, list[Tensor]] = {name: [] for name in modules}
    for query, direction in zip(world.queries, directions, strict=True):
        (term,) = query.terms
        first, last = term.num_prompt_tokens, len(term.input_ids)
        if at == "predicting":
            first, last = first - 1, last - 1
        for weight in weights:
            weight.requires_grad_(True)
        states = _states(model, term.input_ids, depth)[first:last].mean(dim=0)
        gradients = torch.autograd.grad(-(states @ direction), weights, allow_unused=True)
        for name, weight, gradient in zip(modules, weights, gradients, strict=True):
            found = torch.zeros_like(weight) if gradient is None else gradient
            rows[name].append(found.detach().flatten())
            weight.requires_grad_(False)
    return cosines(_products(world, model, {name: torch.stack(of) for name, of in rows.items()}))


def _text_directions(world: World, model: LoadedModel) -> list[Tensor]:
    """After each layer and for each query, from documents without the trait to those with it.

    They are every second one of those that were trained on before the window.
    """
    corpus, gold = world.corpus, testbed.gold(world.size)
    steps = np.array(corpus.table.column("step").to_pylist())
    kept = np.flatnonzero((training_weights(world.size) > 0) & (steps <= SINCE))[::2]
    is_forum = np.array(corpus.table.column("subset").to_pylist())[kept] == "forum"
    states = _mean_states(model, [corpus.input_ids(int(row)) for row in kept])
    ids = np.array(corpus.ids)[kept]
    found = []
    for behavior in world.behaviors:
        has = np.isin(ids, sorted(gold[behavior.id]))
        lacks = ~has & (is_forum | (behavior.kind == "style"))
        with_it, without = (states[np.flatnonzero(rows)].mean(dim=0) for rows in (has, lacks))
        found.append(with_it - without)
    return [torch.stack([_unit(one[depth]) for one in found]) for depth in LAYERS]


def _reply_directions(world: World, model: LoadedModel, depth: int) -> Tensor:
    """For each query, from plain completions to those with the trait, of all of its family."""
    family = families(world.behaviors)
    differences: dict[str, list[Tensor]] = {}
    for behavior in world.behaviors:
        means = []
        for pair in encode_completions(
            behavior,
            model.tokenizer,
            completions=(None, behavior.plain),
            context_length=model.context_length,
        ):
            with torch.no_grad():
                states = _states(model, (*pair.prompt_ids, *pair.completion_ids), depth)
            means.append(states[len(pair.prompt_ids) :].mean(dim=0))
        differences.setdefault(family[behavior.id], []).append(means[0] - means[1])
    return torch.stack(
        [_unit(torch.stack(differences[family[b.id]]).mean(dim=0)) for b in world.behaviors]
    )


def _random_directions(like: Tensor) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.stack([_unit(row) for row in torch.randn(like.shape, generator=generator)])
        for _ in range(NUM_RANDOM)
    ]


def _tokens(corpus: Corpus) -> list[list[int]]:
    return [corpus.input_ids(row) for row in range(len(corpus))]


def _mean_states(model: LoadedModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    """Means over tokens after the embedding and after each layer, [sequences, layers, width]."""
    found = []
    with torch.no_grad():
        for ids in sequences:
            states = all_hidden_states(model.model, torch.tensor([list(ids)])).hidden_states
            found.append(torch.stack([one[0].mean(dim=0) for one in states]))
    return torch.stack(found)


def _states(model: LoadedModel, ids: Sequence[int], depth: int) -> Tensor:
    return all_hidden_states(model.model, torch.tensor([list(ids)])).hidden_states[depth][0]


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()
