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
        The file or folder of scores.
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
    known = int(np.isfinite(scores.values).sum())
    answer(
        {
            "run": str(run),
            "method": method,
            "queries": len(scores.query_ids),
            "scores": known,
            "page": str(page),
        },
        f"{known:,} scores for {len(scores.query_ids)} queries as `{method}`\nPage  {page}",
        json_line=json,
    )
