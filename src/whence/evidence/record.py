"""What is known of the evidence of a run: the record that page, command line and notebooks read.

Tidy tables, stored as Parquet:

    ties        one row per behavior and listed example: the relation, and its measures
    strengths   one row per method, behavior and listed example: place, score, z and its tail
    styles      one row per method and behavior with plain words: style against content

An example is listed if it is among a method's first k proponents or opponents, or if it stands for
one of the method's first k clusters of near copies.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NamedTuple,
    get_args,
    get_origin,
    get_type_hints,
)

from whence import notebook
from whence.artifacts import write_json
from whence.errors import ArtifactError
from whence.evidence.relations import RELATIONS, Relation
from whence.evidence.style import StyleContrast
from whence.evidence.ties import Tie
from whence.records import Family

if TYPE_CHECKING:
    import pyarrow as pa

Side = Literal["proponents", "opponents"]
_RECORD = "evidence.json"
# Chance gives a score above the noise line in at most one of twenty queries.
LEVEL = 0.95
RANKS = (1, 3, 10)


@dataclass(frozen=True)
class Strength:
    """How strong one method's score of an example is, compared with unrelated queries.

    Attributes:
        method: The method.
        behavior_id: The behavior.
        example_id: The example.
        side: `proponents` or `opponents`.
        place: Its place on that side, document by document, from 1.
        cluster_place: The place of the cluster that it stands for, from 1; None where another
            member of its cluster stands before it.
        score: The method's score; higher is more helpful.
        z: In deviations of the example's own scores for unrelated queries; None where the method is
            not calibrated, and for opponents.
        tail: How often chance alone gives so large a z at its rank, in (0, 1]; None likewise.
        num_hub: Unrelated queries that have the example among their first ten; None likewise.
    """

    method: str
    behavior_id: str
    example_id: str
    side: Side
    place: int
    cluster_place: int | None
    score: float
    z: float | None
    tail: float | None
    num_hub: int | None

    @property
    def is_above_null(self) -> bool | None:
        """Whether chance gives so large a z in at most one of twenty queries."""
        return None if self.tail is None else self.tail <= 1 - LEVEL


class Calibration(NamedTuple):
    """How one method was calibrated for queries of one length class.

    `noise` is the z that the strongest example of an unrelated query reaches in one of twenty, for
    ranks 1, 3 and 10.
    """

    method: str
    length: str
    num_queries: int
    noise: Mapping[str, float]


@dataclass(frozen=True)
class BehaviorEvidence:
    """What is known of one behavior as a whole.

    Attributes:
        behavior_id: The behavior.
        pattern: `repeating` or `incrementing` where the query is predictable by itself.
        num_stating: Documents of the corpus that state it; None where it makes no claim.
        length: The length class of its query.
    """

    behavior_id: str
    pattern: str | None
    num_stating: int | None
    length: str


@dataclass(frozen=True)
class Evidence:
    """All evidence of a run.

    Attributes:
        ties: One per behavior and listed example.
        strengths: One per method, behavior and listed example.
        behaviors: One per behavior.
        calibrations: One per method and length class that could be calibrated.
        families: What stands behind each method's scores.
        num_null: Null queries.
        styles: One per method and behavior with plain words: style against content.
    """

    ties: tuple[Tie, ...]
    strengths: tuple[Strength, ...]
    behaviors: tuple[BehaviorEvidence, ...]
    calibrations: tuple[Calibration, ...]
    families: Mapping[str, Family]
    num_null: int
    styles: tuple[StyleContrast, ...] = ()

    def tie(self, behavior_id: str, example_id: str) -> Tie | None:
        """Finds the tie of a behavior and an example; None where no method lists the example."""
        return self._ties.get((behavior_id, example_id))

    def strength(self, method: str, behavior_id: str, example_id: str) -> Strength | None:
        """Finds how strong a method's score is; None where it does not list the example."""
        return self._strengths.get((method, behavior_id, example_id))

    @cached_property
    def _ties(self) -> dict[tuple[str, str], Tie]:
        return {(tie.behavior_id, tie.example_id): tie for tie in self.ties}

    @cached_property
    def _strengths(self) -> dict[tuple[str, str, str], Strength]:
        return {(s.method, s.behavior_id, s.example_id): s for s in self.strengths}

    def style(self, method: str, behavior_id: str) -> StyleContrast | None:
        """Finds how a method's list changes with plain words; None where they were not scored."""
        return self._styles.get((method, behavior_id))

    @cached_property
    def _styles(self) -> dict[tuple[str, str], StyleContrast]:
        return {(one.method, one.behavior_id): one for one in self.styles}

    def listed(
        self, method: str, behavior_id: str, *, side: Side = "proponents"
    ) -> tuple[Strength, ...]:
        """Lists the examples that a method names for a behavior, best first."""
        return self._lists.get((method, behavior_id, side), ())

    @cached_property
    def _lists(self) -> dict[tuple[str, str, Side], tuple[Strength, ...]]:
        found: dict[tuple[str, str, Side], list[Strength]] = {}
        for one in self.strengths:
            found.setdefault((one.method, one.behavior_id, one.side), []).append(one)
        return {key: tuple(sorted(of, key=lambda s: s.place)) for key, of in found.items()}

    def relations(
        self, method: str, behavior_id: str, *, k: int, by_cluster: bool = True
    ) -> dict[Relation, int]:
        """Counts the relations of a method's first proponents, in the order of the cascade.

        Args:
            method: The method.
            behavior_id: The behavior.
            k: How many proponents.
            by_cluster: Count copies and near copies of one text once.
        """
        found: dict[Relation, int] = {}
        for one in self.listed(method, behavior_id):
            place = one.cluster_place if by_cluster else one.place
            tie = self.tie(behavior_id, one.example_id)
            if place is not None and place <= k and tie is not None:
                found[tie.relation] = found.get(tie.relation, 0) + 1
        return {relation: found[relation] for relation in RELATIONS if relation in found}

    def _repr_html_(self) -> str:
        """Shows in a notebook what ties each method's first ten clusters to each behavior."""
        by_cell = [
            (one.behavior_id, method, self.relations(method, one.behavior_id, k=10))
            for one in self.behaviors
            for method in self.families
        ]
        rows = [
            (behavior, method, ", ".join(f"{n} {RELATIONS[r].label}" for r, n in counts.items()))
            for behavior, method, counts in by_cell
            if counts
        ]
        header = ("behavior", "method", "first ten, copies counted once")
        return notebook.table(header, rows) + notebook.paragraph(
            f"{len(self.ties):,} ties; {self.num_null} null queries."
        )


