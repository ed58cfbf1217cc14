"""The runs in a folder: what each is about, its model, its date, and whether it is whole."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from whence.artifacts import read_manifest_json
from whence.errors import ArtifactError, SettingsError
from whence.memorization.record import read_memorization
from whence.runs.directory import KIND, STAGES, UNFINISHED, open_run
from whence.runs.record import DECISIONS, MEMORIZATION, read_decisions

State = Literal["finished", "unfinished", "damaged"]
_MAX_DEPTH = 3


@dataclass(frozen=True)
class RunSummary:
    """One run of a folder; what is not known of it is None.

    Attributes:
        path: Its directory.
        state: `unfinished` where no study was finished there yet, `damaged` where one was and its
            files cannot be read.
        title: The study's.
        model: The model that was attributed.
        num_behaviors: Behaviors that were attributed; None for a memorization study.
        finished: When it was finished, in ISO 8601.
        page: Its page, where it has one.
    """

    path: str
    state: State
    title: str | None = None
    model: str | None = None
    num_behaviors: int | None = None
    finished: str | None = None
    page: str | None = None

    def to_json(self) -> dict[str, object]:
        """Lays the record out as JSON."""
        return asdict(self)


def list_runs(directory: Path) -> tuple[RunSummary, ...]:
    """Lists the runs in a folder, three folders deep, by path; the folder may be one itself.

    Raises:
        SettingsError: There is no such folder.
    """
    if not directory.is_dir():
        raise SettingsError(f"There is no folder {directory}.", "Check the path.")
    return tuple(_runs(directory, _MAX_DEPTH))


def _runs(directory: Path, depth: int) -> list[RunSummary]:
    found = _summary(directory)
    if found is not None:
        return [found]
    if depth == 0:
        return []
    try:
        parts = sorted(p for p in directory.iterdir() if p.is_dir() and not p.is_symlink())
    except OSError:
        return []  # a folder that may not be read holds no run of this user's
    return [run for part in parts for run in _runs(part, depth - 1)]


def _summary(directory: Path) -> RunSummary | None:
    """What is known of a directory; None where it is no run."""
    path = str(directory)
    try:
        if read_manifest_json(directory).get("kind") != KIND:
            return None
    except ArtifactError:
        if (directory / UNFINISHED).is_file():
            return RunSummary(path, "unfinished")
        return RunSummary(path, "damaged") if (directory / STAGES).is_dir() else None
    page = directory / "index.html"
    try:
        run = open_run(directory)
        if (kept := run.find(MEMORIZATION)) is not None:
            return RunSummary(
                path,
                "finished",
                title=str(run.manifest.inputs["title"]),
                model=read_memorization(kept).model,
                finished=run.manifest.finished,
                page=str(page) if page.is_file() else None,
            )
        place = run.find(DECISIONS)
        decisions = None if place is None else read_decisions(place)
        if decisions is None:
            return RunSummary(path, "damaged")
        return RunSummary(
            path,
            "finished",
            title=decisions.study.title,
            model=decisions.model,
            num_behaviors=len(decisions.attributed),
            finished=run.manifest.finished,
            page=str(page) if page.is_file() else None,
        )
    except (ArtifactError, OSError, json.JSONDecodeError):
        return RunSummary(path, "damaged")


def run_page(directory: Path) -> Path:
    """Finds the page of a finished run.

    Raises:
        ArtifactError: The directory is not a finished run, or its page is gone.
    """
    page = open_run(directory).directory / "index.html"
    if not page.is_file():
        raise ArtifactError(
            f"{directory} has no page.", f"Write it with `whence report {directory}`."
        )
    return page
