"""`whence runs`: the runs in a folder."""

from pathlib import Path

from whence.cli.console import Json, answer, printable, table


def runs(directory: Path = Path("runs"), *, json: Json = False) -> None:
    """List the runs in a folder: title, model, date, state.

    Parameters
    ----------
    directory
        A folder with runs in it, up to three folders deep.
    """
    from whence.runs.listing import list_runs

    found = list_runs(directory)
    rows = [
        (
            printable(run.path, width=60),
            run.state,
            (run.finished or "—")[:10],
            "—" if run.num_behaviors is None else str(run.num_behaviors),
            printable(run.model or "—", width=32),
            printable(run.title or "—", width=60),
        )
        for run in found
    ]
    header = ("run", "state", "finished", "behaviors", "model", "title")
    answer(
        {"directory": str(directory), "runs": [run.to_json() for run in found]},
        table(rows, header) if rows else f"There is no run in {directory}.",
        json_line=json,
    )
