"""What is validated: a run's scores, and what is known about its corpus and behaviors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whence.records import Behavior, Corpus, Query, Scores
from whence.validation.families import families


@dataclass(frozen=True)
class Truth:
    """Which examples were planted for which query; each maps query ids to example ids.

    `gold` supports the query. `decoys` share words with it and support something else; `inert`
    ones look like support and had training weight zero.
    """

    gold: Mapping[str, frozenset[str]]
    decoys: Mapping[str, frozenset[str]]
    inert: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Subject:
    """The scores of one run, and what is known about its corpus and behaviors.

    Attributes:
        run: The key of the run's manifest.
        scores: One per method, at least one; of the same queries and examples.
        corpus: The examples.
        behaviors: The run's, those that were not attributed included.
        truth: What was planted; None where that is not on file.
        testbed: The size of the testbed whose corpus it is, which can be trained again; else None.
        step: The step of training after which the testbed's model was kept; None for another model.
        model: The fingerprint of the run's model.
        queries: The losses that stand for the behaviors, as tokens.
        clusters: The cluster of copies and near copies of each example; empty where not known.
        nulls: Unrelated queries, in the order of the scores' `null_values`.
    """

    run: str
    scores: tuple[Scores, ...]
    corpus: Corpus
    behaviors: tuple[Behavior, ...]
    truth: Truth | None = None
    testbed: str | None = None
    step: int | None = None
    model: str | None = None
    queries: tuple[Query, ...] = ()
    clusters: Sequence[int] = ()
    nulls: tuple[Query, ...] = ()

    @property
    def gold(self) -> Mapping[str, frozenset[str]]:
        """From query id to the examples planted for it; empty where truth is not on file."""
        return self.truth.gold if self.truth else {}

    @property
    def families(self) -> Mapping[str, str]:
        """From the id of each query that has scores to its family."""
        return families([b for b in self.behaviors if b.id in set(self.scores[0].query_ids)])

    @property
    def kinds(self) -> dict[str, str]:
        """From the id of each query that has scores to the kind of its behavior."""
        query_ids = set(self.scores[0].query_ids)
        return {b.id: b.kind for b in self.behaviors if b.id in query_ids}
