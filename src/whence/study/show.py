"""What did a run find about one behavior, as plain values?"""

from pathlib import Path
from typing import Any

from whence.artifacts import read_manifest
from whence.errors import SettingsError
from whence.records import RunRecord, Scores
from whence.study.load import load_run


def show_verdicts(directory: Path) -> list[dict[str, Any]]:
    """Lists every behavior's verdict, in the study's order.

    Raises:
        ArtifactError: The directory is not a finished run.
    """
    record = load_run(directory, manifest=read_manifest(directory))
    return [
        {
            "behavior": behavior.id,
            "kind": behavior.kind,
            "verdict": record.verifications[behavior.id].verdict,
            "reason": record.verifications[behavior.id].reason,
        }
        for behavior in record.behaviors
    ]


def show_behavior(directory: Path, behavior_id: str, *, method: str, k: int) -> dict[str, Any]:
    """Lists one behavior's proponents and opponents by one method.

    Raises:
        SettingsError: The run has no such behavior or method, or did not attribute the behavior.
    """
    import difflib

    record = load_run(directory, manifest=read_manifest(directory))
    verification = record.verifications.get(behavior_id)
    if verification is None:
        close = difflib.get_close_matches(behavior_id, record.verifications, n=1)
        raise SettingsError(
            f"{directory} has no behavior `{behavior_id}`.",
            f"Did you mean `{close[0]}`?"
            if close
            else f"List them with `whence show {directory}`.",
        )
    scores = _scores(record, method, directory)
    if behavior_id not in scores.query_ids:
        raise SettingsError(
            f"`{behavior_id}` was not attributed: it is {verification.verdict}.",
            "Run the study with `--force` to attribute it all the same.",
        )
    query = scores.query_ids.index(behavior_id)
    ranking = scores.ranking(query)
    ranks = range(1, len(ranking) + 1)
    pairs = list(zip(ranks, ranking, strict=True))
    return {
        "behavior": behavior_id,
        "kind": verification.kind,
        "verdict": verification.verdict,
        "reason": verification.reason,
        "method": method,
        "orientation": "higher is more helpful",
        "proponents": _hits(record, scores, query, pairs[:k]),
        "opponents": _hits(record, scores, query, pairs[::-1][:k]),
    }


def _scores(record: RunRecord, method: str, directory: Path) -> Scores:
    for scores in record.scores:
        if scores.method == method:
            return scores
    known = ", ".join(scores.method for scores in record.scores)
    raise SettingsError(f"{directory} has no scores by `{method}`.", f"It has: {known}.")


def _hits(
    record: RunRecord, scores: Scores, query: int, pairs: list[tuple[int, Any]]
) -> list[dict[str, Any]]:
    rows = [int(row) for _, row in pairs]
    return [
        {
            "rank": rank,
            "score": float(scores.values[query, row]),
            "id": found["id"],
            "subset": found["subset"],
            "position": found["position"],
            "labels": found["labels"] or [],
            "text": found["text"],
        }
        for (rank, _), row, found in zip(pairs, rows, record.corpus.records(rows), strict=True)
    ]
