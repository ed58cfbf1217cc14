"""Tail-patches of what methods name, and of random examples like them."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from whence.evidence.proponents import proponents
from whence.models.second_moments import SecondMoments
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel, Query, Scores
from whence.validation.matching import matched_rows
from whence.validation.tail_patch import OWN, Patch, Request, StepSettings, tail_patch

if TYPE_CHECKING:
    import numpy as np

RANDOM_EXAMPLES = "random examples"
NUM_RANDOM = 20
GROUPS = ("each", "together", "copies")
# The first is the one that is reported first; it was named before anything was measured.
STEPS = (
    StepSettings(learning_rate=1e-4),
    StepSettings(learning_rate=1e-5),
    StepSettings(learning_rate=1e-3),
    StepSettings(optimizer="sgd", learning_rate=0.1),
)
# Beside them, where the run's own second moments are known.
OWN_STEP = StepSettings(optimizer=OWN, learning_rate=1e-4)


class ProponentStep(NamedTuple):
    """The mean change of one query's completion by steps on what one method names.

    `group` is `each` (a step on every one of the first k proponents by itself, averaged),
    `together` (one step on all of them) or `copies` (one step on the whole group that the first
    proponent belongs to). `method` is `random examples` for the control of the same group; for
    `copies`, `of_method` tells whose group it is the control of. `num_examples` were stepped on.
    """

    method: str
    of_method: str | None
    query_id: str
    group: str
    settings: StepSettings
    num_examples: int
    probability_change: float
    log_prob_change_nats: float
    log_odds_change_nats: float


def step_on_proponents(
    model: LoadedModel,
    corpus: Corpus,
    queries: Sequence[Query],
    scores: Sequence[Scores],
    *,
    k: int = 10,
    copies: Mapping[str, frozenset[str]] | None = None,
    excluded: Mapping[str, frozenset[str]] | None = None,
    steps: Sequence[StepSettings] = STEPS,
    moments: SecondMoments | None = None,
    num_random: int = NUM_RANDOM,
    seed: int = 0,
    progress: Progress = SILENT,
) -> tuple[ProponentStep, ...]:
    """Tail-patches every method's first proponents, and random examples like them.

    Args:
        model: The model whose proponents they are; its weights come back to the bit.
        corpus: The examples.
        queries: Whose completions are measured.
        scores: One per method, with scores of these queries.
        k: How many first proponents.
        copies: From a group's name to its examples, for `copies`; by default examples with the
            same text hash. An example in no group is a group of its own.
        excluded: From query id to examples that are no control, such as those planted for it.
            What any method names for the query, and its copies, never are.
        steps: Optimizers and learning rates.
        moments: See `tail_patch`.
        num_random: Random examples per query, matched in subset and length to what all methods
            name for it.
        seed: Of the controls.
        progress: Reports progress.

    Returns:
        One record per method, query, group and step where the method names an example. Compare
        methods under the same step only.

    Raises:
        CorpusError: The corpus is too small for the controls.
    """
    import numpy as np

    group_of = _group_of(corpus, copies)
    rng = np.random.default_rng(seed)
    steps_on: list[_Step] = []
    for query in queries:
        first = {
            one.method: proponents(one, one.query_ids.index(query.id), k=k).tolist()
            for one in scores
            if query.id in one.query_ids
        }
        steps_on += _of_methods(query.id, first, group_of)
        pooled = list(dict.fromkeys(row for rows in first.values() for row in rows))
        if pooled:
            no_control = corpus.rows(sorted((excluded or {}).get(query.id, ())))
            no_control += [copy for row in pooled for copy in group_of[row]]
            steps_on += _controls(
                query.id, first, pooled, corpus, group_of, no_control, k=k, num=num_random, rng=rng
            )
    requests = [Request(str(i), one.rows, (one.query_id,)) for i, one in enumerate(steps_on)]
    patches = tail_patch(
        model, corpus, queries, requests, steps=steps, moments=moments, progress=progress
    )
    return _means(steps_on, patches)


class _Step(NamedTuple):
    method: str
    of_method: str | None
    query_id: str
    group: str
    rows: tuple[int, ...]


def _group_of(
    corpus: Corpus, copies: Mapping[str, frozenset[str]] | None
) -> dict[int, tuple[int, ...]]:
    if copies is None:
        by_hash: dict[str, set[str]] = {}
        hashes = corpus.table.column("hash").to_pylist()
        for example_id, key in zip(corpus.ids, hashes, strict=True):
            by_hash.setdefault(key if key is not None else example_id, set()).add(example_id)
        copies = {key: frozenset(ids) for key, ids in by_hash.items()}
    group_of = {row: (row,) for row in range(len(corpus))}
    for ids in copies.values():
        rows = tuple(sorted(corpus.rows(sorted(ids))))
        group_of |= dict.fromkeys(rows, rows)
    return group_of


def _of_methods(
    query_id: str, first: Mapping[str, list[int]], group_of: Mapping[int, tuple[int, ...]]
) -> list[_Step]:
    steps_on = []
    for method, rows in first.items():
        if rows:
            steps_on += [_Step(method, None, query_id, "each", (row,)) for row in rows]
            steps_on.append(_Step(method, None, query_id, "together", tuple(rows)))
            steps_on.append(_Step(method, None, query_id, "copies", group_of[rows[0]]))
    return steps_on


def _controls(
    query_id: str,
    first: Mapping[str, list[int]],
    pooled: Sequence[int],
    corpus: Corpus,
    group_of: Mapping[int, tuple[int, ...]],
    no_control: Sequence[int],
    *,
    k: int,
    num: int,
    rng: "np.random.Generator",
) -> list[_Step]:
    rows = matched_rows(
        corpus, rng.permutation(pooled).tolist(), num=num, rng=rng, excluded=no_control
    )
    steps_on = [_Step(RANDOM_EXAMPLES, None, query_id, "each", (row,)) for row in rows]
    steps_on += [
        _Step(RANDOM_EXAMPLES, None, query_id, "together", rows[start : start + k])
        for start in range(0, num - k + 1, k)
    ]
    # Methods that name the same group share its control: one draw, and no step is measured twice.
    by_group: dict[tuple[int, ...], tuple[int, ...]] = {}
    for method, rows_of_method in first.items():
        if rows_of_method:
            group = group_of[rows_of_method[0]]
            if group not in by_group:
                by_group[group] = matched_rows(
                    corpus, group, num=len(group), rng=rng, excluded=no_control
                )
            steps_on.append(_Step(RANDOM_EXAMPLES, method, query_id, "copies", by_group[group]))
    return steps_on


def _means(steps_on: Sequence[_Step], patches: Sequence[Patch]) -> tuple[ProponentStep, ...]:
    by_key: dict[tuple[str, str | None, str, str, StepSettings], list[tuple[int, Patch]]] = {}
    for patch in patches:
        one = steps_on[int(patch.group)]
        key = (one.method, one.of_method, one.query_id, one.group, patch.settings)
        by_key.setdefault(key, []).append((len(one.rows), patch))
    return tuple(
        ProponentStep(
            *key,
            num_examples=sum(size for size, _ in sized),
            probability_change=fmean(p.probability_change for _, p in sized),
            log_prob_change_nats=fmean(p.log_prob_change_nats for _, p in sized),
            log_odds_change_nats=fmean(p.log_odds_change_nats for _, p in sized),
        )
        for key, sized in by_key.items()
    )
