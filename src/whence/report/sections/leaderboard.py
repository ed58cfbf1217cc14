"""What methods are worth, as `whence validate` measured it."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from whence import statistics, validation
from whence.report.context import Context
from whence.report.encode import significant
from whence.report.pictures import Dot, Picture, dot_plot
from whence.report.sections import SectionKind
from whence.report.sentences import method_label


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
class Window:
    """How well methods predict retraining without a random half of what a window trains on."""

    label: Annotated[str, "the window's steps, or the table that another tool made"]
    share: Annotated[float | None, "of all steps; null for a table"]
    unit: Annotated[str, "`document` or `group`: what is in or out as a whole"]
    num_units: int
    masks: int
    measure: Annotated[Measure, "the own-removed linear datamodeling score"]
    additive_ceiling: Annotated[Estimate, "a linear model of one half of the masks on the other"]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster of copies: what removing it does to a behavior, beside the sum of its scores."""

    behavior: str
    example: Annotated[str, "its member that the leading method lists first"]
    num_members: int
    effect: Annotated[Estimate, "nats, from none to all of it; `n` counts retrainings"]
    num_others: Annotated[int, "other behaviors"]
    num_others_shown: Annotated[int, "of these, for how many the interval leaves out 0"]
    sums: Annotated[Mapping[str, float | None], "of its members' scores, by method"]


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """The clusters of copies that one bank of retrainings measured."""

    label: Annotated[str, "of the bank"]
    clusters: Sequence[Cluster]


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """What methods are worth."""

    measures: Sequence[Measure]
    windows: Annotated[Sequence[Window], "the latest first; the whole training last"]
    clusters: Annotated[Sequence[Clusters], "by bank of retrainings"]
    undefined: Annotated[Mapping[str, str], "from a measure to why it does not apply"]
    sentences: Annotated[Sequence[str], "what the figures say"]
    pictures: Annotated[Sequence[Picture], "of each measure, beside search and untrained weights"]


def leaderboard(page: Context) -> Leaderboard | None:
    """Lays the validation of a run out; None where it was not validated."""
    found = page.record.validation
    if found is None:
        return None
    figures: dict[str, list[validation.Figure]] = {}
    for figure in found.figures:
        figures.setdefault(figure.measure, []).append(figure)
    # A window's figures stand in a table of their own; those of the whole training in both.
    apart = {one.measure_own_removed for one in found.windows} - {validation.OWN_REMOVED}
    return Leaderboard(
        measures=[
            _measure(figures[name])
            for name in found.compared
            if name in figures and name not in apart
        ],
        windows=[
            Window(
                label=one.label,
                share=one.share,
                unit=one.unit,
                num_units=one.num_units,
                masks=one.masks,
                measure=_measure(figures[one.measure_own_removed]),
                additive_ceiling=_estimate(one.additive_ceiling_own_removed),
            )
            for one in found.windows
            if one.measure_own_removed in figures
        ],
        clusters=[
            Clusters(label=window.label, clusters=[_cluster(one) for one in window.clusters])
            for window in found.windows
            if window.clusters
        ],
        undefined={
            name: why
            for name, why in found.undefined.items()
            if any(compared.startswith(name) for compared in found.compared)
        },
        sentences=found.sentences,
        pictures=[
            _forest(figures[name], page)
            for name in found.compared
            if name in figures and any(f.estimate.value is not None for f in figures[name])
        ],
    )


def _cluster(one: validation.ClusterEffect) -> Cluster:
    return Cluster(
        behavior=one.behavior_id,
        example=one.example_id,
        num_members=one.num_members,
        effect=_estimate(one.effect),
        num_others=one.num_others,
        num_others_shown=one.num_others_shown,
        sums={
            name: None if value is None else significant(value) for name, value in one.sums.items()
        },
    )


def _forest(found: Sequence[validation.Figure], page: Context) -> Picture:
    """Draws one measure: methods from best to worst, and lines of what they have to beat."""
    over_all = [f for f in found if f.kind == "all"] or list(found)
    first, known = over_all[0], {f.method: f.estimate.value for f in over_all}
    untrained = [s.method for s in page.record.scores if s.family == "untrained"]
    names = {name: method_label(name) for name in (page.compared.search, *untrained) if name}
    references = {label: v for name, label in names.items() if (v := known.get(name)) is not None}
    if first.control.estimate.value is not None:
        references[f"control: {first.control.name}"] = first.control.estimate.value
    rows = sorted(
        over_all,
        key=lambda f: -math.inf if f.estimate.value is None else f.estimate.value,
        reverse=True,
    )
    dots = [_dot(f) for f in rows]
    return dot_plot(
        dots,
        name="validation-" + re.sub(r"\W+", "-", first.measure.lower()).strip("-"),
        title=f"Methods by {first.measure}",
        caption="Means over the behaviors with their 95% intervals, best first; more is better. "
        "Dashed: what a method has to beat.",
        unit=first.unit,
        references=references,
    )


def _dot(figure: validation.Figure) -> Dot:
    found = _estimate(figure.estimate)
    return Dot(method_label(figure.method), found.value, found.low, found.high)


def _measure(figures: Sequence[validation.Figure]) -> Measure:
    return Measure(
        name=figures[0].measure,
        unit=figures[0].unit,
        figures=[
            Figure(method=f.method, kind=f.kind, estimate=_estimate(f.estimate)) for f in figures
        ],
        controls={
            f.kind: Control(name=f.control.name, estimate=_estimate(f.control.estimate))
            for f in figures
        },
    )


def _estimate(found: statistics.Estimate) -> Estimate:
    low, high = (None, None) if found.interval is None else found.interval[:2]
    return Estimate(value=found.value, low=low, high=high, n=found.n)


SECTION = SectionKind(order=60, menu="Leaderboard", make=leaderboard)
