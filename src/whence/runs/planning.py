"""What a study's methods need computed, and what the passes over the corpus take together."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from whence.artifacts import write_json
from whence.artifacts.stage import Stage
from whence.errors import SettingsError
from whence.methods import Request, check_methods, find_method
from whence.methods.products import rows_dim
from whence.methods.requests import CorpusPass
from whence.progress import Progress
from whence.records import Corpus, Coverage, Plan
from whence.runs.directory import Run
from whence.runs.indexing import describe
from whence.runs.models import StudyModel
from whence.runs.views import StudyModels
from whence.settings import IndexSettings, StudySettings

if TYPE_CHECKING:
    from whence.gradients.index.preflight import PathChoice


class Needed(NamedTuple):
    """The requests of each method of a study, and the models that they are about."""

    models: StudyModels
    by_method: Mapping[str, tuple[Request[object], ...]]

    def passes(self, methods: Sequence[str]) -> tuple[CorpusPass[object], ...]:
        """Lists the passes over the corpus that some methods need, each once, in their order."""
        found = dict.fromkeys(request for name in methods for request in self.by_method[name])
        return tuple(request for request in found if isinstance(request, CorpusPass))


def prepare(study: StudySettings, models: StudyModels) -> Needed:
    """Lists what the study's methods need, and checks it before anything long starts.

    Raises:
        SettingsError: A method does not exist, or the study does not name what it needs.
    """
    settings = study.attribution
    check_methods(settings.methods)
    by_method = {name: find_method(name).needs(settings) for name in settings.methods}
    for request in dict.fromkeys(request for needs in by_method.values() for request in needs):
        request.check(models)
    return Needed(models, by_method)


def coverage_stage(model: StudyModel, settings: IndexSettings) -> Stage[Coverage]:
    """Which parameters are attributed, kept so that planning needs no model."""
    from whence.models import coverage

    def make(place: Path) -> None:
        found = coverage(model.loaded, modules=settings.modules, include_bias=settings.include_bias)
        write_json(place / "coverage.json", found.to_json())

    def read(place: Path) -> Coverage:
        return Coverage.from_json(json.loads((place / "coverage.json").read_text(encoding="utf-8")))

    return Stage(
        "coverage",
        2,
        {
            "model": model.fingerprint,
            "modules": settings.modules,
            "include_bias": settings.include_bias,
        },
        make=make,
        read=read,
    )


def plan_passes(
    run: Run,
    study: StudySettings,
    corpus: Corpus,
    num_queries: int,
    needed: Needed,
    methods: Sequence[str],
    progress: Progress,
    *,
    is_made: Callable[[CorpusPass[object], Coverage, Plan], bool],
) -> tuple[Coverage, Plan]:
    """Plans one pass, and says what all of them take; they share the disk budget.

    A pass that stores rows is measured as such where there is no other, and otherwise counted as
    long as the others, which is about so. What a kept plan measured, perhaps on a busy machine, is
    measured again while a pass is left to compute.

    Args:
        run: Keeps the plan.
        study: The study.
        corpus: The examples.
        num_queries: With how many queries they are compared.
        needed: What the methods request.
        methods: Those that are scored.
        progress: Reports progress.
        is_made: Whether the run has the result of a pass under a plan.

    Raises:
        SettingsError: What is to be stored does not fit the disk budget, or a pass cannot follow
            the path, or a method cannot use the rows.
        MissingEngineError: Bergson is needed, and cannot be imported.
    """
    from whence.gradients import require_engine
    from whence.gradients.index.preflight import index_bytes

    model = needed.models.own
    settings, path, dim = study.index, study.attribution.path, rows_dim(study.index)
    passes = needed.passes(methods)
    covered = run.get(coverage_stage(model, settings))
    for name in methods:
        if (check := find_method(name).check_rows) is not None:
            check(study.attribution, dict.fromkeys(covered.modules, dim * dim), len(corpus))
    num_rows = sum(request.holds == "stored" for request in passes)
    num_planned = sum(request.holds == "planned" for request in passes)
    stored = num_rows * index_bytes(
        covered, num_examples=len(corpus), projection_dim=dim, rank=settings.rank
    )
    budget = settings.disk_budget_gb * 1e9 - stored
    if budget <= 0:
        raise SettingsError(
            f"The rows of {num_rows} views take {stored / 1e9:.2g} GB with {dim} x {dim} numbers "
            f"for each module, and the budget is {settings.disk_budget_gb:g} GB.",
            "Raise `index.disk_budget_gb`, or set a smaller `index.projection_dim`.",
        )
    changes: dict[str, object] = {"disk_budget_gb": budget / 1e9 / max(num_planned, 1)}
    if num_rows == len(passes):
        path = "stored"
        changes = {"projection_dim": dim}
    elif any(request.holds == "stored" for request in needed.passes(study.attribution.methods)):
        # These are choices about the rows; they do not ask for a comparison of stored gradients.
        changes |= settings.without_row_options()
        if path == "auto":
            changes |= {"projection_dim": None}
    measure, stage = _plan_stage(
        model,
        corpus,
        covered,
        settings.model_copy(update=changes),
        path=path,
        num_queries=num_queries,
        directory=run.directory,
        progress=progress,
    )
    was_kept = run.has(stage)
    found = run.get(stage)
    if num_rows < len(passes):
        for request in passes:
            request.check_plan(found)
    if found.path == "stored":
        require_engine()
    is_left = not all(is_made(request, covered, found) for request in passes)
    if was_kept and is_left:
        found = measure()
    num_passes = sum(request.num_passes(num_queries=num_queries) for request in passes)
    if num_passes > 1:
        found = replace(
            found,
            reason=f"{found.reason} One pass for each view of the gradients: "
            f"{', '.join(request.label for request in passes)}.",
            seconds=found.seconds * num_passes,
            disk_bytes=found.disk_bytes * num_planned + stored,
        )
    progress.note(describe(found, is_made=not is_left))
    return covered, found


def _plan_stage(
    model: StudyModel,
    corpus: Corpus,
    covered: Coverage,
    settings: IndexSettings,
    *,
    path: "PathChoice",
    num_queries: int,
    directory: Path,
    progress: Progress,
) -> tuple[Callable[[], Plan], Stage[Plan]]:
    """What one pass takes: a function that measures it now, and what it measured first.

    Keyed by what was chosen and not by the budget, so that a larger one which changes nothing does
    not measure again.
    """
    from whence.gradients import plan
    from whence.gradients.index.preflight import choose
    from whence.models import notes

    choice = choose(corpus, covered, settings, path=path, num_queries=num_queries)

    def measure() -> Plan:
        return plan(
            model.loaded,
            corpus,
            covered,
            settings,
            num_queries=num_queries,
            path=path,
            directory=directory,
        )

    def make(place: Path) -> None:
        for note in notes(model.loaded):
            progress.note(note)
        write_json(place / "plan.json", asdict(measure()))

    return measure, Stage(
        "plan",
        1,
        {
            "model": model.fingerprint,
            "corpus": corpus.fingerprint,
            "num_queries": num_queries,
            "path": choice.path,
            "disk_bytes": choice.disk_bytes,
            "token_batch_size": settings.token_batch_size,
            "modules": list(covered.modules),
            **settings.model_copy(update={"projection_dim": choice.projection_dim}).key(),
        },
        make=make,
        read=lambda place: Plan(**json.loads((place / "plan.json").read_text(encoding="utf-8"))),
    )
