"""Do kinds of behavior differ in what they are attributed to?

A classifier that tells kinds apart by their attribution proves nothing by itself. The length of the
query tells the kind of most behaviors; so do the words that plain search finds; even a random order
does by descriptors that measure words. So each figure stands beside four controls:

    query                     lengths of prompt and completion, and the completion's log-probability
    random                    the same descriptors of a random order
    bm25                      the same descriptors of plain search
    gradient_cosine_initial   the same descriptors of the untrained model's gradients

What counts is the gain over them, paired, with an interval over families of content; on behaviors
matched in length; and by the groups of descriptors (`kept`) that do not look at the query's words
and that, each and together, cannot tell kinds apart in a random order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence.errors import SettingsError
from whence.evidence.comparison_record import (
    Comparison,
    Gain,
    Median,
    Selection,
    Separated,
    Tested,
)
from whence.evidence.comparison_text import sentences
from whence.evidence.descriptors import DESCRIPTORS, UNITS, Attribution, DescriptorValue, describe
from whence.evidence.families import families
from whence.evidence.kind_overlap import enrichment, kind_overlaps, overlaps
from whence.evidence.kind_tests import (
    Separation,
    benjamini_hochberg,
    kruskal_wallis,
    permanova,
    permuted_labels,
    rank_features,
    separation,
)
from whence.evidence.length_matching import Matched, match_lengths
from whence.evidence.null import MIN_QUERIES
from whence.evidence.null_queries import Shape
from whence.progress import SILENT, Progress
from whence.records import Term, Verification
from whence.statistics import Estimate, detectable_difference, stratified_estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    # The ranks of a method's descriptors, and how well they tell kinds apart.
    _ByMethod = dict[str, tuple[NDArray[np.float64], Separation]]

QUERY, RANDOM = "query", "random"
CONTROLS = (QUERY, RANDOM, "bm25", "gradient_cosine_initial")
KEPT, ALL = "kept", "all"
# Of a kind with fewer behaviors, or of one family, nothing can be left out and learned.
MIN_BEHAVIORS, MIN_FAMILIES = 6, 2
# Of a matched set: rather fewer kinds than fewer behaviors of each, as long as there are two kinds.
MIN_MATCHED = 10
NUM_PERMUTATIONS, NUM_CLASSIFIED = 999, 199
LEVEL = 0.05
# They compare an example's words with the query's, or ask what only some kinds can have, such as a
# claim: in any order they are properties of the query.
_OF_QUERY = ("lexical", "relations")


def compare(
    attribution: Attribution,
    verifications: Mapping[str, Verification],
    *,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Comparison:
    """Compares the behaviors of a study across their kinds.

    Args:
        attribution: Scores and evidence of the study.
        verifications: What was measured of each behavior.
        seed: Of permutations, resampling and matching.
        progress: Reports progress.

    Returns:
        Every descriptor, how well they tell kinds apart, and by how much better than the controls.

    Raises:
        SettingsError: Fewer than two kinds have enough behaviors.

    Cost:
        Minutes for a hundred behaviors and six methods, most of it permutations.
    """
    descriptors = describe(attribution, progress=progress)
    family_of = families(attribution.behaviors, attribution.queries)
    data = _Data(attribution, verifications, descriptors, family_of)
    chosen = _select(data, range(len(data.ids)))
    if len(chosen.kinds) < 2:
        raise SettingsError(
            f"Kinds are compared where each has at least {MIN_BEHAVIORS} attributed behaviors of "
            f"at least {MIN_FAMILIES} families; this run has {_counted(data)}.",
            "Run a study with more behaviors of at least two kinds.",
        )
    undefined = _missing(data, attribution)
    choices = {ALL: chosen}
    matched = _match(data, seed=seed)
    if matched is not None:
        choices["matched"] = _select(data, matched.rows)
    if matched is None or len(choices["matched"].kinds) < 2:
        choices.pop("matched", None)
        undefined["matched"] = (
            f"No two kinds have {MIN_BEHAVIORS} behaviors with completions and prompts of equal "
            "lengths, so nothing can be said beyond the length of the query."
        )
    work = [_Compared(data, name, one, seed=seed) for name, one in choices.items()]
    with progress.task("Comparing kinds", total=len(work) * len(UNITS), unit="units") as task:
        for one in work:
            for unit in UNITS:
                one.compare(unit)
                task.advance()
    kind_of = dict(zip(data.ids, data.kinds, strict=True))
    overlap = overlaps(attribution)
    shared = kind_overlaps(overlap, kind_of, family_of, seed=seed)
    enriched = enrichment(attribution, kind_of, seed=seed)
    if not enriched:
        undefined["enrichment"] = "The corpus has fewer than two subsets, or unknown ones."
    selections = tuple(one.selection() for one in work)
    separations = tuple(found for one in work for found in one.separations)
    gains = tuple(found for one in work for found in one.gains)
    tests = tuple(found for one in work for found in one.tests)
    medians = tuple(found for one in work for found in one.medians)
    return Comparison(
        descriptors=descriptors,
        separations=separations,
        gains=gains,
        tests=tests,
        medians=medians,
        overlap=overlap,
        kind_overlap=shared,
        enrichment=enriched,
        selections=selections,
        families=family_of,
        undefined=undefined,
        sentences=sentences(
            selections,
            separations,
            gains,
            tests,
            medians,
            shared,
            undefined,
            methods=data.compared,
        ),
    )


class _Data:
    """What is compared: behaviors with their descriptors, lengths and families, by row."""

    def __init__(
        self,
        attribution: Attribution,
        verifications: Mapping[str, Verification],
        descriptors: Sequence[DescriptorValue],
        family_of: Mapping[str, str],
    ) -> None:
        import numpy as np

        self.ids = [behavior.id for behavior in attribution.behaviors]
        self.kinds = [behavior.kind for behavior in attribution.behaviors]
        self.families = [family_of[name] for name in self.ids]
        self.shapes = [_shape(query.terms[0]) for query in attribution.queries]
        self.methods = [scores.method for scores in attribution.scores]
        informed = {one.method for one in attribution.scores if one.family != "control"}
        self.compared = [m for m in self.methods if m in informed and m not in CONTROLS]
        measured = [verifications[name].completion for name in self.ids]
        self.query = np.array(
            [
                [*shape, one.log_prob_nats, one.log_prob_nats / len(one.tokens)]
                for shape, one in zip(self.shapes, measured, strict=True)
            ]
        )
        row_of = {name: row for row, name in enumerate(self.ids)}
        self._values = {
            (method, unit): np.full((len(self.ids), len(DESCRIPTORS)), np.nan)
            for method in self.methods
            for unit in UNITS
        }
        place_of = {name: place for place, name in enumerate(DESCRIPTORS)}
        for one in descriptors:
            place = row_of[one.behavior], place_of[one.descriptor]
            self._values[one.method, one.unit][place] = one.value

    def values(
        self, method: str, unit: str, rows: Sequence[int], names: Sequence[str]
    ) -> "NDArray[np.float64]":
        """Descriptors of some behaviors."""
        place_of = {name: place for place, name in enumerate(DESCRIPTORS)}
        return self._values[method, unit][list(rows)][:, [place_of[name] for name in names]]


@dataclass(frozen=True)
class _Choice:
    """Rows of behaviors of the kinds that have enough of them."""

    rows: tuple[int, ...]
    kinds: tuple[str, ...]
    left_out: Mapping[str, str]


def _select(data: _Data, rows: Sequence[int]) -> _Choice:
    """Leaves out the kinds that have too few behaviors, or families, among some rows."""
    kept, left_out = [], {}
    for kind in dict.fromkeys(data.kinds):
        own = [row for row in rows if data.kinds[row] == kind]
        num_families = len({data.families[row] for row in own})
        if len(own) >= MIN_BEHAVIORS and num_families >= MIN_FAMILIES:
            kept.append(kind)
        else:
            left_out[kind] = f"{len(own)} behaviors in {num_families} families"
    return _Choice(tuple(r for r in rows if data.kinds[r] in kept), tuple(kept), left_out)


def _match(data: _Data, *, seed: int) -> Matched | None:
    """Matches lengths, with ten behaviors of each kind where two kinds have so many."""
    import numpy as np

    for least in (MIN_MATCHED, MIN_BEHAVIORS):
        found = match_lengths(
            data.kinds,
            data.shapes,
            families=data.families,
            rng=np.random.default_rng(seed),
            min_per_kind=least,
        )
        if found is not None:
            return found
    return None


def _shape(term: Term) -> Shape:
    return Shape(term.num_prompt_tokens, len(term.input_ids) - term.num_prompt_tokens)


def _counted(data: _Data) -> str:
    counts = {kind: data.kinds.count(kind) for kind in dict.fromkeys(data.kinds)}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def _missing(data: _Data, attribution: Attribution) -> dict[str, str]:
    """The controls that the study does not have, and the lengths that have no null."""
    found = {
        name: f"The study does not have the method `{name}`, so nothing is compared with it."
        for name in CONTROLS
        if name != QUERY and name not in data.methods
    }
    known = {one.length for one in attribution.evidence.calibrations}
    lengths = [attribution.length_of.get(name) for name in data.ids]
    for length in dict.fromkeys(lengths):
        if length is not None and length not in known:
            found[f"null of {length}"] = (
                f"Concentration is undefined for the {lengths.count(length)} behaviors with a "
                f"completion of {length}: there are fewer than {MIN_QUERIES} null queries of that "
                "length."
            )
    return found


class _Compared:
    """Compares the kinds of one selection."""

    def __init__(self, data: _Data, name: str, choice: _Choice, *, seed: int) -> None:
        import numpy as np

        self._data, self._name, self._choice, self._seed = data, name, choice, seed
        rows = choice.rows
        self._kinds = [data.kinds[row] for row in rows]
        self._labels = np.array([choice.kinds.index(kind) for kind in self._kinds])
        self._family_names = [data.families[row] for row in rows]
        _, self._families = np.unique(self._family_names, return_inverse=True)
        rng = np.random.default_rng(seed)
        self._permuted = permuted_labels(self._labels, self._families, rng, num=NUM_PERMUTATIONS)
        self._kept: dict[str, list[str]] = {}
        self.separations: list[Separated] = []
        self.gains: list[Gain] = []
        self.tests: list[Tested] = []
        self.medians: list[Median] = []
        self._query = self._separate(data.query[list(rows)])

    def selection(self) -> Selection:
        """What was compared."""
        rows = self._choice.rows
        by_kind = {
            kind: [row for row in rows if self._data.kinds[row] == kind]
            for kind in self._choice.kinds
        }
        return Selection(
            name=self._name,
            behaviors={k: [self._data.ids[row] for row in of] for k, of in by_kind.items()},
            num_families={
                k: len({self._data.families[row] for row in of}) for k, of in by_kind.items()
            },
            left_out=self._choice.left_out,
            kept=self._kept,
        )

    def compare(self, unit: str) -> None:
        """Adds every figure of documents, or of clusters."""
        groups: dict[str, list[str]] = {}
        for kind in DESCRIPTORS.values():
            if unit in kind.units:
                groups.setdefault(kind.group, []).append(kind.name)
        sets = {group: self._by_method(unit, names) for group, names in groups.items()}
        sets[ALL] = self._by_method(unit, [name for names in groups.values() for name in names])
        if RANDOM in self._data.methods:
            p_values = {group: sets[group][RANDOM][1].p for group in groups}
            self._kept[unit], found = self._keep(unit, groups, p_values)
            if found:
                sets[KEPT] = found
        for features, found in sets.items():
            self._add(unit, features, found)
        for method in self._data.methods:
            self._test(unit, method, [name for names in groups.values() for name in names])

    def _keep(
        self, unit: str, groups: Mapping[str, Sequence[str]], p_values: Mapping[str, float]
    ) -> tuple[list[str], "_ByMethod"]:
        """Keeps the groups by which a random order cannot tell kinds apart, also all together."""
        kept = [g for g in groups if g not in _OF_QUERY and p_values[g] > LEVEL]
        while kept:
            found = self._by_method(unit, [name for group in kept for name in groups[group]])
            if found[RANDOM][1].p > LEVEL:
                return kept, found
            kept.remove(min(kept, key=lambda group: p_values[group]))
        return [], {}

    def _by_method(self, unit: str, names: Sequence[str]) -> "_ByMethod":
        return {
            method: self._separate(self._data.values(method, unit, self._choice.rows, names))
            for method in self._data.methods
        }

    def _separate(self, values: "NDArray[np.float64]") -> tuple["NDArray[np.float64]", Separation]:
        features = rank_features(values, self._labels)
        permuted = self._permuted[:NUM_CLASSIFIED]
        return features, separation(features, self._labels, self._families, permuted)

    def _add(
        self,
        unit: str,
        features: str,
        found: "_ByMethod",
    ) -> None:
        """Adds how well each method tells kinds apart, and the gains over the controls."""
        found = {QUERY: self._query} | found
        for method, (ranks, one) in found.items():
            self.separations.append(self._separated(unit, features, method, ranks, one))
        for method in self._data.compared:
            for control in CONTROLS:
                if control in found:
                    estimate = self._gain(found[method][1], found[control][1])
                    low, high = _bounds(estimate)
                    detectable = detectable_difference(estimate)
                    self.gains.append(
                        Gain(
                            self._name,
                            unit,
                            features,
                            method,
                            control,
                            float("nan") if estimate.value is None else estimate.value,
                            low,
                            high,
                            estimate.n,
                            float("nan") if detectable is None else detectable,
                        )
                    )

    def _separated(
        self,
        unit: str,
        features: str,
        method: str,
        ranks: "NDArray[np.float64]",
        one: Separation,
    ) -> Separated:
        import numpy as np

        test = permanova(ranks, self._labels, self._families, self._permuted)
        low, high = _bounds(self._estimate(_right(one)))
        return Separated(
            self._name,
            unit,
            features,
            method,
            ranks.shape[1],
            test.f,
            test.r2,
            test.p,
            one.accuracy,
            low,
            high,
            len(set(self._family_names)),
            float(np.quantile(one.permuted, 1 - LEVEL, method="higher")),
            one.p,
        )

    def _gain(self, one: Separation, control: Separation) -> Estimate:
        return self._estimate(_right(one) - _right(control))

    def _estimate(self, values: "NDArray[np.float64]") -> Estimate:
        import numpy as np

        if not np.isfinite(values).all():
            return Estimate(None, None, len(set(self._family_names)))
        return stratified_estimate(
            values.tolist(), strata=self._kinds, clusters=self._family_names, seed=self._seed
        )

    def _test(self, unit: str, method: str, names: Sequence[str]) -> None:
        """Adds a test of each descriptor, and its median in each kind."""
        import numpy as np

        values = self._data.values(method, unit, self._choice.rows, names)
        found = [kruskal_wallis(column, self._labels, self._families) for column in values.T]
        adjusted = benjamini_hochberg([one.p for one in found])
        for name, one, q, column in zip(names, found, adjusted, values.T, strict=True):
            group = DESCRIPTORS[name].group
            self.tests.append(
                Tested(self._name, unit, method, name, group, one.h, one.p, q, one.epsilon2, one.n)
            )
            for label, kind in enumerate(self._choice.kinds):
                own = column[(self._labels == label) & np.isfinite(column)]
                median = float(np.median(own)) if len(own) else float("nan")
                self.medians.append(Median(self._name, unit, method, name, kind, len(own), median))


def _right(one: Separation) -> "NDArray[np.float64]":
    """1 for each behavior that is told right and 0 for others; NaN where nothing could be told."""
    import numpy as np

    found = one.is_right.astype(np.float64)
    return found if np.isfinite(one.accuracy) else np.full(len(found), np.nan)


def _bounds(estimate: Estimate) -> tuple[float, float]:
    """The bounds of an interval; NaN without one."""
    if estimate.interval is None:
        return float("nan"), float("nan")
    return estimate.interval.low, estimate.interval.high
