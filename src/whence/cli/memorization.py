"""`whence memorization`: a study of memorized sequences, from its TOML file to its answers."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from whence.cli.console import Json, answer, progress


def memorization(
    study: Annotated[Path, Parameter(help="The study's TOML file.")],
    *,
    out: Path | None = None,
    json: Json = False,
) -> None:
    """Study which sequences a model memorized, since when, and through which examples.

    If interrupted, run the same command again: it resumes.

    Parameters
    ----------
    out
        The run's directory; by default runs/ and the study's file name.
    """
    from whence.memorization.tables import describe
    from whence.runs.memorizing import load_memorization_study, run_memorization

    settings = load_memorization_study(study)
    directory = out or Path("runs") / study.stem
    found = run_memorization(
        settings, directory, base=study.parent, source=study, progress=progress()
    )
    answer(
        {"run": str(directory), **asdict(found)},
        f"{describe(found)}\n\nRun   {directory}",
        json_line=json,
    )
