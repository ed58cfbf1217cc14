"""The file of a study in its run's directory: written by a run, and never over an edited one."""

import os
from pathlib import Path

from whence.artifacts import check_generated, write_generated
from whence.errors import ArtifactError
from whence.settings import Settings

STUDY = "study.toml"


def check_study_file(place: Path, source: Path | None, *, command: str) -> None:
    """Refuses to run another study where one was edited, whose changes would be lost.

    Args:
        place: The study in the run's directory.
        source: The file that the study was read from.
        command: The command that runs such a study.

    Raises:
        ArtifactError: The study in the run's directory is not as a run wrote it.
    """
    if _is_source(place, source):
        return
    try:
        check_generated(place)
    except ArtifactError as error:
        raise ArtifactError(
            error.problem,
            f"Run it with `whence {command} {place} --out {place.parent}`, or move it away.",
        ) from None


def write_study_file(place: Path, study: Settings, source: Path | None) -> None:
    """Writes a study with its paths resolved, unless that is where it was read from."""
    import tomli_w

    if not _is_source(place, source):
        values = study.model_dump(mode="json", exclude_none=True)
        write_generated(place, tomli_w.dumps(values))


def _is_source(place: Path, source: Path | None) -> bool:
    return source is not None and os.path.realpath(source) == os.path.realpath(place)
