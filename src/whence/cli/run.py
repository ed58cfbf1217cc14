"""`whence run`: a study from its TOML file to a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from whence.cli.console import Json, answer, progress

if TYPE_CHECKING:
    from whence.runs.study import RunResult


def run(
    study: Annotated[Path, Parameter(help="The study's TOML file.")],
    *,
    out: Path | None = None,
    force: bool = False,
    json: Json = False,
) -> None:
    """Run a study: behaviors, gradients, scores and a page, from one TOML file.

    If interrupted, run the same command again: it resumes.

    Parameters
    ----------
    out
        The run's directory; by default runs/ and the study's file name.
    force
        Attribute also the behaviors that the model does not show.
    """
    from whence.runs.study import run_study
    from whence.settings import load_study

    settings = load_study(study)
    if force:
        settings = settings.model_copy(update={"force": True})
    directory = out or Path("runs") / study.stem
    result = run_study(settings, directory, base=study.parent, source=study, progress=progress())
    say_result(result, json_line=json)


def say_result(result: "RunResult", *, json_line: bool) -> None:
    """Answers with the run's directory and its page, after the verdicts in short."""
    from whence.runs.summary import summarize

    summary = summarize(result.directory)
    answer(
        {"run": str(result.directory), "page": str(result.page), **summary.values},
        f"{summary.text}\n\nRun   {result.directory}\nPage  {result.page}",
        json_line=json_line,
    )
