"""The leaderboard: methods by measures, compared with plain search and an untrained model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from whence.statistics import Estimate, mean_estimate, paired_estimate
from whence.validation.lds import Predicted, lds, lds_difference
from whence.validation.record import Comparison, ComparisonVerdict, Control, Figure

# The methods that others are compared with, and the one that knows nothing.
SEARCH = "bm25"
UNTRAINED = "gradient_cosine_initial"
RANDOM_METHOD = "random"
ALL = "all"
# With fewer, a bootstrap interval is much too narrow to claim a difference: see `bootstrap_mean`.
MIN_QUERIES = 5


class Measure(Protocol):
    """One thing that methods are measured by; larger is better."""

    @property
    def name(self) -> str:
        """What it is called, such as `planted AP`."""
        ...

    @property
    def unit(self) -> str:
        """What its numbers are in."""
        ...

    @property
    def control_name(self) -> str:
        """What it is compared with."""
        ...

    @property
    def undefined(self) -> str | None:
        """Why it has no numbers here; None where it has some."""
        ...

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that were measured."""
        ...

    def estimate(self, method: str, query_ids: Sequence[str]) -> Estimate:
        """The mean over some queries."""
        ...

    def control(self, query_ids: Sequence[str]) -> Estimate:
        """The same of the control."""
        ...

    def difference(self, method: str, reference: str, query_ids: Sequence[str]) -> Estimate:
        """By how much a method is better than another on the queries that both have."""
        ...


@dataclass(frozen=True)
class PerQuery:
    """A measure with one number per method and query; queries without one are left out."""

    name: str
    unit: str
    control_name: str
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    controls: Mapping[str, float] = field(default_factory=dict)
    undefined: str | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that were measured."""
        return tuple(self.values)

    def estimate(self, method: str, query_ids: Sequence[str]) -> Estimate:
        """The mean over some queries."""
        return _mean(self.values.get(method, {}), query_ids)

    def control(self, query_ids: Sequence[str]) -> Estimate:
        """The mean of the control over some queries."""
        return _mean(self.controls, query_ids)

    def difference(self, method: str, reference: str, query_ids: Sequence[str]) -> Estimate:
        """The mean paired difference of two methods."""
        own, other = self.values.get(method, {}), self.values.get(reference, {})
        shared = [q for q in query_ids if q in own and q in other]
        return paired_estimate([own[q] for q in shared], [other[q] for q in shared])


@dataclass(frozen=True)
class Correlated:
    """A linear datamodeling score; its control is the method that knows nothing."""

    name: str
    predicted: Mapping[str, Predicted] = field(default_factory=dict)
    undefined: str | None = None
    unit: str = "Spearman's correlation"
    control_name: str = RANDOM_METHOD

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that were measured."""
        return tuple(self.predicted)

    def estimate(self, method: str, query_ids: Sequence[str]) -> Estimate:
        """The mean over some queries, with a two-way interval."""
        if method not in self.predicted:
            return Estimate(None, None, 0)
        return lds(self.predicted[method], query_ids)

    def control(self, query_ids: Sequence[str]) -> Estimate:
        """The random method's."""
        return self.estimate(RANDOM_METHOD, query_ids)

    def difference(self, method: str, reference: str, query_ids: Sequence[str]) -> Estimate:
        """The mean paired difference of two methods, with a two-way interval."""
        if method not in self.predicted or reference not in self.predicted:
            return Estimate(None, None, 0)
        return lds_difference(self.predicted[method], self.predicted[reference], query_ids)


@dataclass(frozen=True)
class Leaderboard:
    """All figures and comparisons, and what they say in words."""

    figures: tuple[Figure, ...]
    comparisons: tuple[Comparison, ...]
    sentences: tuple[str, ...]


