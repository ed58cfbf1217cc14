"""Output of the command line: answers, progress and errors."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter

from whence.cli.terminal import is_safe, visible
from whence.progress import Progress, Task

if TYPE_CHECKING:
    from pydantic import BaseModel

S = TypeVar("S", bound="BaseModel")
Json = Annotated[bool, Parameter(name="--json", negative="", help="Answer in one line of JSON.")]


def answer(value: dict[str, object], text: str, *, json_line: bool) -> None:
    """Prints a command's answer on stdout: for a person, or as one line of JSON."""
    if not json_line:
        print(visible(text), flush=True)
        return
    # In JSON, what would move a cursor stands as the escape that JSON has for it.
    line = json.dumps(value, allow_nan=False, ensure_ascii=not _writes_unicode())
    print("".join(c if is_safe(c) else json.dumps(c)[1:-1] for c in line), flush=True)


def check_printable(text: str) -> None:
    """Refuses to print a text for other tools where stdout has no such characters.

    Raises:
        SettingsError: The encoding of stdout lacks one.
    """
    from whence.errors import SettingsError

    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError as error:
        raise SettingsError(
            f"The output's encoding, {error.encoding}, has no {text[error.start]!a}.",
            "Set PYTHONIOENCODING=utf-8, or name a file with `--out`.",
        ) from None


def say(text: str, *, end: str = "\n") -> None:
    """Prints a line of the conversation on stderr; what nobody can read stops no work."""
    with suppress(OSError, ValueError):
        print(visible(text), file=sys.stderr, end=end, flush=True)


def _writes_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")


def flags(settings: type[S], **values: Any) -> S:
    """Makes settings of a command's flags, within the same bounds as those of a file.

    Raises:
        SettingsError: A value is out of bounds.
    """
    from whence.settings import parse

    return parse(settings, values, where="The command line")


def progress() -> Progress:
    """Makes the progress that suits stderr: live bars on a terminal, else a line now and then."""
    return _Bars() if sys.stderr.isatty() else _Lines()


class _Lines:
    """Writes a line when a task starts, every ten seconds, and when it ends."""

    @contextmanager
    def task(self, name: str, *, total: float | None, unit: str) -> Iterator[Task]:
        task = _LineTask(name, total, unit)
        yield task
        task.say(f"done in {time.monotonic() - task.started:.0f} s")

    def note(self, message: str) -> None:
        say(message)


class _LineTask:
    def __init__(self, name: str, total: float | None, unit: str) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done = 0.0
        self.started = self.spoken = time.monotonic()

    def advance(self, amount: float = 1.0) -> None:
        self.done += amount
        now = time.monotonic()
        if now - self.spoken < 10:
            return
        self.spoken = now
        if not self.total or not self.done:
            self.say(f"{self.done:,.0f} {self.unit}")
            return
        left = (now - self.started) * (self.total - self.done) / self.done
        self.say(f"{self.done:,.0f} of {self.total:,.0f} {self.unit}, {max(left, 0):.0f} s left")

    def say(self, message: str) -> None:
        say(f"{self.name}: {message}")


class _Bars:
    """Draws one live bar per task with the time left; a task within another below it."""

    def __init__(self) -> None:
        self._live: Any = None

    @contextmanager
    def task(self, name: str, *, total: float | None, unit: str) -> Iterator[Task]:
        if self._live is not None:
            yield _BarTask(self._live, self._live.add_task(visible(name), total=total, unit=unit))
            return
        with _live_bars() as live:
            self._live = live
            try:
                yield _BarTask(live, live.add_task(visible(name), total=total, unit=unit))
            finally:
                self._live = None

    def note(self, message: str) -> None:
        say(message)


def _live_bars() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("·"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    return Progress(*columns, console=Console(stderr=True))


class _BarTask:
    def __init__(self, bars: Any, number: Any) -> None:
        self._bars, self._number = bars, number

    def advance(self, amount: float = 1.0) -> None:
        self._bars.advance(self._number, amount)


def table(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> str:
    """Lays rows out in columns, as wide as their content, for a terminal or a file."""
    lines = [header, tuple("─" * len(cell) for cell in header), *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def printable(text: str, *, width: int) -> str:
    """Cuts a text to one safe line; control characters become visible and move no cursor."""
    safe = visible(text.replace("\n", "␤").replace("\t", " "))
    return safe if len(safe) <= width else safe[: width - 1] + "…"
