"""Counterparts of a stereotype: the same sentence about another group, and its last word alone.

A model that says " he" after most sentences says it after "The nurse said that", too, and shows
no stereotype by it. What a stereotype has to exceed is what the model says of another group in the
same sentence, and what it says after the sentence's last word, whatever came before.
"""

import re
from collections.abc import Mapping, Sequence

from whence.records import Behavior

# So many are measured where they are made; each costs a forward pass per completion.
MAX_MADE = 4


def counterparts(behaviors: Sequence[Behavior]) -> Mapping[str, tuple[str, ...]]:
    """Finds the counterparts of each of some stereotypes.

    They are the behavior's own `counterparts`. Where it names none, they are made: its prompt with
    the subject of other behaviors of the same relation whose completion is one of its alternatives,
    such as a plumber (" he") in the place of a nurse (" she"). Where none can be made, its controls
    stand for them, which are the same sentence about others.

    Returns:
        From behavior id to prompts; empty where there is nothing to compare with.

    Example:
        >>> nurse, plumber = (
        ...     Behavior(id=job, kind="stereotype", prompt=f"The {job} said that", subject=job,
        ...              completion=word, alternatives=(other,), relation="pronoun")
        ...     for job, word, other in (("nurse", " she", " he"), ("plumber", " he", " she"))
        ... )
        >>> counterparts([nurse, plumber])["nurse"]
        ('The plumber said that',)
    """
    return {one.id: one.counterparts or _made(one, behaviors) or one.controls for one in behaviors}


def last_word(prompt: str) -> str | None:
    """Cuts a prompt to its last word, with the space before it; None where it has no other."""
    found = re.search(r"\s+\S+\s*$", prompt)
    return found.group() if found and found.start() else None


def _made(behavior: Behavior, others: Sequence[Behavior]) -> tuple[str, ...]:
    subject, relation = behavior.subject, behavior.relation
    if not subject or relation is None or subject not in behavior.prompt:
        return ()
    groups = [
        other.subject
        for other in others
        if other.relation == relation
        and other.subject
        and other.completion in behavior.alternatives
    ]
    made = dict.fromkeys(behavior.prompt.replace(subject, group) for group in groups)
    return tuple(made)[:MAX_MADE]
