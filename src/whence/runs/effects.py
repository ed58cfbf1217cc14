"""The stage of effects: what one training step on each of a behavior's first examples does.

The first examples are those of the two methods that a run is read by. A run without evidence or
without such methods has no such stage.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from whence.artifacts import fingerprint, progress_directory, write_json
from whence.artifacts.stage import Stage
from whence.corpus.duplicates import Duplicates, duplicates_stage
from whence.errors import CorpusError, ModelError
from whence.evidence import Evidence
from whence.evidence.gap import compared_methods, first_clusters
from whence.gradients.passes.batches import model_device
from whence.gradients.passes.fitting import device_memory
from whence.progress import Progress
from whence.records import Behavior, Corpus, LoadedModel, Query
from whence.runs.attribution import Attributed
from whence.runs.directory import Run
from whence.runs.doctor import free_memory
from whence.runs.models import StudyModel
from whence.runs.record import EFFECTS
from whence.settings import EffectSettings
from whence.validation import (
    ExampleEffect,
    ExampleEffects,
    first_of_each_kind,
    read_example_effects,
    save_example_effects,
    step_on_examples,
)

# Beside the weights: gradients, two copies that restore them, and the optimizer's two moments.
_COPIES = 5


def keep_effects(
    run: Run,
    settings: EffectSettings,
    behaviors: Sequence[Behavior],
    attributed: Attributed,
    model: StudyModel,
    corpus: Corpus,
    evidence: Evidence,
    *,
    corpus_key: str,
    planted: Mapping[str, frozenset[str]],
    progress: Progress,
) -> None:
    """Steps on the first examples of some behaviors of each kind, and keeps that as a stage.

    Args:
        run: Keeps the stage.
        settings: How many examples of how many behaviors; none is no stage.
        behaviors: Those that were attributed.
        attributed: Their scores and queries.
        model: The attributed model.
        corpus: The examples.
        evidence: Which examples each method lists.
        corpus_key: The key of the stage that holds the corpus.
        planted: From behavior id to examples planted for it, which are no controls either.
        progress: Reports progress.
    """
    methods = tuple(
        filter(None, compared_methods({one.method: one.family for one in attributed.scores}))
    )
    if not settings.num_examples or not methods:
        return
    kinds = {behavior.id: behavior.kind for behavior in behaviors}
    firsts = {
        behavior_id: _firsts(evidence, methods, behavior_id, k=settings.num_examples)
        for behavior_id in first_of_each_kind(kinds, settings.behaviors_per_kind)
    }
    duplicates = run.get(duplicates_stage(corpus, corpus_key, progress=progress))
    known = set(corpus.ids)
    no_controls = {
        name: _alike(corpus, duplicates, [*ids, *(known & planted.get(name, frozenset()))])
        for name, ids in firsts.items()
    }
    queries = {query.id: query for query in attributed.queries}
    stage = _effects_stage(
        settings, methods, firsts, queries, model, corpus, no_controls, progress=progress
    )
    if not run.has(stage) and (reason := _too_large(model)) is not None:
        progress.note(f"Effects of single examples are left out: {reason}")
        return
    run.get(stage)


def _firsts(
    evidence: Evidence, methods: Sequence[str], behavior_id: str, *, k: int
) -> tuple[str, ...]:
    """Names the examples that stand for the first k clusters of each method."""
    of_methods = (first_clusters(evidence, method, behavior_id, k=k) for method in methods)
    return tuple(dict.fromkeys(one.example_id for listed in of_methods for one in listed))


def _alike(corpus: Corpus, duplicates: Duplicates, example_ids: Sequence[str]) -> list[int]:
    """Lists the rows of some examples and of their copies and near copies."""
    rows, cluster = corpus.rows(example_ids), duplicates.cluster_80
    return np.flatnonzero(np.isin(cluster, cluster[rows])).tolist()


def _too_large(model: StudyModel) -> str | None:
    """Says why a step cannot be taken on this machine; None where it can."""
    loaded = model.loaded
    needed = _COPIES * sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    memory = device_memory(model_device(loaded))
    free = free_memory() if memory is None else memory.free()
    if free is None or needed <= free:
        return None
    return (
        f"a step takes {_COPIES} copies of {loaded.label}, which are {needed / 1e9:.1f} GB, and "
        f"{free / 1e9:.1f} GB are free."
    )


def _effects_stage(
    settings: EffectSettings,
    methods: tuple[str, ...],
    firsts: Mapping[str, tuple[str, ...]],
    queries: Mapping[str, Query],
    model: StudyModel,
    corpus: Corpus,
    no_controls: Mapping[str, Sequence[int]],
    *,
    progress: Progress,
) -> Stage[ExampleEffects]:
    def make(place: Path) -> None:
        reason, found = _undefined(model.loaded), []
        if reason is None:
            work = progress_directory(place)
            work.mkdir(parents=True, exist_ok=True)
            for part in step_on_all(work):
                found += [ExampleEffect(**one) for one in part["effects"]]
                reason = reason or part["undefined"]
        undefined = None if found else reason
        save_example_effects(
            ExampleEffects(
                methods, settings.num_examples, settings.learning_rate, tuple(found), undefined
            ),
            place,
        )

    def step_on_all(work: Path) -> Iterator[dict[str, Any]]:
        """What is known of each behavior; what was done before the process ended is read back."""
        stepped = [name for name, ids in firsts.items() if ids]
        with progress.task("Steps on examples", total=len(stepped), unit="behaviors") as task:
            for number, name in enumerate(stepped):
                file = work / f"{number}.json"
                if not file.is_file():
                    rng = np.random.default_rng([settings.seed, number])
                    write_json(file, step_on_one(name, rng))
                yield json.loads(file.read_text(encoding="utf-8"))
                task.advance()

    def step_on_one(name: str, rng: np.random.Generator) -> dict[str, Any]:
        """The effects of one behavior's examples; none where they cannot be measured, and why."""
        try:
            effects = step_on_examples(
                model.loaded,
                corpus,
                queries[name],
                firsts[name],
                num_controls=settings.num_examples,
                no_controls=no_controls[name],
                learning_rate=settings.learning_rate,
                rng=rng,
            )
        except CorpusError as error:  # Too few examples for fair controls.
            return {"effects": [], "undefined": error.problem}
        except ModelError:  # It was finite when the behaviors were verified.
            rate = f"{settings.learning_rate:g}"
            reason = f"After a step at a rate of {rate} the model's logits are not finite."
            return {"effects": [], "undefined": reason}
        return {"effects": [one._asdict() for one in effects], "undefined": None}

    return Stage(
        EFFECTS,
        1,
        {
            "settings": settings.model_dump(mode="json"),
            "methods": list(methods),
            "firsts": {name: list(ids) for name, ids in firsts.items()},
            "queries": [asdict(queries[name]) for name in firsts],
            "no_controls": fingerprint({name: list(rows) for name, rows in no_controls.items()}),
            "model": model.fingerprint,
            "dtype": model.card.dtype,
            "corpus": corpus.fingerprint,
        },
        make=make,
        read=read_example_effects,
    )


def _undefined(model: LoadedModel) -> str | None:
    if model.dtype == "float32":
        return None
    return f"The model was loaded in {model.dtype}, in which small steps are lost."
