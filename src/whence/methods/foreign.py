"""Which scores did another tool write, pair by pair?

Two formats are read: JSON lines as PAIR's pretraining-tda has them, one query a line with its
proponents and opponents, and Parquet with the columns `query`, `example` and `score`. What is not
in the file is not known: undefined, and not zero.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from whence.errors import ArtifactError

_SIDES = ("proponent", "opponent")


class Pair(NamedTuple):
    """One score, with the ids that the file gives."""

    query: str
    example: str
    score: float


def read_pairs(path: Path) -> list[Pair]:
    """Reads a `.jsonl` or `.parquet` file of scores.

    Raises:
        ArtifactError: It is missing, broken or in no known format.
    """
    if not path.is_file():
        raise ArtifactError(f"There is no file {path}.", "Check the path.")
    if path.suffix == ".parquet":
        return _parquet(path)
    if path.suffix == ".jsonl":
        return list(_json_lines(path))
    raise ArtifactError(
        f"{path} is neither JSON lines (.jsonl) nor Parquet (.parquet) nor a folder that "
        "`bergson score` wrote.",
        "Convert it to Parquet with the columns `query`, `example` and `score`.",
    )


def matrix(
    pairs: Sequence[Pair],
    *,
    query_ids: Sequence[str],
    example_ids: Sequence[str],
    where: Path,
) -> tuple[tuple[str, ...], np.ndarray]:
    """Puts scores in their places.

    Args:
        pairs: The scores.
        query_ids: The queries that are known.
        example_ids: The examples that are known, in the order of the columns.
        where: The file, for messages.

    Returns:
        The queries that occur, in the known order, and their scores in float32: queries × examples,
        NaN where the file has none.

    Raises:
        ArtifactError: A query or an example is not known, or a pair stands there twice.
    """
    _refuse_unknown({p.query for p in pairs}, query_ids, "queries", where)
    _refuse_unknown({p.example for p in pairs}, example_ids, "examples", where)
    asked = {pair.query for pair in pairs}
    kept = tuple(name for name in query_ids if name in asked)
    rows = {name: row for row, name in enumerate(kept)}
    columns = {name: column for column, name in enumerate(example_ids)}
    values = np.full((len(kept), len(columns)), np.nan, dtype=np.float32)
    seen: set[tuple[str, str]] = set()
    for pair in pairs:
        if (pair.query, pair.example) in seen:
            raise ArtifactError(
                f"{where} has two scores for the query `{pair.query}` and the example "
                f"`{pair.example}`.",
                "Keep one of them.",
            )
        seen.add((pair.query, pair.example))
        values[rows[pair.query], columns[pair.example]] = pair.score
    return kept, values


def _refuse_unknown(found: set[str], known: Sequence[str], what: str, where: Path) -> None:
    if unknown := sorted(found - set(known)):
        raise ArtifactError(
            f"{where} has {len(unknown)} {what} that the run does not know, such as "
            f"`{unknown[0]}`.",
            f"Use the ids of the run; it has {len(known)} {what}, such as `{known[0]}`.",
        )


def _parquet(path: Path) -> list[Pair]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["query", "example", "score"])
        columns = (
            table.column("query").cast(pa.string()).to_pylist(),
            table.column("example").cast(pa.string()).to_pylist(),
            table.column("score").cast(pa.float64()).to_pylist(),
        )
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ArtifactError(
            f"{path} cannot be read as scores ({reason}).",
            "Give a Parquet file with the columns `query`, `example` and `score`.",
        ) from None
    return [
        Pair(query, example, np.nan if score is None else score)
        for query, example, score in zip(*columns, strict=True)
    ]


def _json_lines(path: Path) -> Iterator[Pair]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield from _line(line, f"{path}, line {number},")


def _line(line: str, where: str) -> Iterator[Pair]:
    remedy = (
        "Each line has `example_id`, `proponent_ids` and `proponent_scores`, and may have "
        "`opponent_ids` and `opponent_scores`."
    )
    try:
        record = json.loads(line)
        query = str(record["example_id"])
        given: dict[str, float] = {}
        for side in _SIDES:
            ids, scores = record.get(f"{side}_ids") or [], record.get(f"{side}_scores") or []
            if len(ids) != len(scores):
                raise ArtifactError(
                    f"{where} has {len(ids)} {side}s and {len(scores)} scores of them.", remedy
                )
            for example, score in zip(ids, scores, strict=True):
                # A short list of examples may name one on both sides, with one score.
                if given.setdefault(str(example), float(score)) != float(score):
                    raise ArtifactError(
                        f"{where} has two scores for the example `{example}`.", "Keep one of them."
                    )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{where} is not a query with its proponents ({type(error).__name__}: {error}).", remedy
        ) from None
    yield from (Pair(query, example, score) for example, score in given.items())
