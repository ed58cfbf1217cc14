"""Scores of a pool of examples for the targets, at several checkpoints, beside search and chance.

    cosine, dot       of the gradients of continuation and example at one checkpoint
    tracin            Σ_c η_c dot_c over the checkpoints c but the untrained one
    tracin_cosine     Σ_c cosine_c over the same

η_c is the learning rate of the step after c. A score at a checkpoint before the onset cannot have
been made by memorization; one of the untrained weights has been made by no training at all.

Source:
    TracIn: Pruthi et al., NeurIPS 2020.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.artifacts import progress_directory
from whence.artifacts.stage import Stage
from whence.memorization.arrays import read_arrays, save_arrays
from whence.memorization.pool import Pool
from whence.methods import MethodInputs, Products, score
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel, Query
from whence.settings import AttributionSettings, IndexSettings

if TYPE_CHECKING:
    from jaxtyping import Float

_FILE = "scores.npz"
GRADIENT = ("cosine", "dot")
SEARCH = ("bm25", "random")
_METHODS = {"cosine": "gradient_cosine", "dot": "gradient_dot"}
UNTRAINED = 0
_NAMES = {
    "cosine": "cosine",
    "dot": "dot product",
    "tracin": "TracIn",
    "tracin_cosine": "TracIn cosine",
    "bm25": "BM25",
    "random": "random order",
}


class Named(NamedTuple):
    """A method, and the checkpoint whose gradients it compares; None where it has none or many."""

    method: str
    step: int | None

    @property
    def label(self) -> str:
        """What it is called in tables."""
        if self.step is None:
            return self.method
        return f"{self.method} {'untrained' if self.step == UNTRAINED else self.step}"

    @property
    def name(self) -> str:
        """What a sentence calls it."""
        name = _NAMES[self.method]
        if self.step is None:
            return name
        return f"{name}, {'untrained' if self.step == UNTRAINED else f'step {self.step:,}'}"


@dataclass(frozen=True)
class PoolScores:
    """Scores by method, each [targets, pool]; higher is more helpful, NaN is undefined."""

    values: "Mapping[Named, Float[np.ndarray, 'targets pool']]"


def gradient_stage(
    step: int,
    fingerprint: str,
    open_model: Callable[[], LoadedModel],
    queries: Sequence[Query],
    examples: Corpus,
    settings: IndexSettings,
    *,
    progress: Progress = SILENT,
) -> "Stage[dict[str, Float[np.ndarray, 'targets pool']]]":
    """Cosines and products of gradients at one checkpoint; resumes after a kill.

    Args:
        step: The checkpoint's step.
        fingerprint: Its fingerprint.
        open_model: Loads it; called only where the stage has to be made.
        queries: Of the targets.
        examples: The pool.
        settings: Which layers are compared, and the tokens of a batch.
        progress: Reports progress.
    """

    def make(place: Path) -> None:
        from whence.gradients import streamed_products
        from whence.models import coverage

        model = open_model()
        products = streamed_products(
            model,
            examples,
            queries,
            modules=tuple(coverage(model, modules=settings.modules).modules),
            token_batch_size=settings.token_batch_size,
            work=progress_directory(place) / "work",
            progress=progress,
        )
        inputs = MethodInputs(
            queries=tuple(queries),
            corpus=examples,
            model=model,
            results={Products(): products},
            settings=AttributionSettings(),
        )
        values = {name: score(method, inputs).values for name, method in _METHODS.items()}
        save_arrays(place / _FILE, **values)

    return Stage(
        f"gradients/step{step}",
        1,
        {
            "model": fingerprint,
            "queries": [[query.id, query.terms] for query in queries],
            "corpus": examples.fingerprint,
            "modules": settings.modules,
            "token_batch_size": settings.token_batch_size,
        },
        make=make,
        read=lambda place: read_arrays(place / _FILE),
    )


def search_stage(
    queries: Sequence[Query], corpus: Corpus, pool: Pool, *, seed: int
) -> "Stage[dict[str, Float[np.ndarray, 'targets pool']]]":
    """Scores of BM25, with the word counts of the whole corpus, and of a random order."""

    def make(place: Path) -> None:
        inputs = MethodInputs(queries=tuple(queries), corpus=corpus, settings=AttributionSettings())
        chance = np.random.default_rng(seed).random((len(queries), len(pool)), dtype=np.float32)
        bm25 = score("bm25", inputs).values[:, pool.rows]
        save_arrays(place / _FILE, bm25=bm25, random=chance)

    return Stage(
        "search",
        1,
        {
            "queries": [[query.id, query.text] for query in queries],
            "corpus": corpus.content_fingerprint,
            "pool": pool.rows.tolist(),
            "seed": seed,
        },
        make=make,
        read=lambda place: read_arrays(place / _FILE),
    )


def pool_scores(
    by_step: "Mapping[int, Mapping[str, Float[np.ndarray, 'targets pool']]]",
    search: "Mapping[str, Float[np.ndarray, 'targets pool']]",
    learning_rates: Mapping[int, float],
) -> PoolScores:
    """Puts the scores of all methods together, and sums over checkpoints.

    Args:
        by_step: Cosines and products at each checkpoint.
        search: The methods without gradients.
        learning_rates: The rate of the step after each checkpoint.
    """
    values = {
        Named(name, step): np.asarray(found[name])
        for name in GRADIENT
        for step, found in sorted(by_step.items())
    }
    trained = sorted(step for step in by_step if step != UNTRAINED)
    if len(trained) > 1:
        values[Named("tracin", None)] = np.sum(
            [learning_rates[step] * by_step[step]["dot"] for step in trained], axis=0
        )
        values[Named("tracin_cosine", None)] = np.sum(
            [by_step[step]["cosine"] for step in trained], axis=0
        )
    return PoolScores(values | {Named(name, None): np.asarray(search[name]) for name in SEARCH})
