"""`whence memorization`: a study of memorized sequences, from its TOML file to its answers."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from whence.cli.console import Json, answer, progress


def memorization(
    study: Annotated[Path, Parameter(help="The study's TOML file.")],
    *,
    out: Path | None = None,
    tables: bool = False,
    json: Json = False,
) -> None:
    """Study which sequences a model memorized, since when, and through which examples.

    If interrupted, run the same command again: it resumes.

    Parameters
    ----------
    out
        The run's directory; by default runs/ and the study's file name.
    tables
        Print all tables instead of the answers.
    """
    from whence.memorization.answers import answers
    from whence.memorization.record import memorization_json
    from whence.memorization.tables import describe, summarize
    from whence.runs.memorizing import load_memorization_study, run_memorization

    settings = load_memorization_study(study)
    directory = out or Path("runs") / study.stem
    found = run_memorization(
        settings, directory, base=study.parent, source=study, progress=progress()
    )
    page = directory / "index.html"
    text = describe(found) if tables else summarize(found)
    answer(
        {
            "run": str(directory),
            "page": str(page),
            "answers": [one._asdict() for one in answers(found)],
            **memorization_json(found),
        },
        f"{text}\n\nRun   {directory}\nPage  {page}",
        json_line=json,
    )
