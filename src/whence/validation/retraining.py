"""Retrainings of the testbed without some examples, each kept in a file.

Each retraining is one small file, named by a hash of what determines it. What is there is not made
again, whichever caller made it first: a factorial bank and single removals share one directory.
"""

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from whence.artifacts import clear_disk_errors, fingerprint, versions, write_json
from whence.errors import ArtifactError, SettingsError
from whence.progress import SILENT, Progress
from whence.records import LoadedModel
from whence.settings import MOST
from whence.testbed import (
    RetrainingSettings,
    behaviors,
    kept_state,
    retrained_model,
    retraining_inputs,
)

if TYPE_CHECKING:
    from whence.training import TrainingState

SETUP = "setup.json"
STATES = "states"


class Retraining(NamedTuple):
    """One training run without some examples; `seed` 0 is the testbed's own start and order."""

    dropped: frozenset[str]
    seed: int = 0


class Outcome(NamedTuple):
    """The log-probability of each behavior's completion, in nats, and the seconds of training."""

    log_probs_nats: Mapping[str, float]
    seconds: float


def check_counts(*, jobs: int, most: int | None) -> None:
    """Refuses numbers of processes and of trainings that make no sense; changes nothing.

    Raises:
        SettingsError: One is below 1, or beyond all bounds.
    """
    for name, value in (("jobs", jobs), ("most", most)):
        if value is not None and not 1 <= value <= MOST:
            raise SettingsError(f"`{name}` is {value}.", f"Give at least 1, and at most {MOST:,}.")


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
    missing = [run for run in dict.fromkeys(runs) if not _path(place, run).is_file()]
    now = missing[:most]
    if len(missing) < len(set(runs)):
        progress.note(f"{len(set(runs)) - len(missing)} of {len(set(runs))} runs were made before.")
    if now:
        # Before any worker starts: they all read it, and none needs to make it.
        with _one_thread():
            starting_state(settings, place)
        with progress.task("Retrain", total=len(now), unit="runs") as task:
            for _ in _each(settings, place, now, jobs=jobs):
                task.advance()
    return len(missing) - len(now)


def read_outcomes(
    settings: RetrainingSettings, runs: Sequence[Retraining], directory: Path
) -> tuple[Outcome | None, ...]:
    """Reads the outcomes of some runs; None for one that has not been made.

    Raises:
        ArtifactError: A file is broken.
    """
    place = place_of(settings, directory)
    return tuple(_read(_path(place, run)) for run in runs)


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


def _path(place: Path, run: Retraining) -> Path:
    return place / "runs" / f"{fingerprint(sorted(run.dropped), run.seed)}.json"


def _read(path: Path) -> Outcome | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return Outcome(value["log_probs_nats"], value["seconds"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}).", "Delete it.") from None


def _each(
    settings: RetrainingSettings, place: Path, runs: Sequence[Retraining], *, jobs: int
) -> Iterator[None]:
    if jobs == 1:
        with _one_thread():
            for run in runs:
                _make(settings, place, run)
                yield
        return
    # Spawned and not forked: a fork would copy torch's threads in whatever state they are.
    with ProcessPoolExecutor(
        min(jobs, len(runs)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    ) as pool:
        pending = {pool.submit(_make, settings, place, run) for run in runs}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    yield
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    """Prepares a worker process: one thread, and no life beyond that of its parent."""
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    write_json(
        _path(place, run),
        {
            "dropped": sorted(run.dropped),
            "seed": run.seed,
            "seconds": round(time.perf_counter() - started, 3),
            "log_probs_nats": _log_probs(model, settings.size),
        },
    )


def _log_probs(model: LoadedModel, size: str) -> dict[str, float]:
    from whence.behaviors.measure import measure_own

    known = behaviors(size)
    measured = measure_own(model, known)
    return {b.id: one.log_prob_nats for b, one in zip(known, measured, strict=True)}
