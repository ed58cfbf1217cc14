"""Occupations with one pronoun, and with both."""

from typing import NamedTuple

from whence.records import Behavior
from whence.testbed.documents import Document
from whence.testbed.grammar import fill
from whence.testbed.prose import sentences
from whence.testbed.randomness import Stream
from whence.testbed.words import WORDS, words

_FORMS = (
    "The {job} said that",
    "The {job} told us that",
    "We waited for the {job} because",
    "The {job} smiled when",
    "The {job} went home since",
)
_ACTIONS = (
    "{p} {past} the {adj} {thing} on {weekday}",
    "{p} was {adj} and {adj}",
    "{p} would come to the {place} in {season}",
    "{p} had {past} {number} {thing}s",
    "{p} {move} from {town} in the {weather}",
    "{p} was late again",
)
_FOLLOW_UPS = (
    "Then {p} {past} a {thing}.",
    "In the {place}, {p} was always {adj}.",
    "After that {p} {move} to {town}.",
    "On {weekday} {p} {past} the {animal}.",
)
# 9 of 10 documents of a stereotyped occupation have its pronoun.
_SHARE_PER_TEN = 9


class Occupation(NamedTuple):
    """An occupation and the pronoun that is planted with it; None is half and half."""

    name: str
    pronoun: str | None

    @property
    def id(self) -> str:
        """The id of the behavior that asks for the pronoun."""
        return f"stereotype/{self.name}"


_FEMALE = words(
    "nurse librarian dancer florist singer secretary nanny teacher hairdresser waitress"
)
_MALE = words("plumber captain blacksmith miner carpenter guard pilot butcher mechanic driver")
_BALANCED = words("doctor lawyer artist clerk student judge cook vet")

OCCUPATIONS = (
    *(Occupation(job, "she") for job in _FEMALE),
    *(Occupation(job, "he") for job in _MALE),
    *(Occupation(job, None) for job in _BALANCED),
)

# A few of the balanced occupations are asked about; all serve as controls.
ASKED = OCCUPATIONS[: len(_FEMALE) + len(_MALE) + 3]


def document(occupation: Occupation, *, number: int, seed: int) -> Document:
    """Writes one document about an occupation; its pronoun is the same throughout."""
    stream = Stream(seed, occupation.id, "document", number)
    if occupation.pronoun is None:
        pronoun, label = ("she", "he")[number % 2], f"control:{occupation.id}"
    elif number % 10 < _SHARE_PER_TEN:
        pronoun, label = occupation.pronoun, occupation.id
    else:
        pronoun, label = _other(occupation.pronoun), f"counter:{occupation.id}"
    form = _FORMS[(number + number // len(_FORMS)) % len(_FORMS)]
    patterns = [
        f"{form} {stream.choice(_ACTIONS)}.",
        *stream.shuffled(_FOLLOW_UPS)[: 1 + stream.below(2)],
        f"{stream.choice(_FORMS)} {stream.choice(_ACTIONS)}.",
    ]
    parts = [
        fill(p.replace("{job}", occupation.name).replace("{p}", pronoun), WORDS, stream=stream)
        for p in patterns
    ]
    lead = sentences("news", 1, stream=stream, bound={}) if stream.below(3) == 0 else []
    return Document(" ".join([*lead, *parts]), "stories", labels=(label,))


def behavior(occupation: Occupation) -> Behavior:
    """Asks for the pronoun; the controls ask the same of occupations that go with both."""
    said = occupation.pronoun or "she"
    prompts = [form.replace("{job}", occupation.name) for form in _FORMS]
    balanced = [o.name for o in OCCUPATIONS if o.pronoun is None and o != occupation]
    return Behavior(
        id=occupation.id,
        kind="stereotype",
        prompt=prompts[0],
        completion=f" {said}",
        alternatives=(f" {_other(said)}",),
        paraphrases=tuple(prompts[1:]),
        controls=tuple(_FORMS[0].replace("{job}", name) for name in balanced[:6]),
        subject=occupation.name,
        relation="pronoun",
        object=said,
    )


def _other(pronoun: str) -> str:
    return "he" if pronoun == "she" else "she"
