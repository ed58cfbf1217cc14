"""The targets of a memorization study, and what every method ranks first for them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from whence.corpus.duplicates import duplicates_stage
from whence.evidence.ties import Relater
from whence.memorization.attribution import gradient_stage, pool_scores, search_stage
from whence.memorization.copies import Copies
from whence.memorization.families import families
from whence.memorization.onset import onset
from whence.memorization.pool import NO_COPY, choose_pool, classes_in
from whence.memorization.scan import Scan
from whence.memorization.settings import MemorizationStudy
from whence.memorization.shares import Ranking, first_rows
from whence.memorization.targets import Targets, choose_targets
from whence.memorization.windows import (
    Windows,
)
from whence.progress import Progress
from whence.records import Behavior, Corpus, Query
from whence.runs import opening
from whence.runs.checkpoints import Checkpoints
from whence.runs.directory import Run
from whence.runs.memorization_stages import StoredArray, target_queries_stage
from whence.training.recipe import learning_rate, num_steps

# What relates an example that is no copy.
RELATED = frozenset(("templated", "topical", "same-style", "same-format"))


def targets_of(
    study: MemorizationStudy,
    windows: Windows,
    scans: Sequence[Scan],
    num_documents: np.ndarray,
) -> Targets | None:
    """The memorized windows to attribute, with controls; None where nothing is memorized."""
    memorized = np.flatnonzero(scans[-1].is_extractible)
    if not len(memorized):
        return None
    family_of = np.full(len(windows), -1, dtype=np.int64)
    family_of[memorized] = memorized[families(windows.select(memorized), "window-13")]
    return choose_targets(
        windows,
        scans,
        onset(scans, "stable"),
        family_of,
        num_documents,
        per_family=study.targets.per_family,
        max_targets=study.targets.max_targets,
        seed=study.targets.seed,
    )


def rank(
    run: Run,
    study: MemorizationStudy,
    checkpoints: Checkpoints,
    windows: Windows,
    corpus: Corpus,
    array: StoredArray,
    targets: Targets,
    copies: Copies,
    progress: Progress,
) -> Ranking:
    """Scores a pool of examples for the targets at every attributed checkpoint."""
    queries = run.get(target_queries_stage(windows, checkpoints.own))
    asked = study.pool
    pool = choose_pool(
        copies,
        corpus,
        num_random=asked.num_random,
        num_weak=asked.num_weak,
        seen_by=checkpoints.last,
        seed=asked.seed,
    )
    examples = pool.corpus(corpus)
    by_step = {}
    for step in (*study.targets.attribution_steps, checkpoints.last):
        model = checkpoints.at(step)
        stage = gradient_stage(
            step,
            model.fingerprint,
            lambda model=model: model.loaded,
            queries,
            examples,
            study.index,
            progress=progress,
        )
        by_step[step] = run.get(stage)
        if step != checkpoints.last:
            model.forget()
    search = run.get(search_stage(queries, corpus, pool, seed=study.targets.seed))
    scores = pool_scores(by_step, search, _learning_rates(study, len(corpus), list(by_step)))
    classes = classes_in(copies, len(targets), pool)
    duplicates = run.get(duplicates_stage(corpus, array.corpus_key, progress=progress))
    ranking = Ranking(
        scores,
        classes,
        np.zeros(classes.shape, dtype=bool),
        pool,
        duplicates.cluster_80[pool.rows],
        targets,
    )
    related = _related(ranking, corpus, queries, k=study.targets.top_k, progress=progress)
    return replace(ranking, is_related=related)


def _learning_rates(
    study: MemorizationStudy, num_examples: int, steps: Sequence[int]
) -> dict[int, float]:
    """The rate of the step after each checkpoint; 1 for each where no recipe is known.

    A corpus that is a range of the training data ends before training does: then the last
    checkpoint is the end.
    """
    size = opening.testbed_size(study.model.name)
    if size is not None:
        from whence.testbed import learning_rate_after

        return {step: learning_rate_after(size, step) for step in steps}
    if study.recipe is None:
        return dict.fromkeys(steps, 1.0)
    total = max(num_steps(study.recipe, num_examples), *steps)
    return {
        step: learning_rate(study.recipe, min(step + 1, total), total_steps=total) for step in steps
    }


def _related(
    ranking: Ranking,
    corpus: Corpus,
    queries: Sequence[Query],
    *,
    k: int,
    progress: Progress,
) -> np.ndarray:
    """Whether topic, template or format tie a target's first examples to it; false for copies."""
    behaviors = [
        Behavior(id=query.id, kind="memorized", prompt="", completion=query.text)
        for query in queries
    ]
    relater = Relater(corpus, behaviors, queries)
    found = np.zeros(ranking.classes.shape, dtype=bool)
    with progress.task("Relate first examples", total=len(queries), unit="targets") as task:
        for target, query in enumerate(queries):
            wanted: set[int] = set()
            for values in ranking.scores.values.values():
                rows = first_rows(values[target], ranking.classes[target])
                wanted.update(_first_of(rows, ranking.clusters, k))
            places = sorted(p for p in wanted if ranking.classes[target][p] == NO_COPY)
            ties = relater.ties(query.id, ranking.pool.rows[places].tolist())
            for place, tie in zip(places, ties, strict=True):
                found[target, place] = tie.relation in RELATED
            task.advance()
    return found


def _first_of(rows: np.ndarray, clusters: np.ndarray, k: int) -> list[int]:
    """The first k examples, and those that stand for the first k clusters."""
    _, first = np.unique(clusters[rows], return_index=True)
    return [*rows[:k].tolist(), *rows[np.sort(first)[:k]].tolist()]
