"""Scores of every example for every chosen behavior, by every method of a study.

Only what the methods request is computed: each pass over the corpus once, in a stage of its own,
and a method's scores only where something that determines them has changed.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from whence.behaviors.query import plain_counterparts
from whence.errors import MissingEngineError
from whence.methods import MethodInputs
from whence.methods.requests import Context
from whence.progress import Progress
from whence.records import Behavior, Corpus, Coverage, Plan, Query, Scores
from whence.runs.directory import Run
from whence.runs.models import StudyModel
from whence.runs.nulls import nulls_stage
from whence.runs.opening import checkpoint_step, open_behaviors
from whence.runs.passes import Results, pass_stage, request_key, scores_stage
from whence.runs.planning import Needed, plan_passes
from whence.runs.stages import queries_stage
from whence.settings import BehaviorFile, StudySettings


class Attributed(NamedTuple):
    """The scores of each method that has some, and how gradients were computed, if any were.

    `queries` are those of the behaviors, `nulls` unrelated ones by which scores are calibrated.
    """

    scores: tuple[Scores, ...]
    queries: tuple[Query, ...]
    nulls: tuple[Query, ...]
    coverage: Coverage | None
    plan: Plan | None
    skipped: tuple[str, ...]


def attribute(
    run: Run,
    study: StudySettings,
    chosen: tuple[Behavior, ...],
    corpus: Corpus,
    needed: Needed,
    *,
    progress: Progress,
) -> Attributed:
    """Scores every example for every chosen behavior, by every method of the study.

    Args:
        run: Keeps every pass over the corpus and every method's scores.
        study: The study.
        chosen: The behaviors to attribute.
        corpus: The examples.
        needed: What the study's methods request.
        progress: Reports progress.

    Raises:
        SettingsError: What is to be stored does not fit the disk budget.
    """
    settings, models = study.attribution, needed.models
    references = _references(study, chosen)
    plains = {} if settings.contrast else plain_counterparts(chosen)
    queries = run.get(
        queries_stage(
            (*chosen, *references, *plains.values()), models.own, contrast=settings.contrast
        )
    )
    nulls = _nulls(run, study, models.own, corpus, queries[: len(chosen)], progress)
    inputs = MethodInputs(
        queries=(*queries, *nulls),
        corpus=corpus,
        settings=settings,
        index=study.index,
        references=frozenset(behavior.id for behavior in references),
        nulls=frozenset(query.id for query in nulls) | {one.id for one in plains.values()},
        plains={one.id: behavior_id for behavior_id, one in plains.items()},
        last_step=checkpoint_step(study.model) if settings.checkpoint_local else None,
        progress=progress,
    )
    if num_unseen := int(inputs.is_unseen.sum()):
        progress.note(f"{num_unseen} of {len(corpus)} examples come after step {inputs.last_step}.")
    context = Context(
        own=lambda: models.own.loaded,
        own_fingerprint=models.own.fingerprint,
        corpus=corpus,
        queries=inputs.queries,
        models=models,
        settings=settings,
        index=study.index,
        nulls=inputs.nulls,
        keep=run.claim,
        progress=progress,
    )
    methods, skipped = _without_engine(needed, settings.methods)
    coverage = plan = None
    if needed.passes(methods):
        try:
            coverage, plan = plan_passes(
                run,
                study,
                corpus,
                len(inputs.queries),
                needed,
                methods,
                progress,
                is_made=lambda request, covered, found: run.has(
                    pass_stage(request, _planned(context, covered, found))
                ),
            )
            context = _planned(context, coverage, plan)
        except MissingEngineError as error:
            methods = tuple(name for name in methods if not needed.passes([name]))
            skipped = f"Gradient methods were skipped: {error.problem} {error.remedy}"
    if skipped:
        progress.note(skipped)
    scores = _score(run, needed, methods, inputs, context, progress)
    return Attributed(
        scores, queries[: len(chosen)], nulls, coverage, plan, (skipped,) if skipped else ()
    )


def _planned(context: Context, coverage: Coverage, plan: Plan) -> Context:
    return replace(
        context,
        modules=tuple(coverage.modules),
        path=plan.path,
        projection_dim=plan.projection_dim,
    )


def _nulls(
    run: Run,
    study: StudySettings,
    model: StudyModel,
    corpus: Corpus,
    queries: tuple[Query, ...],
    progress: Progress,
) -> tuple[Query, ...]:
    """The unrelated queries by which scores are calibrated; none where the study wants none."""
    if not study.evidence.num_null or not study.attribution.methods:
        return ()
    return run.get(nulls_stage(study, queries, model, corpus, progress=progress))


def _score(
    run: Run,
    needed: Needed,
    methods: Sequence[str],
    inputs: MethodInputs,
    context: Context,
    progress: Progress,
) -> tuple[Scores, ...]:
    requests = dict.fromkeys(request for name in methods for request in needed.by_method[name])
    given = replace(inputs, results=Results(run, requests, context))
    stages = {
        name: scores_stage(
            name,
            given,
            keys={r.label: request_key(r, context) for r in needed.by_method[name]},
            own=context.own,
        )
        for name in methods
    }
    # A pass whose methods all have their scores is kept, and not even read back.
    for request in needed.passes(methods):
        run.retain(pass_stage(request, context))
        request.artifacts(context)
    stale = [name for name in methods if not run.has(stages[name])]
    for request in needed.passes(stale):
        given.result(request)
    with progress.task("Scoring", total=len(methods), unit="methods") as task:
        found = []
        for name in methods:
            found.append(run.get(stages[name]))
            task.advance()
    return tuple(found)


def _without_engine(needed: Needed, methods: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Leaves out the methods that need Bergson, with the reason, where it cannot be imported."""
    from whence.gradients import require_engine

    users = [n for n in methods if any(request.uses_engine for request in needed.passes([n]))]
    if users:
        try:
            require_engine()
        except MissingEngineError as error:
            kept = tuple(name for name in methods if name not in users)
            return kept, f"{', '.join(users)} were skipped: {error.problem} {error.remedy}"
    return methods, ""


def _references(study: StudySettings, chosen: Sequence[Behavior]) -> tuple[Behavior, ...]:
    """Reads the behaviors that are only compared with; those that are scored are not among them."""
    name = study.attribution.reference_behaviors
    if name is None:
        return ()
    scored = {behavior.id for behavior in chosen}
    found = open_behaviors(BehaviorFile(file=name))
    return tuple(behavior for behavior in found if behavior.id not in scored)
