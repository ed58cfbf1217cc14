"""How are the chosen behaviors tied to the examples?

Only what the chosen methods need is computed: one pass over the corpus for each view of the
gradients that one of them looks at, each in a directory of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from whence.artifacts import read_manifest
from whence.errors import MissingEngineError, SettingsError
from whence.methods import FINAL, Inputs, View, check_methods, find_method
from whence.progress import Progress
from whence.records import Behavior, Corpus, Coverage, GradientProducts, LoadedModel, Plan, Query
from whence.settings import BehaviorFile, StudySettings
from whence.study import stages
from whence.study.index import describe
from whence.study.inputs import checkpoint_step, open_behaviors
from whence.study.views import ViewSource, view_source, with_learning_rates


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
    study, sources = prepare(study, cache=directory / "cache")
    settings, methods = study.attribution, study.attribution.methods
    references = _references(study, chosen)
    queries = _queries(study, (*chosen, *references), model)
    bare = Inputs(
        queries=queries,
        corpus=corpus,
        model=model,
        products={},
        settings=settings,
        references=frozenset(behavior.id for behavior in references),
        last_step=checkpoint_step(study.model) if settings.checkpoint_local else None,
    )
    num_unseen = int(bare.is_unseen.sum())
    if num_unseen:
        progress.note(f"{num_unseen} of {len(corpus)} examples come after step {bare.last_step}.")
    coverage = plan = None
    skipped: tuple[str, ...] = ()
    if sources:
        try:
            coverage, plan = _plan(study, model, corpus, len(queries), sources, progress)
        except MissingEngineError as error:
            methods = tuple(
                name for name in methods if not find_method(name).needs(settings).gradients
            )
            skipped = (f"Gradient methods were skipped: {error.problem} {error.remedy}",)
            progress.note(skipped[0])
    products: dict[View, GradientProducts] = {}
    if coverage is not None and plan is not None:
        with clock("gradients"):
            for source in sources:
                place = _place(directory, "products", source.view)
                products[source.view] = stages.products_stage(
                    place,
                    model,
                    corpus,
                    queries,
                    source=source,
                    index=_place(directory, "index", source.view),
                    plan=plan,
                    modules=tuple(coverage.modules),
                    settings=settings,
                    progress=progress,
                )
    given = replace(bare, products=products)
    with clock("scores"), progress.task("Scoring", total=len(methods), unit="methods") as task:
        for name in methods:
            used = find_method(name).needs(settings).products
            keys = {
                view.label: read_manifest(_place(directory, "products", view))["key"]
                for view in used
            }
            stages.scores_stage(directory / "scores" / name, name, given, products_keys=keys)
            task.advance()
    return Attributed(methods, coverage, plan, skipped)


def prepare(study: StudySettings, *, cache: Path) -> tuple[StudySettings, tuple[ViewSource, ...]]:
    """Finds out what the study's methods look at, before anything long starts.

    Returns:
        The study with its checkpoints' learning rates, and each view that some method looks at,
        once, in the order of the methods.

    Raises:
        SettingsError: A method does not exist, or the study does not name what it needs.
    """
    study = with_learning_rates(study)
    settings = study.attribution
    check_methods(settings.methods)
    needed = [find_method(name).needs(settings).products for name in settings.methods]
    views = dict.fromkeys(view for views in needed for view in views)
    if settings.checkpoint_local:
        last = checkpoint_step(study.model)
        if later := [c for c in settings.checkpoints if c > last]:
            raise SettingsError(
                f"The checkpoint {later[0]} comes after the model's own, {last}.",
                "Leave it out of `checkpoints`, or leave `checkpoint_local` out.",
            )
    return study, tuple(view_source(study, view, cache=cache) for view in views)


def _references(study: StudySettings, chosen: Sequence[Behavior]) -> tuple[Behavior, ...]:
    """Reads the behaviors that are only compared with; those that are scored are not among them."""
    name = study.attribution.reference_behaviors
    if name is None:
        return ()
    scored = {behavior.id for behavior in chosen}
    found = open_behaviors(BehaviorFile(file=name))
    return tuple(behavior for behavior in found if behavior.id not in scored)


def _queries(
    study: StudySettings, chosen: Sequence[Behavior], model: LoadedModel
) -> tuple[Query, ...]:
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


def _place(directory: Path, stage: str, view: View) -> Path:
    """The directory of a view's stage; that of the study's own model has the plain name."""
    return directory / (stage if view == FINAL else f"{stage}-{view.label}")


def _plan(
    study: StudySettings,
    model: LoadedModel,
    corpus: Corpus,
    num_queries: int,
    sources: Sequence[ViewSource],
    progress: Progress,
) -> tuple[Coverage, Plan]:
    """Plans one pass, and says what all of them take; they share the disk budget."""
    from whence.gradients import plan, require_engine
    from whence.models import coverage

    settings = study.attribution
    covered = coverage(model, modules=settings.modules)
    share = settings.disk_budget_gb / len(sources)
    found = plan(
        model,
        corpus,
        covered,
        settings.model_copy(update={"disk_budget_gb": share}),
        num_queries=num_queries,
    )
    if found.path == "stored":
        require_engine()
    if len(sources) > 1:
        passes = ", ".join(source.view.label for source in sources)
        found = replace(
            found,
            reason=f"{found.reason} One pass for each view of the gradients: {passes}.",
            seconds=found.seconds * len(sources),
            disk_bytes=found.disk_bytes * len(sources),
        )
    progress.note(describe(found))
    return covered, found
