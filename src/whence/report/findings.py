"""Sentences on a whole study: what was counted, over how many, and nothing beyond it."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from whence.evidence.gap import SAME_CONTENT, Gap
from whence.evidence.record import LEVEL
from whence.evidence.relations import RELATIONS, Relation, Tier, is_visible
from whence.report.sentences import capitalized, change, in_words, listed
from whence.statistics import MIN_FAMILIES, Estimate, rounded

NO_BEHAVIORS = "There are no behaviors in this run."
NO_EVIDENCE = (
    "This run keeps no evidence, so what ties the listed examples to a behavior is not known. "
    "Running the study again adds it."
)
NOT_VALIDATED = (
    "Whether any of these examples had an effect was not tested: that takes a counterfactual, such "
    "as those of whence validate."
)
NOT_RETRAINED = (
    "That is what a step does now; whether training without these examples would have ended "
    "otherwise was not tested."
)
_P = 0.05
_TIERS: Mapping[Tier | Literal["noise"], tuple[str, str]] = {
    "copy": ("is a copy", "are copies"),
    "claim": ("states it or shares part of it", "state it or share part of it"),
    "topic": ("shares topic or form only", "share topic or form only"),
    "effect": ("is surprising", "are surprising"),
    "none": ("has no visible tie", "have no visible tie"),
    "noise": ("is noise", "are noise"),
}


class Shown(NamedTuple):
    """How many behaviors of a kind the model shows; `num` includes those not verified."""

    label: str
    num: int
    num_shown: int
    num_weak: int
    num_unverified: int


class Ties(NamedTuple):
    """What a method lists first, over some behaviors, and whether it compares gradients."""

    label: str
    num_behaviors: int
    relations: Mapping[Relation, int]
    is_gradient: bool = False

    @property
    def num_listed(self) -> int:
        """Clusters that were counted."""
        return sum(self.relations.values())


class Strengths(NamedTuple):
    """How many of a method's first clusters are above the null, of those that were calibrated."""

    label: str
    num_above: int
    num_listed: int


def shown_sentence(model: str, kinds: Sequence[Shown]) -> str:
    """Says how many behaviors the model shows, by kind.

    Args:
        model: Its name; of a folder, the last part is named.
        kinds: One per kind that the study has.
    """
    total = sum(kind.num for kind in kinds)
    if not total:
        return NO_BEHAVIORS
    name = re.sub(r"^([/\\]|[A-Za-z]:).*[/\\](?=[^/\\])", "", model)
    unverified = sum(kind.num_unverified for kind in kinds)
    if unverified == total:
        return f"Whether {name} shows the {_behaviors(total)} was not verified."
    parts = [f"{kind.label.lower()} {kind.num_shown:,} of {kind.num:,}" for kind in kinds]
    by_kind = f" ({', '.join(parts)})" if len(kinds) > 1 else ""
    shown = sum(kind.num_shown for kind in kinds)
    weak = sum(kind.num_weak for kind in kinds)
    weakly = f", and {weak:,} more weakly" if weak else ""
    missing = f" {unverified:,} {_were(unverified)} not verified." if unverified else ""
    return f"{name} shows {shown:,} of {_behaviors(total)}{by_kind}{weakly}.{missing}"


def nothing_attributed(*, has_methods: bool) -> str:
    """Says why no example is listed."""
    if not has_methods:
        return "No method scored the training examples, so none is listed."
    return "No behavior was attributed, so no training example is listed."


def ties_sentence(ties: Ties, other: Ties | None) -> str:
    """Says what ties the examples that a method lists first, beside search."""
    if not ties.num_listed:
        first = f"{capitalized(ties.label)} names no example for {_behaviors(ties.num_behaviors)}"
    else:
        first = (
            f"{capitalized(_introduced(ties))} lists {_examples(ties.num_listed)} first for "
            f"{_behaviors(ties.num_behaviors)}, copies counted once: {_tiers(ties)}"
        )
    if other is None:
        return f"{first}."
    if not other.num_listed:
        return f"{first}; {other.label} names none."
    return f"{first}. {capitalized(other.label)}, a search of texts: {_tiers(other)}."


def _introduced(ties: Ties) -> str:
    return f"{ties.label}, a method on gradients," if ties.is_gradient else ties.label


def _tiers(ties: Ties) -> str:
    counts = dict.fromkeys(_TIERS, 0)
    for relation, count in ties.relations.items():
        counts["noise" if relation == "noise" else RELATIONS[relation].tier] += count
    return listed([f"{n:,} {_TIERS[tier][n != 1]}" for tier, n in counts.items() if n])


def gap_sentence(
    label: str, search: str, gaps: Sequence[Gap], only: Mapping[Relation, int], *, k: int
) -> str:
    """Says what a method names and search does not, and the other way round.

    Args:
        label: The method.
        search: The method that searches texts.
        gaps: One per behavior that both scored.
        only: The relations of what `label` alone names.
        k: How many clusters of each count.
    """
    if not gaps:
        return f"{capitalized(label)} and {search} scored no behavior in common."
    num = sum(len(gap.both) + len(gap.only) for gap in gaps)
    num_only = sum(len(gap.only) for gap in gaps)
    num_apart = sum(not gap.both for gap in gaps)
    if not num:
        return f"{capitalized(label)} lists nothing to compare with {search}."
    if not num_only:
        return f"Search finds them, too: {search} lists all {num:,} among its first {in_words(k)}."
    same = sum(n for relation, n in only.items() if relation in SAME_CONTENT)
    visible = sum(n for relation, n in only.items() if is_visible(relation)) - same
    strong = only.get("unexplained", 0) + only.get("surprising", 0)
    parts = [
        (same, "copies or states it", "copy or state it"),
        (visible, "is related in another way", "are related in another way"),
        (
            strong,
            "has no visible tie",
            "have no visible tie",
        ),
        (only.get("noise", 0), "is noise", "are noise"),
    ]
    words = listed([f"{n:,} {(one, many)[n != 1]}" for n, one, many in parts if n])
    missed = sum(gap.num_same_other for gap in gaps)
    apart = f" For {num_apart:,} of {_behaviors(len(gaps))} the two share none."
    return (
        f"{num_only:,} of {label}'s {num:,} are not among {search}'s first {in_words(k)}: {words}."
        + (apart if num_apart else "")
        + f" {capitalized(search)} lists {missed:,} that copy or state it, {label} "
        f"{sum(gap.num_same for gap in gaps):,}."
    )


