"""The tables of a memorization study as text."""

import textwrap
from collections.abc import Sequence

from whence.memorization.answers import answers, interval, placebos
from whence.memorization.copies import CLASSES
from whence.memorization.families import RULES as FAMILY_RULES
from whence.memorization.onset import RULES as ONSET_RULES
from whence.memorization.record import Attributed, Causes, Memorization
from whence.memorization.shares import SHARE_CLASSES

_NONE = "\u2014"


def summarize(found: Memorization) -> str:
    """Writes the answers of a study as text, after its checkpoints."""
    parts = [_head(found), _checkpoints(found)]
    for one in answers(found):
        head = one.short if one.verdict == "told" else f"{one.verdict.capitalize()}: {one.short}"
        lines = [
            one.question,
            *textwrap.wrap(head, 100, initial_indent="  ", subsequent_indent="  "),
        ]
        change = f"What would change this: {one.change}"
        for text in (*one.points, *([change] if one.change else ())):
            lines += textwrap.wrap(text, 98, initial_indent="  - ", subsequent_indent="    ")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _head(found: Memorization) -> str:
    return (
        f"{found.model} on {found.corpus}: {found.num_memorized:,} of {found.num_windows:,} "
        f"windows ({found.num_prompt_tokens} + {found.num_completion_tokens} tokens) are "
        f"reproduced; {found.num_ever:,} are at some checkpoint."
    )


def describe(found: Memorization) -> str:
    """Writes everything that a study found as text, tables below each other."""
    parts = [
        _head(found),
        _checkpoints(found),
        _onsets(found),
        _families(found),
        _copies(found),
        _dose(found),
        _kinds(found),
        _near(found),
        _exposure(found),
    ]
    if found.attributed is not None:
        parts += _attributed(found.attributed)
    parts += _causes(found.causes)
    return "\n\n".join(part for part in parts if part)


