"""How are the chosen behaviors tied to the examples?

Only what the chosen methods need is computed: one pass over the corpus for each view of the
gradients that one of them looks at, each in a directory of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from whence.artifacts import read_manifest
from whence.errors import MissingEngineError
from whence.methods import Inputs, View, find_method
from whence.methods.rows import GradientRows
from whence.progress import Progress
from whence.records import Behavior, Corpus, Coverage, GradientProducts, LoadedModel, Plan, Query
from whence.settings import BehaviorFile, StudySettings
from whence.study import stages
from whence.study.inputs import checkpoint_step, open_behaviors
from whence.study.planning import plan_passes, prepare, rows_dim
from whence.study.views import view_directory


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
    from whence.gradients import require_engine

    study, sources = prepare(study, cache=directory / "cache")
    settings, methods = study.attribution, study.attribution.methods
    references = _references(study, chosen)
    queries = make_queries(study, (*chosen, *references), model)
    bare = Inputs(
        queries=queries,
        corpus=corpus,
        model=model,
        products={},
        settings=settings,
        references=frozenset(behavior.id for behavior in references),
        last_step=checkpoint_step(study.model) if settings.checkpoint_local else None,
        progress=progress,
    )
    num_unseen = int(bare.is_unseen.sum())
    if num_unseen:
        progress.note(f"{num_unseen} of {len(corpus)} examples come after step {bare.last_step}.")
    coverage = plan = None
    skipped: tuple[str, ...] = ()
    if sources.rows:
        try:
            require_engine()
        except MissingEngineError as error:
            sources = sources._replace(rows=())
            methods = tuple(name for name in methods if not find_method(name).needs(settings).rows)
            skipped = (f"Methods on stored rows were skipped: {error.problem} {error.remedy}",)
            progress.note(skipped[0])
    if sources.products or sources.rows:
        try:
            coverage, plan = plan_passes(study, model, corpus, len(queries), sources, progress)
        except MissingEngineError as error:
            methods = tuple(
                name for name in methods if not find_method(name).needs(settings).gradients
            )
            skipped = (f"Gradient methods were skipped: {error.problem} {error.remedy}",)
            progress.note(skipped[0])
    products: dict[View, GradientProducts] = {}
    rows: dict[View, GradientRows] = {}
    if coverage is not None and plan is not None:
        with clock("gradients"):
            for source in sources.products:
                place = view_directory(directory, "products", source.view)
                products[source.view] = stages.products_stage(
                    place,
                    model,
                    corpus,
                    queries,
                    source=source,
                    index=view_directory(directory, "index", source.view),
                    plan=plan,
                    modules=tuple(coverage.modules),
                    settings=settings,
                    progress=progress,
                )
            for source in sources.rows:
                rows[source.view] = stages.rows_stage(
                    view_directory(directory, "rows", source.view),
                    model,
                    corpus,
                    queries,
                    source=source,
                    projection_dim=rows_dim(settings),
                    modules=tuple(coverage.modules),
                    settings=settings,
                    progress=progress,
                )
    opened = {source.view: source for source in (*sources.products, *sources.rows)}
    given = replace(
        bare,
        products=products,
        rows=rows,
        open_view=lambda view: opened[view].open(model),
    )
    with clock("scores"), progress.task("Scoring", total=len(methods), unit="methods") as task:
        for name in methods:
            needs = find_method(name).needs(settings)
            places = [view_directory(directory, "products", view) for view in needs.products]
            places += [view_directory(directory, "rows", view) for view in needs.rows]
            keys = {place.name: read_manifest(place)["key"] for place in places}
            stages.scores_stage(directory / "scores" / name, name, given, products_keys=keys)
            task.advance()
    return Attributed(methods, coverage, plan, skipped)


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
