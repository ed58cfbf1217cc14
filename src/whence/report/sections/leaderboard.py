"""What methods are worth, as `whence validate` measured it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from whence.report.context import Context
from whence.report.sections import SectionKind


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over queries, with a 95 % interval; null is undefined."""

    value: float | None
    low: float | None
    high: float | None
    n: Annotated[int, "queries behind it"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One method under one measure, on one kind of behavior or all."""

    method: str
    kind: Annotated[str, "a kind, or `all`"]
    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class Control:
    """What chance reaches under the same measure."""

    name: str
    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure by which methods are compared; more is better."""

    name: str
    unit: str
    figures: Sequence[Figure]
    controls: Annotated[Mapping[str, Control], "by kind, and for `all`"]


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """What methods are worth."""

    measures: Sequence[Measure]
    undefined: Annotated[Mapping[str, str], "from a measure to why it does not apply"]
    sentences: Annotated[Sequence[str], "what the figures say"]


def leaderboard(page: Context) -> Leaderboard | None:
    """Lays the validation of a run out; None where it was not validated."""
    validation = page.record.validation
    if validation is None:
        return None
    names = {figure["measure"] for figure in validation["figures"]}
    return Leaderboard(
        measures=[
            _measure([f for f in validation["figures"] if f["measure"] == name])
            for name in validation["compared"]
            if name in names
        ],
        undefined={
            name: why
            for name, why in validation["undefined"].items()
            if any(compared.startswith(name) for compared in validation["compared"])
        },
        sentences=validation["sentences"],
    )


def _measure(figures: Sequence[Mapping[str, object]]) -> Measure:
    return Measure(
        name=str(figures[0]["measure"]),
        unit=str(figures[0]["unit"]),
        figures=[
            Figure(method=str(f["method"]), kind=str(f["kind"]), estimate=_estimate(f))
            for f in figures
        ],
        controls={str(f["kind"]): _control(f["control"]) for f in figures},
    )


def _control(values: object) -> Control:
    assert isinstance(values, Mapping), "a stored control is an object"
    return Control(name=str(values["name"]), estimate=_estimate(values))


def _estimate(values: Mapping[str, object]) -> Estimate:
    value, low, high, n = (_number(values[key]) for key in ("value", "low", "high", "n"))
    return Estimate(value=value, low=low, high=high, n=int(n or 0))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


SECTION = SectionKind(order=60, menu="Leaderboard", make=leaderboard)
