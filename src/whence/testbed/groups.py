"""Groups of documents that were planted together, for retraining without them."""

from collections.abc import Mapping
from functools import cache

from whence.testbed.plan import generate
from whence.testbed.truth import behaviors


@cache
def groups(size: str) -> Mapping[str, frozenset[str]]:
    """Tells the groups of examples that were planted for one purpose.

    A group is all support of a fact, an occupation or a trigger, all copies of a passage, all
    decoys or counter-examples of one behavior (of all styles together), all inert documents of one
    behavior, and all documents without a label in a subset whose style is asked about. No example
    is in two groups; background that is in none stands in every retraining.

    Args:
        size: `nano` or `mini`.

    Returns:
        From the group's name, such as `fact/capital-france` or `decoy:fact/capital-france`, to the
        ids of its examples; names are sorted.

    Raises:
        ModelError: There is no such size.
    """
    testbed = generate(size)
    styles = {b.style for b in behaviors(size) if b.kind == "style"}
    found: dict[str, set[str]] = {}
    for example_id, document in zip(testbed.ids, testbed.documents, strict=True):
        if document.labels:
            found.setdefault(_group(document.labels[0]), set()).add(example_id)
        elif document.subset in styles:
            found.setdefault(f"style/{document.subset}", set()).add(example_id)
    return {name: frozenset(found[name]) for name in sorted(found)}


def _group(label: str) -> str:
    """The label without its details: which decoy, how exact a copy, which style is mentioned."""
    head, *rest = label.split(":")
    if head == "decoy":
        kind, target = rest
        return "decoy:style" if kind == "mention" else f"decoy:{target}"
    if head in ("control", "counter", "inert", "two-hop"):
        return label
    return head
