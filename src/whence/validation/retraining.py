"""Retrainings of the testbed without some examples, each kept in a file."""

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.artifacts import clear_disk_errors, fingerprint, versions, write_json
from whence.errors import ArtifactError
from whence.progress import SILENT, Progress
from whence.records import LoadedModel
from whence.testbed import (
    RetrainingSettings,
    behaviors,
    kept_state,
    retrained_model,
    retraining_inputs,
)
from whence.validation.outcomes import (
    Outcome,
    Retraining,
    check_counts,
    make_missing,
    read_outcome,
    write_outcome,
)

if TYPE_CHECKING:
    from whence.training import TrainingState

SETUP = "setup.json"
STATES = "states"


def make_outcomes(
    settings: RetrainingSettings,
    runs: Sequence[Retraining],
    directory: Path,
    *,
    jobs: int = 1,
    most: int | None = None,
    progress: Progress = SILENT,
) -> int:
    """Trains those of some runs that have no file yet; interrupted, the next call resumes.

    Args:
        settings: Which testbed.
        runs: What to train; in this order, where only some are made.
        directory: Where outcomes of all testbeds and settings are kept.
        jobs: Processes, of one thread each. Their number does not change the outcomes.
        most: Train at most so many now; by default all.
        progress: Reports progress.

    Returns:
        How many of the runs are still to be made.

    Raises:
        SettingsError: `jobs` or `most` is below 1.
        ArtifactError: The directory cannot be written.
    """
    check_counts(jobs=jobs, most=most)
    place = place_of(settings, directory)
    make_place(settings, place)
    return make_missing(
        place,
        runs,
        partial(_make, settings, place),
        # Before any worker starts: they all read it, and none needs to make it.
        before=lambda: starting_state(settings, place),
        jobs=jobs,
        most=most,
        progress=progress,
    )


def read_outcomes(
    settings: RetrainingSettings, runs: Sequence[Retraining], directory: Path
) -> tuple[Outcome | None, ...]:
    """Reads the outcomes of some runs; None for one that has not been made.

    Raises:
        ArtifactError: A file is broken.
    """
    place = place_of(settings, directory)
    return tuple(read_outcome(place, run) for run in runs)


def place_of(settings: RetrainingSettings, directory: Path) -> Path:
    """Names the folder of the outcomes that these settings determine."""
    return directory / f"testbed-{settings.size}-{fingerprint(_inputs(settings))}"


def _inputs(settings: RetrainingSettings) -> dict[str, object]:
    measured = [b.model_dump(mode="json") for b in behaviors(settings.size)]
    return {**retraining_inputs(settings), "behaviors": fingerprint(measured)}


def read_setups(size: str, directory: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Reads what determines each folder of outcomes of a testbed; sorted by the folders' names.

    Raises:
        ArtifactError: A file is broken.
    """
    found = []
    for path in sorted(directory.glob(f"testbed-{size}-*/{SETUP}")):
        try:
            found.append((path.parent, json.loads(path.read_text(encoding="utf-8"))["inputs"]))
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"{path} cannot be read ({error}).", "Delete it.") from None
    return found


def make_place(settings: RetrainingSettings, place: Path) -> None:
    """Makes the folder of these settings' outcomes, and writes down what determines them."""
    with clear_disk_errors(place):
        (place / "runs").mkdir(parents=True, exist_ok=True)
    write_json(place / SETUP, {"inputs": _inputs(settings), "versions": versions()})


def starting_state(settings: RetrainingSettings, place: Path) -> "TrainingState | None":
    """Reads the state that a window resumes from, which every window from there shares.

    Args:
        settings: Which steps are trained again.
        place: See `place_of`; the state is kept beside it, and trained where it is not there yet.

    Returns:
        The state; None where training starts anew.
    """
    if settings.since is None:
        return None
    whole = fingerprint(retraining_inputs(RetrainingSettings(size=settings.size)))
    name = f"testbed-{settings.size}-{whole}-step{settings.since}"
    return kept_state(settings, place.parent / STATES / name)


def _make(settings: RetrainingSettings, place: Path, run: Retraining) -> None:
    started = time.perf_counter()
    start = starting_state(settings, place)
    model = retrained_model(settings, dropped=run.dropped, seed=run.seed, start=start)
    found = _log_probs(model, settings.size)
    write_outcome(place, run, Outcome(found, round(time.perf_counter() - started, 3)))


def _log_probs(model: LoadedModel, size: str) -> dict[str, float]:
    from whence.behaviors.measure import measure_own

    known = behaviors(size)
    measured = measure_own(model, known)
    return {b.id: one.log_prob_nats for b, one in zip(known, measured, strict=True)}
