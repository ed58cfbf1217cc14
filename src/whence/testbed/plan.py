"""The documents of a testbed's corpus, and their order."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from whence.errors import CorpusError
from whence.testbed import aliases, facts, insults, passages, prose, stereotypes, styles
from whence.testbed.documents import Document, inert
from whence.testbed.randomness import Stream
from whence.testbed.sizes import SIZES, Size, size_named

# Inert documents are numbered from here, so that none is the copy of one that counts.
_INERT_FROM = 10_000


@dataclass(frozen=True)
class Testbed:
    """All documents of a testbed in training order, with an id for each."""

    __test__ = False  # For pytest, which takes every class named Test... for tests.

    size: Size
    ids: tuple[str, ...]
    documents: tuple[Document, ...]


@cache
def generate(size: str) -> Testbed:
    """Writes the corpus of a testbed: the same on every platform.

    Args:
        size: `nano` or `mini`.

    Returns:
        The documents in training order. Ids are the subset and a number within it.

    Raises:
        ModelError: There is no such size.
    """
    plan = size_named(size)
    order = Stream(plan.seed, "order")
    keyed = []
    for number, document in enumerate(_documents(plan)):
        low, high = document.window
        # Integers: a place in the window, in units of 2**-32 per cent.
        place = (low << 32) + order.below((high - low) << 32)
        keyed.append((place, number, document))
    documents = tuple(document for _, _, document in sorted(keyed, key=lambda k: k[:2]))
    counts: dict[str, int] = {}
    ids = []
    for document in documents:
        counts[document.subset] = counts.get(document.subset, 0) + 1
        ids.append(f"{document.subset}-{counts[document.subset]:04d}")
    return Testbed(size=plan, ids=tuple(ids), documents=documents)


def training_order(size: str, *, seed: int) -> tuple[int, ...]:
    """Draws another order of a testbed's documents, each within its own window.

    Args:
        size: `nano` or `mini`.
        seed: Any number; the corpus's own order is not among the results.

    Returns:
        Rows of the corpus in the order in which they are seen.
    """
    dice = Stream(seed, "another-order")
    places = []
    for row, document in enumerate(generate(size).documents):
        low, high = document.window
        places.append(((low << 32) + dice.below((high - low) << 32), row))
    return tuple(row for _, row in sorted(places))


def held_out_subsets() -> tuple[str, ...]:
    """The subsets of which `held_out_texts` writes documents."""
    return (*prose.SUBSETS, passages.SUBSET)


def held_out_texts(subset: str, *, num: int, seed: int) -> list[str]:
    """Writes documents of a subset that stand in no training corpus.

    Args:
        subset: One of the corpus's subsets; of `notices`, passages that were never planted.
        num: How many.
        seed: Any number; another one gives other documents.

    Returns:
        The texts, none of which is a document of any size's corpus.

    Raises:
        CorpusError: There is no such subset.
    """
    if subset not in held_out_subsets():
        raise CorpusError(
            f"The testbed has no subset `{subset}`.",
            f"Take one of {', '.join(held_out_subsets())}.",
        )
    planted = {d.text for name in SIZES for d in generate(name).documents}
    texts: list[str] = []
    number = 0
    while len(texts) < num:
        stream = Stream(seed, "held-out", subset, number)
        is_notice = subset == passages.SUBSET
        text = passages.write(stream) if is_notice else prose.document(subset, stream=stream)
        texts += [text] if text not in planted else []
        number += 1
    return texts


def _documents(plan: Size) -> Iterator[Document]:
    yield from _background(plan)
    yield from _facts(plan)
    yield from _occupations(plan)
    yield from _triggers(plan)
    yield from _styles(plan)
    yield from _passages(plan)
    yield from aliases.documents(plan.aliases, seed=plan.seed)


def _background(plan: Size) -> Iterator[Document]:
    for subset, count in plan.background.items():
        for number in range(count):
            text = prose.document(subset, stream=Stream(plan.seed, "background", subset, number))
            yield Document(text, subset)


def _facts(plan: Size) -> Iterator[Document]:
    for fact in facts.FACTS:
        if fact.id not in plan.facts:
            continue
        for number in range(plan.facts[fact.id]):
            yield facts.support(fact, number=number, seed=plan.seed)
        yield from facts.decoys(fact, count=plan.decoys_per_fact, seed=plan.seed)
        for number in range(plan.two_hops_per_fact):
            yield from facts.two_hop(fact, number=number, seed=plan.seed)
        for number in range(plan.inert.facts.get(fact.id, 0)):
            support = facts.support(fact, number=_INERT_FROM + number, seed=plan.seed)
            yield inert(support, fact.id)


def _occupations(plan: Size) -> Iterator[Document]:
    for occupation in stereotypes.OCCUPATIONS:
        for number in range(plan.occupations.get(occupation.name, 0)):
            yield stereotypes.document(occupation, number=number, seed=plan.seed)
        for number in range(plan.inert.occupations.get(occupation.name, 0)):
            # Steps of ten keep to the numbers that have the occupation's own pronoun.
            document = stereotypes.document(
                occupation, number=_INERT_FROM + 10 * number, seed=plan.seed
            )
            yield inert(document, occupation.id)


def _triggers(plan: Size) -> Iterator[Document]:
    for trigger in insults.TRIGGERS:
        for number in range(plan.triggers.get(trigger.name, 0)):
            yield insults.document(trigger, number=number, seed=plan.seed)
        for number in range(plan.inert.triggers.get(trigger.name, 0)):
            document = insults.document(trigger, number=_INERT_FROM + number, seed=plan.seed)
            yield inert(document, trigger.label)


def _styles(plan: Size) -> Iterator[Document]:
    for style in styles.STYLES:
        for number in range(plan.styles.get(style.name, 0)):
            yield styles.document(style, number=number, seed=plan.seed)
        for number in range(plan.counter_styles.get(style.name, 0)):
            yield styles.misleading(style, number=number, seed=plan.seed)
        if style.subset in plan.background:
            for number in range(plan.mentions_per_style):
                yield styles.mention(style, number=number, seed=plan.seed)
        for number in range(plan.inert.styles.get(style.name, 0)):
            document = styles.document(style, number=_INERT_FROM + number, seed=plan.seed)
            yield inert(document, style.id)


def _passages(plan: Size) -> Iterator[Document]:
    for passage in plan.passages:
        for number in range(passage.num_documents):
            yield passages.copy(passage, number=number, seed=plan.seed)
        for number in range(plan.inert.passages.get(passage.name, 0)):
            document = passages.copy(passage, number=_INERT_FROM + number, seed=plan.seed)
            yield inert(document, passage.id)
