"""Pictures of numbers as shapes with places, which a page draws and `whence plot` writes as SVG.

The layout is made here, once, so that a picture in a paper is the one on the page. A picture has a
label that says the same in words, and a table of the numbers behind it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Literal, NamedTuple
from xml.sax.saxutils import escape, quoteattr

# The look, for the page and for SVG files; colors are those of the page where it has them.
STYLE = "figure.css"
_WIDTH, _NAMES, _RIGHT, _ROW, _TOP = 660, 170, 24, 24, 12
# The mean width of a letter, and the letters of a name that is not cut.
_LETTER, _MAX_NAME = 6.4, 40
_TICKS = 5


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One shape; pixels from the upper left corner."""

    kind: Literal["line", "rect", "circle", "text"]
    look: Annotated[str, "its class, in `figure.css`"]
    x: float
    y: float
    width: Annotated[float, "of a rectangle; of a line, how far it goes to the right"] = 0
    height: Annotated[float, "of a rectangle; of a line, how far it goes down"] = 0
    opacity: float = 1
    text: Annotated[str, "of a text, or what stands behind a shape"] = ""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of numbers."""

    name: Annotated[str, "what `whence plot` calls it"]
    title: str
    caption: Annotated[str, "what is shown, over what, and how it was measured"]
    label: Annotated[str, "the same in words, for those who do not see it"]
    width: float
    height: float
    shapes: Sequence[Shape]
    columns: Annotated[Sequence[str], "of the numbers behind it"]
    rows: Annotated[Sequence[Sequence[str | float | None]], "the numbers behind it"]


class Dot(NamedTuple):
    """One row of a dot plot: a value with its interval, and a second one to compare with."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    beside: float | None = None


def dot_plot(
    rows: Sequence[Dot],
    *,
    name: str,
    title: str,
    caption: str,
    unit: str,
    references: Mapping[str, float] | None = None,
    beside: str | None = None,
) -> Picture:
    """Draws values with their intervals, one below the other.

    Args:
        rows: Values; undefined ones get a row without a dot.
        name: What the picture is called.
        title: Its heading.
        caption: What is shown.
        unit: Of the values, at the axis.
        references: Vertical lines, by name.
        beside: What the second value of each row is; None where there is none.
    """
    lines = {**(references or {})}
    numbers = [
        value
        for row in rows
        for value in (row.value, row.low, row.high, row.beside)
        if value is not None
    ]
    ticks = nice_ticks(min([0.0, *numbers, *lines.values()]), max([*numbers, *lines.values(), 0.0]))
    low, high = ticks[0], ticks[-1]
    left = _names_width([row.name for row in rows])
    top = _TOP + (16 * len(lines))
    bottom = top + _ROW * len(rows)

    def x(value: float) -> float:
        return round(left + (value - low) / (high - low) * (_WIDTH - left - _RIGHT), 1)

    shapes = [*_axis(ticks, x, top, bottom, unit)]
    for n, (what, value) in enumerate(lines.items()):
        shapes += [
            Shape(
                kind="line",
                look="reference",
                x=x(value),
                y=_TOP + 16 * n + 4,
                height=bottom - _TOP - 16 * n - 4,
            ),
            _text(
                x(value) + 4,
                _TOP + 16 * n + 8,
                what,
                "note" if x(value) < _WIDTH * 0.7 else "note left",
            ),
        ]
    for n, row in enumerate(rows):
        y = top + _ROW * n + _ROW / 2
        shapes.append(_text(left - 10, y + 4, _cut(row.name), "name"))
        said = f"{row.name}: {_number(row.value)}"
        if row.value is not None and row.low is not None and row.high is not None:
            said += f" [{_number(row.low)}, {_number(row.high)}]"
            shapes.append(
                Shape(
                    kind="line",
                    look="whisker",
                    x=x(row.low),
                    y=y,
                    width=round(x(row.high) - x(row.low), 1),
                )
            )
        if row.beside is not None:
            shapes.append(
                Shape(
                    kind="line",
                    look="beside",
                    x=x(row.beside),
                    y=y - 7,
                    height=14,
                    text=f"{beside}: {_number(row.beside)}",
                )
            )
        if row.value is not None:
            shapes.append(Shape(kind="circle", look="dot", x=x(row.value), y=y, text=said))
        else:
            shapes.append(_text(x(low) + 4, y + 4, "undefined", "note"))
    columns = ["name", unit, "low", "high", *([beside] if beside else [])]
    table = [[*row[:4], *([row.beside] if beside else [])] for row in rows]
    return Picture(
        name=name,
        title=title,
        caption=caption,
        label=f"{title}. " + "; ".join(f"{row.name} {_number(row.value)}" for row in rows),
        width=_WIDTH,
        height=bottom + 40,
        shapes=shapes,
        columns=columns,
        rows=table,
    )


