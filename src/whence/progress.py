"""The interface by which long computations report progress.

Long computations report to a `Progress`; only the command line draws one.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, amount: float = 1.0) -> None:
        """Says that `amount` more of the total is done."""
        ...


class Progress(Protocol):
    """Listens to long work. `total` is in `unit`s; None where it is not known."""

    def task(self, name: str, *, total: float | None, unit: str) -> AbstractContextManager[Task]:
        """Opens a task; use it in a `with` statement."""
        ...

    def note(self, message: str) -> None:
        """Takes one sentence that a person watching should see."""
        ...


class _SilentTask:
    def advance(self, amount: float = 1.0) -> None:
        pass


class Silent:
    """Listens and shows nothing: the default of every call in the Python API."""

    @contextmanager
    def task(self, name: str, *, total: float | None, unit: str) -> Iterator[Task]:
        """Opens a task and reports nothing."""
        yield _SilentTask()

    def note(self, message: str) -> None:
        """Drops the message."""


SILENT: Progress = Silent()
