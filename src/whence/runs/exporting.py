"""What a run lists, for other tools: PAIR's JSON lines, a table, or ids to remove.

The table has a row for each method, behavior and listed example, with the columns of `COLUMNS`.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from whence.artifacts import write_bytes, write_text
from whence.errors import ArtifactError, SettingsError
from whence.evidence import Relation, check_count, hits
from whence.records import Hit, Scores
from whence.report.run_record import RunRecord
from whence.runs.record import load_run
from whence.runs.show import leading_method, method_scores

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["pair", "ids", "csv"]
ALL = "all"
# The table's columns with the types of Arrow; what is not known is null.
COLUMNS = {
    "behavior": "string",
    "kind": "string",
    "verdict": "string",
    "prompt": "string",
    "completion": "string",
    "method": "string",
    "side": "string",
    "place": "int64",
    "rank": "int64",
    "score": "float64",
    "z": "float64",
    "tail": "float64",
    "relation": "string",
    "near_copies": "int64",
    "example": "string",
    "subset": "string",
    "position": "int64",
    "text": "string",
}


def export(
    directory: Path,
    *,
    method: str | None = None,
    form: Format = "pair",
    behavior_id: str | None = None,
    k: int = 10,
    relations: tuple[Relation, ...] = (),
    with_copies: bool = False,
    out: Path | None = None,
) -> str:
    """Writes what one method lists.

    Args:
        directory: A finished run.
        method: Whose proponents and opponents, by default those of the method that the run's page
            leads with; of a table, `all` are every method's.
        form: `pair`, one JSON object per behavior with the field names of PAIR's pretraining-tda,
            and beside each list the relations and z; `csv`, the table of `export_table`; or `ids`,
            the proponents' ids, one a line, each once, in the order of behaviors and ranks: a list
            of examples to remove.
        behavior_id: Only this behavior; all that were attributed by default.
        k: Proponents, and opponents, of each behavior.
        relations: Only examples with one of these relations.
        with_copies: With `ids`, also every copy and near copy of an example (5-gram Jaccard at
            least .8), without which a removal leaves its content in the corpus.
        out: A new file to write to.

    Returns:
        The text.

    Raises:
        ArtifactError: The directory is not a finished run, keeps no evidence where that is needed,
            or `out` exists.
        SettingsError: The run has no such method or behavior, or `k` is less than 1.
    """
    check_count(k)
    _check_new(out)
    if form == "csv":
        table = export_table(
            directory, method=method, behavior_id=behavior_id, k=k, relations=relations
        )
        text = _csv(table)
        if out is not None:
            write_text(out, text)
        return text
    record = load_run(directory)
    scores = method_scores(record, method or leading_method(record, directory), directory)
    chosen = _chosen(scores, behavior_id, directory)
    _check_evidence(record, relations, directory)
    if with_copies and record.duplicates is None:
        raise ArtifactError(
            f"{directory} does not keep the corpus's duplicates.",
            "Run the study again; it resumes from there.",
        )
    if form == "ids":
        lines = dict.fromkeys(_ids(record, scores, chosen, k, relations, with_copies=with_copies))
    else:
        lines = [
            json.dumps(_pair(record, scores, name, k, relations), ensure_ascii=False)
            for name in chosen
        ]
    text = "".join(f"{line}\n" for line in lines)
    if out is not None:
        write_text(out, text)
    return text


def export_table(
    directory: Path,
    *,
    method: str | None = ALL,
    behavior_id: str | None = None,
    k: int = 10,
    relations: tuple[Relation, ...] = (),
    out: Path | None = None,
) -> "pa.Table":
    """Lays out what methods list as a tidy table.

    Args:
        directory: A finished run.
        method: One method's lists, or those of all; None is the method that the page leads with.
        behavior_id: Only this behavior; all that were attributed by default.
        k: Proponents, and opponents, of each behavior.
        relations: Only examples with one of these relations.
        out: A new file to write as Parquet.

    Returns:
        One row per method, behavior and listed example, in that order, with the columns of
        `COLUMNS`: `place` counts from 1 on its `side`, `rank` among all examples; a higher `score`
        is more helpful. What is not known is null.

    Raises:
        ArtifactError: As in `export`.
        SettingsError: As in `export`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_count(k)
    _check_new(out)
    record = load_run(directory)
    _check_evidence(record, relations, directory)
    method = method or leading_method(record, directory)
    lists = record.scores if method == ALL else (method_scores(record, method, directory),)
    if method == ALL and behavior_id is not None:
        lists = tuple(one for one in lists if behavior_id in one.query_ids) or lists
    rows = [
        row
        for scores in lists
        for name in _chosen(scores, behavior_id, directory)
        for row in _rows(record, scores, name, k, relations)
    ]
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])
    table = pa.Table.from_pylist(rows, schema=schema)
    if out is not None:
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        write_bytes(out, buffer.getvalue())
    return table


def _check_new(out: Path | None) -> None:
    if out is not None and (out.exists() or out.is_symlink()):
        raise ArtifactError(f"{out} exists.", "Choose another name, or move it away.")


