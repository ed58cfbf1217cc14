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
from whence.methods.rows import GradientRows
from whence.progress import Progress
from whence.records import Behavior, Corpus, Coverage, GradientProducts, LoadedModel, Plan, Query
from whence.settings import AttributionSettings, BehaviorFile, StudySettings
from whence.study import stages
from whence.study.index import describe
from whence.study.inputs import checkpoint_step, open_behaviors
from whence.study.views import ViewSource, view_source, with_learning_rates

ROWS_DIM = 32


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
    if sources.products or sources.rows:
        try:
            coverage, plan = _plan(study, model, corpus, len(queries), sources, progress)
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
            for source in sources.rows:
                rows[source.view] = stages.rows_stage(
                    _place(directory, "rows", source.view),
                    model,
                    corpus,
                    queries,
                    source=source,
                    projection_dim=_rows_dim(settings),
                    modules=tuple(coverage.modules),
                    settings=settings,
                    progress=progress,
                )
    given = replace(bare, products=products, rows=rows)
    with clock("scores"), progress.task("Scoring", total=len(methods), unit="methods") as task:
        for name in methods:
            needs = find_method(name).needs(settings)
            places = [_place(directory, "products", view) for view in needs.products]
            places += [_place(directory, "rows", view) for view in needs.rows]
            keys = {place.name: read_manifest(place)["key"] for place in places}
            stages.scores_stage(directory / "scores" / name, name, given, products_keys=keys)
            task.advance()
    return Attributed(methods, coverage, plan, skipped)


class Sources(NamedTuple):
    """The views of which products, and stored rows, are needed."""

    products: tuple[ViewSource, ...]
    rows: tuple[ViewSource, ...]

    @property
    def labels(self) -> list[str]:
        """Names of the passes over the corpus."""
        stored = [f"{source.view.label} (rows)" for source in self.rows]
        return [source.view.label for source in self.products] + stored


def prepare(study: StudySettings, *, cache: Path) -> tuple[StudySettings, Sources]:
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
    needed = [find_method(name).needs(settings) for name in settings.methods]
    products = dict.fromkeys(view for needs in needed for view in needs.products)
    rows = dict.fromkeys(view for needs in needed for view in needs.rows)
    if settings.checkpoint_local:
        last = checkpoint_step(study.model)
        if later := [c for c in settings.checkpoints if c > last]:
            raise SettingsError(
                f"The checkpoint {later[0]} comes after the model's own, {last}.",
                "Leave it out of `checkpoints`, or leave `checkpoint_local` out.",
            )
    return study, Sources(
        *(
            tuple(view_source(study, view, cache=cache) for view in views)
            for views in (products, rows)
        )
    )


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


def _rows_dim(settings: AttributionSettings) -> int:
    """Chooses the projection of stored rows, whose curvature has p⁴ numbers for each module."""
    return settings.projection_dim or ROWS_DIM


def _place(directory: Path, stage: str, view: View) -> Path:
    """The directory of a view's stage; that of the study's own model has the plain name."""
    return directory / (stage if view == FINAL else f"{stage}-{view.label}")


def _plan(
    study: StudySettings,
    model: LoadedModel,
    corpus: Corpus,
    num_queries: int,
    sources: Sources,
    progress: Progress,
) -> tuple[Coverage, Plan]:
    """Plans one pass, and says what all of them take; they share the disk budget.

    A pass that stores rows is measured as such where there is no other, and otherwise taken to last
    as long as the others, which is about so.
    """
    from whence.gradients import plan, require_engine
    from whence.models import coverage

    settings = study.attribution
    covered = coverage(model, modules=settings.modules)
    stored = 4 * len(corpus) * len(covered.modules) * _rows_dim(settings) ** 2
    budget = settings.disk_budget_gb * 1e9 - stored * len(sources.rows)
    if budget <= 0:
        raise SettingsError(
            f"The rows of {len(sources.rows)} views take {stored * len(sources.rows) / 1e9:.2g} GB "
            f"with {_rows_dim(settings)} x {_rows_dim(settings)} numbers for each module, and the "
            f"budget is {settings.disk_budget_gb:g} GB.",
            "Raise `disk_budget_gb`, or set a smaller `projection_dim`.",
        )
    changes: dict[str, Any] = {"disk_budget_gb": budget / 1e9 / max(len(sources.products), 1)}
    if not sources.products:
        changes = {"path": "stored", "projection_dim": _rows_dim(settings)}
    elif settings.path == "auto" and sources.rows and settings.projection_dim is not None:
        # The projection is that of the rows; it does not ask for a projected comparison.
        changes |= {"projection_dim": None}
    found = plan(
        model, corpus, covered, settings.model_copy(update=changes), num_queries=num_queries
    )
    if found.path == "stored" or sources.rows:
        require_engine()
    passes = len(sources.labels)
    if passes > 1:
        found = replace(
            found,
            reason=f"{found.reason} One pass for each view of the gradients: "
            f"{', '.join(sources.labels)}.",
            seconds=found.seconds * passes,
            disk_bytes=found.disk_bytes * max(len(sources.products), 1)
            + (stored * len(sources.rows) if sources.products else 0),
        )
    progress.note(describe(found))
    return covered, found