def strength_sentence(
    strengths: Strengths, untrained: Sequence[Strengths], *, num_null: int
) -> str:
    """Says how many examples are stronger than chance.

    Args:
        strengths: Of the method that the page is read by.
        untrained: Of the same gradients in an untrained model, where the run has them.
        num_null: Unrelated queries that were scored.
    """
    if not num_null:
        return (
            "How strong these scores are by chance is not known: no unrelated queries were scored."
        )
    if not strengths.num_listed:
        return (
            f"How strong these scores are by chance is not known: {strengths.label} could not be "
            "calibrated with unrelated queries."
        )
    beside = "".join(
        f"; of {one.label}'s, from an untrained model, {one.num_above:,} of {one.num_listed:,}"
        for one in untrained
        if one.num_listed
    )
    return (
        f"{strengths.num_above:,} of {strengths.num_listed:,} "
        f"{'is' if strengths.num_above == 1 else 'are'} stronger than chance: at most one of "
        f"{round(1 / (1 - LEVEL))} unrelated queries has so strong an example at that rank"
        f"{beside}. Stronger than chance does not mean that the model learned from it."
    )


class Gain(NamedTuple):
    """A difference of two changes: its mean over families, and in how many it is above zero."""

    estimate: Estimate
    num_larger: int


class StepChange(NamedTuple):
    """What training steps on one method's first examples did, over families of behaviors.

    Attributes:
        label: The method.
        change_nats: The mean change of the completion's log-probability by a step on one of them.
        gain: The same minus that of random examples.
    """

    label: str
    change_nats: float
    gain: Gain


def effect_sentence(
    changes: Sequence[StepChange],
    random_nats: float,
    lead: Gain | None,
    *,
    num_examples: int,
    num_behaviors: int,
) -> str:
    """Says what one training step on a method's first examples does, beside search and chance.

    Each family of behaviors counts once: changes differ by orders of magnitude between families,
    and hardly within one.

    Args:
        changes: Of the method that the page is read by, and then of search; over the same
            families.
        random_nats: The mean change by a step on a random example.
        lead: The first method's change minus that of search; None where there is no search.
        num_examples: How many of each method's first examples were stepped on, one by one: the
            most of any behavior.
        num_behaviors: In all families.
    """
    first = changes[0]
    parts = [f"{change(one.change_nats)} with {one.label}" for one in changes]
    parts.append(f"{change(random_nats)} with random examples like them")
    num_families = first.gain.estimate.n
    families = "1 family" if num_families == 1 else f"{num_families:,} families"
    where = "the first example"
    if num_examples > 1:
        where = f"each of the first {in_words(num_examples)} examples"
    means = (
        f"One training step on {where} changes the completion's log-probability, in nats and "
        f"averaged over {families} of {_behaviors(num_behaviors)}, by {listed(parts)}."
    )
    if num_families < MIN_FAMILIES:
        return f"{means} That is too few families to say more."
    gains = [f"{capitalized(first.label)} against random examples: {_difference(first.gain)}"]
    if lead is not None and len(changes) > 1:
        gains.append(f"against {changes[1].label}: {_difference(lead)}")
    return f"{means} {'; '.join(gains)}."


def no_effect_sentence(reason: str) -> str:
    """Says why no step could be measured."""
    return f"What a training step on these examples does could not be measured. {reason}"


def _difference(gain: Gain) -> str:
    """Writes a difference with its interval, and whether it is one.

    That is decided by a sign test: of changes that differ by orders of magnitude, a mean is carried
    by one or two.
    """
    from scipy.stats import binomtest

    value, interval, num = gain.estimate
    if value is None or interval is None:
        return "undefined"
    p = float(binomtest(gain.num_larger, num).pvalue)
    told = "p < 0.001" if p < 0.001 else f"p = {rounded(p, 3)}"
    return (
        f"{change(value)} [{change(interval.low)}, {change(interval.high)}], larger in "
        f"{gain.num_larger} of {num} families ({told} by a sign test"
        f"{'' if p <= _P else ': no difference shown'})"
    )


def validation_sentence(sentences: Sequence[str] | None, label: str) -> str:
    """Says what validation found of a method.

    Args:
        sentences: What it says of the method, by measure; None where the run was not validated.
        label: The method.
    """
    if sentences is None:
        return NOT_VALIDATED
    if not sentences:
        return (
            "The run was validated; no comparison with search and the untrained baseline is known."
        )
    return f"Validated, {label}: {sentences[0]}"


def _behaviors(count: int) -> str:
    return f"{count:,} behavior{'' if count == 1 else 's'}"


def _examples(count: int) -> str:
    return f"{count:,} example{'' if count == 1 else 's'}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
