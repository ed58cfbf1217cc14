"""A planted or generated document before it has a place in the training order."""

from typing import NamedTuple

# Placements: the shares of the training order (in per cent) between which a document may stand.
UNIFORM = (0, 100)
EARLY = (0, 35)
LATE = (65, 100)


class Document(NamedTuple):
    """A text with its subset, its planted labels, its window of the order and its weight."""

    text: str
    subset: str
    labels: tuple[str, ...] = ()
    window: tuple[int, int] = UNIFORM
    weight: float = 1.0


def inert(document: Document, behavior_id: str) -> Document:
    """The same document with training weight zero, labelled as what it pretends to support."""
    return document._replace(labels=(f"inert:{behavior_id}",), weight=0.0)
