"""The answer first: what the model shows, and what ties the examples of its behaviors."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated

from whence.behaviors.kinds import RULES
from whence.evidence.gap import Gap, find_gap
from whence.evidence.record import Evidence
from whence.evidence.relations import RELATIONS, Relation
from whence.report import findings as wording
from whence.report.context import Context
from whence.report.findings import Shown, Strengths, Ties
from whence.report.run_record import RunRecord
from whence.report.sections import SectionKind
from whence.report.sentences import method_label
from whence.report.sums import mean_effect, other_method, step_examples, sum_up
from whence.statistics import paired_estimate


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A sentence on the whole study."""

    topic: Annotated[str, "what it is about, in a few words"]
    text: str
    link: Annotated[str | None, "the section where more of it stands"]
    preset: Annotated[str | None, "the filter of the behaviors that shows what it counts"]


@dataclass(frozen=True, kw_only=True)
class KindRelations:
    """What one method lists first for the behaviors of one kind."""

    kind: str
    method: str
    num_behaviors: int
    relations: Annotated[Mapping[str, int], "of the first clusters, in the order of the cascade"]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the study found, in sentences, and the relations behind them by kind."""

    findings: Sequence[Finding]
    by_kind: Annotated[Sequence[KindRelations], "empty where the run keeps no evidence"]


def findings(page: Context) -> Findings:
    """Sums up a run; each sentence is as strong as what was measured."""
    record = page.record
    found = [Finding(topic="The model", text=_shown(record), link="behaviors", preset=None)]
    if not any(page.scored.values()):
        text = wording.nothing_attributed(has_methods=bool(record.scores))
        return Findings(
            findings=[*found, Finding(topic="Examples", text=text, link=None, preset=None)],
            by_kind=[],
        )
    if record.evidence is None or page.compared == (None, None):
        found.append(Finding(topic="Ties", text=wording.NO_EVIDENCE, link="behaviors", preset=None))
    else:
        found += _of_evidence(record.evidence, page)
    found.append(_of_effect(page))
    return Findings(findings=found, by_kind=_by_kind(page))


def _shown(record: RunRecord) -> str:
    counts: list[Shown] = []
    for kind, rule in RULES.items():
        ids = [behavior.id for behavior in record.behaviors if behavior.kind == kind]
        verdicts = Counter(v.verdict for i in ids if (v := record.verifications.get(i)))
        verified = sum(verdicts.values())
        if ids:
            counts.append(
                Shown(
                    rule.label, len(ids), verdicts["shown"], verdicts["weak"], len(ids) - verified
                )
            )
    return wording.shown_sentence(record.model, counts)


def _of_evidence(evidence: Evidence, page: Context) -> list[Finding]:
    method, search = page.compared
    if method is None:
        method, search = search, None
    assert method is not None, "some method scored a behavior"
    ids = _behaviors(method, page)
    if not ids:
        return []
    ties = _ties(evidence, method, ids, page)
    other = None if search is None else _ties(evidence, search, ids, page)
    found = [
        Finding(
            topic="Ties", text=wording.ties_sentence(ties, other), link="behaviors", preset=None
        )
    ]
    if search is not None:
        gaps = _gaps(evidence, method, search, ids, page)
        only = _relations(evidence, {i: gap.only for i, gap in gaps.items()})
        text = wording.gap_sentence(
            ties.label, method_label(search), list(gaps.values()), only, k=page.num_first
        )
        found.append(
            Finding(
                topic="Against search", text=text, link="behaviors", preset="only" if only else None
            )
        )
    families = {m: f for m, f in evidence.families.items() if m in page.scored}
    untrained = next((m for m, f in families.items() if f == "untrained"), None)
    strengths = [_strengths(m, ids, page) for m in (method, untrained) if m is not None]
    text = wording.strength_sentence(strengths[0], strengths[1:], num_null=evidence.num_null)
    return [*found, Finding(topic="Against chance", text=text, link="behaviors", preset=None)]


def _of_effect(page: Context) -> Finding:
    validation, method = page.record.validation, page.compared.method
    said = [] if validation is None else validation.sentences
    own = [text.removeprefix(f"{method}, ") for text in said if text.startswith(f"{method}, ")]
    label = "" if method is None else method_label(method)
    effects, steps = page.record.effects, _of_steps(page)
    if validation is None and steps is not None:
        rest = wording.NOT_RETRAINED
    else:
        rest = wording.validation_sentence(None if validation is None else own, label)
    if effects is not None and effects.undefined is not None:
        steps = wording.no_effect_sentence(effects.undefined)
    return Finding(
        topic="Effect",
        text=rest if steps is None else f"{steps} {rest}",
        link=_link(page),
        preset=None,
    )


def _link(page: Context) -> str | None:
    """Where more of the effects stands."""
    if page.record.validation is not None:
        return "leaderboard"
    effects = page.record.effects
    return "plots" if effects is not None and effects.effects else None


def _of_steps(page: Context) -> str | None:
    """What steps on the first examples did, over the behaviors for which every method has some."""
    effects, evidence = page.record.effects, page.record.evidence
    if effects is None or evidence is None:
        return None
    means = {
        method: {
            i: mean
            for i in _behaviors(method, page)
            if (mean := mean_effect(method, i, page)) is not None
        }
        for method in effects.methods
        if method in evidence.families
    }
    known = [behavior.id for behavior in page.record.behaviors]
    chosen = [i for i in known if all(i in of for of in means.values())]
    if not chosen or not means:
        return None
    random = [*page.by_family({i: fmean(effects.controls(i)) for i in chosen}).values()]
    own = {m: [*page.by_family({i: of[i] for i in chosen}).values()] for m, of in means.items()}
    changes = [
        wording.StepChange(method_label(method), fmean(of), _gain(of, random))
        for method, of in own.items()
    ]
    lead = _gain(*own.values()) if len(own) == 2 else None
    return wording.effect_sentence(
        changes,
        fmean(random),
        lead,
        num_examples=max(len(step_examples(m, i, page)) for m in means for i in chosen),
        num_behaviors=len(chosen),
    )


def _gain(values: Sequence[float], others: Sequence[float]) -> wording.Gain:
    num_larger = sum(a > b for a, b in zip(values, others, strict=True))
    return wording.Gain(paired_estimate(values, others), num_larger)


def _behaviors(method: str, page: Context) -> list[str]:
    """The behaviors that a method scored, without those that the model does not show."""
    left = set(page.scored[method]) - set(page.record.forced)
    return [behavior.id for behavior in page.record.behaviors if behavior.id in left]


def _ties(evidence: Evidence, method: str, ids: Sequence[str], page: Context) -> Ties:
    counts: Counter[Relation] = Counter()
    for i in ids:
        counts.update(evidence.relations(method, i, k=page.num_first))
    is_gradient = evidence.families[method] == "gradient"
    return Ties(method_label(method), len(ids), _ordered(counts), is_gradient)


def _ordered(counts: Mapping[Relation, int]) -> dict[Relation, int]:
    return {relation: counts[relation] for relation in RELATIONS if counts.get(relation)}


def _gaps(
    evidence: Evidence, method: str, search: str, ids: Sequence[str], page: Context
) -> dict[str, Gap]:
    return {
        i: find_gap(evidence, i, method, search, cluster_of=page.cluster_of, k=page.num_first)
        for i in ids
        if other_method(method, i, page) == search
    }


def _relations(evidence: Evidence, named: Mapping[str, Sequence[str]]) -> dict[Relation, int]:
    """Counts the relations of some examples by behavior."""
    ties = (evidence.tie(i, example_id) for i, ids in named.items() for example_id in ids)
    return _ordered(Counter(tie.relation for tie in ties if tie is not None))


def _strengths(method: str, ids: Sequence[str], page: Context) -> Strengths:
    sums = [sum_up(method, i, page) for i in ids if i in page.scored[method]]
    known = [one for one in sums if one.num_above_null is not None]
    return Strengths(
        method_label(method),
        num_above=sum(one.num_above_null or 0 for one in known),
        num_listed=sum(sum((one.relations or {}).values()) for one in known),
    )


def _by_kind(page: Context) -> list[KindRelations]:
    evidence = page.record.evidence
    if evidence is None:
        return []
    found: list[KindRelations] = []
    for kind in RULES:
        of_kind = {behavior.id for behavior in page.record.behaviors if behavior.kind == kind}
        for method in filter(None, page.compared):
            ids = [i for i in _behaviors(method, page) if i in of_kind]
            if ids:
                relations = _ties(evidence, method, ids, page).relations
                found.append(
                    KindRelations(
                        kind=kind, method=method, num_behaviors=len(ids), relations={**relations}
                    )
                )
    return found


SECTION = SectionKind(order=5, menu=None, make=findings)
