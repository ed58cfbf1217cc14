"""A comparison of kinds in sentences that say what was measured, and as tables for a terminal."""

from collections.abc import Iterable, Mapping, Sequence

from whence.evidence.comparison_record import (
    Comparison,
    Gain,
    KindOverlap,
    Median,
    Selection,
    Separated,
    Tested,
)
from whence.evidence.kind_tests import benjamini_hochberg

# The unit and the descriptors that the sentences are about; the tables hold the others.
UNIT, MAIN = "cluster", "kept"
_LABELS = {
    "query": "the query alone (its lengths and the completion's log-probability)",
    "random": "a random order",
    "bm25": "BM25",
    "gradient_cosine_initial": "the untrained model's gradients",
}
_NUM_STRONGEST = 3
LEVEL = 0.05


def sentences(
    selections: Sequence[Selection],
    separations: Sequence[Separated],
    gains: Sequence[Gain],
    tests: Sequence[Tested],
    medians: Sequence[Median],
    overlap: Sequence[KindOverlap],
    undefined: Mapping[str, str],
    *,
    methods: Sequence[str],
) -> tuple[str, ...]:
    """Says what was measured, each figure with its n, interval and controls, and nothing else.

    Args:
        selections: What was compared.
        separations: How well kinds are told apart.
        gains: By how much better than by the controls.
        tests: Of each descriptor.
        medians: Of each descriptor and kind.
        overlap: What the lists of a kind have in common.
        undefined: What could not be compared, and why.
        methods: The methods that are compared with the controls.
    """
    found = []
    for selection in selections:
        found.append(_compared(selection))
        kept = selection.kept.get(UNIT, ())
        if not kept:
            continue
        for method in methods:
            of_method = _only(separations, selection, method)
            if of_method is not None and of_method.num_features:
                rows = [_only(separations, selection, name) for name in _LABELS]
                controls = [row for row in rows if row is not None and row.num_features]
                own = [
                    gain
                    for gain in gains
                    if (gain.selection, gain.unit, gain.features, gain.method)
                    == (selection.name, UNIT, MAIN, method)
                    and gain.value == gain.value
                ]
                found.append(_told(of_method, controls, selection))
                found += [_gained(own, method)] if own else []
                found += _beyond(selection, gains, method, kept)
                found += _strongest(selection, method, kept, tests, medians)
    for method in methods:
        found += _overlapping(overlap, method)
    return (*found, *undefined.values())


def _only(rows: Iterable[Separated], selection: Selection, method: str) -> Separated | None:
    key = (selection.name, UNIT, MAIN, method)
    found = [r for r in rows if (r.selection, r.unit, r.features, r.method) == key]
    return found[0] if found else None


def _compared(selection: Selection) -> str:
    counts = ", ".join(
        f"{len(ids)} {kind} ({selection.num_families[kind]} families)"
        for kind, ids in selection.behaviors.items()
    )
    what = {
        "all": "All behaviors of the kinds that have enough",
        "matched": "Behaviors matched in the lengths of prompt and completion",
    }[selection.name]
    out = "; ".join(f"{kind} has {reason}" for kind, reason in selection.left_out.items())
    kept = selection.kept.get(UNIT, ())
    words = (
        f" A random order cannot tell these kinds apart by descriptors of {_listed(kept)}; the "
        "next sentences are of these, by cluster."
        if kept
        else " There is no group of descriptors that is known to be at chance in a random order."
    )
    return f"{what}: {counts}.{f' Not compared: {out}.' if out else ''}{words}"


def _told(one: Separated, controls: Sequence[Separated], selection: Selection) -> str:
    others = ", ".join(f"{_figure(c)} by {_LABELS[c.method]}" for c in controls)
    chance = 1 / len(selection.behaviors)
    return (
        f"{_matching(selection)} {one.method} tells the kind of a behavior whose family it has not "
        f"seen with balanced accuracy {_figure(one)} (n = {selection.num_behaviors} behaviors, "
        f"{one.num_families} families; chance {chance:.2f}, permuted labels reach "
        f"{one.permuted_95:.2f} in 95 % of cases, p = {one.accuracy_p:.3f}; PERMANOVA R² "
        f"{one.r2:.2f}, p = {one.p:.3f}). For comparison: {others}."
    )


def _matching(selection: Selection) -> str:
    return "Matched in length," if selection.name == "matched" else "Over all lengths,"


def _gained(gains: Sequence[Gain], method: str) -> str:
    """Says over which controls a gain is shown, and what gain would have been seen."""
    open_ones = [g for g in gains if not g.is_shown and not g.high < 0]
    words = {
        "adds to": [g for g in gains if g.is_shown],
        "is not shown to add anything to": open_ones,
        "tells kinds apart less well than": [g for g in gains if g.high < 0],
    }
    parts = [f"{verb} {_listed([_gain(g) for g in of])}" for verb, of in words.items() if of]
    seen = [g.detectable for g in open_ones if g.detectable == g.detectable]
    power = (
        f" A true gain of {max(seen):.2f} would have been seen in four of five such studies."
        if seen
        else ""
    )
    return f"{method} {'; it '.join(parts)}.{power}"


