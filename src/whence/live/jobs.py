"""One queue and one worker: queries are answered in the order in which they came.

A pass changes the model's hooks, so that two at once would mix their gradients. A job reports how
far it is, can be cancelled while it waits or runs, and keeps its result for a while.
"""

import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from whence.errors import WhenceError
from whence.progress import Progress, Task

State = Literal["waiting", "running", "done", "failed", "cancelled"]
Work = Callable[[Progress], Mapping[str, Any]]

MAX_WAITING = 64
MAX_KEPT = 256
_LOG = logging.getLogger(__name__)


class BusyError(WhenceError):
    """The queue is full."""


class _CancelledError(Exception):
    """Stops the work of a job that nobody waits for any more."""


@dataclass
class Job:
    """One piece of work; `id` cannot be guessed, so that only who asked can read the answer."""

    work: Work
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: State = "waiting"
    step: str = ""
    done: float = 0.0
    total: float | None = None
    result: Mapping[str, Any] | None = None
    error: tuple[str, str] | None = None
    seconds: float | None = None
    is_cancelled: bool = False


class JobQueue:
    """Runs jobs one after another in a thread of its own.

    Args:
        max_waiting: More jobs than this do not wait; they are refused.
    """

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._waiting: deque[Job] = deque()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="whence-queries", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> Job:
        """Puts a job at the end of the queue.

        Raises:
            BusyError: The queue is full, or the server is stopping.
        """
        with self._changed:
            if self._is_closed or len(self._waiting) >= self._max_waiting:
                raise BusyError(
                    f"{len(self._waiting)} queries are waiting already.", "Try again in a while."
                )
            job = Job(work)
            self._waiting.append(job)
            self._jobs[job.id] = job
            self._forget()
            self._changed.notify_all()
            return job

    def find(self, job_id: str) -> Job | None:
        """Finds a job by its id; None where there is none, or where it was long ago."""
        with self._changed:
            return self._jobs.get(job_id)

    def describe(self, job: Job) -> dict[str, Any]:
        """Lays a job out as JSON; `position` counts the jobs before it."""
        with self._changed:
            position = self._waiting.index(job) + 1 if job in self._waiting else 0
            return {
                "id": job.id,
                "state": job.state,
                "position": position,
                "step": job.step,
                "done": job.done,
                "total": job.total,
                "seconds": job.seconds,
                "result": job.result,
                "error": job.error and {"problem": job.error[0], "remedy": job.error[1]},
            }

    def cancel(self, job: Job) -> None:
        """Takes a waiting job out of the queue, and stops a running one at its next step."""
        with self._changed:
            job.is_cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)
                job.state = "cancelled"

    def close(self, *, timeout_seconds: float = 10.0) -> bool:
        """Cancels everything and waits for the worker.

        Returns:
            Whether it has stopped in time.
        """
        with self._changed:
            self._is_closed = True
            for job in self._jobs.values():
                if job.state in ("waiting", "running"):
                    job.is_cancelled = True
                    job.state = "cancelled" if job.state == "waiting" else job.state
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _forget(self) -> None:
        ended = [i for i, job in self._jobs.items() if job.state not in ("waiting", "running")]
        for job_id in ended[: max(0, len(self._jobs) - MAX_KEPT)]:
            del self._jobs[job_id]

    def _work(self) -> None:
        while (job := self._next()) is not None:
            started = time.monotonic()
            result: Mapping[str, Any] | None = None
            error: tuple[str, str] | None = None
            state: State = "failed"
            try:
                result = job.work(_JobProgress(job))
                state = "done"
            except _CancelledError:
                state = "cancelled"
            except WhenceError as wrong:
                error = (wrong.problem, wrong.remedy)
            except Exception:
                # The server stays up; what happened is for whoever runs it.
                _LOG.exception("A query failed")
                error = (
                    "Something went wrong on the server.",
                    "Look at its terminal, and report what stands there.",
                )
            with self._changed:
                job.result, job.error, job.state = result, error, state
                job.seconds = time.monotonic() - started
                job.work = _nothing

    def _next(self) -> Job | None:
        with self._changed:
            while not self._waiting and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                return None
            job = self._waiting.popleft()
            job.state = "running"
            return job


def _nothing(progress: Progress) -> Mapping[str, Any]:
    """Stands in the place of work that was done, so that nothing it holds stays in memory."""
    return {}


class _JobProgress:
    """Writes progress into a job, and stops the work of one that was cancelled."""

    def __init__(self, job: Job) -> None:
        self._job = job

    @contextmanager
    def task(self, name: str, *, total: float | None, unit: str) -> Iterator[Task]:
        self._check()
        self._job.step, self._job.done, self._job.total = f"{name} ({unit})", 0.0, total
        yield self
        self._check()

    def advance(self, amount: float = 1.0) -> None:
        self._job.done += amount
        self._check()

    def note(self, message: str) -> None:
        self._job.step = message

    def _check(self) -> None:
        if self._job.is_cancelled:
            raise _CancelledError
