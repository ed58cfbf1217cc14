"""Splits scores of a run by token and by layer: its first proponents, and those a reader names.

A score that is a weighted sum of inner products over views v of the gradients,

    Σ_v w_v ⟨∇L_q, ∇L_i⟩_v,

is a sum over the example's tokens and over the attributed layers, too; see
`whence.gradients.passes.tokens`. Cosines are such a sum divided by the norms of both sides, which
change no share. Methods that rank by words, by hidden states or by a curvature have no such split.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.artifacts import progress_directory, write_json
from whence.artifacts.stage import Stage
from whence.errors import SettingsError
from whence.evidence import Evidence
from whence.evidence.gap import compared_methods, first_clusters
from whence.evidence.splits import (
    NUM_SPLIT,
    Split,
    Splits,
    TokenPart,
    read_splits,
    save_splits,
    token_places,
)
from whence.methods import FINAL, find_method, is_method
from whence.methods.contract import SplitTerm
from whence.methods.products import shared_between_sides
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel, Query, Scores
from whence.runs.attribution import Attributed
from whence.runs.directory import Run
from whence.runs.record import SPLITS
from whence.runs.views import StudyModels
from whence.settings import StudySettings

if TYPE_CHECKING:
    from jaxtyping import Float


def split_terms(method: str, settings: Mapping[str, Any]) -> tuple[SplitTerm, ...]:
    """Lists the inner products that a method's scores are sums of.

    Args:
        method: The method.
        settings: What its scores state of themselves.

    Raises:
        SettingsError: Its scores are no such sum.
    """
    terms = find_method(method).terms(settings) if is_method(method) else ()
    if not terms:
        raise SettingsError(
            f"Scores by `{method}` are no sum over tokens and layers, so they have no split.",
            "Name a method whose scores are inner products of gradients, such as "
            "`--method gradient_cosine`.",
        )
    return terms


def keep_splits(
    run: Run,
    study: StudySettings,
    models: StudyModels,
    attributed: Attributed,
    corpus: Corpus,
    evidence: Evidence,
    *,
    progress: Progress,
) -> None:
    """Splits the first proponents by the method that a run is read by, and keeps that as a stage.

    A method whose scores are no sum over tokens and layers has no such stage.
    """
    method = compared_methods({one.method: one.family for one in attributed.scores}).method
    if method is None or attributed.coverage is None:
        return
    scores = next(one for one in attributed.scores if one.method == method)
    terms = find_method(method).terms(scores.settings) if is_method(method) else ()
    if not terms:
        return
    splitter = Splitter(
        terms,
        lambda: models.own.loaded,
        models,
        corpus,
        modules=tuple(attributed.coverage.modules),
        token_batch_size=study.index.token_batch_size,
    )
    run.get(
        splits_stage(
            splitter,
            evidence,
            scores,
            attributed.queries,
            corpus=corpus.fingerprint,
            progress=progress,
        )
    )


class Splitter:
    """Splits inner products of queries and examples; `own` gives the attributed model."""

    def __init__(
        self,
        terms: Sequence[SplitTerm],
        own: Callable[[], LoadedModel],
        models: StudyModels,
        corpus: Corpus,
        *,
        modules: Sequence[str],
        token_batch_size: int,
    ) -> None:
        self._terms = terms
        self._own = own
        self._models = models
        self._corpus = corpus
        self._modules = tuple(modules)
        self._token_batch_size = token_batch_size

    def inputs(self) -> dict[str, object]:
        """What determines the splits of a pair, beside its query and its example."""
        return {
            "terms": [[term.view.label, term.weight] for term in self._terms],
            "models": [self._models.fingerprint(term.view) for term in self._terms],
            "moments": [
                {}
                if term.view.correction == "none"
                else dict(self._models.second_moments(term.view).origin)
                for term in self._terms
            ],
            "modules": list(self._modules),
        }

    def split(self, query: Query, example_ids: Sequence[str]) -> list[Split]:
        """Splits one query's inner products with some examples.

        Args:
            query: The query.
            example_ids: Examples of the corpus.

        Raises:
            ModelError: A model cannot be loaded.
        """
        sequences = [self._corpus.input_ids(row) for row in self._corpus.rows(example_ids)]
        by_term = [self._products(term, query, sequences) for term in self._terms]
        weights = np.array([term.weight for term in self._terms])
        sums = [np.tensordot(weights, np.stack(of), 1) for of in zip(*by_term, strict=True)]
        texts = self._corpus.texts()
        return [
            Split(
                query.id,
                example_id,
                self._tokens(ids, texts[row] or "", parts.sum(axis=1)),
                dict(zip(self._modules, parts.sum(axis=0).tolist(), strict=True)),
            )
            for example_id, row, ids, parts in zip(
                example_ids, self._corpus.rows(example_ids), sequences, sums, strict=True
            )
        ]

    def _products(
        self, term: SplitTerm, query: Query, sequences: Sequence[Sequence[int]]
    ) -> "list[Float[np.ndarray, 'tokens modules']]":
        from whence.gradients.passes.correction import correction_scales
        from whence.gradients.passes.queries import query_gradients
        from whence.gradients.passes.tokens import split_products

        is_own = term.view.checkpoint == FINAL.checkpoint
        model = self._own() if is_own else self._models.open(term.view)
        scales = correction_scales(model, self._modules, self._moments(term, model))
        rows = query_gradients(
            model,
            [query],
            modules=self._modules,
            token_batch_size=self._token_batch_size,
            scales=scales,
        )
        gradient = {
            name: row[0] if scales is None else row[0] * scales[name] for name, row in rows.items()
        }
        return split_products(model, gradient, sequences)

    def _moments(self, term: SplitTerm, model: LoadedModel) -> Any:
        if term.view.correction == "none":
            return None
        moments = self._models.second_moments(term.view).load(model, self._corpus)
        return shared_between_sides(moments) if term.view.correction == "adam_step" else moments

    def _tokens(
        self, ids: Sequence[int], text: str, parts: "Float[np.ndarray, ' tokens']"
    ) -> tuple[TokenPart, ...]:
        from whence.behaviors.query import decode

        tokenizer = self._own().tokenizer
        texts = [decode(tokenizer, [token]) for token in ids]
        places = token_places(
            texts, text, decode=lambda first, last: decode(tokenizer, ids[first:last])
        )
        return tuple(
            TokenPart(piece, part, *(places[number] if places is not None else (None, None)))
            for number, (piece, part) in enumerate(zip(texts, parts.tolist(), strict=True))
        )


def splits_stage(
    splitter: Splitter,
    evidence: Evidence,
    scores: Scores,
    queries: Sequence[Query],
    *,
    corpus: str,
    progress: Progress = SILENT,
) -> Stage[Splits]:
    """The splits of each behavior's first proponents by one method.

    Args:
        splitter: Splits a pair; loads the model only where something has to be split.
        evidence: Which examples the method lists.
        scores: The method's scores.
        queries: The behaviors' queries.
        corpus: The fingerprint of the examples.
        progress: Reports progress.
    """
    pairs = {query.id: first_examples(evidence, scores.method, query.id) for query in queries}

    def make(place: Path) -> None:
        work = progress_directory(place)
        work.mkdir(parents=True, exist_ok=True)
        found: list[Split] = []
        with progress.task("Splitting", total=len(queries), unit="behaviors") as task:
            for number, query in enumerate(queries):
                # What was split before the process ended is not split again.
                file = work / f"{number}.json"
                if not file.is_file():
                    write_json(
                        file, [asdict(one) for one in splitter.split(query, pairs[query.id])]
                    )
                found += [_split(values) for values in json.loads(file.read_text("utf-8"))]
                task.advance()
        terms = split_terms(scores.method, scores.settings)
        products = " + ".join(f"{term.weight:g} · {term.view.label}" for term in terms)
        save_splits(Splits(scores.method, products, tuple(found)), place)

    return Stage(
        SPLITS,
        1,
        {
            "method": scores.method,
            **splitter.inputs(),
            "pairs": {name: list(ids) for name, ids in pairs.items()},
            "queries": [asdict(query) for query in queries],
            "corpus": corpus,
        },
        make=make,
        read=read_splits,
    )


def first_examples(evidence: Evidence, method: str, behavior_id: str) -> tuple[str, ...]:
    """Names the first proponents of a behavior, example by example and cluster by cluster."""
    by_cluster = first_clusters(evidence, method, behavior_id, k=NUM_SPLIT)
    by_example = [one for one in evidence.listed(method, behavior_id) if one.place <= NUM_SPLIT]
    return tuple(dict.fromkeys(one.example_id for one in (*by_example, *by_cluster)))


def _split(values: Mapping[str, Any]) -> Split:
    return Split(
        values["behavior_id"],
        values["example_id"],
        tuple(TokenPart(*part) for part in values["tokens"]),
        values["modules"],
    )
