"""Scores of every example for every chosen behavior, by every method of a study.

Only what the methods request is computed: each pass over the corpus once, in a directory of its
own, and a method's scores only where something that determines them has changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from whence.errors import MissingEngineError
from whence.methods import MethodInputs
from whence.methods.requests import Context
from whence.progress import Progress
from whence.records import Behavior, Corpus, Coverage, LoadedModel, Plan, Query
from whence.runs import passes as stages
from whence.runs.opening import checkpoint_step, open_behaviors
from whence.runs.passes import Results
from whence.runs.planning import Needed, plan_passes, prepare
from whence.settings import BehaviorFile, StudySettings


class Attributed(NamedTuple):
    """Which methods have scored, and how gradients were taken, if any were."""

    methods: tuple[str, ...]
    coverage: Coverage | None
    plan: Plan | None
    skipped: tuple[str, ...]


def attribute(
    study: StudySettings,
    chosen: tuple[Behavior, ...],
    model: LoadedModel,
    corpus: Corpus,
    directory: Path,
    *,
    clock: Callable[[str], Any],
    progress: Progress,
) -> Attributed:
    """Scores every example for every chosen behavior, by every method of the study.

    Raises:
        SettingsError: A method does not exist, or the study does not name what it needs.
    """
    needed = prepare(study, cache=directory / "cache")
    settings, methods = study.attribution, study.attribution.methods
    references = _references(study, chosen)
    inputs = MethodInputs(
        queries=make_queries(study, (*chosen, *references), model),
        corpus=corpus,
        model=model,
        settings=settings,
        index=study.index,
        references=frozenset(behavior.id for behavior in references),
        last_step=checkpoint_step(study.model) if settings.checkpoint_local else None,
        progress=progress,
    )
    if num_unseen := int(inputs.is_unseen.sum()):
        progress.note(f"{num_unseen} of {len(corpus)} examples come after step {inputs.last_step}.")
    context = Context(
        model,
        corpus,
        inputs.queries,
        needed.models,
        settings,
        study.index,
        directory,
        progress=progress,
    )
    methods, skipped = _without_engine(needed, methods)
    coverage = plan = None
    if needed.passes(methods):
        try:
            coverage, plan = plan_passes(
                study, model, corpus, len(inputs.queries), needed, methods, progress
            )
            context = replace(
                context,
                modules=tuple(coverage.modules),
                path=plan.path,
                projection_dim=plan.projection_dim,
            )
        except MissingEngineError as error:
            methods = tuple(name for name in methods if not needed.passes([name]))
            skipped = f"Gradient methods were skipped: {error.problem} {error.remedy}"
    if skipped:
        progress.note(skipped)
    requests = dict.fromkeys(request for name in methods for request in needed.by_method[name])
    given = replace(inputs, results=Results(requests, context))

    def keys(name: str) -> dict[str, str]:
        return {r.label: stages.request_key(r, context) for r in needed.by_method[name]}

    with clock("gradients"):
        # A pass whose methods all have their scores is not even read back.
        stale = [
            name
            for name in methods
            if not stages.has_scores(directory / "scores" / name, name, given, keys)
        ]
        for request in needed.passes(stale):
            given.result(request)
    with clock("scores"), progress.task("Scoring", total=len(methods), unit="methods") as task:
        for name in methods:
            place = directory / "scores" / name
            stages.scores_stage(place, name, given, keys=keys(name))
            task.advance()
    return Attributed(methods, coverage, plan, (skipped,) if skipped else ())


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


def make_queries(
    study: StudySettings, chosen: Sequence[Behavior], model: LoadedModel
) -> tuple[Query, ...]:
    """Makes the queries of some behaviors, contrasts where the study asks for them."""
    from whence.behaviors import make_query

    return tuple(
        make_query(
            behavior,
            model.tokenizer,
            contrast=study.attribution.contrast and bool(behavior.alternatives),
            context_length=model.context_length,
        )
        for behavior in chosen
    )
