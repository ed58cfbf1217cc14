"""What will an attribution take, and by which path, before anything long starts?

Exact streamed products are the better answer and cost nothing to keep, but the queries' gradients
must fit into memory and every new query costs another pass. A stored index answers at once, but
must be projected to fit on a disk, and in small models the projection is the largest error.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from whence.errors import ArtifactError, SettingsError
from whence.gradients.probe import Measured, measure
from whence.records import Corpus, Coverage, LoadedModel, Plan
from whence.settings import AttributionSettings

MAX_STREAMED_WEIGHTS = 5_000_000
MAX_QUERY_BYTES = 4 * 10**9
DIMS = (64, 32, 16, 8)

Measure = Callable[..., Measured]


class _Choice(NamedTuple):
    path: Literal["streamed", "stored"]
    reason: str
    projection_dim: int | None = None
    disk_bytes: int = 0


def plan(
    model: LoadedModel,
    corpus: Corpus,
    coverage: Coverage,
    settings: AttributionSettings,
    *,
    num_queries: int,
    directory: Path | None = None,
    measure: Measure = measure,
) -> Plan:
    """Chooses a path, and measures on this machine what it will take.

    Args:
        model: The model.
        corpus: The examples.
        coverage: Which modules are attributed.
        settings: Path, projection and disk budget, as far as the user has chosen.
        num_queries: How many queries will be asked.
        directory: Where an index would be written; the working directory by default.
        measure: Runs a few batches and says what the whole pass takes.

    Returns:
        The path with its reason. `seconds` and `memory_bytes` are extrapolated from a few batches
        that were run here and now; they move with what else the machine is doing.

    Raises:
        SettingsError: No projection worth having fits the disk budget.
        ArtifactError: The disk has not enough room for the index.
    """
    choice = _choose(corpus, coverage, settings, num_queries=num_queries)
    if choice.disk_bytes:
        _check_room(choice.disk_bytes, directory or Path.cwd())
    measured = measure(
        model,
        corpus,
        modules=tuple(coverage.modules),
        path=choice.path,
        projection_dim=choice.projection_dim,
        projection_seed=settings.projection_seed,
        num_queries=num_queries,
        token_batch_size=settings.token_batch_size,
    )
    return Plan(
        path=choice.path,
        reason=choice.reason,
        projection_dim=choice.projection_dim,
        disk_bytes=choice.disk_bytes,
        memory_bytes=measured.memory_bytes,
        seconds=measured.seconds,
    )


def index_bytes(coverage: Coverage, *, num_examples: int, projection_dim: int | None) -> int:
    """Counts the bytes of `gradients.bin`: 4 for each number of each example."""
    if projection_dim is None:
        return 4 * num_examples * coverage.num_attributed
    return 4 * num_examples * len(coverage.modules) * projection_dim**2


def _choose(
    corpus: Corpus, coverage: Coverage, settings: AttributionSettings, *, num_queries: int
) -> _Choice:
    weights = coverage.num_attributed
    if settings.path == "streamed":
        return _Choice("streamed", "It was asked for.")
    if settings.path == "stored":
        return _stored(corpus, coverage, settings, why="It was asked for")
    if settings.projection_dim is not None:
        return _stored(corpus, coverage, settings, why="A projection was asked for")
    if weights > MAX_STREAMED_WEIGHTS:
        why = f"{weights:,} attributed weights are more than {MAX_STREAMED_WEIGHTS:,}"
        return _stored(corpus, coverage, settings, why=why)
    if 4 * weights * num_queries > MAX_QUERY_BYTES:
        size = 4 * weights * num_queries / 1e9
        why = f"The gradients of {num_queries} queries would take {size:.0f} GB of memory"
        return _stored(corpus, coverage, settings, why=why)
    return _Choice(
        "streamed",
        f"With {weights:,} attributed weights whole gradients can be compared; in a model of this "
        "size a projection would be the largest error.",
    )


def _stored(
    corpus: Corpus, coverage: Coverage, settings: AttributionSettings, *, why: str
) -> _Choice:
    budget = int(settings.disk_budget_gb * 1e9)
    chosen = settings.projection_dim
    candidates: Sequence[int | None] = (None, *DIMS) if chosen is None else (chosen,)

    def size(dim: int | None) -> int:
        return index_bytes(coverage, num_examples=len(corpus), projection_dim=dim)

    for dim in candidates:
        if size(dim) <= budget:
            return _Choice("stored", f"{why}; {_describe(dim, settings)}", dim, size(dim))
    least = candidates[-1]
    raise SettingsError(
        f"An index of {len(corpus):,} examples with {least} x {least} numbers for each of "
        f"{len(coverage.modules)} modules takes {size(least) / 1e9:.2g} GB, and the budget is "
        f"{settings.disk_budget_gb:g} GB.",
        f"Set `disk_budget_gb` to at least {size(least) / 1e9:.2g}, choose fewer modules, or take "
        "a smaller corpus.",
    )


def _describe(dim: int | None, settings: AttributionSettings) -> str:
    if dim is None:
        return f"whole gradients fit into {settings.disk_budget_gb:g} GB."
    reason = "as asked for" if settings.projection_dim else "the most that fits the disk budget"
    return (
        f"each module's gradient is projected to {dim} x {dim} numbers, {reason}. Scores then vary "
        "with the projection's seed."
    )


def _check_room(num_bytes: int, directory: Path) -> None:
    place = next(p for p in (directory.absolute(), *directory.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    if free < num_bytes:
        raise ArtifactError(
            f"The index takes {num_bytes / 1e9:.2g} GB, and {place} has {free / 1e9:.2g} GB free.",
            "Free some disk space, or lower `disk_budget_gb`.",
        )
