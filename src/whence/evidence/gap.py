"""What a method names for a behavior and search does not, and the other way round.

Lists are compared by cluster of copies and near copies, since a method may list another copy of
what search lists. Examples are compared by their relations to the behavior alone: a method that
lists more copies finds more of them, which says nothing about their effect.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from whence.evidence.record import Evidence, Strength
from whence.evidence.relations import Relation
from whence.records import Family, Scores

SEARCH = "bm25"
# Of the behavior's own content: what a search for its origin hopes to list.
SAME_CONTENT: frozenset[Relation] = frozenset(
    ("self", "exact", "continuation", "near", "weak-near", "states")
)

Lead = Literal["more", "fewer", "as many", "unknown"]


class Compared(NamedTuple):
    """The two methods that a run is read by: one on gradients, and search.

    `method` is the first one on gradients, or else the first that is not on texts; `search` is
    BM25, or the first one on texts. None where there is none.
    """

    method: str | None
    search: str | None


def compared_methods(families: Mapping[str, Family]) -> Compared:
    """Chooses the two methods that a run is read by.

    Args:
        families: What stands behind each method's scores, in the order of the study.
    """
    texts = [name for name, family in families.items() if family == "text"]
    search = SEARCH if SEARCH in texts else next(iter(texts), None)
    gradient = [name for name, family in families.items() if family == "gradient"]
    others = [name for name in families if name not in texts]
    return Compared(next(iter([*gradient, *others]), None), search)


def compared_in(scores: Sequence[Scores], evidence: Evidence | None) -> Compared:
    """Chooses the two methods that a run is read by, on its page and on the command line.

    The order of the study's methods decides. Of a run with evidence, both are among the methods
    that it is about; scores that were imported later are not.
    """
    known = [one for one in scores if evidence is None or one.method in evidence.families]
    return compared_methods({one.method: one.family for one in known})


@dataclass(frozen=True)
class Gap:
    """The first clusters of two methods' proponents, compared.

    Attributes:
        both: Examples that stand for `method`'s clusters, of which the other lists a copy as well.
        only: Those that stand for clusters of `method` alone.
        only_other: Those that stand for clusters of the other method alone.
        num_same: Clusters of `method` that copy or state the behavior.
        num_same_other: The same, of the other method.
    """

    both: tuple[str, ...]
    only: tuple[str, ...]
    only_other: tuple[str, ...]
    num_same: int
    num_same_other: int

    @property
    def lead(self) -> Lead:
        """Whether `method` lists more that copies or states it; unknown if neither lists any."""
        if not self.num_same and not self.num_same_other:
            return "unknown"
        if self.num_same == self.num_same_other:
            return "as many"
        return "more" if self.num_same > self.num_same_other else "fewer"


def first_clusters(
    evidence: Evidence, method: str, behavior_id: str, *, k: int
) -> tuple[Strength, ...]:
    """Lists the examples that stand for a method's first k clusters of proponents, best first."""
    return tuple(
        one
        for one in evidence.listed(method, behavior_id)
        if one.cluster_place is not None and one.cluster_place <= k
    )


def find_gap(
    evidence: Evidence,
    behavior_id: str,
    method: str,
    other: str,
    *,
    cluster_of: Mapping[str, Hashable],
    k: int,
) -> Gap:
    """Compares what two methods name for a behavior.

    Args:
        evidence: The evidence of a run.
        behavior_id: The behavior.
        method: One method.
        other: Another.
        cluster_of: A key that the copies of an example share; an example without one stands alone.
        k: How many clusters of each.
    """
    mine = first_clusters(evidence, method, behavior_id, k=k)
    theirs = first_clusters(evidence, other, behavior_id, k=k)
    keys = {_key(one, cluster_of) for one in mine}
    other_keys = {_key(one, cluster_of) for one in theirs}
    return Gap(
        both=tuple(one.example_id for one in mine if _key(one, cluster_of) in other_keys),
        only=tuple(one.example_id for one in mine if _key(one, cluster_of) not in other_keys),
        only_other=tuple(one.example_id for one in theirs if _key(one, cluster_of) not in keys),
        num_same=_num_same(evidence, mine),
        num_same_other=_num_same(evidence, theirs),
    )


def _key(one: Strength, cluster_of: Mapping[str, Hashable]) -> Hashable:
    return cluster_of.get(one.example_id, one.example_id)


def _num_same(evidence: Evidence, listed: tuple[Strength, ...]) -> int:
    ties = [evidence.tie(one.behavior_id, one.example_id) for one in listed]
    return sum(tie is not None and tie.relation in SAME_CONTENT for tie in ties)
