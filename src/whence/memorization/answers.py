"""The answers of a memorization study in words, each only as strong as what was measured.

An answer that the data cannot give is "cannot be told", with the reason.
"""

from typing import Literal, NamedTuple

from whence.memorization.dose import DoseBin
from whence.memorization.early_late import EarlyLate
from whence.memorization.families import RULES as FAMILY_RULES
from whence.memorization.record import Attributed, Causes, Memorization, StepEffects
from whence.memorization.twin_effects import TwinEffects
from whence.statistics import MIN_FAMILIES, Estimate, rounded

Verdict = Literal["told", "cannot be told", "not measured"]
_DASH = "\u2014"
# Whose sums over copies are held against training without copies.
_SUMMED = ("cosine", "tracin", "bm25", "random")


class Answer(NamedTuple):
    """One question with its answer.

    Attributes:
        question: The question.
        verdict: Whether the data tell.
        short: The answer in one sentence.
        points: What it rests on, with numbers, intervals and units.
        change: What would change it.
    """

    question: str
    verdict: Verdict
    short: str
    points: tuple[str, ...]
    change: str


def answers(found: Memorization) -> tuple[Answer, ...]:
    """Answers the questions of a memorization study."""
    return (_kinds(found), _early_late(found), _dose(found), _needed(found))


def interval(value: Estimate | None, digits: int = 2, *, sign: bool = False) -> str:
    """Writes an estimate with its interval; a dash where it is undefined."""
    if value is None or value.value is None:
        return _DASH
    text = rounded(value.value, digits, sign=sign)
    if value.interval is not None:
        low, high = (rounded(end, digits, sign=sign) for end in value.interval[:2])
        text += f" [{low}, {high}]"
    return text


def is_above_zero(value: Estimate | None) -> bool:
    """Whether a 95 % interval lies above zero; false without an interval."""
    return value is not None and value.interval is not None and value.interval.low > 0


def is_below_zero(value: Estimate | None) -> bool:
    """Whether a 95 % interval lies below zero; false without an interval."""
    return value is not None and value.interval is not None and value.interval.high < 0


def placebos(found: Memorization) -> str:
    """Says whether effects before the exposure are zero, as they should be; empty without any."""
    before = [one.interval for lag, one in found.exposure_effects if lag < 0 and one.interval]
    apart = [one for one in before if not one.low <= 0 <= one.high]
    if not before:
        return ""
    if not apart:
        return f"All {len(before)} placebos before the exposure include zero."
    return (
        f"{len(apart)} of {len(before)} placebos before the exposure differ from zero: what was "
        "seen early differs from what was seen late in other ways too, such as its number of "
        "copies, so that these are no effects of exposure alone."
    )


def _kinds(found: Memorization) -> Answer:
    question = (
        "Are memorized sequences influenced by exact copies, near copies or something more "
        "surprising?"
    )
    points: list[str] = []
    verdict: Verdict = "not measured"
    short = "What their first examples are does not say what was memorized."
    twins, steps = found.causes.twins, found.causes.steps
    if steps:
        verdict, short = "told", "By single steps only; training without copies was not tried."
    if twins is not None:
        verdict, short = _of_twins(found.causes, twins)
        points += _from_twins(found.causes, twins)
        if found.attributed is not None and is_above_zero(twins.exact_share):
            points.append(_against_scores(twins, found.attributed))
    if steps:
        points.append(_from_steps(steps[0], is_first=len(steps) > 1))
    if found.attributed is not None:
        points.append(_from_shares(found.attributed))
    if not points:
        short = "No sequence is memorized, or nothing was attributed."
    change = (
        "Another start, dose or order of the continued training; more families (these are "
        f"{found.families[0].num_families if found.families else 0} by "
        f"{FAMILY_RULES['window-13']}); training without copies from the first step."
    )
    return Answer(question, verdict, short, tuple(filter(None, points)), change)


def _of_twins(causes: Causes, twins: TwinEffects) -> tuple[Verdict, str]:
    """Which copies training needs, in one sentence."""
    if causes.twin_families < MIN_FAMILIES:
        return "cannot be told", (
            f"{causes.twin_families} families were trained on without copies, too few for an "
            "interval."
        )
    if not is_above_zero(twins.named("removing both").estimate):
        return (
            "cannot be told",
            "Training without the copies cannot be told from training with them.",
        )
    exact, near = (is_above_zero(twins.named(f"{n} alone").estimate) for n in ("exact", "near"))
    text = {
        (True, True): "By exact and by near copies",
        (True, False): "By exact copies; near copies alone cannot be told from none",
        (False, True): "By near copies; exact copies alone cannot be told from none",
        (False, False): "By copies; which of them cannot be told",
    }[exact, near]
    if exact and near:
        if is_below_zero(twins.named("interaction").estimate):
            text += ", and either stands in for the other"
        minus = twins.named("exact minus near").estimate
        if is_above_zero(minus):
            text += "; exact ones do more"
        elif is_below_zero(minus):
            text += "; near ones do more"
        else:
            text += "; which of the two does more cannot be told"
    return "told", text + "."


