"""What a run lists, for other tools: PAIR's JSON lines with relations, or ids to remove."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from whence.artifacts import write_text
from whence.errors import ArtifactError, SettingsError
from whence.evidence import Relation, check_count, hits
from whence.records import Hit, RunRecord, Scores
from whence.runs.record import load_run
from whence.runs.show import method_scores

Format = Literal["pair", "ids"]


def export(
    directory: Path,
    *,
    method: str,
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
        method: Whose proponents and opponents.
        form: `pair`, one JSON object per behavior with the field names of PAIR's pretraining-tda,
            and beside each list the relations and z; or `ids`, the proponents' ids, one a line,
            each once, in the order of behaviors and ranks: a list of examples to remove.
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
    if out is not None and out.exists():
        raise ArtifactError(f"{out} exists.", "Choose another name, or move it away.")
    record = load_run(directory)
    scores = method_scores(record, method, directory)
    chosen = scores.query_ids if behavior_id is None else (behavior_id,)
    if unknown := [name for name in chosen if name not in scores.query_ids]:
        raise SettingsError(
            f"`{method}` scored no behavior `{unknown[0]}` in {directory}.",
            f"It scored {len(scores.query_ids)}, such as `{scores.query_ids[0]}`."
            if scores.query_ids
            else "Run the study with at least one behavior that the model shows.",
        )
    if relations and record.evidence is None:
        raise ArtifactError(
            f"{directory} keeps no evidence.", "Run the study again; it resumes from there."
        )
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
    behavior = next(one for one in record.behaviors if one.id == name)
    verification = record.verifications.get(name)
    values: dict[str, object] = {
        "example_id": name,
        "inputs_plaintext": behavior.prompt,
        "targets_plaintext": behavior.completion,
        "kind": behavior.kind,
        "verdict": None if verification is None else verification.verdict,
        "method": scores.method,
    }
    for side, found in zip(
        ("proponent", "opponent"), _lists(record, scores, name, k, relations), strict=True
    ):
        values |= {
            f"{side}s": [hit.text for hit in found],
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