def bar_plot(
    bars: Sequence[tuple[str, float, float]],
    *,
    name: str,
    title: str,
    caption: str,
    unit: str,
    beside: str,
) -> Picture:
    """Draws bars side by side, each with a mark of what it is compared with.

    Args:
        bars: A name, a value of at least 0, and what would be expected.
        name: What the picture is called.
        title: Its heading.
        caption: What is shown.
        unit: Of the values.
        beside: What the marks are.
    """
    ticks = nice_ticks(0.0, max([1e-9, *(v for _, *values in bars for v in values)]))
    left, bottom, tall = 56, 190, 160
    width = (_WIDTH - left - _RIGHT) / max(1, len(bars))

    def y(value: float) -> float:
        return round(bottom - value / ticks[-1] * tall, 1)

    shapes: list[Shape] = []
    for tick in ticks:
        shapes += [
            Shape(kind="line", look="grid", x=left, y=y(tick), width=_WIDTH - left - _RIGHT),
            _text(left - 8, y(tick) + 4, _number(tick), "name"),
        ]
    for n, (label, value, expected) in enumerate(bars):
        x = round(left + n * width, 1)
        said = f"{label}: {_number(value)}; {beside} {_number(expected)}"
        shapes += [
            Shape(
                kind="rect",
                look="column",
                x=x + 2,
                y=y(value),
                width=round(width - 4, 1),
                height=round(bottom - y(value), 1),
                text=said,
            ),
            Shape(kind="line", look="beside", x=x + 2, y=y(expected), width=round(width - 4, 1)),
            _text(round(x + width / 2, 1), bottom + 16, label, "middle"),
        ]
    shapes.append(_text(left, bottom + 36, unit, "unit start"))
    return Picture(
        name=name,
        title=title,
        caption=caption,
        label=f"{title}. " + "; ".join(f"{label} {_number(value)}" for label, value, _ in bars),
        width=_WIDTH,
        height=bottom + 46,
        shapes=shapes,
        columns=["name", unit, beside],
        rows=[[*bar] for bar in bars],
    )


def matrix_plot(
    names: Sequence[str],
    cells: Mapping[tuple[int, int], float],
    *,
    groups: Sequence[tuple[str, int]],
    name: str,
    title: str,
    caption: str,
) -> Picture:
    """Draws a symmetric matrix as squares, the darker the larger; what is 0 is left out.

    Args:
        names: Of the rows, which are the columns, too.
        cells: Values in [0, 1] by row and column.
        groups: Names of successive rows, and how many each has.
        name: What the picture is called.
        title: Its heading.
        caption: What is shown.
    """
    side = min(14.0, 460 / max(1, len(names)))
    left, top = 150.0, 8.0
    size = round(side * len(names), 1)
    shapes: list[Shape] = [
        Shape(
            kind="rect",
            look="cell",
            x=round(left + column * side, 1),
            y=round(top + row * side, 1),
            width=round(side * 0.92, 2),
            height=round(side * 0.92, 2),
            opacity=round(0.15 + 0.85 * value, 2),
            text=f"{names[row]}, {names[column]}: {_number(value)}",
        )
        for (row, column), value in cells.items()
    ]
    at = 0
    for label, num in groups:
        y = round(top + at * side, 1)
        shapes += [
            Shape(kind="line", look="grid", x=left, y=y, width=size),
            Shape(kind="line", look="grid", x=round(left + at * side, 1), y=top, height=size),
            _text(left - 8, round(y + num * side / 2 + 4, 1), label, "name"),
        ]
        at += num
    return Picture(
        name=name,
        title=title,
        caption=caption,
        label=f"{title}. {len(cells)} of {len(names) ** 2} pairs share examples",
        width=_WIDTH,
        height=top + size + 12,
        shapes=shapes,
        columns=["row", "column", "value"],
        rows=[[names[row], names[column], value] for (row, column), value in cells.items()],
    )


class Cell(NamedTuple):
    """One cell of a table of numbers, with the interval of its value."""

    row: str
    column: str
    value: float | None
    low: float | None = None
    high: float | None = None


