"""Banks of retrainings that another tool made, from a table of masks and outcomes.

A Parquet file with one row per retrained model and two columns:

    dropped          list<string>          ids of the examples that it was trained without
    log_probs_nats   map<string, double>   from query id to the completion's log-probability, in
                                           nats; with its sign turned, a loss summed over the
                                           completion is one

Every example that some model was trained without is masked; what was always dropped together is one
unit. Examples that no model lacks are not part of the comparison. At least one half of the masks
should keep each unit, and masks should be drawn independently of the scores.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import CorpusError
from whence.records import Corpus
from whence.validation.bank import Bank

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool

_DROPPED, _OUTCOMES = "dropped", "log_probs_nats"


def read_bank_table(path: Path, corpus: Corpus) -> Bank:
    """Reads a table of masks and outcomes.

    Args:
        path: A Parquet file of the schema above.
        corpus: The examples that the scores are about.

    Returns:
        A bank of as many runs as the table has rows, on the queries that every row has.

    Raises:
        CorpusError: It is no such table, has fewer than three rows, or drops an unknown example.
    """
    import numpy as np

    rows = _read(path)
    dropped = [frozenset(row[_DROPPED] or ()) for row in rows]
    outcomes = [dict(row[_OUTCOMES] or ()) for row in rows]
    query_ids = tuple(q for q in outcomes[0] if all(q in one for one in outcomes))
    masked = sorted(frozenset().union(*dropped))
    if unknown := sorted(set(masked) - set(corpus.ids)):
        raise CorpusError(
            f"{path} drops the example `{unknown[0]}`, which {corpus.name} does not have.",
            "Name examples by the ids of the run's corpus.",
        )
    if not masked or not query_ids:
        raise CorpusError(
            f"{path} drops {len(masked)} examples and has {len(query_ids)} queries in all rows.",
            "Give at least one of each.",
        )
    log_probs = np.array([[one[q] for q in query_ids] for one in outcomes], dtype=np.float64)
    if not np.isfinite(log_probs).all():
        raise CorpusError(
            f"{path} has an outcome that is not finite.", "Leave out the models that diverged."
        )
    included = np.array([[i not in out for i in masked] for out in dropped], dtype=bool)
    groups, columns = _units(masked, included)
    length = dict(zip(corpus.ids, corpus.lengths.tolist(), strict=True))
    return Bank(
        size=path.name,
        groups=groups,
        query_ids=query_ids,
        included=included[:, columns],
        log_probs_nats=log_probs,
        second_log_probs_nats=np.empty((0, len(query_ids))),
        counts=np.array(
            [[len(ids), sum(length[i] for i in ids)] for ids in groups.values()], dtype=np.float64
        ),
        seconds_per_run=0.0,
        is_window=True,
    )


def _read(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise CorpusError(f"{path} is no Parquet file ({error}).", "Check the path.") from None
    kinds = {
        _DROPPED: lambda kind: pa.types.is_list(kind) or pa.types.is_large_list(kind),
        _OUTCOMES: pa.types.is_map,
    }
    for name, is_kind in kinds.items():
        if name not in table.column_names or not is_kind(table.schema.field(name).type):
            wanted = "list<string>" if name == _DROPPED else "map<string, double>"
            raise CorpusError(
                f"{path} has no column `{name}` of type {wanted}.",
                "Give one row per retrained model; docs/validation.md has the schema.",
            )
    if table.num_rows < 3:
        raise CorpusError(f"{path} has {table.num_rows} retrained models.", "Give at least three.")
    return table.select(list(kinds)).to_pylist()


def _units(
    masked: list[str], included: "Bool[np.ndarray, 'runs examples']"
) -> tuple[dict[str, frozenset[str]], list[int]]:
    """Joins the examples that are in or out together; each unit has its first example's name."""
    first: dict[bytes, int] = {}
    members: dict[int, list[str]] = {}
    for column, example_id in enumerate(masked):
        own = first.setdefault(included[:, column].tobytes(), column)
        members.setdefault(own, []).append(example_id)
    return {masked[own]: frozenset(ids) for own, ids in members.items()}, list(members)
