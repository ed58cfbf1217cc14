"""The verdicts of a run, and the proponents and opponents of one of its behaviors."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from whence import notebook
from whence.errors import SettingsError, did_you_mean
from whence.evidence import RELATIONS, Relation, Strength, Tie
from whence.evidence.style import StyleContrast
from whence.records import Hits, Scores, Verification
from whence.report.run_record import RunRecord
from whence.runs.record import load_run
from whence.validation import ClusterEffect


class HitEvidence(NamedTuple):
    """What is known of one listed example; each part is None where the run keeps none of it.

    `effect_nats` is how one training step on the example changes the completion's log-probability.
    """

    tie: Tie | None
    strength: Strength | None
    num_near: int | None
    effect_nats: float | None = None


class BehaviorHits(NamedTuple):
    """One behavior's verdict, and the examples that one method names for it.

    `evidence` is by example, and `random_effects_nats` are the same as its `effect_nats`, of random
    examples; `relations` counts the relations of the first k clusters of copies, by
    method, and is empty where the run keeps no evidence. `style` says how the list changes with
    plain words, where the behavior names some; `clusters` what removing clusters of copies does, by
    bank of retrainings, where the run was validated with one.
    """

    verification: Verification
    method: str
    hits: Hits
    evidence: Mapping[str, HitEvidence]
    relations: Mapping[str, Mapping[Relation, int]]
    num_stating: int | None
    style: StyleContrast | None = None
    clusters: Mapping[str, tuple[ClusterEffect, ...]] = {}
    random_effects_nats: tuple[float, ...] = ()

    def _repr_html_(self) -> str:
        """Shows the verdict and the lists in a notebook, each example with its evidence."""
        header = ("rank", "score", "z", "relation", "near copies", "step (nats)", "id", "text")
        tables = [
            notebook.table(
                header,
                [
                    (hit.rank, hit.score, *_evidence_cells(self.evidence[hit.id]), hit.id, hit.text)
                    for hit in hits
                ],
                caption=f"{name} by {self.method}",
            )
            for name, hits in (
                ("Proponents", self.hits.proponents),
                ("Opponents", self.hits.opponents),
            )
        ]
        verdict = f"{self.verification.behavior_id}: {self.verification.verdict}. "
        return notebook.paragraph(verdict + self.verification.reason) + "".join(tables)


def _evidence_cells(found: HitEvidence) -> tuple[object, ...]:
    """The z, the relation, the number of near copies and the effect of a step, for a table."""
    z = None if found.strength is None else found.strength.z
    relation = None if found.tie is None else RELATIONS[found.tie.relation].label
    return z, relation, found.num_near, found.effect_nats


def show_verdicts(directory: Path) -> list[Verification]:
    """Lists every behavior's verification, in the study's order.

    Raises:
        ArtifactError: The directory is not a finished run.
    """
    record = load_run(directory)
    return [record.verifications[behavior.id] for behavior in record.behaviors]


def show_behavior(
    directory: Path, behavior_id: str, *, method: str | None = None, k: int
) -> BehaviorHits:
    """Lists one behavior's proponents and opponents by one method.

    Args:
        directory: A finished run.
        behavior_id: One of its behaviors.
        method: One of its methods; by default the one that the run is read by (`leading_method`).
        k: How many proponents, and how many opponents, at most.

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
    method = method or leading_method(record, directory)
    scores = method_scores(record, method, directory)
    if behavior_id not in scores.query_ids:
        raise SettingsError(
            f"`{behavior_id}` was not attributed: it is {verification.verdict}.",
            "Run the study with `--force` to attribute it all the same.",
        )
    query = scores.query_ids.index(behavior_id)
    found = hits(scores, query, record.corpus, k)
    return BehaviorHits(
        verification,
        method,
        found,
        {
            hit.id: _evidence(record, method, behavior_id, hit.id)
            for hit in (*found.proponents, *found.opponents)
        },
        _relations(record, behavior_id),
        _num_stating(record, behavior_id),
        None if record.evidence is None else record.evidence.style(method, behavior_id),
        _clusters(record, behavior_id),
        () if record.effects is None else record.effects.controls(behavior_id),
    )


def _evidence(record: RunRecord, method: str, behavior_id: str, example_id: str) -> HitEvidence:
    found, duplicates, effects = record.evidence, record.duplicates, record.effects
    (row,) = record.corpus.rows([example_id])
    return HitEvidence(
        None if found is None else found.tie(behavior_id, example_id),
        None if found is None else found.strength(method, behavior_id, example_id),
        None if duplicates is None else int(duplicates.size_80[row]),
        None if effects is None else effects.find(behavior_id, example_id),
    )


def _clusters(record: RunRecord, behavior_id: str) -> dict[str, tuple[ClusterEffect, ...]]:
    windows = () if record.validation is None else record.validation.windows
    found = {
        window.label: tuple(one for one in window.clusters if one.behavior_id == behavior_id)
        for window in windows
    }
    return {label: of_window for label, of_window in found.items() if of_window}


def _relations(record: RunRecord, behavior_id: str) -> dict[str, dict[Relation, int]]:
    if record.evidence is None:
        return {}
    by_method = {
        scores.method: record.evidence.relations(scores.method, behavior_id, k=record.top_k)
        for scores in record.scores
    }
    return {method: relations for method, relations in by_method.items() if relations}


def _num_stating(record: RunRecord, behavior_id: str) -> int | None:
    found = record.evidence.behaviors if record.evidence is not None else ()
    return next((one.num_stating for one in found if one.behavior_id == behavior_id), None)


def leading_method(record: RunRecord, directory: Path) -> str:
    """Names the method that a run is read by: the first on gradients, in the study's order.

    Raises:
        SettingsError: The run has no method.
    """
    from whence.evidence.gap import compared_in

    compared = compared_in(record.scores, record.evidence)
    if (found := compared.method or compared.search) is None:
        raise SettingsError(
            f"{directory} has no scores.", "Name methods in `attribution.methods`, and run it."
        )
    return found


def method_scores(record: RunRecord, method: str, directory: Path) -> Scores:
    """Finds the scores of one method in a run.

    Raises:
        SettingsError: The run has no such method.
    """
    for scores in record.scores:
        if scores.method == method:
            return scores
    known = ", ".join(scores.method for scores in record.scores)
    raise SettingsError(f"{directory} has no scores by `{method}`.", f"It has: {known}.")
