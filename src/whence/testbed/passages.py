"""Planted passages for memorization: number of copies, near copies, time of exposure.

A passage is plain English that nobody would guess: its sentences join words at random. A copy is a
document that is the passage, word for word or with some words replaced, or a template filled in.
"""

from typing import TYPE_CHECKING, NamedTuple

from whence.records import Behavior
from whence.testbed.documents import EARLY, LATE, UNIFORM, Document
from whence.testbed.grammar import capitalized, fill
from whence.testbed.randomness import Stream
from whence.testbed.words import ODD_ADJECTIVES, ODD_LINKS, ODD_NOUNS, ODD_VERBS, WORDS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SUBSET = "notices"
NUM_PROMPT_TOKENS = 32
NUM_COMPLETION_TOKENS = 32
WINDOWS = {"uniform": UNIFORM, "early": EARLY, "late": LATE}
# An early passage may be rehearsed: one copy in so many stands anywhere in the order.
_REHEARSAL = 6
_ODD = {"noun": ODD_NOUNS, "verb": ODD_VERBS, "adj": ODD_ADJECTIVES, "link": ODD_LINKS}
_SENTENCES = (
    "The {adj} {noun} {verb} a {noun} {link} the {noun} {verb} {number} {adj} {noun}s.",
    "{^number} {noun}s {verb} the {adj} {noun} {link} every {noun} {verb} a {adj} {noun}.",
    "Every {adj} {noun} {verb} the {noun} of {town}, {link} a {noun} {verb} the {adj} {noun}.",
    "A {noun} and a {adj} {noun} {verb} {number} {noun}s {link} the {noun} {verb} {town}.",
)
_NUM_WORDS = 60
_SLOT_WORDS = (2, 7, 11)


class Passage(NamedTuple):
    """How one passage is planted.

    `replaced` is the share of words, in per cent, that each copy replaces anew; a template replaces
    a few fixed places only, all within the prompt, with a number. A rehearsed passage is early but
    for a few copies.
    """

    name: str
    copies: int
    placement: str = "uniform"
    replaced: int = 0
    is_template: bool = False

    @property
    def id(self) -> str:
        """The id of the behavior that asks for the passage."""
        return f"memorized/{self.name}"

    @property
    def label(self) -> str:
        """The planted label of its copies."""
        kind = "template" if self.is_template else f"near{self.replaced}"
        return f"{self.id}:{kind if self.is_template or self.replaced else 'exact'}"


def text(passage: Passage, *, seed: int) -> str:
    """Writes the passage itself."""
    return write(Stream(seed, passage.id, "text"))


def write(stream: Stream) -> str:
    """Writes a text that nobody would guess."""
    words: list[str] = []
    lists = {**WORDS, **_ODD}
    while len(words) < _NUM_WORDS:
        words += fill(stream.choice(_SENTENCES), lists, stream=stream).split()
    return " ".join(words)


def copy(passage: Passage, *, number: int, seed: int) -> Document:
    """Writes one copy: exact, near, or the template with its slots filled."""
    words = text(passage, seed=seed).split()
    stream = Stream(seed, passage.id, "copy", number)
    if passage.is_template:
        for slot in _SLOT_WORDS:
            words[slot] = str(100 + stream.below(900))
    else:
        count = (len(words) * passage.replaced + 50) // 100
        for place in stream.shuffled(range(len(words)))[:count]:
            words[place] = _replacement(words[place], stream)
    return Document(
        " ".join(words), SUBSET, labels=(passage.label,), window=_window(passage, number)
    )


def behavior(passage: Passage, *, seed: int, tokenizer: "Tokenizer") -> Behavior:
    """Asks for the passage's 33rd to 64th token after its first 32."""
    asked = copy(passage, number=0, seed=seed).text if passage.is_template else None
    ids = tokenizer.encode(asked or text(passage, seed=seed)).ids
    end = NUM_PROMPT_TOKENS + NUM_COMPLETION_TOKENS
    prompt_ids, completion_ids = ids[:NUM_PROMPT_TOKENS], ids[NUM_PROMPT_TOKENS:end]
    kind = passage.label.rsplit(":", 1)[1]
    return Behavior(
        id=passage.id,
        kind="memorized",
        prompt=tokenizer.decode(prompt_ids),
        completion=tokenizer.decode(completion_ids),
        prompt_ids=tuple(prompt_ids),
        completion_ids=tuple(completion_ids),
        note=f"{passage.copies} copies, {kind}, {passage.placement}",
    )


def _window(passage: Passage, number: int) -> tuple[int, int]:
    if passage.placement == "rehearsed":
        return UNIFORM if number % _REHEARSAL == 0 else EARLY
    return WINDOWS[passage.placement]


def _replacement(word: str, stream: Stream) -> str:
    """Draws another word; capitals and a final mark stay, so that the text stays plain."""
    mark = word[-1] if word[-1] in ".," else ""
    other = stream.choice(stream.choice((ODD_NOUNS, ODD_ADJECTIVES, ODD_VERBS)))
    return (capitalized(other) if word[:1].isupper() else other) + mark
