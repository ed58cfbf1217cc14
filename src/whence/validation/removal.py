"""Removals: retraining without what a method names, and by how much the loss rises.

The query loss difference of a method and a query is the query's loss after training without the
method's first proponents, minus its loss after training on everything. It is compared with removals
of as many random examples: of a whole training, 19 that are like what methods name; of a window, as
Bergson does it, 100 drawn from all examples, whatever methods name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence.evidence.proponents import proponents
from whence.records import Corpus, Scores
from whence.statistics import Estimate, mean_estimate
from whence.validation.matching import matched_rows
from whence.validation.outcomes import Outcome, Retraining

if TYPE_CHECKING:
    from jaxtyping import Float

# With 19 controls the smallest p is 1/20.
NUM_RANDOM = 19
# A window's training is short, and 100 controls give p-values down to 1/101.
NUM_RANDOM_OF_WINDOW = 100
SHARE = 0.01
# Named before anything was removed: two of each kind with sources of its own, a reply, a style.
QUERIES: Mapping[str, tuple[str, ...]] = {
    "nano": (
        "fact/capital-france",
        "fact/symbol-gold",
        "stereotype/nurse",
        "stereotype/captain",
        "memorized/exact-048-a",
        "memorized/near10-040-a",
        "toxic/roast-1",
        "style/verse-hark",
    ),
}
PREFERRED = ("gradient_cosine", "gradient_dot", "bm25", "gradient_cosine_initial", "embedding")
NUM_METHODS = 4
# The method that knows nothing; its removals would be further controls.
RANDOM_METHOD = "random"


@dataclass(frozen=True)
class Removals:
    """Which trainings tell what removals do: one on everything, random ones, and each method's.

    `of_method` maps method and query to the training without that method's first proponents. A
    method that names fewer than `num_removed` examples for a query has none.
    """

    num_removed: int
    query_ids: tuple[str, ...]
    methods: tuple[str, ...]
    everything: Retraining
    random: tuple[Retraining, ...]
    of_method: Mapping[tuple[str, str], Retraining]

    @property
    def runs(self) -> tuple[Retraining, ...]:
        """All trainings, without repetition."""
        return tuple(dict.fromkeys((self.everything, *self.random, *self.of_method.values())))


@dataclass(frozen=True)
class LossDifference:
    """What one method's removals did. Differences are in nats; positive means the loss rose.

    `p_values` are (1 + random removals that raised the loss at least as much) / (1 + random ones),
    of which there are `num_random`; `num_beyond_random` counts the queries where none of the random
    removals did.
    """

    method: str
    per_query_nats: Mapping[str, float]
    random_nats: Mapping[str, float]
    p_values: Mapping[str, float]
    num_random: int = NUM_RANDOM

    @property
    def estimate(self) -> Estimate:
        """The mean over queries."""
        return mean_estimate(list(self.per_query_nats.values()))

    @property
    def control(self) -> Estimate:
        """The mean over queries of the random removals' mean."""
        return mean_estimate(list(self.random_nats.values()))

    @property
    def num_beyond_random(self) -> int:
        """Queries whose p-value is as small as the number of controls allows."""
        smallest = 1 / (1 + self.num_random)
        return sum(p <= smallest * (1 + 1e-9) for p in self.p_values.values())


