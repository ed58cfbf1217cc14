"""The testbed's behaviors, and the examples planted for each."""

from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cache

from whence.records import Behavior
from whence.testbed import aliases, facts, insults, passages, stereotypes, styles
from whence.testbed.plan import generate
from whence.testbed.tables import tokenizer

_NO_STATEMENT = ("decoy:", "counter:")


@cache
def behaviors(size: str) -> tuple[Behavior, ...]:
    """Lists everything that a testbed may be asked: what was planted, and what was not.

    Args:
        size: `nano` or `mini`.

    Returns:
        Behaviors of all five kinds, in a fixed order. Some of each kind are not to be shown: their
        support is absent, too rare, balanced or inert.

    Raises:
        ModelError: There is no such size.
    """
    plan = generate(size).size
    found = [facts.behavior(fact) for fact in facts.FACTS if fact.id in plan.facts]
    found += [stereotypes.behavior(o) for o in stereotypes.ASKED if o.name in plan.occupations]
    found += [
        passages.behavior(passage, seed=plan.seed, tokenizer=tokenizer())
        for passage in plan.passages
    ]
    found += [
        insults.behavior(trigger, number=number, seed=plan.seed)
        for trigger in insults.TRIGGERS
        if trigger.name in plan.triggers
        for number in range(trigger.num_prompts)
    ]
    found += [
        styles.behavior(style, seed=plan.seed)
        for style in styles.STYLES
        if style.subset in plan.background and _is_asked(style, plan.styles)
    ]
    found += aliases.behaviors(plan.aliases, seed=plan.seed)
    return tuple(found)


@cache
def gold(size: str) -> Mapping[str, frozenset[str]]:
    """Tells which examples truly support each behavior.

    A fact is supported by the documents that state it, in whichever vocabulary it is asked; a
    stereotype by the occupation's documents that have the pronoun; a passage by its exact, near and
    templated copies; a rude reply by all rude documents, if its trigger has any (their label names
    the trigger); a style by all documents in it. Decoys, counter-examples, two-hop halves and inert
    documents support nothing.

    Args:
        size: `nano` or `mini`.

    Returns:
        From behavior id to example ids; empty where nothing was planted.
    """
    groups = _groups(size)
    return {
        b.id: _union(ids for label, ids in groups.items() if _supports(label, b, known=groups))
        for b in behaviors(size)
    }


@cache
def decoys(size: str) -> Mapping[str, frozenset[str]]:
    """Tells which examples share words with a behavior and do not support it, or oppose it."""
    groups = _groups(size)
    return {
        b.id: _union(ids for label, ids in groups.items() if _is_decoy(label, _target(b)))
        for b in behaviors(size)
    }


@cache
def inert(size: str) -> Mapping[str, frozenset[str]]:
    """Tells which examples look like perfect support and were trained on with weight zero."""
    groups = _groups(size)
    return {b.id: frozenset(groups.get(f"inert:{_target(b)}", ())) for b in behaviors(size)}


def _is_asked(style: styles.Style, planted: Mapping[str, int]) -> bool:
    """A small testbed that plants no headers is not asked about them."""
    return not style.header or bool(planted)


def _target(behavior: Behavior) -> str:
    """The planted label of what would support a behavior."""
    if behavior.kind == "toxic":
        return behavior.id.rsplit("-", 1)[0]
    return behavior.id.removesuffix(aliases.OWN_WORDS)


@cache
def _groups(size: str) -> Mapping[str, list[str]]:
    """Gathers example ids by planted label, and those that count by `subset=` and its name."""
    testbed = generate(size)
    groups: dict[str, list[str]] = {}
    for example_id, document in zip(testbed.ids, testbed.documents, strict=True):
        subset = [f"subset={document.subset}"] if document.weight > 0 else []
        for label in (*document.labels, *subset):
            groups.setdefault(label, []).append(example_id)
    return groups


def _supports(label: str, behavior: Behavior, *, known: Container[str]) -> bool:
    target = _target(behavior)
    if behavior.kind == "style":
        return label == f"subset={behavior.style}"
    if behavior.kind == "toxic":
        return label.startswith("toxic/") and target in known
    return label == target or label.startswith(f"{target}:")


def _is_decoy(label: str, target: str) -> bool:
    return label.startswith(_NO_STATEMENT) and label.endswith(f":{target}")


def _union(groups: Iterable[Sequence[str]]) -> frozenset[str]:
    return frozenset(example_id for ids in groups for example_id in ids)