def _beyond(
    selection: Selection, gains: Sequence[Gain], method: str, kept: Sequence[str]
) -> list[str]:
    """Names the kept groups by which a method gains over every control."""
    found = []
    for group in kept:
        own = [
            g
            for g in gains
            if (g.selection, g.unit, g.features, g.method) == (selection.name, UNIT, group, method)
        ]
        if own and all(g.is_shown for g in own):
            least = min(own, key=lambda g: g.value)
            found.append(f"{group} (least over {_gain(least)})")
    if not found:
        return [f"By no single group of these descriptors does {method} gain over every control."]
    return [f"{method} gains over every control by descriptors of {_listed(found)}."]


def _gain(gain: Gain) -> str:
    return f"{_LABELS[gain.control]} ({_signed(gain.value)}{_interval(gain.low, gain.high)})"


def _strongest(
    selection: Selection,
    method: str,
    kept: Sequence[str],
    tests: Sequence[Tested],
    medians: Sequence[Median],
) -> list[str]:
    """The descriptors that differ most between kinds, with medians, and effects under controls."""
    here = [t for t in tests if (t.selection, t.unit) == (selection.name, UNIT)]
    own = [t for t in here if t.method == method and t.group in kept and t.q <= LEVEL]
    best = sorted(own, key=lambda test: -test.epsilon2)[:_NUM_STRONGEST]
    if not best:
        return [f"No single descriptor of {method} differs between the kinds (q > {LEVEL})."]
    parts = []
    for test in best:
        of = [
            f"{m.kind} {m.median:.3g}"
            for m in medians
            if (m.selection, m.unit, m.method, m.descriptor)
            == (selection.name, UNIT, method, test.descriptor)
            and m.num_behaviors
        ]
        beside = [
            f"{t.epsilon2:.2f} by {_LABELS[t.method]}"
            for t in here
            if t.descriptor == test.descriptor and t.method in _LABELS and t.epsilon2 >= 0
        ]
        others = f" against {_listed(beside)}" if beside else ""
        parts.append(
            f"{test.descriptor} (medians: {', '.join(of)}; ε² {test.epsilon2:.2f}{others}, "
            f"q = {test.q:.2g}, n = {test.num_families} families)"
        )
    return [f"By {method} these kinds differ most in {_listed(parts)}."]


def _overlapping(overlap: Sequence[KindOverlap], method: str) -> list[str]:
    """Says which kinds share clusters more often than different kinds do, beside the controls."""
    within = {(one.method, one.kind): one.within for one in overlap}
    of_method = [one for one in overlap if one.method == method]
    # One of twenty kinds has p <= .05 by chance; q is adjusted for all kinds of the method.
    adjusted = benjamini_hochberg([one.p for one in of_method])
    shown = [(one, q) for one, q in zip(of_method, adjusted, strict=True) if q <= LEVEL]
    parts = []
    for one, q in shown:
        beside = [
            f"{within[name, one.kind]:.3f} by {label}"
            for name, label in _LABELS.items()
            if (name, one.kind) in within
        ]
        others = f"; within the kind {_listed(beside)}" if beside else ""
        parts.append(
            f"{one.kind} {one.within:.3f} against {one.between:.3f} with other kinds "
            f"({one.num_pairs} pairs, q = {q:.3f}{others})"
        )
    if not parts:
        return []
    return [
        f"By {method}, behaviors of one kind but of different families have first ten clusters in "
        f"common more often than behaviors of different kinds (Jaccard): {_listed(parts)}."
    ]


def _figure(one: Separated) -> str:
    return f"{one.accuracy:.2f}{_interval(one.low, one.high)}"


def _signed(value: float) -> str:
    """A difference with its sign, where it has one after rounding."""
    rounded = round(value, 2)
    return f"{rounded:+.2f}" if rounded else "0.00"


def _interval(low: float, high: float) -> str:
    return "" if low != low else f" [{round(low, 2) + 0.0:.2f}, {round(high, 2) + 0.0:.2f}]"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def format_comparison(comparison: Comparison) -> str:
    """Lays a comparison out for a terminal: accuracies by method and descriptors, then findings."""
    lines: list[str] = []
    for selection in comparison.selections:
        own = [
            one
            for one in comparison.separations
            if one.selection == selection.name and one.unit == UNIT
        ]
        features = list(dict.fromkeys(one.features for one in own))
        lines.append(
            f"{selection.name}: balanced accuracy with the behavior's family left out, by {UNIT}; "
            f"chance {1 / len(selection.behaviors):.2f}"
        )
        lines.append(f"  {'':<26}" + "".join(f"{name:<15}" for name in features))
        for method in dict.fromkeys(one.method for one in own):
            cells = {one.features: one for one in own if one.method == method}
            row = "".join(f"{_cell(cells[name]):<15}" for name in features)
            lines.append(f"  {method:<26}{row}".rstrip())
        lines.append("")
    lines.append("* permuted labels reach it in fewer than 5 % of cases")
    return "\n".join([*lines, "", *comparison.sentences])


def _cell(one: Separated) -> str:
    if one.accuracy != one.accuracy:
        return "undefined"
    return f"{one.accuracy:.2f}{'*' if one.accuracy_p <= LEVEL else ''}"