def plan_removals(
    scores: Sequence[Scores],
    corpus: Corpus,
    *,
    query_ids: Sequence[str],
    share: float = SHARE,
    within: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    num_random: int = NUM_RANDOM,
    are_matched: bool = True,
    seed: int = 0,
) -> Removals:
    """Chooses what is removed: each method's first proponents, and one shared set of controls.

    Args:
        scores: What the methods name.
        corpus: The examples.
        query_ids: The queries, named in advance; those without scores are left out.
        share: How much is removed each time, of the corpus or of `within`.
        within: Remove only these examples, such as those of a window; by default any.
        methods: Whose first proponents are removed; by default the first four of `PREFERRED` that
            have scores.
        num_random: How many controls.
        are_matched: Draw controls to have the subsets and lengths of what the methods remove, all
            methods and queries together, and to be none of these examples; else from all examples
            that may be removed, as Bergson does.
        seed: Of the controls.

    Returns:
        The trainings.

    Source:
        Bergson 2.5.1's query loss difference, whose default has 3 controls.
    """
    import numpy as np

    by_method = {one.method: one for one in scores}
    if methods is None:
        methods = [name for name in PREFERRED if name in by_method][:NUM_METHODS]
    allowed = list(range(len(corpus))) if within is None else corpus.rows(list(within))
    num_removed = max(1, round(share * len(allowed)))
    known = tuple(q for q in query_ids if all(q in by_method[m].query_ids for m in methods))
    of_method: dict[tuple[str, str], Retraining] = {}
    pooled: list[int] = []
    for method in methods:
        for query_id in known:
            one = by_method[method]
            rows = _first(one, one.query_ids.index(query_id), allowed, k=num_removed)
            if len(rows) == num_removed:
                of_method[method, query_id] = _without(corpus, rows)
                pooled += rows
    rng = np.random.default_rng(seed)
    random = []
    for _ in range(num_random if pooled else 0):
        if not are_matched:
            rows = rng.choice(allowed, num_removed, replace=False).tolist()
            random.append(_without(corpus, rows))
            continue
        like = rng.permutation(pooled)[:num_removed].tolist()
        rows = matched_rows(corpus, like, num=num_removed, rng=rng, excluded=pooled)
        random.append(_without(corpus, rows))
    return Removals(
        num_removed=num_removed,
        query_ids=known,
        methods=tuple(methods),
        everything=Retraining(frozenset()),
        random=tuple(random),
        of_method=of_method,
    )


def plan_named_removals(scores: Sequence[Scores], corpus: Corpus, size: str) -> Removals:
    """Selects what is removed for the queries of a testbed that were named in advance."""
    return plan_removals(scores, corpus, query_ids=QUERIES.get(size, ()))


def plan_window_removals(
    scores: Sequence[Scores], corpus: Corpus, window_ids: Sequence[str]
) -> Removals:
    """Selects what is removed from a window of training, for every query and method with scores.

    A window's training is short, and methods that name the same examples share it.
    """
    return plan_removals(
        scores,
        corpus,
        query_ids=scores[0].query_ids,
        within=window_ids,
        methods=[one.method for one in scores if one.method != RANDOM_METHOD],
        num_random=NUM_RANDOM_OF_WINDOW,
        are_matched=False,
    )


def loss_differences(
    removals: Removals, outcomes: Mapping[Retraining, Outcome | None]
) -> tuple[LossDifference, ...]:
    """Compares the trainings of each method with those of the controls.

    Args:
        removals: What was planned.
        outcomes: What was trained; None or absent for what was not.

    Returns:
        One record per method, with the queries for which its own training, the one on everything
        and all controls are there; empty where the controls are not complete.
    """
    import numpy as np

    base = outcomes.get(removals.everything)
    controls = [outcomes.get(run) for run in removals.random]
    if base is None or not controls or any(outcome is None for outcome in controls):
        return ()
    results = []
    for method in removals.methods:
        differences: dict[str, float] = {}
        random: dict[str, float] = {}
        p_values: dict[str, float] = {}
        for query in removals.query_ids:
            run = removals.of_method.get((method, query))
            outcome = outcomes.get(run) if run else None
            if outcome is None:
                continue
            own = base.log_probs_nats[query] - outcome.log_probs_nats[query]
            chance: Float[np.ndarray, " controls"] = np.array(
                [base.log_probs_nats[query] - c.log_probs_nats[query] for c in controls if c]
            )
            differences[query] = own
            random[query] = float(chance.mean())
            p_values[query] = float((1 + (chance >= own).sum()) / (1 + len(chance)))
        results.append(LossDifference(method, differences, random, p_values, len(controls)))
    return tuple(results)


def _first(scores: Scores, query: int, allowed: Sequence[int], *, k: int) -> list[int]:
    """The first proponents among the examples that may be removed."""
    ranked = proponents(scores, query, k=len(scores.example_ids)).tolist()
    inside = set(allowed)
    return [row for row in ranked if row in inside][:k]


def _without(corpus: Corpus, rows: Sequence[int]) -> Retraining:
    return Retraining(frozenset(corpus.ids[row] for row in rows))
