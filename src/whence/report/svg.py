"""Pictures written as SVG by Python, for pages without scripts: stacked bars, and estimates."""

import html
from collections.abc import Sequence
from typing import NamedTuple

from whence.statistics import Estimate, rounded

_ROW, _GAP, _LABEL, _WIDTH = 22, 8, 262, 720
# Numbers of an axis that stand closer would run into each other.
_TICK = 40


class Part(NamedTuple):
    """A part of a bar: its length and its name, by which the style sheet colors it."""

    value: float
    name: str


class Bar(NamedTuple):
    """A bar with its label."""

    label: str
    parts: tuple[Part, ...]


def legend(names: Sequence[str]) -> str:
    """Names the colors of stacked bars."""
    items = "".join(
        f'<span class="key"><i class="{_part(name)}"></i>{html.escape(name)}</span>'
        for name in names
    )
    return f'<p class="legend small">{items}</p>'


def stacked_bars(bars: Sequence[Bar], *, label: str, digits: int = 0) -> str:
    """Draws horizontal bars of parts that stand side by side; negative parts go to the left.

    Args:
        bars: From top to bottom.
        label: What the picture shows, for those who cannot see it.
        digits: Of the numbers in titles.
    """
    highest = max((sum(p.value for p in b.parts if p.value > 0) for b in bars), default=0) or 1
    lowest = min((sum(p.value for p in b.parts if p.value < 0) for b in bars), default=0)
    scale = (_WIDTH - _LABEL - 10) / (highest - lowest)
    zero = _LABEL - lowest * scale
    drawn = []
    for row, bar in enumerate(bars):
        y = row * (_ROW + _GAP)
        drawn.append(_label(bar.label, y))
        right = left = zero
        for part in bar.parts:
            length = abs(part.value) * scale
            if part.value < 0:
                left -= length
            x = left if part.value < 0 else right
            title = f"{bar.label}: {part.name} {part.value:.{digits}f}"
            drawn.append(
                f'<rect x="{x:.1f}" y="{y}" width="{length:.1f}" height="{_ROW}" '
                f'class="{_part(part.name)}"><title>{html.escape(title)}</title></rect>'
            )
            if part.value > 0:
                right += length
    height = len(bars) * (_ROW + _GAP)
    if lowest < 0:
        drawn.append(_line(zero, 0, zero, height, "axis"))
    return _svg(drawn, height, label)


def estimates(
    rows: Sequence[tuple[str, Estimate]], *, label: str, unit: str, lines: Sequence[float] = (0.0,)
) -> str:
    """Draws estimates with their intervals on one axis.

    Args:
        rows: Name and estimate, from top to bottom; undefined ones have no mark.
        label: What the picture shows, for those who cannot see it.
        unit: Of the values.
        lines: Values at which a line stands.
    """
    values = [*lines]
    for _, one in rows:
        values += [] if one.value is None else [one.value]
        values += [] if one.interval is None else [one.interval.low, one.interval.high]
    low, high = min(values), max(values)
    scale = (_WIDTH - _LABEL - 70) / ((high - low) or 1)

    def at(value: float) -> float:
        return _LABEL + 10 + (value - low) * scale

    height = len(rows) * (_ROW + _GAP)
    drawn = [_line(at(value), 0, at(value), height, "axis") for value in lines]
    for row, (name, one) in enumerate(rows):
        y = row * (_ROW + _GAP)
        drawn.append(_label(name, y))
        if one.value is None:
            continue
        middle = y + _ROW / 2
        if one.interval is not None:
            drawn.append(
                _line(at(one.interval.low), middle, at(one.interval.high), middle, "interval")
            )
        title = html.escape(f"{name}: {one.value:.3g} {unit}")
        drawn.append(
            f'<circle cx="{at(one.value):.1f}" cy="{middle}" r="5" class="mark">'
            f"<title>{title}</title></circle>"
        )
        drawn.append(
            f'<text x="{_WIDTH}" y="{middle + 5}" text-anchor="end">{rounded(one.value, 2)}</text>'
        )
    numbered: list[float] = []
    for value in (*lines, low, high):
        if all(abs(at(value) - at(other)) >= _TICK for other in numbered):
            numbered.append(value)
    ticks = "".join(
        f'<text x="{at(v):.1f}" y="{height + 14}" text-anchor="middle" class="tick">'
        f"{rounded(v, 2)}</text>"
        for v in numbered
    )
    return _svg([*drawn, ticks], height + 20, f"{label}, in {unit}")


def _part(name: str) -> str:
    """The class of a part, by which the style sheet colors it."""
    return "part-" + "".join(c if c.isalnum() else "-" for c in name)


def _label(text: str, y: float) -> str:
    return (
        f'<text x="{_LABEL - 10}" y="{y + _ROW / 2 + 5}" text-anchor="end">'
        f"{html.escape(text)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, name: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{name}"/>'


def _svg(parts: Sequence[str], height: float, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" '
        f'aria-label="{html.escape(label, quote=True)}">{"".join(parts)}</svg>'
    )