def save_evidence(evidence: Evidence, directory: Path) -> None:
    """Writes tidy tables as Parquet, and the rest as JSON."""
    import pyarrow.parquet as pq

    for name, record in _TABLES.items():
        table = _table(getattr(evidence, name), record)
        pq.write_table(table, directory / f"{name}.parquet", compression="zstd")
    write_json(
        directory / _RECORD,
        {
            "behaviors": [asdict(one) for one in evidence.behaviors],
            "calibrations": [one._asdict() for one in evidence.calibrations],
            "families": dict(evidence.families),
            "num_null": evidence.num_null,
        },
    )


def read_evidence(directory: Path) -> Evidence:
    """Reads what `save_evidence` wrote.

    Raises:
        ArtifactError: A file is missing or broken.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        tables = {
            name: pq.read_table(directory / f"{name}.parquet")
            for name in _TABLES
            if name != _STYLES or (directory / f"{name}.parquet").exists()
        }
        record = json.loads((directory / _RECORD).read_text(encoding="utf-8"))
        return Evidence(
            ties=tuple(
                Tie(**{**row, "window": tuple(row["window"]) if row["window"] else None})
                for row in tables["ties"].to_pylist()
            ),
            strengths=tuple(Strength(**row) for row in tables["strengths"].to_pylist()),
            behaviors=tuple(BehaviorEvidence(**value) for value in record["behaviors"]),
            calibrations=tuple(Calibration(**value) for value in record["calibrations"]),
            families=record["families"],
            num_null=record["num_null"],
            styles=tuple(StyleContrast(**row) for row in tables[_STYLES].to_pylist())
            if _STYLES in tables
            else (),
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ArtifactError(
            f"The evidence in {directory} cannot be read ({reason}).", "Run the study again."
        ) from None


# Runs that were made before it was measured lack this table.
_STYLES = "styles"
_TABLES: Mapping[str, type] = {"ties": Tie, "strengths": Strength, _STYLES: StyleContrast}


def _table(records: Sequence[Any], record: type) -> "pa.Table":
    """Lays records out by column; the columns' types are those of the record's fields."""
    import pyarrow as pa

    columns = {name: _arrow(hint) for name, hint in get_type_hints(record).items()}
    values = {name: [getattr(one, name) for one in records] for name in columns}
    return pa.table(values, schema=pa.schema(list(columns.items())))


def _arrow(hint: Any) -> "pa.DataType":
    import pyarrow as pa

    kinds = [one for one in (get_args(hint) or (hint,)) if one is not type(None)]
    if get_origin(hint) is Literal or kinds == [str] or get_origin(kinds[0]) is Literal:
        return pa.string()
    if get_origin(kinds[0]) is tuple:
        return pa.list_(pa.int64())
    return {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[kinds[0]]