def columns(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """Lays out a table: the first column to the left, the others to the right."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def _checkpoints(found: Memorization) -> str:
    subsets = [name for name, _, _ in found.checkpoints[0].by_subset]
    is_split = len(subsets) > 1
    header = ["checkpoint", "extractible", "new", "kept", "forgotten"]
    header += [name or "no subset" for name in subsets] if is_split else []
    rows = []
    for one, flow in zip(found.checkpoints, found.flow, strict=True):
        row: list[object] = [one.step, one.num_extractible, flow.new, flow.kept, flow.forgotten]
        rows.append(row + ([hits for _, hits, _ in one.by_subset] if is_split else []))
    return columns(rows, header)


def _onsets(found: Memorization) -> str:
    steps = sorted({step for one in found.onsets for step, _ in one.by_step})
    rows = [
        [one.definition, *(dict(one.by_step).get(step, 0) for step in steps)]
        for one in found.onsets
    ]
    lines = [columns(rows, ["onset", *map(str, steps)])]
    lines += [f"  {one.definition}: {ONSET_RULES[one.definition]}" for one in found.onsets]
    taus = [
        f"{a.one}/{a.other} {_NONE if a.tau is None else f'{a.tau:.2f}'}" for a in found.agreements
    ]
    lines.append("Agreement of their orders (Kendall's tau): " + ", ".join(taus) + ".")
    return "\n".join(lines)


def _families(found: Memorization) -> str:
    rows = [
        [FAMILY_RULES[one.rule], one.num_families, ", ".join(map(str, one.largest[:5]))]
        for one in found.families
    ]
    return columns(rows, ["families by", "number", "largest"])


def _copies(found: Memorization) -> str:
    rows = [
        [
            one.step,
            one.num_windows,
            one.num_families,
            one.largest_family,
            *(f"{dict(one.medians)[name]:g}" for name in CLASSES),
        ]
        for one in found.copies_at_onset
    ]
    header = ["onset", "windows", "families", "largest", *CLASSES]
    lines = [columns(rows, header), "  medians of the copies seen by the checkpoint of the onset"]
    for part, text in (
        (found.before_self, "are reproduced before their own example was seen"),
        (found.without_copy, "had no exact or near copy behind them at their onset"),
    ):
        lines.append(f"{part.num:,} of {part.of:,} {text}.")
    lines.append(
        f"{interval(found.before_exposure)} are reproduced by the last checkpoint before any exact "
        f"copy ({found.before_exposure.n} families can be tested)."
    )
    return "\n".join(lines)


def _dose(found: Memorization) -> str:
    rows = [
        [
            f"{one.low}" if one.high == one.low else f"{one.low}-{one.high}",
            one.sequences.n,
            one.num_extractible,
            interval(one.sequences, 3),
            one.continuations.n,
            interval(one.continuations, 3),
        ]
        for one in found.dose
    ]
    header = ["documents", "windows", "extractible", "rate", "continuations", "rate of these"]
    return columns(rows, header)


def _kinds(found: Memorization) -> str:
    rows = [
        [
            f"{one.kind}, {at.threshold} copies or more" if one.kind == "recitation" else one.kind,
            one.num_windows,
            interval(one.share),
            one.num_families,
            interval(one.family_share),
        ]
        for at in found.taxonomy
        for one in at.kinds
    ]
    header = ["kind", "windows", "share", "families", "share of families"]
    return columns(rows, header) if rows else ""


def _near(found: Memorization) -> str:
    rows = [
        [
            one.definition,
            one.num_windows,
            one.num_with,
            one.num_pairs,
            _NONE if one.median is None else f"{one.median:g}",
            ", ".join(f"{name} {num}" for name, num in one.classes.items()),
        ]
        for one in found.near_definitions
    ]
    header = ["near duplicates by", "windows", "with any", "pairs", "median", "which are"]
    return columns(rows, header) if rows else ""


def _exposure(found: Memorization) -> str:
    rows = [[lag, interval(one, 3), one.n] for lag, one in found.exposure_effects]
    header = ["checkpoints since exposure", "nats per token", "n"]
    return "\n".join(filter(None, (columns(rows, header), placebos(found)))) if rows else ""


def _causes(found: Causes) -> list[str]:
    parts = []
    if found.steps:
        names = list(dict.fromkeys(name for one in found.steps for name, _ in one.classes))
        rows = [
            [name, *(interval(dict(one.classes).get(name)) for one in found.steps)]
            for name in names
        ]
        header = ["one step on", *(f"at step {one.step}" for one in found.steps)]
        parts.append(
            "Change of the log-probability of the whole continuation, in nats\n"
            + columns(rows, header)
        )
        rows = [
            [f"{d.first} minus {d.second}", one.step, interval(d.estimate), d.estimate.n]
            for one in found.steps
            for d in one.differences
        ]
        parts.append(columns(rows, ["paired difference", "step", "nats", "families"]))
    if found.twins is not None:
        rows = [
            [
                one.name,
                interval(one.estimate),
                ", ".join(f"{value:.2f}" for value in one.per_order),
                _NONE if one.agreement is None else f"{one.agreement:.2f}",
            ]
            for one in found.twins.effects
        ]
        rows.append(["near copy in exact ones", interval(found.twins.near_in_exact), "", ""])
        rows.append(["exact copies' part of both", interval(found.twins.exact_share), "", ""])
        header = ["training without copies", "nats per token", "by order", "orders agree"]
        parts.append(
            f"From step {found.twin_step}, {found.twin_num_steps} steps, {found.twin_families} "
            f"families ({found.twin_left_out} have too few copies)\n" + columns(rows, header)
        )
    return parts


def _attributed(found: Attributed) -> list[str]:
    counts = ", ".join(f"{num} {group}" for group, num in found.num_targets)
    parts = [f"Targets: {counts}. {found.pool}"]
    groups = [group for group, num in found.num_targets if num]
    for unit in ("examples", "clusters", "mass"):
        chosen = [s for s in found.shares if s.unit == unit]
        methods = list(dict.fromkeys(s.method.label for s in chosen))
        rows = []
        for method in methods:
            for group in groups:
                own = {
                    s.share_class: s.share
                    for s in chosen
                    if (s.method.label, s.group) == (method, group)
                }
                rows.append([method, group, *(interval(own.get(name)) for name in SHARE_CLASSES)])
        title = {
            "examples": f"Shares of the first {found.top_k} examples",
            "clusters": f"Shares of the first {found.top_k} clusters",
            "mass": "Shares of positive scores above the 99th percentile of the rest",
        }[unit]
        parts.append(title + "\n" + columns(rows, ["method", "group", *SHARE_CLASSES]))
    rule, against = found.differences[0]
    rows = [
        [d.method.label, d.minus, interval(d.difference)]
        for d in against
        if d.unit == "examples" and d.share_class == "exact"
    ]
    parts.append(
        f"Share of exact copies: memorized minus (families by {FAMILY_RULES[rule]})\n"
        + columns(rows, ["method", "minus", "difference"])
    )
    rows = [[r.method.label, f"{r.median:g}", f"{r.worst:g}", r.n] for r in found.own_ranks]
    parts.append("Rank of the own example\n" + columns(rows, ["method", "median", "worst", "n"]))
    rows = [
        [
            one.method.label,
            interval(one.exact_share),
            interval(one.near_in_exact),
            len(one.targets),
            one.exact_share.n,
        ]
        for one in found.copy_scores
    ]
    header = ["method", "exact copies' part", "near copy in exact ones", "windows", "families"]
    parts.append("Scores of exact and near copies together\n" + columns(rows, header))
    for rule, outcomes in found.early_late:
        rows = [
            [
                one.outcome,
                interval(one.early),
                interval(one.late),
                _NONE if one.difference is None else f"{one.difference:+.2f}",
                f"{interval(one.matched)} ({one.matched.n})",
                interval(one.slope),
                _NONE if one.placebo_p is None else f"{one.placebo_p:.3f}",
                _NONE if one.carried_by is None else one.carried_by,
                "yes" if one.is_told else "cannot be told",
            ]
            for one in outcomes
        ]
        num = outcomes[0].num_families if outcomes else 0
        header = [
            "outcome",
            "early",
            "late",
            "difference",
            "matched (n)",
            "slope",
            "placebo p",
            "carried by",
            "told",
        ]
        parts.append(
            f"Early (onset by {found.early_until}) against late: {num} families by "
            f"{FAMILY_RULES[rule]}\n" + columns(rows, header)
        )
    return parts
