"""The tables of a memorization study as text."""

from collections.abc import Sequence

from whence.memorization.copies import CLASSES
from whence.memorization.families import RULES as FAMILY_RULES
from whence.memorization.onset import RULES as ONSET_RULES
from whence.memorization.record import Attributed, Memorization
from whence.memorization.shares import SHARE_CLASSES
from whence.statistics import Estimate

_NONE = "\u2014"


def describe(found: Memorization) -> str:
    """Writes everything that a study found as text, tables below each other."""
    parts = [
        f"{found.model} on {found.corpus}: {found.num_memorized:,} of {found.num_windows:,} "
        f"windows ({found.num_prompt_tokens} + {found.num_completion_tokens} tokens) are "
        f"reproduced; {found.num_ever:,} are at some checkpoint.",
        _checkpoints(found),
        _onsets(found),
        _families(found),
        _copies(found),
        _dose(found),
    ]
    if found.attributed is not None:
        parts += _attributed(found.attributed)
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


def number(value: Estimate | None, digits: int = 2) -> str:
    """Writes an estimate with its interval; a dash where it is undefined."""
    if value is None or value.value is None:
        return _NONE
    text = f"{value.value:.{digits}f}"
    if value.interval is not None:
        text += f" [{value.interval.low:.{digits}f}, {value.interval.high:.{digits}f}]"
    return text


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
        (found.before_exposure, "are reproduced by the last checkpoint before any exact copy"),
    ):
        lines.append(f"{part.num:,} of {part.of:,} {text}.")
    return "\n".join(lines)


def _dose(found: Memorization) -> str:
    rows = [
        [
            f"{one.low}" if one.high == one.low else f"{one.low}-{one.high}",
            one.sequences.n,
            one.num_extractible,
            number(one.sequences, 3),
            one.continuations.n,
            number(one.continuations, 3),
        ]
        for one in found.dose
    ]
    header = ["documents", "windows", "extractible", "rate", "continuations", "rate of these"]
    return columns(rows, header)


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
                rows.append([method, group, *(number(own.get(name)) for name in SHARE_CLASSES)])
        title = {
            "examples": f"Shares of the first {found.top_k} examples",
            "clusters": f"Shares of the first {found.top_k} clusters",
            "mass": "Shares of positive scores above the 99th percentile of the rest",
        }[unit]
        parts.append(title + "\n" + columns(rows, ["method", "group", *SHARE_CLASSES]))
    rule, against = found.differences[0]
    rows = [
        [d.method.label, d.minus, number(d.difference)]
        for d in against
        if d.unit == "examples" and d.share_class == "exact"
    ]
    parts.append(
        f"Share of exact copies: memorized minus (families by {FAMILY_RULES[rule]})\n"
        + columns(rows, ["method", "minus", "difference"])
    )
    rows = [[r.method.label, f"{r.median:g}", f"{r.worst:g}", r.n] for r in found.own_ranks]
    parts.append("Rank of the own example\n" + columns(rows, ["method", "median", "worst", "n"]))
    for rule, outcomes in found.early_late:
        rows = [
            [
                one.outcome,
                number(one.early),
                number(one.late),
                _NONE if one.difference is None else f"{one.difference:+.2f}",
                f"{number(one.matched)} ({one.matched.n})",
                number(one.slope),
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
