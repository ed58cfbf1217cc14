"""Families of behaviors: which queries are about like content, and so are not independent.

Ten capitals are one relation that a model has learned or has not; a method that ranks well for one
of them tends to do so for the others. Intervals and tests count families, and not behaviors.
Where kinds of behavior are compared, families are narrower: see `whence.evidence.families`.
"""

from collections.abc import Mapping, Sequence

from whence.records import Behavior

# Prompts that share at least so much of their words ask the same of different subjects.
_SHARED_WORDS = 0.5


def families(behaviors: Sequence[Behavior]) -> Mapping[str, str]:
    """Groups behaviors of like content.

    Behaviors of one kind are of one family if they have the same relation or style or the same
    completion, or if their prompts have at least half of their words in common: `The nurse said
    that` and `The captain said that`. What belongs to one of a family belongs to it.

    Args:
        behaviors: Any.

    Returns:
        From behavior id to the id of the family's first behavior.
    """
    first: dict[str, str] = {}
    members: dict[str, list[Behavior]] = {}
    for behavior in behaviors:
        near = [name for name, ones in members.items() if any(_alike(behavior, o) for o in ones)]
        name = near[0] if near else behavior.id
        # One that is like two families makes them one.
        joined = [one for other in near for one in members.pop(other)]
        members[name] = [*joined, behavior]
        first.update({one.id: name for one in members[name]})
    return first


def _alike(one: Behavior, other: Behavior) -> bool:
    if one.kind != other.kind:
        return False
    if one.relation is not None or other.relation is not None:
        return one.relation == other.relation
    if one.style is not None or other.style is not None:
        return one.style == other.style
    if _completion(one) == _completion(other):
        return True
    words, others = _words(one), _words(other)
    return len(words & others) >= _SHARED_WORDS * max(1, len(words | others))


def _completion(behavior: Behavior) -> str | tuple[int, ...]:
    return behavior.completion.strip() or behavior.completion_ids or ()


def _words(behavior: Behavior) -> set[str | int]:
    return set(behavior.prompt.lower().split()) or set(behavior.prompt_ids or ())
