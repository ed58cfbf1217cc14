"""Which passes over the corpus does a study take, and what do they take together?"""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from whence.errors import SettingsError
from whence.methods import check_methods, find_method
from whence.progress import Progress
from whence.records import Corpus, Coverage, LoadedModel, Plan
from whence.settings import AttributionSettings, StudySettings
from whence.study.index import describe
from whence.study.inputs import checkpoint_step
from whence.study.views import ViewSource, view_source, with_learning_rates

ROWS_DIM = 32


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
        steps = (*settings.tracin.checkpoints, *settings.source.checkpoints)
        if later := [step for step in steps if step > last]:
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


def rows_dim(settings: AttributionSettings) -> int:
    """Chooses the projection of stored rows, whose curvature has p⁴ numbers for each module."""
    return settings.projection_dim or ROWS_DIM


def _asks_for_rows(settings: AttributionSettings) -> bool:
    return any(find_method(name).needs(settings).rows for name in settings.methods)


def plan_passes(
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

    Raises:
        SettingsError: What is to be stored does not fit the disk budget.
        MissingEngineError: Bergson is needed, and cannot be imported.
    """
    from whence.gradients import plan, require_engine
    from whence.gradients.preflight import index_bytes
    from whence.models import coverage

    settings = study.attribution
    covered = coverage(model, modules=settings.modules)
    stored = index_bytes(covered, num_examples=len(corpus), projection_dim=rows_dim(settings))
    budget = settings.disk_budget_gb * 1e9 - stored * len(sources.rows)
    if budget <= 0:
        raise SettingsError(
            f"The rows of {len(sources.rows)} views take {stored * len(sources.rows) / 1e9:.2g} GB "
            f"with {rows_dim(settings)} x {rows_dim(settings)} numbers for each module, and the "
            f"budget is {settings.disk_budget_gb:g} GB.",
            "Raise `disk_budget_gb`, or set a smaller `projection_dim`.",
        )
    changes: dict[str, Any] = {"disk_budget_gb": budget / 1e9 / max(len(sources.products), 1)}
    if not sources.products:
        changes = {"path": "stored", "projection_dim": rows_dim(settings)}
    elif settings.path == "auto" and _asks_for_rows(settings):
        # The projection is that of the rows; it does not ask for a projected comparison.
        changes |= {"projection_dim": None}
    found = plan(
        model, corpus, covered, settings.model_copy(update=changes), num_queries=num_queries
    )
    if found.path == "stored":
        require_engine()
    passes = sum(
        source.num_passes(num_queries=num_queries) for source in (*sources.products, *sources.rows)
    )
    if passes > 1:
        found = replace(
            found,
            reason=f"{found.reason} One pass for each view of the gradients: "
            f"{', '.join(sources.labels)}.",
            seconds=found.seconds * passes,
            disk_bytes=found.disk_bytes * len(sources.products) + stored * len(sources.rows),
        )
    progress.note(describe(found))
    return covered, found
