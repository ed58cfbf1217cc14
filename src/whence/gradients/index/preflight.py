"""Chooses the path of an attribution, and estimates its time, memory and disk before it starts.

Exact streamed products are the better answer and cost nothing to keep, but the queries' gradients
must fit into memory and every new query costs another pass. A stored index answers at once, but
must be projected to fit on a disk, and in small models the projection is the largest error.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from whence.artifacts import is_cached, partial_directory
from whence.errors import ArtifactError, SettingsError
from whence.gradients.index.files import number_type
from whence.gradients.index.manifest import FACTORS, GRADIENTS
from whence.gradients.index.probe import measure
from whence.records import Corpus, Coverage, LoadedModel, Plan
from whence.settings import IndexSettings

MAX_STREAMED_WEIGHTS = 5_000_000
MAX_QUERY_BYTES = 4 * 10**9
DIMS = (64, 32, 16, 8)
_ROWS = (GRADIENTS, FACTORS)
PathChoice = Literal["auto", "streamed", "stored"]


class Choice(NamedTuple):
    """The path with its reason, and what it keeps on disk."""

    path: Literal["streamed", "stored"]
    reason: str
    projection_dim: int | None = None
    disk_bytes: int = 0


def plan(
    model: LoadedModel,
    corpus: Corpus,
    coverage: Coverage,
    settings: IndexSettings,
    *,
    num_queries: int,
    path: PathChoice = "auto",
    directory: Path | None = None,
) -> Plan:
    """Chooses a path, and measures on this machine what it will take.

    Args:
        model: The model.
        corpus: The examples.
        coverage: Which modules are attributed.
        settings: Modules, projection and disk budget, as far as the user has chosen.
        num_queries: With how many queries the examples are compared.
        path: The path, where the user has chosen one.
        directory: The place of an index, or of what it will be a part of; by default the working
            directory. Rows that are there, as of a build that was interrupted, need no more room.

    Returns:
        The path with its reason. `seconds` and `memory_bytes` are extrapolated from a few batches
        that were run here and now; they move with what else the machine is doing.

    Raises:
        SettingsError: No projection worth having fits the disk budget, or an option of stored rows
            was chosen for the streamed path.
        ArtifactError: The disk has not enough room for the index.
    """
    choice = choose(corpus, coverage, settings, path=path, num_queries=num_queries)
    if choice.disk_bytes:
        num_bytes = choice.disk_bytes * number_type(settings.storage).itemsize // 4
        _check_room(num_bytes, directory)
    measured = measure(
        model,
        corpus,
        settings.model_copy(update={"projection_dim": choice.projection_dim}),
        path=choice.path,
        num_queries=num_queries,
    )
    return Plan(
        path=choice.path,
        reason=choice.reason,
        projection_dim=choice.projection_dim,
        disk_bytes=choice.disk_bytes,
        memory_bytes=measured.memory_bytes,
        seconds=measured.seconds,
    )


def index_bytes(
    coverage: Coverage, *, num_examples: int, projection_dim: int | None, rank: int | None = None
) -> int:
    """Counts the bytes of the rows: 4 for each number of each example."""
    if projection_dim is None:
        return 4 * num_examples * coverage.num_attributed
    if rank is not None:
        numbers = 2 * projection_dim * min(rank, projection_dim)
        return 4 * num_examples * len(coverage.modules) * numbers
    return 4 * num_examples * len(coverage.modules) * projection_dim**2


def choose(
    corpus: Corpus,
    coverage: Coverage,
    settings: IndexSettings,
    *,
    path: PathChoice,
    num_queries: int,
) -> Choice:
    """Chooses a path and a projection, without measuring what they take.

    Raises:
        SettingsError: No projection worth having fits the disk budget, or an option of stored rows
            was chosen for the streamed path.
    """
    weights = coverage.num_attributed
    option = next((f"{name} = {value}" for name, value in settings.row_options.items()), None)
    if path == "streamed":
        if option is not None:
            raise SettingsError(
                f"`index.{option}` is about stored rows, and the path is `streamed`.",
                "Leave it out, or leave the path to `auto`.",
            )
        return Choice("streamed", "The settings name this path.")
    if path == "stored":
        return _stored(corpus, coverage, settings, why="The settings name this path")
    if settings.projection_dim is not None:
        return _stored(corpus, coverage, settings, why="The study sets a projection")
    if option is not None:
        return _stored(corpus, coverage, settings, why=f"The study sets `{option}`")
    if weights > MAX_STREAMED_WEIGHTS:
        why = f"{weights:,} attributed weights are more than {MAX_STREAMED_WEIGHTS:,}"
        return _stored(corpus, coverage, settings, why=why)
    if 4 * weights * num_queries > MAX_QUERY_BYTES:
        size = 4 * weights * num_queries / 1e9
        why = f"The gradients of {num_queries} queries would take {size:.0f} GB of memory"
        return _stored(corpus, coverage, settings, why=why)
    return Choice(
        "streamed",
        f"With {weights:,} attributed weights whole gradients can be compared; in a model of this "
        "size a projection would be the largest error.",
    )


def _stored(corpus: Corpus, coverage: Coverage, settings: IndexSettings, *, why: str) -> Choice:
    budget = int(settings.disk_budget_gb * 1e9)
    chosen = settings.projection_dim
    candidates: Sequence[int | None] = (None, *DIMS) if chosen is None else (chosen,)
    if chosen is None and settings.rank is not None:
        candidates = DIMS  # Whole gradients of low rank are larger than their projections.

    def size(dim: int | None) -> int:
        return index_bytes(
            coverage, num_examples=len(corpus), projection_dim=dim, rank=settings.rank
        )

    for dim in candidates:
        if size(dim) <= budget:
            return Choice("stored", f"{why}; {_describe(dim, settings)}", dim, size(dim))
    least = candidates[-1]
    raise SettingsError(
        f"An index of {len(corpus):,} examples with {least} x {least} dimensions for each of "
        f"{len(coverage.modules)} modules needs {size(least) / 1e9:.2g} GB, and the budget is "
        f"{settings.disk_budget_gb:g} GB.",
        f"Set `disk_budget_gb` to at least {size(least) / 1e9:.2g}, choose fewer modules, or use "
        "a smaller corpus.",
    )


def _describe(dim: int | None, settings: IndexSettings) -> str:
    if dim is None:
        return f"whole gradients fit into {settings.disk_budget_gb:g} GB."
    reason = "as set" if settings.projection_dim else "the most that fits the disk budget"
    return (
        f"each module's gradient is projected to {dim} x {dim} dimensions, {reason}. Scores then "
        "vary with the projection's seed."
    )


def _check_room(num_bytes: int, directory: Path | None) -> None:
    """Refuses an index for which the disk is too small, as far as can be known before it is made.

    Raises:
        ArtifactError: It is.
    """
    if directory is None:
        directory = Path.cwd()
    else:
        num_bytes -= _held_bytes(directory) + _held_bytes(partial_directory(directory))
    place = next(p for p in (directory.absolute(), *directory.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    if free < num_bytes:
        raise ArtifactError(
            f"The index needs {num_bytes / 1e9:.2g} GB, and {place} has {free / 1e9:.2g} GB free.",
            "Free some disk space, "
            + ("name another folder in WHENCE_CACHE, " if is_cached(directory) else "")
            + "or lower `disk_budget_gb`.",
        )


def _held_bytes(directory: Path) -> int:
    """Counts the bytes of all rows below a directory, in which other processes may be at work."""
    total = 0
    for folder, _, files in os.walk(directory):
        for name in _ROWS:
            if name in files:
                with suppress(FileNotFoundError):
                    total += Path(folder, name).stat().st_size
    return total
