"""`whence import`: scores of another tool as one more method of a run."""

from pathlib import Path
from typing import Literal

from whence.cli.console import Json, answer


def import_(
    run: Path,
    source: Path,
    *,
    method: str,
    orientation: Literal["higher", "lower"] | None = None,
    queries: tuple[str, ...] | None = None,
    json: Json = False,
) -> None:
    """Add scores of another tool to a run as one more method, and write its page again.

    Reads folders that bergson score wrote, JSON lines in the format of PAIR's pretraining-tda, and
    Parquet with the columns query, example and score.

    Parameters
    ----------
    run
        The run's directory.
    source
        Parquet or JSON lines with query (a behavior's id), example and score; PAIR's JSON lines; or
        a folder that bergson score wrote.
    method
        The name of the scores in the run.
    orientation
        Which scores belong to proponents; by default what the source says.
    queries
        For a folder of Bergson's: the behaviors that its numbered queries are, in order.
    """
    import numpy as np

    from whence.runs.importing import import_scores
    from whence.runs.study import write_report

    scores = import_scores(run, source, method=method, orientation=orientation, query_ids=queries)
    page = write_report(run)
    known, num = int(np.isfinite(scores.values).sum()), len(scores.query_ids)
    answer(
        {
            "run": str(run),
            "method": method,
            "queries": num,
            "scores": known,
            "page": str(page),
        },
        f"{known:,} scores for {num} {'query' if num == 1 else 'queries'} as `{method}`\n"
        f"Page  {page}",
        json_line=json,
    )
