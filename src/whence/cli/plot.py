"""`whence plot`: write a picture of a run's page as a file of its own."""

from pathlib import Path

from whence.cli.console import Json, answer, table


def plot(
    run: Path, name: str | None = None, *, out: Path | None = None, json: Json = False
) -> None:
    """Write a picture of a run as SVG or PNG, or list those that it has.

    Parameters
    ----------
    run
        The run's directory.
    name
        Which picture; without a name, all are listed.
    out
        Where to write it: NAME.svg here by default, or a .png file (extra `png`).
    """
    from whence.runs.plotting import list_plots, write_plot

    if name is None:
        found = list_plots(run)
        answer({"plots": found}, table(list(found.items()), ("name", "title")), json_line=json)
        return
    path = write_plot(run, name, out or Path(f"{name}.svg"))
    answer({"plot": str(path)}, f"Plot  {path}", json_line=json)
