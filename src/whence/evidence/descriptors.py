"""Descriptors of attribution: one number per behavior, method, unit and question.

Two behaviors are compared by descriptors, and not by scores, which have no common unit. Two units:
the document, and the cluster of copies and near copies (Jaccard 0.8), which is represented by its
best member. Those that measure a list are means over its first ten entries, by score; those of
concentration are of the whole corpus, on null-subtracted scores (`evidence.concentration`).

A descriptor that measures words measures the query as much as its attribution: it differs between
kinds for a random order, too. Groups keep those apart. What is undefined is NaN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

from whence.corpus.duplicates import Duplicates
from whence.evidence import concentration
from whence.evidence.null import Null, calibrate
from whence.evidence.null_queries import length_class
from whence.evidence.proponents import ranks
from whence.evidence.record import Evidence, Strength
from whence.evidence.relations import RELATIONS
from whence.evidence.word_index import WordIndex
from whence.progress import SILENT, Progress
from whence.records import Behavior, Corpus, Query, Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Unit = Literal["document", "cluster"]
UNITS: tuple[Unit, ...] = ("document", "cluster")
Group = Literal[
    "concentration",
    "opponents",
    "lexical",
    "relations",
    "topical",
    "duplicates",
    "order",
    "sharing",
    "hubness",
]
# Entries of a list that are described.
K = 10
_EARLY = 0.1


class DescriptorKind(NamedTuple):
    """One descriptor: its group, the units that it has, and its formula in words."""

    name: str
    group: Group
    formula: str
    units: tuple[Unit, ...] = UNITS


_KINDS = (
    DescriptorKind("gini", "concentration", "Gini coefficient of z⁺ over all entries"),
    DescriptorKind("normalized_entropy", "concentration", "-Σ p ln p / ln n, p = z⁺ / Σ z⁺"),
    DescriptorKind("effective_number", "concentration", "1 / Σ p²"),
    DescriptorKind("perplexity", "concentration", "exp(-Σ p ln p)"),
    DescriptorKind("top_1_share", "concentration", "largest p"),
    DescriptorKind("top_10_share", "concentration", "sum of the ten largest p"),
    DescriptorKind("top_percent_share", "concentration", "sum of the largest 1 % of all p"),
    DescriptorKind("largest_z", "concentration", "largest z"),
    DescriptorKind(
        "num_above_null",
        "concentration",
        "entries whose z is above that of the strongest of 95 % of null queries",
    ),
    DescriptorKind("proponent_ratio", "opponents", "ln(Σ z⁺ / Σ z⁻)"),
    DescriptorKind("longest_run", "lexical", "tokens in a row that the query and an entry share"),
    DescriptorKind("run_share", "lexical", "longest run / tokens of the query"),
    DescriptorKind("containment", "lexical", "share of the query's 5-grams in an entry"),
    DescriptorKind(
        "edit_similarity", "lexical", "1 - edit distance / length, of best window; of those aligned"
    ),
    DescriptorKind("query_likeness", "lexical", "TF-IDF cosine of the query and an entry"),
    DescriptorKind("bm25_rank", "lexical", "median rank of the entries under BM25"),
    DescriptorKind("copy_share", "relations", "share of entries with a relation of text in common"),
    DescriptorKind("claim_share", "relations", "share of entries related by what they claim"),
    DescriptorKind("topic_share", "relations", "share of entries related by topic or form"),
    DescriptorKind("no_tie_share", "relations", "share of entries without a visible tie"),
    DescriptorKind("subset_entropy", "topical", "-Σ q ln q over subsets of the entries"),
    DescriptorKind(
        "subset_divergence", "topical", "Σ q ln(q / r), r the subsets' shares of the corpus"
    ),
    DescriptorKind("mutual_likeness", "topical", "mean TF-IDF cosine of two entries"),
    DescriptorKind(
        "distinct_clusters",
        "duplicates",
        "clusters among the entries / entries",
        units=("document",),
    ),
    DescriptorKind(
        "copies_per_cluster", "duplicates", "documents of an entry's cluster", units=("cluster",)
    ),
    DescriptorKind("mean_position", "order", "mean training position of the entries, 0 to 1"),
    DescriptorKind("median_position", "order", "their median"),
    DescriptorKind("early_share", "order", "share of entries in the first tenth of training"),
    DescriptorKind(
        "position_slope",
        "order",
        "least-squares slope of z on the position, all documents",
        units=("document",),
    ),
    DescriptorKind(
        "sharing", "sharing", "other behaviors that list an entry among their first ten"
    ),
    DescriptorKind("hubness", "hubness", "share of null queries that list an entry in their first"),
)
DESCRIPTORS: Mapping[str, DescriptorKind] = {kind.name: kind for kind in _KINDS}


class DescriptorValue(NamedTuple):
    """One row of the table; `value` is NaN where the descriptor is undefined."""

    behavior: str
    kind: str
    method: str
    unit: Unit
    descriptor: str
    group: str
    value: float


@dataclass(frozen=True)
class Attribution:
    """Everything that descriptors are computed from: a run's scores and the evidence about them.

    Attributes:
        scores: All methods' scores, with those for null queries where they have some.
        behaviors: The behaviors that were attributed.
        queries: Their queries, in the same order.
        nulls: The null queries, in the order of `Scores.null_values`.
        corpus: The examples.
        duplicates: Their copies and near copies.
        evidence: Ties and strengths of everything listed.
    """

    scores: tuple[Scores, ...]
    behaviors: tuple[Behavior, ...]
    queries: tuple[Query, ...]
    nulls: tuple[Query, ...]
    corpus: Corpus
    duplicates: Duplicates
    evidence: Evidence
    k: int = K

    @cached_property
    def words(self) -> WordIndex:
        """The words of the corpus."""
        return WordIndex(self.corpus.texts())

    @cached_property
    def subsets(self) -> list[str | None]:
        """The subset of every example."""
        return self.corpus.table.column("subset").to_pylist()

    @cached_property
    def positions(self) -> "NDArray[np.float64] | None":
        """Every example's place in training, 0 for the first and 1 for the last; None if unknown.

        Examples of one position share their mean place.
        """
        from scipy.stats import rankdata

        column = self.corpus.table.column("position")
        if column.null_count or len(column) < 2:
            return None
        return (rankdata(column.to_numpy()) - 1) / (len(column) - 1)

    @cached_property
    def length_of(self) -> Mapping[str, str]:
        """The length class of each behavior's query."""
        return {one.behavior_id: one.length for one in self.evidence.behaviors}

    def entries(self, method: str, behavior_id: str, unit: Unit) -> list[Strength]:
        """The first k proponents that a method lists, document by document or cluster by cluster.

        A cluster is represented by the first of its members in the list.
        """
        listed = self.evidence.listed(method, behavior_id)
        if unit == "document":
            return [one for one in listed if one.place <= self.k]
        found = [one for one in listed if one.cluster_place is not None]
        found = [one for one in found if (one.cluster_place or 0) <= self.k]
        return sorted(found, key=lambda one: one.cluster_place or 0)


