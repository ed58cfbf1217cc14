"""`whence export`: what a run lists, for other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from whence.cli.console import Json, answer, check_printable

if TYPE_CHECKING:
    from whence.evidence import Relation
else:
    from whence.evidence.relations import Relation


def export(
    run: Path,
    *,
    method: str | None = None,
    format: Literal["pair", "ids", "csv", "parquet"] = "pair",  # noqa: A002 - the flag is called so everywhere
    behavior: str | None = None,
    top_k: int = 10,
    relation: tuple[Relation, ...] = (),
    with_copies: bool = False,
    out: Path | None = None,
    json: Json = False,
) -> None:
    """Print what one method lists, for other tools.

    Parameters
    ----------
    run
        The run's directory.
    method
        Whose ranking to print, by default that of the method that the page leads with; for csv and
        parquet, all are every method's.
    format
        pair: JSON lines as PAIR's pretraining-tda reads them, with relations; csv and parquet: a
        table with a row for each method, behavior and example; ids: the proponents' ids, a list of
        examples to remove.
    behavior
        Only this behavior.
    top_k
        How many proponents, and how many opponents, of each behavior.
    relation
        Only examples with one of these relations.
    with_copies
        With ids, also every copy and near copy of an example.
    out
        Write to this new file instead.
    """
    from whence.errors import SettingsError
    from whence.runs.exporting import export as export_run
    from whence.runs.exporting import export_table

    if format == "parquet":
        if out is None:
            raise SettingsError("Parquet is no text to print.", "Name a new file with `--out`.")
        table = export_table(
            run, method=method, behavior_id=behavior, k=top_k, relations=relation, out=out
        )
        values = {"run": str(run), "format": format, "rows": table.num_rows, "out": str(out)}
        answer(values, f"{out}: {table.num_rows} rows", json_line=json)
        return
    text = export_run(
        run,
        method=method,
        form=format,
        behavior_id=behavior,
        k=top_k,
        relations=relation,
        with_copies=with_copies,
        out=out,
    )
    lines = text.splitlines()
    values = {"run": str(run), "format": format, "lines": len(lines), "out": out and str(out)}
    if out is None:
        values["text"] = text
        if not json:
            check_printable(text)
    answer(
        values, text.rstrip("\n") if out is None else f"{out}: {len(lines)} lines", json_line=json
    )
