"""The leaderboard: methods by measures, compared with plain search and an untrained model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from whence.statistics import (
    MIN_FAMILIES,
    UNBOUNDED,
    Estimate,
    Spread,
    benjamini_hochberg,
    estimate_of,
    mean_estimate,
    p_value,
    paired_spread,
)
from whence.validation.lds import Predicted, lds, lds_difference, no_skill_p_values
from whence.validation.record import Comparison, ComparisonVerdict, Control, Figure
from whence.validation.removal import RANDOM_METHOD

# The methods that others are compared with, and the one that knows nothing: what reads no model,
# what reads an untrained one, and the plainest that reads the trained one.
SEARCH = "bm25"
UNTRAINED = "gradient_cosine_initial"
PLAIN = "gradient_cosine"
BASELINES = (SEARCH, UNTRAINED)
REFERENCES = (*BASELINES, PLAIN)
ALL = "all"
# The expected share of claims on one leaderboard that chance made.
FALSE_DISCOVERY_RATE = 0.05

# From query id to what makes some queries alike; see `whence.validation.families`.
Families = Mapping[str, str]


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

    def estimate(
        self, method: str, query_ids: Sequence[str], families: Families | None = None
    ) -> Estimate:
        """The mean over some queries, with an interval over their families."""
        ...

    def control(self, query_ids: Sequence[str], families: Families | None = None) -> Estimate:
        """The same of the control."""
        ...

    def difference(
        self,
        method: str,
        reference: str,
        query_ids: Sequence[str],
        families: Families | None = None,
    ) -> Spread:
        """By how much a method is better than another on the queries that both have."""
        ...

    def no_skill(self, method: str, query_ids: Sequence[Sequence[str]]) -> Sequence[float | None]:
        """For each mean, the probability of one at least as far from that of knowing nothing."""
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
    bounds: tuple[float, float] = UNBOUNDED

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that were measured."""
        return tuple(self.values)

    def estimate(
        self, method: str, query_ids: Sequence[str], families: Families | None = None
    ) -> Estimate:
        """The mean over some queries."""
        return self._mean(self.values.get(method, {}), query_ids, families)

    def control(self, query_ids: Sequence[str], families: Families | None = None) -> Estimate:
        """The mean of the control over some queries."""
        return self._mean(self.controls, query_ids, families)

    def difference(
        self,
        method: str,
        reference: str,
        query_ids: Sequence[str],
        families: Families | None = None,
    ) -> Spread:
        """The mean paired difference of two methods."""
        own, other = self.values.get(method, {}), self.values.get(reference, {})
        shared = [q for q in query_ids if q in own and q in other]
        return paired_spread(
            [own[q] for q in shared],
            [other[q] for q in shared],
            families=_of(shared, families),
        )

    def no_skill(self, method: str, query_ids: Sequence[Sequence[str]]) -> Sequence[float | None]:
        """None: there is nothing to deal anew."""
        return [None] * len(query_ids)

    def _mean(
        self, values: Mapping[str, float], query_ids: Sequence[str], families: Families | None
    ) -> Estimate:
        shared = [q for q in query_ids if q in values]
        own = [values[q] for q in shared]
        return mean_estimate(own, families=_of(shared, families), bounds=self.bounds)