def heat_table(
    cells: Sequence[Cell],
    *,
    name: str,
    title: str,
    caption: str,
    unit: str,
) -> Picture:
    """Draws a table of numbers, each in a square that is the darker the larger it is.

    The numbers stand in the squares, so that no color is needed to read them.

    Args:
        cells: Row by row; an undefined one gets no square.
        name: What the picture is called.
        title: Its heading.
        caption: What is shown.
        unit: Of the values.
    """
    rows = list(dict.fromkeys(cell.row for cell in cells))
    columns = list(dict.fromkeys(cell.column for cell in cells))
    largest = max([abs(cell.value) for cell in cells if cell.value is not None], default=0) or 1
    left = _names_width(rows)
    width = min(64.0, (_WIDTH - left - _RIGHT) / max(1, len(columns)))
    shapes: list[Shape] = [
        _text(round(left + (n + 0.5) * width, 1), _TOP + 4, column, "middle")
        for n, column in enumerate(columns)
    ]
    top = _TOP + 12
    for n, row in enumerate(rows):
        shapes.append(_text(left - 10, top + _ROW * (n + 0.5) + 4, _cut(row), "name"))
    for cell in cells:
        x = round(left + columns.index(cell.column) * width, 1)
        y = top + _ROW * rows.index(cell.row)
        said = f"{cell.row}, {cell.column}: {_number(cell.value)}"
        if cell.low is not None and cell.high is not None:
            said += f" [{_number(cell.low)}, {_number(cell.high)}]"
        if cell.value is not None:
            shapes.append(
                Shape(
                    kind="rect",
                    look="cell",
                    x=x,
                    y=y,
                    width=round(width - 2, 1),
                    height=_ROW - 2,
                    opacity=round(0.35 * abs(cell.value) / largest, 2),
                    text=said,
                )
            )
        value = "\u2013" if cell.value is None else f"{cell.value:.2f}".replace("-", "\u2212")
        shapes.append(_text(round(x + width / 2 - 1, 1), y + _ROW / 2 + 4, value, "middle"))
    bottom = top + _ROW * len(rows)
    shapes.append(_text(left, bottom + 18, unit, "unit start"))
    said = "; ".join(f"{c.row}, {c.column} {_number(c.value)}" for c in cells)
    return Picture(
        name=name,
        title=title,
        caption=caption,
        label=f"{title}. {said}",
        width=_WIDTH,
        height=bottom + 28,
        shapes=shapes,
        columns=["row", "column", unit, "low", "high"],
        rows=[[*cell] for cell in cells],
    )


def nice_ticks(low: float, high: float) -> list[float]:
    """Chooses round numbers that begin at or below `low` and end at or above `high`."""
    if high <= low:
        high = low + 1
    raw = (high - low) / _TICKS
    power = 10 ** math.floor(math.log10(raw))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= raw)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]


def svg_text(picture: Picture) -> str:
    """Writes a picture as an SVG file of its own, in plain colors, which every program draws."""
    style = (files("whence.report") / "assets" / STYLE).read_text(encoding="utf-8")
    style = re.sub(r"var\(--[a-z-]+, (#[0-9a-f]+)\)", r"\1", style)
    size = f'viewBox="0 0 {picture.width:g} {picture.height:g}"'
    size += f' width="{picture.width:g}" height="{picture.height:g}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fig" {size} role="img" '
        f"aria-label={quoteattr(_printable(picture.label))}>",
        f"<title>{escape(_printable(picture.title))}</title>",
        f"<style>{escape(style)}</style>",
        *(_element(shape) for shape in picture.shapes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _element(shape: Shape) -> str:
    look = f'class="{shape.look}"'
    if shape.opacity != 1:
        look += f' opacity="{shape.opacity:g}"'
    text = escape(_printable(shape.text))
    inside = f"<title>{text}</title>" if text else ""
    match shape.kind:
        case "text":
            return f'<text {look} x="{shape.x:g}" y="{shape.y:g}">{text}</text>'
        case "circle":
            return f'<circle {look} cx="{shape.x:g}" cy="{shape.y:g}" r="4.5">{inside}</circle>'
        case "line":
            ends = f'x2="{shape.x + shape.width:g}" y2="{shape.y + shape.height:g}"'
            return f'<line {look} x1="{shape.x:g}" y1="{shape.y:g}" {ends}>{inside}</line>'
        case "rect":
            size = f'width="{shape.width:g}" height="{shape.height:g}"'
            return f'<rect {look} x="{shape.x:g}" y="{shape.y:g}" {size}>{inside}</rect>'


def _names_width(names: Sequence[str]) -> float:
    """The width of the column of names, in which the longest has room."""
    return max(_NAMES, 12 + _LETTER * max((len(_cut(name)) for name in names), default=0))


def _cut(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _axis(ticks: Sequence[float], x, top: float, bottom: float, unit: str) -> list[Shape]:
    shapes = []
    for tick in ticks:
        shapes += [
            Shape(
                kind="line",
                look="zero" if tick == 0 else "grid",
                x=x(tick),
                y=top,
                height=bottom - top,
            ),
            _text(x(tick), bottom + 16, _number(tick), "middle"),
        ]
    return [*shapes, _text(x(ticks[0]), bottom + 34, unit, "unit start")]


def _text(x: float, y: float, text: str, look: str) -> Shape:
    return Shape(kind="text", look=look, x=x, y=y, text=text)


def _printable(text: str) -> str:
    """Leaves out what XML cannot hold, or what would reorder a line."""
    return "".join(c for c in text if c.isprintable())


def _number(value: float | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3g}".replace("-", "\u2212") if abs(value) < 1e5 else f"{value:,.0f}"