def _from_twins(causes: Causes, twins: TwinEffects) -> list[str]:
    effect = {one.name: one.estimate for one in twins.effects}
    both, exact, near = (effect[f"removing {name}"] for name in ("both", "exact", "near"))
    points = [
        f"Training on from step {causes.twin_step:,} for {causes.twin_num_steps} steps without a "
        f"family's exact copies costs {interval(exact)} nats per token of its continuation, "
        f"without its near copies {interval(near)}, without both {interval(both)} "
        f"({causes.twin_families} families)."
    ]
    if "removing others" in effect:
        others = effect["removing others"]
        points[0] += f" Removing as many unrelated examples costs {interval(others, sign=True)}."
    if causes.twin_families < MIN_FAMILIES or not is_above_zero(both):
        return points
    interaction, minus = effect["interaction"], effect["exact minus near"]
    stands = "; either class alone keeps most of it" if is_below_zero(interaction) else ""
    points.append(
        f"Exact copies alone give {interval(effect['exact alone'])}, near ones alone "
        f"{interval(effect['near alone'])} (interaction {interval(interaction, sign=True)}"
        f"{stands}). Exact minus near: {interval(minus, sign=True)}; one near copy is worth "
        f"{interval(twins.near_in_exact)} exact ones here."
    )
    return points


def _against_scores(twins: TwinEffects, found: Attributed) -> str:
    """Holds what methods give exact copies against what training without copies does."""
    methods = [one for one in found.copy_scores if one.method.method in _SUMMED]
    listed = "; ".join(f"{one.method.name}: {interval(one.exact_share)}" for one in methods)
    return (
        f"Of what both classes give in training, exact copies have {interval(twins.exact_share)}; "
        f"of the scores of both, over all attributed windows that have both: {listed}."
        if listed
        else ""
    )


def _from_steps(one: StepEffects, *, is_first: bool) -> str:
    means = dict(one.classes)
    listed = ", ".join(
        f"{name} {interval(means[name], sign=True)}"
        for name in ("self", "exact", "continuation", "near", "weak-near", "topical", "rest")
        if name in means and means[name].value is not None
    )
    where = f" at step {one.step:,}" if is_first else ""
    return (
        f"One optimizer step{where} on one example changes the log-probability of the whole "
        f"continuation by, in nats: {listed}."
    )


def _from_shares(found: Attributed) -> str:
    rule, against = found.differences[0]
    exact = [d for d in against if d.unit == "examples" and d.share_class == "exact"]
    gradient = [d for d in exact if d.method.method in ("cosine", "tracin", "tracin_cosine")]
    controls = [d for d in gradient if d.minus in ("same family", "as many copies")]
    controls = [d for d in controls if d.method.step != 0]
    above = [d for d in controls if is_above_zero(d.difference)]
    below = [d for d in controls if is_below_zero(d.difference)]
    untrained = found.share("cosine untrained", "memorized", "examples", "exact")
    last = [s for s in found.shares if s.method.method == "cosine"][-1].method
    share = found.share(last.label, "memorized", "examples", "exact")
    text = f"Of the first {found.top_k} examples by {last.name}, {interval(share)} are exact copies"
    if untrained is not None:
        text += f"; of an untrained model's, {interval(untrained)}"
    text += (
        f". Memorized windows have more of them in {len(above)} of {len(controls)} "
        f"comparisons with windows that are not, and fewer in {len(below)} (95 % intervals over "
        f"families by {FAMILY_RULES[rule]})"
    )
    if not above:
        text += ": such shares say what is similar, and nothing of what was memorized"
    return text + "."


