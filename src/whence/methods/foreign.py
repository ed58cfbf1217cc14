"""Readers of scores that other tools wrote, pair by pair.

Two formats are read: JSON lines as PAIR's pretraining-tda has them, one query a line with its
proponents and opponents, and Parquet with the columns `query`, `example` and `score`. What is not
in the file is not known: undefined, and not zero.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from whence.corpus.paths import find_place, one_sentence, shown
from whence.errors import ArtifactError
from whence.gradients.index.score_folder import as_float32

_SIDES = ("proponent", "opponent")


class Pair(NamedTuple):
    """One score, with the ids that the file gives; NaN where it has none."""

    query: str
    example: str
    score: float


def read_pairs(path: Path) -> list[Pair]:
    """Reads a `.jsonl` or `.parquet` file of scores.

    Raises:
        ArtifactError: It is missing, broken or in no known format.
    """
    place = find_place(path, as_error=ArtifactError)
    if place is None:
        raise ArtifactError(f"There is no file {shown(path)}.", "Check the path.")
    if place == "folder":
        raise ArtifactError(
            f"{shown(path)} is a folder without `scores.bin`.",
            "Name a folder that `bergson score` wrote, or a file.",
        )
    if path.suffix == ".parquet":
        return _parquet(path)
    if path.suffix == ".jsonl":
        return list(_json_lines(path))
    raise ArtifactError(
        f"{shown(path)} is neither JSON lines (.jsonl) nor Parquet (.parquet) nor a folder that "
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
        ArtifactError: A query or an example is not known, a pair stands there twice, or a score is
            infinite or out of the range of float32, or none is a number.
    """
    _refuse_unknown({p.query for p in pairs}, query_ids, "queries", where)
    _refuse_unknown({p.example for p in pairs}, example_ids, "examples", where)
    asked = {pair.query for pair in pairs}
    kept = tuple(name for name in query_ids if name in asked)
    rows = {name: row for row, name in enumerate(kept)}
    columns = {name: column for column, name in enumerate(example_ids)}
    values = np.full((len(kept), len(columns)), np.nan)
    seen: set[tuple[str, str]] = set()
    for pair in pairs:
        if (pair.query, pair.example) in seen:
            raise ArtifactError(
                f"{where} has two scores for the query `{_name(pair.query)}` and the example "
                f"`{_name(pair.example)}`.",
                "Keep one of them.",
            )
        seen.add((pair.query, pair.example))
        values[rows[pair.query], columns[pair.example]] = pair.score
    return kept, as_float32(values, where=where)


def _refuse_unknown(found: set[str], known: Sequence[str], what: str, where: Path) -> None:
    if unknown := sorted(found - set(known)):
        raise ArtifactError(
            f"{where} names `{_name(unknown[0])}`, which is none of the run's {what}"
            + (f", and {len(unknown) - 1} more." if len(unknown) > 1 else "."),
            f"Use the ids of the run; it has {len(known)} {what}"
            + (f", such as `{known[0]}`." if known else "."),
        )


def _parquet(path: Path) -> list[Pair]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
        if lacking := [name for name in ("query", "example", "score") if name not in names]:
            listed = ", ".join(_name(name) for name in names[:30])
            raise ArtifactError(
                f"{path} has no column `{lacking[0]}`; its columns are: {listed or 'none'}.",
                "Give a Parquet file with the columns `query`, `example` and `score`.",
            )
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
    pairs = [
        Pair(query, example, np.nan if score is None else score)
        for query, example, score in zip(*columns, strict=True)
    ]
    for row, pair in enumerate(pairs):
        if pair.query is None or pair.example is None:
            missing = "query" if pair.query is None else "example"
            raise ArtifactError(
                f"Row {row} of {shown(path)} names no {missing}.",
                "Give every row both, or leave it out.",
            )
    return pairs


def _json_lines(path: Path) -> Iterator[Pair]:
    with one_sentence(path, as_error=ArtifactError), path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield from _line(line, f"{shown(path)}, line {number},")


def _line(line: bytes, where: str) -> Iterator[Pair]:
    remedy = (
        "Each line has `example_id`, `proponent_ids` and `proponent_scores`, and may have "
        "`opponent_ids` and `opponent_scores`."
    )
    try:
        record = json.loads(line.decode("utf-8-sig"))
        query = _identity(record["example_id"])
        given: dict[str, float] = {}
        for side in _SIDES:
            ids, scores = (_listed(record.get(f"{side}_{part}")) for part in ("ids", "scores"))
            if len(ids) != len(scores):
                raise ArtifactError(
                    f"{where} has {len(ids)} {side}s and {len(scores)} scores of them.", remedy
                )
            for name, value in zip(ids, scores, strict=True):
                example, score = _identity(name), _number(value)
                # A short list of examples may name one on both sides, with one score.
                before = given.setdefault(example, score)
                if before != score and not (np.isnan(before) and np.isnan(score)):
                    raise ArtifactError(
                        f"{where} has two scores for the example `{_name(example)}`.",
                        "Keep one of them.",
                    )
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"{where} is not valid UTF-8 (byte {error.start}).", "Convert the file to UTF-8."
        ) from None
    except RecursionError:
        raise ArtifactError(f"{where} is nested too deeply.", remedy) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{where} is not a query with its proponents ({type(error).__name__}: "
            f"{_name(str(error))}).",
            remedy,
        ) from None
    yield from (Pair(query, example, score) for example, score in given.items())


def _listed(value: object) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise TypeError(f"a list belongs where {type(value).__name__} stands")
    return value


def _identity(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"an id belongs where {type(value).__name__} stands")
    return str(value)


def _number(value: object) -> float:
    """Reads a score; what is not known, null, is undefined and not zero."""
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a score belongs where {type(value).__name__} stands")
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _name(name: str) -> str:
    """Writes a name from a file into a message, whatever it holds."""
    text = name.encode("utf-8", "replace").decode()
    return text if len(text) <= 200 else f"{text[:200]}…"