def describe(
    attribution: Attribution, *, progress: Progress = SILENT
) -> tuple[DescriptorValue, ...]:
    """Computes every descriptor of every behavior under every method.

    Returns:
        Rows in the order of methods, behaviors, units and `DESCRIPTORS`.

    Cost:
        A few milliseconds per behavior and method, and a sort of the corpus's scores.
    """
    found = []
    kind_of = {behavior.id: behavior.kind for behavior in attribution.behaviors}
    with progress.task("Describing", total=len(attribution.scores), unit="methods") as task:
        for scores in attribution.scores:
            of_method = _Describer(attribution, scores)
            for behavior_id in scores.query_ids:
                for unit in UNITS:
                    values = of_method.values(behavior_id, unit)
                    found += [
                        DescriptorValue(
                            behavior_id,
                            kind_of[behavior_id],
                            scores.method,
                            unit,
                            kind.name,
                            kind.group,
                            values.get(kind.name, float("nan")),
                        )
                        for kind in _KINDS
                        if unit in kind.units
                    ]
            task.advance()
    return tuple(found)


@dataclass
class _Describer:
    """Describes one method's lists."""

    attribution: Attribution
    scores: Scores
    _lists: dict[tuple[str, Unit], list[Strength]] = field(init=False)

    def __post_init__(self) -> None:
        self._lists = {
            (behavior_id, unit): self.attribution.entries(self.scores.method, behavior_id, unit)
            for behavior_id in self.scores.query_ids
            for unit in UNITS
        }

    def values(self, behavior_id: str, unit: Unit) -> dict[str, float]:
        return {
            **self._of_corpus(behavior_id, unit),
            **self._of_list(behavior_id, self._lists[behavior_id, unit], unit),
        }

    def _of_corpus(self, behavior_id: str, unit: Unit) -> dict[str, float]:
        """Concentration, opponents and slope, from the z of all examples; none without a null."""
        import numpy as np

        length = self.attribution.length_of.get(behavior_id)
        null = self._nulls.get(length) if length is not None else None
        if null is None:
            return {}
        z = null.standardize(self.scores.values[self.scores.query_ids.index(behavior_id)])
        z = np.where(np.isfinite(z), z, np.nan)
        found = {"position_slope": self._slope(z)}
        if unit == "cluster":
            z = concentration.largest_per_cluster(z, self._clusters)
        mass = concentration.positive_part(z)
        return found | {
            "gini": concentration.gini(mass),
            "normalized_entropy": concentration.normalized_entropy(mass),
            "effective_number": concentration.effective_number(mass),
            "perplexity": concentration.perplexity(mass),
            "top_1_share": concentration.top_share(mass, 1),
            "top_10_share": concentration.top_share(mass, 10),
            "top_percent_share": concentration.top_percent_share(mass),
            "largest_z": float(np.nanmax(z)) if np.isfinite(z).any() else float("nan"),
            "num_above_null": float((z > null.threshold(rank=1)).sum()),
            "proponent_ratio": concentration.proponent_ratio(z),
        }

    def _of_list(self, behavior_id: str, entries: list[Strength], unit: Unit) -> dict[str, float]:
        """What is measured of the first entries; nothing where no example is a proponent."""
        if not entries:
            return {}
        rows = self.attribution.corpus.rows([one.example_id for one in entries])
        return {
            **self._words(behavior_id, entries),
            "bm25_rank": self._bm25_rank(behavior_id, rows),
            **self._topics(rows),
            **self._order(rows),
            "distinct_clusters": self._distinct(rows),
            "copies_per_cluster": float(self.attribution.duplicates.size_80[rows].mean()),
            "sharing": self._sharing(behavior_id, rows, unit),
            "hubness": self._hubness(entries),
        }

    def _words(self, behavior_id: str, entries: list[Strength]) -> dict[str, float]:
        """Means over the entries' ties, and shares of their relations by tier."""
        ties = [self.attribution.evidence.tie(behavior_id, one.example_id) for one in entries]
        known = [tie for tie in ties if tie is not None]
        if not known:
            return {}
        tiers = [RELATIONS[tie.relation].tier for tie in known]
        num_tokens = self._num_tokens[behavior_id]
        return {
            "longest_run": _mean([tie.longest_run for tie in known]),
            "run_share": _mean([tie.longest_run / num_tokens for tie in known]),
            "containment": _mean([tie.containment for tie in known]),
            "edit_similarity": _mean([tie.edit_similarity for tie in known]),
            "query_likeness": _mean([tie.topic_similarity for tie in known]),
            "copy_share": _mean([tier == "copy" for tier in tiers]),
            "claim_share": _mean([tier == "claim" for tier in tiers]),
            "topic_share": _mean([tier == "topic" for tier in tiers]),
            "no_tie_share": _mean([tier in ("effect", "none") for tier in tiers]),
        }

    def _topics(self, rows: list[int]) -> dict[str, float]:
        """Entropy and divergence of the entries' subsets, and how alike the entries are."""
        import numpy as np

        subsets = self.attribution.subsets
        listed = [subsets[row] for row in rows]
        if len(self._shares) < 2 or None in listed:
            return {"mutual_likeness": self._mutual_likeness(rows)}
        names, counts = np.unique(np.array(listed, dtype=str), return_counts=True)
        q = counts / counts.sum()
        pool = np.array([self._shares[name] for name in names.tolist()])
        return {
            "subset_entropy": abs(float((q * np.log(q)).sum())),
            "subset_divergence": float((q * np.log(q / pool)).sum()),
            "mutual_likeness": self._mutual_likeness(rows),
        }

    def _order(self, rows: list[int]) -> dict[str, float]:
        """Where in training the entries stand; nothing where that is not known."""
        import numpy as np

        if self.attribution.positions is None:
            return {}
        places = self.attribution.positions[rows]
        return {
            "mean_position": float(places.mean()),
            "median_position": float(np.median(places)),
            "early_share": float((places < _EARLY).mean()),
        }

    def _slope(self, z: "NDArray[np.float64]") -> float:
        """Computes Σ (x - mean x) z / Σ (x - mean x)² over the positions x of the examples."""
        import numpy as np

        if self.attribution.positions is None:
            return float("nan")
        defined = np.isfinite(z)
        x = self.attribution.positions[self._rows][defined]
        x = x - x.mean() if len(x) else x
        square = float((x * x).sum())
        return float((x * z[defined]).sum() / square) if square > 0 else float("nan")

    def _mutual_likeness(self, rows: list[int]) -> float:
        import numpy as np

        if len(rows) < 2:
            return float("nan")
        found = self.attribution.words.mutual_similarity(np.asarray(rows, dtype=np.int64))
        pairs = found[np.triu_indices(len(rows), k=1)]
        return float(np.nanmean(pairs)) if np.isfinite(pairs).any() else float("nan")

    def _bm25_rank(self, behavior_id: str, rows: list[int]) -> float:
        """The median rank; what shares no word with the query stands behind all that do."""
        import numpy as np

        bm25 = next((one for one in self.attribution.scores if one.method == "bm25"), None)
        if bm25 is None or bm25.example_ids != self.attribution.corpus.ids:
            return float("nan")
        query = bm25.query_ids.index(behavior_id)
        found = ranks(bm25, query, rows=np.asarray(rows, dtype=np.int64))
        num_ranked = int((ranks(bm25, query) > 0).sum())
        return float(np.median(np.where(found > 0, found, num_ranked + 1)))

    def _distinct(self, rows: list[int]) -> float:
        return len(set(self.attribution.duplicates.cluster_80[rows].tolist())) / len(rows)

    def _sharing(self, behavior_id: str, rows: list[int], unit: Unit) -> float:
        """How many other behaviors list an entry, on average over the entries."""
        keys = self._keys(rows, unit)
        counts = self._counts[unit]
        return _mean([counts[key] - 1 for key in keys])

    def _hubness(self, entries: list[Strength]) -> float:
        counts = [one.num_hub for one in entries if one.num_hub is not None]
        num_null = self.attribution.evidence.num_null
        return _mean([count / num_null for count in counts]) if counts else float("nan")

    def _keys(self, rows: list[int], unit: Unit) -> list[int]:
        """What an entry is counted as: its row, or its cluster."""
        return self.attribution.duplicates.cluster_80[rows].tolist() if unit == "cluster" else rows

    @cached_property
    def _counts(self) -> Mapping[Unit, Mapping[int, int]]:
        """By row or cluster, how many behaviors list it."""
        found: dict[Unit, dict[int, int]] = {unit: {} for unit in UNITS}
        for (_, unit), entries in self._lists.items():
            rows = self.attribution.corpus.rows([one.example_id for one in entries])
            for key in set(self._keys(rows, unit)):
                found[unit][key] = found[unit].get(key, 0) + 1
        return found

    @cached_property
    def _nulls(self) -> Mapping[str, Null]:
        return calibrate(self.scores, [length_class(query) for query in self.attribution.nulls])

    @cached_property
    def _rows(self) -> "NDArray[np.int64]":
        import numpy as np

        corpus = self.attribution.corpus
        if self.scores.example_ids == corpus.ids:
            return np.arange(len(corpus))
        return np.asarray(corpus.rows(self.scores.example_ids), dtype=np.int64)

    @cached_property
    def _clusters(self) -> "NDArray[np.int64]":
        return self.attribution.duplicates.cluster_80[self._rows].astype(int)

    @cached_property
    def _shares(self) -> Mapping[str, float]:
        """The share of each subset in the corpus."""
        found: dict[str, int] = {}
        for name in self.attribution.subsets:
            if name is not None:
                found[name] = found.get(name, 0) + 1
        return {name: n / len(self.attribution.subsets) for name, n in found.items()}

    @cached_property
    def _num_tokens(self) -> Mapping[str, int]:
        return {query.id: len(query.terms[0].input_ids) for query in self.attribution.queries}


def _mean(values: Sequence[float | None]) -> float:
    """The mean of the values that are defined; NaN where none is."""
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else float("nan")
