"""Retrainings without some examples, each kept in a file: what is there is not made again.

Each is named by a hash of what was left out and of its seed, so that whoever needs it first makes
it: a factorial bank and single removals share one directory. What is trained, a testbed or a
user's checkpoint, is the caller's.
"""

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from whence.artifacts import fingerprint, write_json
from whence.errors import ArtifactError, SettingsError
from whence.progress import SILENT, Progress
from whence.settings import MOST


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


def make_missing(
    place: Path,
    runs: Sequence[Retraining],
    make: Callable[[Retraining], None],
    *,
    before: Callable[[], object],
    jobs: int = 1,
    most: int | None = None,
    progress: Progress = SILENT,
) -> int:
    """Makes those of some retrainings that have no file yet; interrupted, the next call resumes.

    Args:
        place: The folder that holds them.
        runs: What to train; in this order, where only some are made.
        make: Trains one and writes its file; has to be picklable where there are several processes.
        before: Called once, with one thread, before anything is made: what all of them read.
        jobs: Processes, of one thread each. Their number does not change the outcomes.
        most: Make at most so many now; by default all.
        progress: Reports progress.

    Returns:
        How many of the runs are still to be made.

    Raises:
        SettingsError: `jobs` or `most` is below 1.
    """
    check_counts(jobs=jobs, most=most)
    missing = [run for run in dict.fromkeys(runs) if not outcome_path(place, run).is_file()]
    now = missing[:most]
    if len(missing) < len(set(runs)):
        progress.note(f"{len(set(runs)) - len(missing)} of {len(set(runs))} runs were made before.")
    if now:
        with one_thread():
            before()
        with progress.task("Retrain", total=len(now), unit="runs") as task:
            for _ in _each(now, make, jobs=jobs):
                task.advance()
    return len(missing) - len(now)


def outcome_path(place: Path, run: Retraining) -> Path:
    """Names the file of a retraining."""
    return place / "runs" / f"{fingerprint(sorted(run.dropped), run.seed)}.json"


def write_outcome(place: Path, run: Retraining, outcome: Outcome) -> None:
    """Writes the file of a retraining."""
    write_json(
        outcome_path(place, run),
        {
            "dropped": sorted(run.dropped),
            "seed": run.seed,
            "seconds": outcome.seconds,
            "log_probs_nats": dict(outcome.log_probs_nats),
        },
    )


def read_outcome(place: Path, run: Retraining) -> Outcome | None:
    """Reads the file of a retraining; None where it has not been made.

    Raises:
        ArtifactError: The file is broken.
    """
    path = outcome_path(place, run)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return Outcome(value["log_probs_nats"], value["seconds"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}).", "Delete it.") from None


def _each(
    runs: Sequence[Retraining], make: Callable[[Retraining], None], *, jobs: int
) -> Iterator[None]:
    if jobs == 1:
        with one_thread():
            for run in runs:
                make(run)
                yield
        return
    # Spawned and not forked: a fork would copy torch's threads in whatever state they are.
    with ProcessPoolExecutor(
        min(jobs, len(runs)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    ) as pool:
        pending = {pool.submit(make, run) for run in runs}
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
def one_thread() -> Iterator[None]:
    """Computes with one thread, so that sums have one order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