def _check_evidence(record: RunRecord, relations: tuple[Relation, ...], directory: Path) -> None:
    if relations and record.evidence is None:
        raise ArtifactError(
            f"{directory} keeps no evidence.", "Run the study again; it resumes from there."
        )


def _chosen(scores: Scores, behavior_id: str | None, directory: Path) -> tuple[str, ...]:
    """The behaviors to export; refuses one that the method did not score."""
    if behavior_id is None:
        return scores.query_ids
    if behavior_id not in scores.query_ids:
        raise SettingsError(
            f"`{scores.method}` scored no behavior `{behavior_id}` in {directory}.",
            f"It scored {len(scores.query_ids)}, such as `{scores.query_ids[0]}`."
            if scores.query_ids
            else "Run the study with at least one behavior that the model shows.",
        )
    return (behavior_id,)


def _rows(
    record: RunRecord, scores: Scores, name: str, k: int, relations: tuple[Relation, ...]
) -> Iterator[dict[str, object]]:
    about = _about(record, name)
    both = _lists(record, scores, name, k, relations)
    for side, found in zip(("proponents", "opponents"), both, strict=True):
        for place, hit in enumerate(found, start=1):
            strength = (
                record.evidence and record.evidence.strength(scores.method, name, hit.id)
            ) or None
            (row,) = record.corpus.rows([hit.id])
            copies = record.duplicates
            yield {
                **about,
                "method": scores.method,
                "side": side,
                "place": place,
                "rank": hit.rank,
                "score": hit.score,
                "z": None if strength is None else strength.z,
                "tail": None if strength is None else strength.tail,
                "relation": _relation(record, name, hit),
                "near_copies": None if copies is None else int(copies.size_80[row]),
                "example": hit.id,
                "subset": hit.subset,
                "position": hit.position,
                "text": hit.text,
            }


def _about(record: RunRecord, name: str) -> dict[str, object]:
    """What is exported of a behavior; of one known by its tokens, the completion's as measured."""
    behavior = next(one for one in record.behaviors if one.id == name)
    verification = record.verifications.get(name)
    completion = behavior.completion
    if not completion and verification is not None:
        completion = "".join(verification.completion.tokens)
    return {
        "behavior": name,
        "kind": behavior.kind,
        "verdict": None if verification is None else verification.verdict,
        "prompt": behavior.prompt,
        "completion": completion,
    }


def _csv(table: "pa.Table") -> str:
    """Writes a table as CSV by RFC 4180, with a header; null is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        writer.writerow(["" if value is None else value for value in row.values()])
    return text.getvalue()


def _ids(
    record: RunRecord,
    scores: Scores,
    chosen: tuple[str, ...],
    k: int,
    relations: tuple[Relation, ...],
    *,
    with_copies: bool,
) -> Iterator[str]:
    import numpy as np

    for name in chosen:
        proponents, _ = _lists(record, scores, name, k, relations)
        for hit in proponents:
            yield hit.id
            if with_copies and record.duplicates is not None:
                (row,) = record.corpus.rows([hit.id])
                clusters = record.duplicates.cluster_80
                for member in np.flatnonzero(clusters == clusters[row]).tolist():
                    yield record.corpus.ids[member]


def _pair(
    record: RunRecord, scores: Scores, name: str, k: int, relations: tuple[Relation, ...]
) -> dict[str, object]:
    about = _about(record, name)
    values: dict[str, object] = {
        "example_id": name,
        "query_set": about["kind"],
        "inputs_plaintext": about["prompt"],
        "targets_plaintext": about["completion"],
        "kind": about["kind"],
        "verdict": about["verdict"],
        "method": scores.method,
    }
    for side, found in zip(
        ("proponent", "opponent"), _lists(record, scores, name, k, relations), strict=True
    ):
        values |= {
            # The viewer reads strings only.
            f"{side}s": [hit.text or "" for hit in found],
            f"{side}_ids": [hit.id for hit in found],
            f"{side}_scores": [hit.score for hit in found],
            f"{side}_relations": [_relation(record, name, hit) for hit in found],
            f"{side}_z": [_z(record, scores.method, name, hit) for hit in found],
        }
    return values


def _lists(
    record: RunRecord, scores: Scores, name: str, k: int, relations: tuple[Relation, ...]
) -> tuple[list[Hit], list[Hit]]:
    found = hits(scores, scores.query_ids.index(name), record.corpus, k)

    def kept(side: tuple[Hit, ...]) -> list[Hit]:
        return [hit for hit in side if not relations or _relation(record, name, hit) in relations]

    return kept(found.proponents), kept(found.opponents)


def _relation(record: RunRecord, name: str, hit: Hit) -> Relation | None:
    tie = None if record.evidence is None else record.evidence.tie(name, hit.id)
    return None if tie is None else tie.relation


def _z(record: RunRecord, method: str, name: str, hit: Hit) -> float | None:
    found = None if record.evidence is None else record.evidence.strength(method, name, hit.id)
    return None if found is None else found.z
