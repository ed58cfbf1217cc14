"""`whence report`: write the page of a run again."""

from pathlib import Path

from whence.cli.console import Json, answer


def report(run: Path, *, json: Json = False) -> None:
    """Write a run's page again.

    Parameters
    ----------
    run
        The run's directory.
    """
    from whence.runs.study import write_report

    page = write_report(run)
    answer({"run": str(run), "page": str(page)}, f"Page  {page}", json_line=json)