@dataclass(frozen=True)
class Correlated:
    """A linear datamodeling score; its control is the mean of many draws of random scores."""

    name: str
    predicted: Mapping[str, Predicted] = field(default_factory=dict)
    chance: Predicted | None = None
    undefined: str | None = None
    unit: str = "Spearman's correlation"
    control_name: str = RANDOM_METHOD

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that were measured."""
        return tuple(self.predicted)

    def estimate(
        self, method: str, query_ids: Sequence[str], families: Families | None = None
    ) -> Estimate:
        """The mean over some queries, with a two-way interval."""
        if method not in self.predicted:
            return Estimate(None, None, 0)
        return lds(self.predicted[method], query_ids, families=families)

    def control(self, query_ids: Sequence[str], families: Families | None = None) -> Estimate:
        """That of scores that know nothing."""
        if self.chance is None:
            return Estimate(None, None, 0)
        return lds(self.chance, query_ids, families=families)

    def difference(
        self,
        method: str,
        reference: str,
        query_ids: Sequence[str],
        families: Families | None = None,
    ) -> Spread:
        """The mean paired difference of two methods, with a two-way error."""
        if method not in self.predicted or reference not in self.predicted:
            return paired_spread([], [])
        return lds_difference(
            self.predicted[method], self.predicted[reference], query_ids, families=families
        )

    def no_skill(self, method: str, query_ids: Sequence[Sequence[str]]) -> Sequence[float | None]:
        """By dealing the method's scores to other groups."""
        found = self.predicted.get(method)
        if found is None:
            return [None] * len(query_ids)
        return no_skill_p_values(found, query_ids)


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
    families: Families | None = None,
    compared: Sequence[str] | None = None,
) -> Leaderboard:
    """Puts methods side by side by every measure, for every kind of behavior and for all.

    Args:
        measures: What was measured; those that are undefined are named in a sentence.
        methods: In the order of the rows.
        kinds: From query id to the kind of its behavior.
        families: From query id to its family; by default each query is its own.
        compared: Names of the measures by which methods are compared and spoken of; all by default.

    Returns:
        Figures for each measure, kind and method; comparisons of each method with BM25, with
        gradient cosine on the randomly initialised model, and, of methods other than these, with
        gradient cosine on the model itself. A method is *better* where the mean paired difference
        is positive and its p-value, adjusted for the number of all comparisons of the leaderboard,
        is at most 0.05; of fewer than six families of queries nothing is claimed. The intervals are
        those of one comparison, and not adjusted.

    Source:
        Benjamini and Hochberg's procedure; see `whence.statistics.benjamini_hochberg`.
    """
    queries = {ALL: list(kinds)}
    for query_id, kind in kinds.items():
        queries.setdefault(kind, []).append(query_id)
    defined = [measure for measure in measures if measure.undefined is None]
    # Once for all kinds, which share the deals.
    no_skill = {
        (measure.name, kind, method): found
        for measure in defined
        for method in methods
        if method in measure.methods
        for kind, found in zip(
            queries, measure.no_skill(method, list(queries.values())), strict=True
        )
    }
    figures = tuple(
        Figure(
            measure=measure.name,
            unit=measure.unit,
            kind=kind,
            method=method,
            estimate=measure.estimate(method, query_ids, families),
            no_skill_p_value=no_skill[measure.name, kind, method],
            control=control,
        )
        for measure in defined
        for kind, query_ids in queries.items()
        # Computed once for all methods of a column.
        for control in [
            Control(name=measure.control_name, estimate=measure.control(query_ids, families))
        ]
        for method in methods
        if method in measure.methods
    )
    pairs = [
        (measure, kind, method, reference)
        for measure in defined
        if compared is None or measure.name in compared
        for kind in queries
        for method in methods
        if method in measure.methods
        for reference in REFERENCES
        if reference in measure.methods and method not in (reference, RANDOM_METHOD)
        # That pair is there, the other way around.
        if not (reference == PLAIN and method in BASELINES)
    ]
    spreads = [
        measure.difference(method, reference, queries[kind], families)
        for measure, kind, method, reference in pairs
    ]
    comparisons = tuple(
        Comparison(
            measure=measure.name,
            kind=kind,
            method=method,
            reference=reference,
            difference=estimate_of(spread),
            p_value=p_value(spread),
            adjusted_p_value=adjusted,
            verdict=_verdict(spread, adjusted),
        )
        for (measure, kind, method, reference), spread, adjusted in zip(
            pairs, spreads, _adjusted(spreads), strict=True
        )
    )
    return Leaderboard(figures, comparisons, _sentences(measures, methods, comparisons))


def _adjusted(spreads: Sequence[Spread]) -> list[float | None]:
    """Adjusts the p-values of all comparisons that have one, together."""
    found = [p_value(spread) for spread in spreads]
    known = iter(benjamini_hochberg([p for p in found if p is not None]))
    return [None if p is None else next(known) for p in found]


def _verdict(spread: Spread, adjusted: float | None) -> ComparisonVerdict:
    if spread.value is None:
        return "undefined"
    if adjusted is None:
        return "too few queries"
    if adjusted > FALSE_DISCOVERY_RATE:
        return "no difference shown"
    return "better" if spread.value > 0 else "worse"


def _sentences(
    measures: Sequence[Measure], methods: Sequence[str], comparisons: Sequence[Comparison]
) -> tuple[str, ...]:
    sentences = [f"{m.name} is undefined here: {m.undefined}" for m in measures if m.undefined]
    tested = sum(one.adjusted_p_value is not None for one in comparisons)
    if tested:
        sentences.append(
            f"Better and worse are claimed at a false discovery rate of {FALSE_DISCOVERY_RATE:.0%} "
            f"over all {tested} comparisons of this leaderboard, and not of fewer than "
            f"{MIN_FAMILIES} families of queries."
        )
    for reference in REFERENCES:
        if reference not in methods:
            sentences.append(
                f"{reference} is not among this run's methods, so no method can be said to be "
                "better than it."
            )
    by_key: dict[tuple[str, str], dict[str, dict[str, ComparisonVerdict]]] = {}
    for one in comparisons:
        kinds = by_key.setdefault((one.method, one.measure), {})
        kinds.setdefault(one.kind, {})[one.reference] = one.verdict
    quiet = 0
    for (method, measure), kinds in by_key.items():
        if method in BASELINES:
            continue
        claims = {verdict for verdicts in kinds.values() for verdict in verdicts.values()}
        if claims & {"better", "worse"}:
            sentences.append(f"{method}, {measure}: {_words(kinds)}")
        else:
            quiet += 1
    if quiet:
        sentences.append(
            f"Of {quiet} other pairs of a method and a measure nothing is claimed: no difference "
            "is shown, or there are too few families of queries."
        )
    return tuple(sentences)


def _words(kinds: Mapping[str, Mapping[str, ComparisonVerdict]]) -> str:
    parts = []
    references = [r for r in REFERENCES if any(r in verdicts for verdicts in kinds.values())]
    if {*BASELINES} <= {*references}:
        both = [
            k
            for k, verdicts in kinds.items()
            if all(verdicts.get(reference) == "better" for reference in BASELINES)
        ]
        parts.append(f"better than both {SEARCH} and {UNTRAINED} on {_listed(both)}")
    for reference in references:
        for verdict in ("better", "worse", "no difference shown"):
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


def _of(query_ids: Sequence[str], families: Families | None) -> list[str] | None:
    return None if families is None else [families[q] for q in query_ids]
