"""Families of behaviors: what is independent when kinds of behavior are compared.

Two queries about capitals have the same words and are answered by documents of one form. A rule
learned on one would hold for the other without saying anything of facts, so that a family is left
out as a whole, permuted as a whole and resampled as a whole. One family is

- of facts, those of one relation;
- of styles, those of one style;
- of other kinds, those of one subject, where it is named;
- in any case, those whose queries share a run of 13 tokens, or are equal.

The families of `whence.validation.families`, over which intervals are computed, are wider: prompts
that share half of their words, or equal completions, make one. On the testbed they are the same for
facts, passages and styles (7, 49 and 4), and all 23 stereotypes are one there, as all 22 rude
replies are. Such families are right for intervals, which they widen; here they would leave no
second family of these kinds to learn from.
"""

from collections.abc import Sequence

from whence.corpus.duplicates.clusters import linked
from whence.evidence.alignment import n_grams
from whence.records import Behavior, Query

RUN = 13


def families(behaviors: Sequence[Behavior], queries: Sequence[Query]) -> dict[str, str]:
    """Names the family of each behavior.

    Args:
        behaviors: What is compared.
        queries: Their queries, in the same order.

    Returns:
        From a behavior's id to the id of the first behavior of its family.
    """
    found = linked(
        [
            (_content(behavior), *_runs(query))
            for behavior, query in zip(behaviors, queries, strict=True)
        ]
    )
    return {
        behavior.id: behaviors[first].id
        for behavior, first in zip(behaviors, found.tolist(), strict=True)
    }


def _content(behavior: Behavior) -> tuple[str, ...]:
    if behavior.kind == "fact" and behavior.relation is not None:
        return ("relation", behavior.relation)
    if behavior.kind == "style" and behavior.style is not None:
        return ("style", behavior.style)
    if behavior.kind != "fact" and behavior.subject is not None:
        return (behavior.kind, behavior.subject)
    return ("behavior", behavior.id)


def _runs(query: Query) -> list[tuple[int, ...]]:
    """The runs of 13 tokens of a query; a shorter query is a run itself."""
    ids = query.terms[0].input_ids
    return sorted(n_grams(ids, min(RUN, len(ids))))
