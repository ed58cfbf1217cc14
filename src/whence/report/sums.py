"""What the first examples of a method have to do with a behavior: counts, and the sentences."""

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from whence.evidence.gap import Gap as FoundGap
from whence.evidence.gap import find_gap, first_clusters
from whence.report.context import Context
from whence.report.schema import Gap
from whence.report.sentences import (
    gap_sentence,
    lead_sentence,
    method_label,
    relations_sentence,
    steps_sentence,
)


@dataclass(frozen=True)
class Sums:
    """The figures of one method and behavior; see `MethodResult`. None where nothing is known."""

    relations: dict[str, int] | None = None
    summary: str | None = None
    gap: Gap | None = None
    num_above_null: int | None = None
    num_null: int | None = None
    steps: str | None = None
    found: FoundGap | None = None

    def is_only(self, example_id: str) -> bool | None:
        """Whether the method that this one is compared with lists no copy of an example."""
        if self.found is None or example_id not in (*self.found.both, *self.found.only):
            return None
        return example_id in self.found.only

    def fields(self) -> dict[str, Any]:
        """The fields of a `MethodResult`."""
        return {
            "relations": self.relations,
            "summary": self.summary,
            "gap": self.gap,
            "num_above_null": self.num_above_null,
            "num_null": self.num_null,
            "steps": self.steps,
        }


def sum_up(method: str, behavior_id: str, page: Context) -> Sums:
    """Sums up what a method lists first for a behavior, and compares it with search.

    Args:
        method: A method that scored the behavior.
        behavior_id: The behavior.
        page: The run.
    """
    evidence, k = page.record.evidence, page.num_first
    if evidence is None or method not in evidence.families:
        return Sums()
    label, other = method_label(method), other_method(method, behavior_id, page)
    relations = evidence.relations(method, behavior_id, k=k)
    gap = (
        None
        if other is None
        else find_gap(evidence, behavior_id, method, other, cluster_of=page.cluster_of, k=k)
    )
    above = [one.is_above_null for one in first_clusters(evidence, method, behavior_id, k=k)]
    num_null = page.num_null.get((method, behavior_id))
    return Sums(
        relations={**relations},
        summary=relations_sentence(
            label,
            relations,
            other=None if other is None else method_label(other),
            other_relations=None if other is None else evidence.relations(other, behavior_id, k=k),
        ),
        gap=None if gap is None or other is None else _record(gap, label, other),
        num_above_null=None if num_null is None else sum(one is True for one in above),
        num_null=num_null,
        steps=_steps(method, other, behavior_id, page),
        found=gap,
    )


def mean_effect(method: str, behavior_id: str, page: Context) -> float | None:
    """The mean change by a step on each of a method's first examples, in nats.

    None where some of them was not stepped on, or the method lists none.
    """
    effects = page.record.effects
    if effects is None or method not in effects.methods:
        return None
    return effects.mean(behavior_id, step_examples(method, behavior_id, page))


def step_examples(method: str, behavior_id: str, page: Context) -> list[str]:
    """The first examples of a method that steps are about: fewer where it lists no more."""
    evidence, effects = page.record.evidence, page.record.effects
    if evidence is None or effects is None:
        return []
    first = first_clusters(evidence, method, behavior_id, k=effects.num_examples)
    return [one.example_id for one in first]


def _steps(method: str, other: str | None, behavior_id: str, page: Context) -> str | None:
    effects, mean = page.record.effects, mean_effect(method, behavior_id, page)
    if effects is None or mean is None:
        return None
    beside = None if other is None else mean_effect(other, behavior_id, page)
    return steps_sentence(
        mean,
        None if other is None or beside is None else (method_label(other), beside),
        fmean(effects.controls(behavior_id)),
        num_examples=len(step_examples(method, behavior_id, page)),
    )


def other_method(method: str, behavior_id: str, page: Context) -> str | None:
    """The method that one is compared with: search, and search with the one on gradients."""
    first, search = page.compared
    other = first if method == search else search
    return other if other is not None and behavior_id in page.scored[other] else None


def _record(gap: FoundGap, label: str, other: str) -> Gap:
    return Gap(
        other=other,
        num_both=len(gap.both),
        num_only=len(gap.only),
        num_only_other=len(gap.only_other),
        num_same=gap.num_same,
        num_same_other=gap.num_same_other,
        sentence=gap_sentence(label, method_label(other), gap),
        lead=lead_sentence(label, method_label(other), gap),
    )