def leaderboard(
    measures: Sequence[Measure],
    methods: Sequence[str],
    kinds: Mapping[str, str],
    *,
    compared: Sequence[str] | None = None,
) -> Leaderboard:
    """Puts methods side by side by every measure, for every kind of behavior and for all.

    Args:
        measures: What was measured; those that are undefined are named in a sentence.
        methods: In the order of the rows.
        kinds: From query id to the kind of its behavior.
        compared: Names of the measures by which methods are compared and spoken of; all by default.

    Returns:
        Figures for each measure, kind and method; comparisons of each method with BM25 and with
        gradient cosine on the randomly initialised model. A method is *better* where the 95 %
        interval of the paired difference lies above zero; intervals are not corrected for their
        number.
    """
    queries = {ALL: list(kinds)}
    for query_id, kind in kinds.items():
        queries.setdefault(kind, []).append(query_id)
    defined = [measure for measure in measures if measure.undefined is None]
    figures = tuple(
        Figure(
            measure=measure.name,
            unit=measure.unit,
            kind=kind,
            method=method,
            estimate=measure.estimate(method, query_ids),
            control=control,
        )
        for measure in defined
        for kind, query_ids in queries.items()
        # Computed once for all methods of a column.
        for control in [Control(name=measure.control_name, estimate=measure.control(query_ids))]
        for method in methods
        if method in measure.methods
    )
    comparisons = tuple(
        _compare(measure, kind, method, reference, query_ids)
        for measure in defined
        if compared is None or measure.name in compared
        for kind, query_ids in queries.items()
        for method in methods
        if method in measure.methods
        for reference in (SEARCH, UNTRAINED)
        if reference in measure.methods and method not in (reference, RANDOM_METHOD)
    )
    return Leaderboard(figures, comparisons, _sentences(measures, methods, comparisons))


def _compare(
    measure: Measure, kind: str, method: str, reference: str, query_ids: Sequence[str]
) -> Comparison:
    difference = measure.difference(method, reference, query_ids)
    verdict: ComparisonVerdict = "no difference shown"
    if difference.value is None:
        verdict = "undefined"
    elif difference.interval is None or difference.n < MIN_QUERIES:
        verdict = "too few queries"
    elif difference.interval.low > 0:
        verdict = "better"
    elif difference.interval.high < 0:
        verdict = "worse"
    return Comparison(
        measure=measure.name,
        kind=kind,
        method=method,
        reference=reference,
        difference=difference,
        verdict=verdict,
    )


def _sentences(
    measures: Sequence[Measure], methods: Sequence[str], comparisons: Sequence[Comparison]
) -> tuple[str, ...]:
    sentences = [f"{m.name} is undefined here: {m.undefined}" for m in measures if m.undefined]
    for reference in (SEARCH, UNTRAINED):
        if reference not in methods:
            sentences.append(
                f"{reference} is not among this run's methods, so no method can be said to be "
                "better than it."
            )
    by_key: dict[tuple[str, str], dict[str, dict[str, ComparisonVerdict]]] = {}
    for one in comparisons:
        kinds = by_key.setdefault((one.method, one.measure), {})
        kinds.setdefault(one.kind, {})[one.reference] = one.verdict
    for (method, measure), kinds in by_key.items():
        if method not in (SEARCH, UNTRAINED):
            sentences.append(f"{method}, {measure}: {_words(kinds)}")
    return tuple(sentences)


def _words(kinds: Mapping[str, Mapping[str, ComparisonVerdict]]) -> str:
    parts = []
    references = [
        r for r in (SEARCH, UNTRAINED) if any(r in verdicts for verdicts in kinds.values())
    ]
    if len(references) == 2:
        both = [k for k, verdicts in kinds.items() if {*verdicts.values()} == {"better"}]
        parts.append(f"better than both {SEARCH} and {UNTRAINED} on {_listed(both)}")
    for reference in references:
        for verdict in ("better", "worse", "no difference shown", "too few queries"):
            among = [k for k, verdicts in kinds.items() if verdicts.get(reference) == verdict]
            if among or verdict == "better":
                parts.append(
                    f"{verdict} than {reference} on {_listed(among)}"
                    if verdict in ("better", "worse")
                    else f"{verdict} against {reference} on {_listed(among)}"
                )
    return "; ".join(parts) + "."


def _listed(kinds: Sequence[str]) -> str:
    return ", ".join("all queries together" if k == ALL else k for k in kinds) or "no kind"


def _mean(values: Mapping[str, float], query_ids: Sequence[str]) -> Estimate:
    return mean_estimate([values[q] for q in query_ids if q in values])
