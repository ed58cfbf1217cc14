"""The verdicts of a run, and the proponents and opponents of one of its behaviors."""

from pathlib import Path
from typing import NamedTuple

from whence.errors import SettingsError, did_you_mean
from whence.records import Hits, RunRecord, Scores, Verification
from whence.runs.record import load_run


class BehaviorHits(NamedTuple):
    """One behavior's verdict, and the examples that one method names for it."""

    verification: Verification
    method: str
    hits: Hits


def show_verdicts(directory: Path) -> list[Verification]:
    """Lists every behavior's verification, in the study's order.

    Raises:
        ArtifactError: The directory is not a finished run.
    """
    record = load_run(directory)
    return [record.verifications[behavior.id] for behavior in record.behaviors]


def show_behavior(directory: Path, behavior_id: str, *, method: str, k: int) -> BehaviorHits:
    """Lists one behavior's proponents and opponents by one method.

    Raises:
        SettingsError: The run has no such behavior or method, did not attribute the behavior, or
            `k` is less than 1.
    """
    from whence.evidence import check_count, hits

    check_count(k)
    record = load_run(directory)
    verification = record.verifications.get(behavior_id)
    if verification is None:
        otherwise = f"List them with `whence show {directory}`."
        raise SettingsError(
            f"{directory} has no behavior `{behavior_id}`.",
            did_you_mean(behavior_id, record.verifications, otherwise=otherwise),
        )
    scores = _scores(record, method, directory)
    if behavior_id not in scores.query_ids:
        raise SettingsError(
            f"`{behavior_id}` was not attributed: it is {verification.verdict}.",
            "Run the study with `--force` to attribute it all the same.",
        )
    query = scores.query_ids.index(behavior_id)
    return BehaviorHits(verification, method, hits(scores, query, record.corpus, k))


def _scores(record: RunRecord, method: str, directory: Path) -> Scores:
    for scores in record.scores:
        if scores.method == method:
            return scores
    known = ", ".join(scores.method for scores in record.scores)
    raise SettingsError(f"{directory} has no scores by `{method}`.", f"It has: {known}.")
