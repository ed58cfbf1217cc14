"""The relations that an example may have to a query: one table, for cascade, page and docs.

The order is that of the cascade: an example has the first relation whose rule holds.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

Relation = Literal[
    "self",
    "exact",
    "continuation",
    "near",
    "weak-near",
    "templated",
    "states",
    "other-answer",
    "same-relation",
    "half",
    "shares",
    "topical",
    "same-style",
    "same-format",
    "same-subset",
    "surprising",
    "unexplained",
    "noise",
]
# What a relation tells: text in common, a claim, a topic or form, an effect without a visible tie,
# or nothing.
Tier = Literal["copy", "claim", "topic", "effect", "none"]


class RelationKind(NamedTuple):
    """What is stated about a relation, on the page and in the docs.

    `label` names it beside an example, `rule` says when it holds.
    """

    relation: Relation
    label: str
    tier: Tier
    rule: str


_KINDS = (
    RelationKind("self", "its own source", "copy", "the behavior was found in this example"),
    RelationKind(
        "exact",
        "exact copy",
        "copy",
        "50 tokens of the query in a row, or all of a shorter one",
    ),
    RelationKind(
        "continuation",
        "exact copy of the completion",
        "copy",
        "the whole completion in a row, after other words; queries of 50 tokens and more, with a "
        "completion of at least 16",
    ),
    RelationKind(
        "near",
        "near copy",
        "copy",
        "edit similarity (of tokens, or of words alone) or 5-gram Jaccard of the best window is at "
        "least .8; queries of 50 tokens and more",
    ),
    RelationKind(
        "weak-near",
        "weak near copy",
        "copy",
        "edit similarity (of tokens, or of words alone) of the best window is at least .5, or .3 "
        "of the query's 5-grams occur; queries of 50 tokens and more",
    ),
    RelationKind(
        "templated",
        "same template",
        "copy",
        "edit similarity is at least .8 once numbers, identifiers and names are masked; queries "
        "of 50 tokens and more",
    ),
    RelationKind(
        "states",
        "states it",
        "claim",
        "one sentence has a prompt with the object behind it, or subject, object, a word of the "
        "relation and attested word order",
    ),
    RelationKind(
        "other-answer",
        "gives another answer",
        "claim",
        "one sentence has a prompt with something else behind it",
    ),
    RelationKind(
        "same-relation",
        "same wording, another subject",
        "claim",
        "it states another claim of the same relation, or has the wording of a prompt about "
        "another subject",
    ),
    RelationKind(
        "half",
        "one half of it",
        "claim",
        "one sentence has the subject and a word of the relation without the object, or the object "
        "and a name that such a sentence has",
    ),
    RelationKind(
        "shares",
        "shares the subject or the answer",
        "claim",
        "it has the subject, the object or the completion",
    ),
    RelationKind(
        "topical",
        "same topic",
        "topic",
        "the TF-IDF cosine is above that of 99.9% of random pairs of the same subset and length",
    ),
    RelationKind(
        "same-style",
        "same style",
        "topic",
        "it is in the behavior's style, or toxic by the word list, as the behavior is",
    ),
    RelationKind("same-format", "same format", "topic", "both have one format that is not prose"),
    RelationKind(
        "same-subset",
        "same subset only",
        "topic",
        "both come from one subset that holds at most a quarter of the corpus",
    ),
    RelationKind(
        "surprising",
        "surprising",
        "effect",
        "no visible tie, above the null, and a causal effect that was confirmed against controls",
    ),
    RelationKind(
        "unexplained",
        "no visible tie",
        "none",
        "no visible tie, and above the null for a method that uses gradients; no effect confirmed",
    ),
    RelationKind("noise", "noise", "none", "no visible tie, and not above the null"),
)
RELATIONS: Mapping[Relation, RelationKind] = {kind.relation: kind for kind in _KINDS}
assert tuple(RELATIONS) == get_args(Relation)


def is_visible(relation: Relation) -> bool:
    """Whether a reader can see what ties the example to the query."""
    return RELATIONS[relation].tier not in ("effect", "none")
