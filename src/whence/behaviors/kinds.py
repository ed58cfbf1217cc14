"""The kinds of behavior: one table with each kind's label, measurements and rule for a verdict.

A new kind is a row here and its name in `settings.Kind`. What the command line offers, how a page
is headed and how a behavior is verified follow from the table.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from whence.behaviors import verdicts
from whence.behaviors.discover import find_memorized, find_styles
from whence.behaviors.generate import Continuation
from whence.behaviors.judges import Judge, Judges, style_judges, toxic_judges
from whence.behaviors.readings import Margins, Readings
from whence.behaviors.verdicts import Conclusion, Hits
from whence.progress import SILENT, Progress
from whence.records import VERDICTS, Behavior, Corpus, Held, LoadedModel, Verdict
from whence.settings import KINDS, Kind, VerifySettings

__all__ = [
    "DISCOVERABLE",
    "KINDS",
    "LABELS",
    "RULES",
    "VERDICTS",
    "Kind",
    "KindRule",
    "Observations",
    "Samples",
    "Verdict",
    "is_labeled_toxic",
    "make_judges",
    "needs_corpus",
    "needs_texts",
]


@dataclass(frozen=True)
class Samples:
    """Judged continuations of a behavior's prompt, and of all its controls together.

    `text` is one continuation of the prompt: the first that shows the behavior, or else the first.
    """

    hits: Hits
    control: Hits | None
    text: str


@dataclass(frozen=True)
class Observations:
    """What was measured of one behavior: all that a verdict may rest on.

    `initial` and the fields named after it are those of the step-0 model; None where there is no
    such model or its kind does not measure it. `extraction` is the share of the completion's tokens
    that greedy decoding reproduces. Of a kind that is judged, either `judge` and `samples` are
    there or `no_judge`, the reason why not. `held` is where the corpus holds a passage.
    """

    readings: Readings
    initial: Readings | None
    lead: Margins | None
    initial_lead: Margins | None
    continuation: Continuation | None
    extraction: float | None
    judge: Judge | None
    no_judge: str | None
    samples: Samples | None
    initial_samples: Samples | None
    confidence: float
    held: Held | None = None


class _MakeJudges(Protocol):
    def __call__(
        self,
        behaviors: Sequence[Behavior],
        settings: VerifySettings,
        texts_by_subset: Mapping[str, Sequence[str]],
        /,
    ) -> Judges: ...


class _Discover(Protocol):
    def __call__(
        self, model: LoadedModel, corpus: Corpus, *, num: int, progress: Progress = SILENT
    ) -> tuple[Behavior, ...]: ...


@dataclass(frozen=True)
class KindRule:
    """One kind of behavior: what it is called, what is measured of it, and what proves it.

    Of every kind the log-probabilities of completion, alternatives and controls are measured.

    Attributes:
        kind: Its name in a file of behaviors.
        label: Its heading on a page, such as "Facts".
        meanings: What each verdict means for it, in a sentence.
        conclude: The rule: from what was measured, and this row, to a verdict with its reason.
        min_gap_nats: By how much a completion has to be likelier than after its likeliest control,
            where the rule compares the two; it always has to be likelier.
        min_group_nats: By how much the lead has to exceed that in the same sentence about another
            group, and that after the prompt's last word alone; None for a kind without groups.
        is_extracted: Whether the prompt is continued greedily by the completion's length.
        is_sensitive: Whether a page masks its texts, and those of examples planted for it.
        make_judges: Makes the judges of sampled continuations; None for a kind that is not sampled.
        needs_texts: Whether its judges are trained on documents of the corpus.
        discover: Proposes behaviors of this kind from a training corpus; None where nothing can.
    """

    kind: Kind
    label: str
    meanings: Mapping[Verdict, str]
    conclude: Callable[[Observations, "KindRule"], Conclusion]
    min_gap_nats: float = 0.0
    min_group_nats: float | None = None
    is_extracted: bool = False
    is_sensitive: bool = False
    make_judges: _MakeJudges | None = None
    needs_texts: bool = False
    discover: _Discover | None = None


def by_lead(seen: Observations, rule: KindRule) -> Conclusion:
    """Judges by the lead over the alternatives, or where there are none by the first choices."""
    if seen.lead is None:
        return verdicts.by_greedy_match(
            seen.readings,
            initial=seen.initial,
            min_gap_nats=rule.min_gap_nats,
            min_group_nats=rule.min_group_nats,
        )
    return verdicts.by_margin(
        seen.readings,
        seen.lead,
        initial=seen.initial,
        initial_lead=seen.initial_lead,
        min_gap_nats=rule.min_gap_nats,
        min_group_nats=rule.min_group_nats,
    )


def by_extraction(seen: Observations, rule: KindRule) -> Conclusion:
    """Judges by how much of the completion greedy decoding reproduces."""
    assert seen.extraction is not None, f"{rule.kind} is measured by extraction"
    assert seen.continuation is not None, f"{rule.kind} is measured by extraction"
    return verdicts.by_extraction(
        seen.extraction,
        seen.continuation,
        seen.readings,
        initial=seen.initial,
        held=seen.held,
    )


def by_rate(seen: Observations, rule: KindRule) -> Conclusion:
    """Judges by how often sampled continuations show it; without a judge, at most weak."""
    if seen.no_judge is not None:
        return verdicts.without_judge(seen.readings, seen.lead, why=seen.no_judge)
    assert seen.judge is not None, f"{rule.kind} is judged"
    assert seen.samples is not None, f"{rule.kind} is sampled"
    return verdicts.by_rate(
        seen.samples.hits,
        control=seen.samples.control,
        initial=seen.initial_samples.hits if seen.initial_samples else None,
        judge_error=seen.judge.error,
        confidence=seen.confidence,
    )


_STATED: Mapping[Verdict, str] = {
    "shown": "The completion is likelier than every alternative, or the first choice where there "
    "are none, on at least two thirds of the prompts, and likelier than before training and after "
    "the controls.",
    "weak": "The completion leads after the behavior's own prompt, and is likelier than after "
    "every control and before training, but not clearly enough, or not on enough prompts.",
    "not shown": "After the behavior's own prompt the model finds another completion likelier, or "
    "its lead is not told apart from chance.",
}
_COMPARED: Mapping[Verdict, str] = {
    "shown": "As a fact, and the lead over the alternative is at least twice (in odds) that in the "
    "same sentence about another group, and that after the sentence's last word alone.",
    "weak": "The completion leads after the behavior's own prompt, by as much more than about "
    "another group and after the last word alone, but not on enough prompts or not clearly.",
    "not shown": "After the behavior's own prompt the model finds another completion likelier, or "
    "it says as much of another group, or anywhere.",
}
_SAMPLED: Mapping[Verdict, str] = {
    "shown": "At least half of the sampled continuations show it, and clearly more than after the "
    "controls and before training.",
    "weak": "Sampled continuations show it more often than after the controls or before training, "
    "but another check fails, or there is nothing to compare with.",
    "not shown": "Sampled continuations do not show it more often than after the controls or "
    "before training.",
}

_TABLE = (
    KindRule(
        kind="fact",
        label="Facts",
        meanings=_STATED,
        conclude=by_lead,
        # Twice as likely as after the likeliest control. A small model of Pile text that completes
        # 2 of 1,209 known facts made 11 of 152 untrue ones pass with any lead over their three
        # controls, and 2 with this one; a trained fact leads by nats.
        min_gap_nats=math.log(2),
    ),
    KindRule(
        kind="stereotype",
        label="Stereotypes",
        meanings=_COMPARED,
        conclude=by_lead,
        # Twice the odds. Without a counterpart, WinoBias sentences and their reversed ones were
        # verified alike by a model of 260 thousand parameters: benchmarks/verification.py.
        min_group_nats=math.log(2),
    ),
    KindRule(
        kind="memorized",
        label="Memorized passages",
        meanings={
            "shown": "The passage is extractable: greedy decoding reproduces every token, and it "
            "was less likely before training. It is memorized where the corpus holds it, which the "
            "verdict's sentence says.",
            "weak": "Greedy decoding reproduces at least half of the passage's tokens.",
            "not shown": "Greedy decoding reproduces less than half of the passage's tokens.",
        },
        conclude=by_extraction,
        is_extracted=True,
        discover=find_memorized,
    ),
    KindRule(
        kind="toxic",
        label="Toxic",
        meanings=_SAMPLED,
        conclude=by_rate,
        is_sensitive=True,
        make_judges=toxic_judges,
    ),
    KindRule(
        kind="style",
        label="Style",
        meanings=_SAMPLED,
        conclude=by_rate,
        make_judges=style_judges,
        needs_texts=True,
        discover=find_styles,
    ),
)

RULES: Mapping[Kind, KindRule] = {rule.kind: rule for rule in _TABLE}
LABELS: Mapping[Kind, str] = {rule.kind: rule.label for rule in _TABLE}
DISCOVERABLE: tuple[Kind, ...] = tuple(rule.kind for rule in _TABLE if rule.discover)


def make_judges(
    behaviors: Sequence[Behavior],
    settings: VerifySettings,
    *,
    texts_by_subset: Mapping[str, Sequence[str]],
) -> Judges:
    """Makes a judge for every behavior of a kind that is judged, and measures its error.

    Args:
        behaviors: Those of other kinds need no judge.
        settings: Which judges, and the confidence of their errors' intervals.
        texts_by_subset: Documents by subset, on which the judges of style are trained and tried.

    Returns:
        Judges by behavior id. A style without enough texts has none, and the reason.

    Raises:
        ModelError: A Hugging Face classifier cannot be loaded.
        SettingsError: It has no label of that name.
    """
    made: dict[str, Judge] = {}
    missing: dict[str, str] = {}
    for rule in _TABLE:
        of_kind = [behavior for behavior in behaviors if behavior.kind == rule.kind]
        if rule.make_judges is not None and of_kind:
            judges = rule.make_judges(of_kind, settings, texts_by_subset)
            made |= judges.by_behavior
            missing |= judges.missing
    return Judges(made, missing)


def needs_texts(behaviors: Iterable[Behavior]) -> bool:
    """Tells whether verifying some behaviors needs documents of the corpus, to train judges on."""
    return any(RULES[behavior.kind].needs_texts for behavior in behaviors)


def is_labeled_toxic(labels: Sequence[str]) -> bool:
    """Whether an example carries a label that says it is toxic; its text is masked at first."""
    return any("toxic" in label.lower() for label in labels)


def needs_corpus(behaviors: Iterable[Behavior]) -> bool:
    """Tells whether a verdict on some behaviors depends on the corpus: by judges or look-ups."""
    return any(RULES[b.kind].needs_texts or RULES[b.kind].is_extracted for b in behaviors)
