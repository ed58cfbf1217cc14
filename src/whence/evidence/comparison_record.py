"""What was compared between kinds of behavior, and found: tidy tables, stored as Parquet.

    descriptors   behavior, kind, method, unit, descriptor, group, value
    separations   how well a method's descriptors tell kinds apart
    gains         by how much better than a control's
    tests         each descriptor's own test, and `medians` its median in each kind
    overlap       how far two behaviors have the same first clusters
    enrichment    subsets in the lists of a kind, against the corpus

An undefined number is NaN. `comparison.json` holds what was compared, and the findings in
sentences.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from whence import notebook
from whence.artifacts import write_json
from whence.errors import ArtifactError
from whence.evidence.descriptors import DescriptorValue

if TYPE_CHECKING:
    import pyarrow as pa

_RECORD = "comparison.json"


class Separated(NamedTuple):
    """How well descriptors of one method tell kinds apart, in one selection of behaviors.

    Attributes:
        selection: `all`, or `matched` in the lengths of queries.
        unit: Documents or clusters of copies.
        features: Which descriptors: a group, `all`, or `kept`: the groups that look at no word of
            the query and by which a random order cannot tell kinds apart.
        method: The method, or `query`: what is known without attribution.
        num_features: Descriptors that vary.
        f: PERMANOVA's pseudo-F of their ranks.
        r2: Its share of variance between kinds.
        p: Its p-value, by permuted labels.
        accuracy: Balanced accuracy of a classifier that has not seen the behavior's family.
        low: Lower bound of its 95 % interval, over families; NaN with fewer than three of a kind.
        high: Upper bound.
        num_families: Families.
        permuted_95: What permuted labels reach in 95 % of cases.
        accuracy_p: The share of permutations that reach the accuracy, (b + 1) / (B + 1).
    """

    selection: str
    unit: str
    features: str
    method: str
    num_features: int
    f: float
    r2: float
    p: float
    accuracy: float
    low: float
    high: float
    num_families: int
    permuted_95: float
    accuracy_p: float


class Gain(NamedTuple):
    """A method's accuracy less a control's, on the same behaviors, with a 95 % interval.

    `detectable` is the true gain that so many families would have shown in four of five studies.
    """

    selection: str
    unit: str
    features: str
    method: str
    control: str
    value: float
    low: float
    high: float
    num_families: int
    detectable: float

    @property
    def is_shown(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0


class Tested(NamedTuple):
    """One descriptor's Kruskal-Wallis test: one value per family.

    `q` is Benjamini-Hochberg's over the descriptors of one method and unit; `epsilon2` the effect
    size, in [0, 1].
    """

    selection: str
    unit: str
    method: str
    descriptor: str
    group: str
    h: float
    p: float
    q: float
    epsilon2: float
    num_families: int


class Median(NamedTuple):
    """The median of a descriptor over the behaviors of a kind that have one."""

    selection: str
    unit: str
    method: str
    descriptor: str
    kind: str
    num_behaviors: int
    median: float


class Overlap(NamedTuple):
    """The Jaccard similarity of the first ten clusters of two behaviors; NaN without a cluster."""

    method: str
    first: str
    second: str
    jaccard: float


class KindOverlap(NamedTuple):
    """Mean overlap of behaviors of one kind, of different families, and with other kinds.

    `p` is the share of permuted labels with so large a difference, (b + 1) / (B + 1).
    """

    method: str
    kind: str
    within: float
    between: float
    num_pairs: int
    p: float


class Enriched(NamedTuple):
    """A subset's share of the first ten clusters of a kind's behaviors, and of the corpus.

    `p` is two-sided, by subsets drawn anew for every example; `q` is Benjamini-Hochberg's over the
    kinds and subsets of a method.
    """

    method: str
    kind: str
    subset: str
    num_entries: int
    share: float
    corpus_share: float
    ratio: float
    p: float
    q: float


@dataclass(frozen=True)
class Selection:
    """Which behaviors are compared.

    Attributes:
        name: `all` or `matched`.
        behaviors: From each kind to its behaviors' ids.
        num_families: From each kind to its number of families.
        left_out: From each kind that is not compared to the reason.
        kept: By unit, the groups of descriptors that look at no word of the query and by which a
            random order cannot tell kinds apart, each and together.
    """

    name: str
    behaviors: Mapping[str, Sequence[str]]
    num_families: Mapping[str, int]
    left_out: Mapping[str, str]
    kept: Mapping[str, Sequence[str]]

    @property
    def num_behaviors(self) -> int:
        """All behaviors that are compared."""
        return sum(len(ids) for ids in self.behaviors.values())


@dataclass(frozen=True)
class Comparison:
    """The comparison of a run's behaviors across kinds.

    Attributes:
        descriptors: Every descriptor of every behavior under every method.
        separations: By selection, unit, descriptors and method.
        gains: By how much more accurate than each control.
        tests: Of each descriptor.
        medians: Of each descriptor and kind.
        overlap: Of every two behaviors.
        kind_overlap: Of kinds.
        enrichment: Of subsets.
        selections: What was compared.
        families: From each behavior to its family.
        undefined: What could not be compared, and why.
        sentences: The findings.
    """

    descriptors: tuple[DescriptorValue, ...]
    separations: tuple[Separated, ...]
    gains: tuple[Gain, ...]
    tests: tuple[Tested, ...]
    medians: tuple[Median, ...]
    overlap: tuple[Overlap, ...]
    kind_overlap: tuple[KindOverlap, ...]
    enrichment: tuple[Enriched, ...]
    selections: tuple[Selection, ...]
    families: Mapping[str, str]
    undefined: Mapping[str, str]
    sentences: tuple[str, ...]

    def _repr_html_(self) -> str:
        """Shows the findings in a notebook, and what could not be compared."""
        why = [(name, reason) for name, reason in self.undefined.items()]
        table = notebook.table(("not compared", "because"), why) if why else ""
        return notebook.bullets(self.sentences) + table

    def to_json(self) -> dict[str, object]:
        """What was compared and found, without the long tables; NaN becomes None."""
        return {
            "selections": [asdict(one) for one in self.selections],
            "separations": [_defined(one) for one in self.separations],
            "gains": [_defined(one) for one in self.gains],
            "kind_overlap": [_defined(one) for one in self.kind_overlap],
            "families": dict(self.families),
            "undefined": dict(self.undefined),
            "sentences": list(self.sentences),
        }


def save_comparison(comparison: Comparison, directory: Path) -> None:
    """Writes tidy tables as Parquet, and the rest as JSON."""
    import pyarrow.parquet as pq

    for name, record in _TABLES.items():
        table = _table(getattr(comparison, name), record)
        pq.write_table(table, directory / f"{name}.parquet", compression="zstd")
    write_json(directory / _RECORD, comparison.to_json())


def read_comparison(directory: Path) -> Comparison:
    """Reads what `save_comparison` wrote.

    Raises:
        ArtifactError: A file is missing or broken.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        record = json.loads((directory / _RECORD).read_text(encoding="utf-8"))
        tables: dict[str, Any] = {
            name: tuple(
                kind(**row) for row in pq.read_table(directory / f"{name}.parquet").to_pylist()
            )
            for name, kind in _TABLES.items()
        }
        return Comparison(
            **tables,
            selections=tuple(Selection(**value) for value in record["selections"]),
            families=record["families"],
            undefined=record["undefined"],
            sentences=tuple(record["sentences"]),
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ArtifactError(
            f"The comparison in {directory} cannot be read ({reason}).",
            "Run `whence compare` again.",
        ) from None


_TABLES: Mapping[str, Any] = {
    "descriptors": DescriptorValue,
    "separations": Separated,
    "gains": Gain,
    "tests": Tested,
    "medians": Median,
    "overlap": Overlap,
    "kind_overlap": KindOverlap,
    "enrichment": Enriched,
}


def _table(records: Sequence[Any], record: type) -> "pa.Table":
    import pyarrow as pa

    types = {int: pa.int64(), float: pa.float64()}
    hints = get_type_hints(record)
    schema = pa.schema([(name, types.get(hint, pa.string())) for name, hint in hints.items()])
    columns = {name: [getattr(one, name) for one in records] for name in hints}
    return pa.table(columns, schema=schema)


def _defined(record: Any) -> dict[str, object]:
    """A record as JSON can hold it."""
    return {name: None if value != value else value for name, value in record._asdict().items()}