def _early_late(found: Memorization) -> Answer:
    question = "Do sequences memorized early differ from those memorized late?"
    change = (
        "More families with both early and late members; planted placement, where every cause is "
        "known; denser checkpoints."
    )
    attributed = found.attributed
    if attributed is None or attributed.early_until is None:
        return Answer(question, "not measured", "Nothing was attributed.", (), change)
    told: list[set[tuple[str, bool]]] = []
    lines, carried, judged = [], [], 0
    for rule, outcomes in attributed.early_late:
        own = [one for one in outcomes if one.is_told]
        told.append({(one.outcome, (one.difference or 0.0) > 0) for one in own})
        num = outcomes[0].num_families if outcomes else 0
        matched = max((one.matched.n for one in outcomes), default=0)
        # Copies before the onset are what the slope holds equal: of them it says nothing.
        num_judged = sum(one.slope.interval is not None for one in outcomes)
        judged += num_judged
        many = (
            f"{len(own)} of {num_judged} outcomes"
            if num_judged
            else "no outcome, as none could be judged,"
        )
        lines.append(f"{many} with {num} families by {FAMILY_RULES[rule]} ({matched} with both)")
        carried += [one for one in outcomes if one.carried_by in (1, 2) and one.difference]
    points = [
        f"Early is an onset by step {attributed.early_until:,}. Shuffled onsets, a slope at equal "
        "numbers of copies, matched families and every family left out tell a difference in "
        + "; ".join(lines)
        + ".",
        _copies_sentence(attributed),
    ]
    if carried:
        points.append(
            f"{len(carried)} of the raw differences are carried by one or two families: without "
            "these the sign turns."
        )
    tau = next((a.tau for a in found.agreements if (a.one, a.other) == ("stable", "tokens")), None)
    if tau is not None:
        points.append(
            f"The order of onsets depends on the definition: Kendall's tau of the stable onset "
            f"and of 80 % of the tokens is {rounded(tau, 2)}."
        )
    # One outcome by one definition and another by the next are no finding by every definition.
    everywhere = set.intersection(*told) if told else set()
    if everywhere:
        many = "one outcome" if len(everywhere) == 1 else f"{len(everywhere)} outcomes"
        short = f"They do, in {many} by every definition of a family."
    elif any(told):
        short = "Some outcomes differ, but not by every definition of a family."
    else:
        short = "No outcome differs by all criteria." if judged else "No outcome could be judged."
    verdict: Verdict = "told" if everywhere else "cannot be told"
    return Answer(question, verdict, short, tuple(filter(None, points)), change)


def _copies_sentence(found: Attributed) -> str:
    _, outcomes = found.early_late[0]
    one: EarlyLate | None = next((o for o in outcomes if o.outcome.startswith("exact")), None)
    if one is None or one.early.value is None or one.late.value is None:
        return ""
    early, late = (2**value - 1 for value in (one.early.value, one.late.value))
    return (
        f"Exact copies before the onset: {early:.1f} of early and {late:.1f} of late windows "
        "(geometric means)."
    )


def _dose(found: Memorization) -> Answer:
    question = "How many copies does it take?"
    bins = [one for one in found.dose if one.sequences.n]
    change = (
        "Copies are not planted: passages with many copies differ in other ways too. Only a "
        "planted dose tells a cause."
    )
    if not bins:
        return Answer(question, "not measured", "No window was scanned.", (), change)
    listed = ", ".join(f"{documents(one)}: {interval(one.continuations, 3)}" for one in bins)
    points = [
        "Share of distinct continuations that are reproduced, by the number of documents that hold "
        f"them: {listed}."
    ]
    single = found.dose[0]
    if single.low == single.high == 1 and single.num_extractible:
        points.append(
            f"{_windows(single.num_extractible)} reproduced although no other document holds the "
            "continuation."
        )
    first, last = bins[0], bins[-1]
    short = (
        f"{_percent(first)} of the continuations that stand in {documents(first)} "
        f"document{'' if first.high == 1 else 's'} are reproduced"
    )
    if last != first:
        short += f", {_percent(last)} of those in {documents(last)}"
    return Answer(question, "told", f"{short}.", tuple(points), change)


def documents(one: DoseBin) -> str:
    """Writes how many documents a bin is about, such as "1" or "3 to 5"."""
    return f"{one.low}" if one.low == one.high else f"{one.low} to {one.high}"


def _percent(one: DoseBin) -> str:
    value = one.continuations.value
    return _DASH if value is None else f"{100 * value:.3g} %"


def _windows(num: int) -> str:
    return "1 window is" if num == 1 else f"{num:,} windows are"


def _needed(found: Memorization) -> Answer:
    question = "Is the sequence's own example needed, or any copy of it?"
    if not found.before_self.of:
        return Answer(question, "not measured", "No sequence is memorized.", (), "")
    own, none = found.before_self, found.without_copy
    points = [
        f"{own.num:,} of {own.of:,} are reproduced by a checkpoint that had not seen their own "
        f"example, so that it cannot be the cause; {none.num:,} had no exact or near copy behind "
        "them at their onset.",
        "The last checkpoint before the first exact copy reproduces "
        f"{interval(found.before_exposure)} of them ({found.before_exposure.n} families can be "
        "tested).",
    ]
    if found.common is not None and found.common.value is not None:
        points.append(
            "After prompts of other families the continuation is about as likely for "
            f"{interval(found.common)} of the windows: common text."
        )
    if not own.num:
        short = "None is reproduced before its own example was seen."
    elif not none.num:
        short = "Its own example is not needed, but none is reproduced before a copy was seen."
    else:
        short = (
            f"Its own example is not needed, and for {none.num:,} of {none.of:,} no copy is either."
        )
    change = "Denser checkpoints: most windows have their first copy before the first of them."
    return Answer(question, "told", short, tuple(points), change)
