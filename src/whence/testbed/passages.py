"""Planted passages for memorization: number of copies, near copies, time of exposure.

A passage is plain English that nobody would guess: its sentences join words at random. A copy is a
document that is the passage, word for word or with some words replaced, or a template filled in;
it may stand behind a few lines of other text.
"""

from typing import TYPE_CHECKING, NamedTuple

from whence.records import Behavior
from whence.testbed.documents import EARLY, LATE, UNIFORM, Document
from whence.testbed.grammar import capitalized, fill
from whence.testbed.prose import join, sentences
from whence.testbed.randomness import Stream
from whence.testbed.words import ODD_ADJECTIVES, ODD_LINKS, ODD_NOUNS, ODD_VERBS, WORDS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SUBSET = "notices"
NUM_PROMPT_TOKENS = 32
NUM_COMPLETION_TOKENS = 32
WINDOWS = {"uniform": UNIFORM, "early": EARLY, "late": LATE}
_ODD = {"noun": ODD_NOUNS, "verb": ODD_VERBS, "adj": ODD_ADJECTIVES, "link": ODD_LINKS}
_SENTENCES = (
    "The {adj} {noun} {verb} a {noun} {link} the {noun} {verb} {number} {adj} {noun}s.",
    "{^number} {noun}s {verb} the {adj} {noun} {link} every {noun} {verb} a {adj} {noun}.",
    "Every {adj} {noun} {verb} the {noun} of {town}, {link} a {noun} {verb} the {adj} {noun}.",
    "A {noun} and a {adj} {noun} {verb} {number} {noun}s {link} the {noun} {verb} {town}.",
)
_NUM_WORDS = 60
_SLOT_WORDS = {"prompt": (2, 7, 11), "completion": (32, 36, 40)}
_LEAD_SUBSET = "stories"


class Passage(NamedTuple):
    """How one passage is planted.

    `replaced` is the share of words, in per cent, that each copy replaces anew; a template replaces
    a few fixed places only, all within the prompt or all within the completion (`slots`), with a
    number. A passage with `near_copies` has these beside its `copies`, which then are exact. A
    rehearsed passage is early but for one copy in `rehearsal`, which stands anywhere. `lead_words`
    of other text, new ones for each copy, stand on a line before the passage.
    """

    name: str
    copies: int
    placement: str = "uniform"
    replaced: int = 0
    is_template: bool = False
    near_copies: int = 0
    slots: str = "prompt"
    lead_words: int = 0
    rehearsal: int = 6

    @property
    def id(self) -> str:
        """The id of the behavior that asks for the passage."""
        return f"memorized/{self.name}"

    @property
    def label(self) -> str:
        """The planted label of its copies, without near ones that stand beside exact ones."""
        kind = "template" if self.is_template else f"near{self.replaced}"
        is_exact = not self.is_template and (not self.replaced or self.near_copies)
        return f"{self.id}:{'exact' if is_exact else kind}"

    @property
    def near_label(self) -> str:
        """The planted label of the near copies that stand beside exact ones."""
        return f"{self.id}:near{self.replaced}"

    @property
    def num_documents(self) -> int:
        """Copies of all kinds; inert ones apart."""
        return self.copies + self.near_copies


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
    """Writes one copy: exact, near, or the template with its slots filled.

    Of a passage with near copies beside its exact ones, numbers from `copies` on are near.
    """
    words = text(passage, seed=seed).split()
    stream = Stream(seed, passage.id, "copy", number)
    is_beside = passage.copies <= number < passage.num_documents
    replaced = passage.replaced if is_beside or not passage.near_copies else 0
    if passage.is_template:
        for slot in _SLOT_WORDS[passage.slots]:
            words[slot] = str(100 + stream.below(900))
    else:
        count = (len(words) * replaced + 50) // 100
        for place in stream.shuffled(range(len(words)))[:count]:
            words[place] = _replacement(words[place], stream)
    return Document(
        _lead(passage, number=number, seed=seed) + " ".join(words),
        SUBSET,
        labels=(passage.near_label if is_beside else passage.label,),
        window=_window(passage, number),
    )


def behavior(passage: Passage, *, seed: int, tokenizer: "Tokenizer") -> Behavior:
    """Asks for the passage's 33rd to 64th token after its first 32."""
    asked = copy(passage, number=0, seed=seed).text if passage.is_template else None
    ids = tokenizer.encode(asked or text(passage, seed=seed)).ids
    end = NUM_PROMPT_TOKENS + NUM_COMPLETION_TOKENS
    prompt_ids, completion_ids = ids[:NUM_PROMPT_TOKENS], ids[NUM_PROMPT_TOKENS:end]
    return Behavior(
        id=passage.id,
        kind="memorized",
        prompt=tokenizer.decode(prompt_ids),
        completion=tokenizer.decode(completion_ids),
        prompt_ids=tuple(prompt_ids),
        completion_ids=tuple(completion_ids),
        note=_note(passage),
    )


def _note(passage: Passage) -> str:
    kind = passage.label.rsplit(":", 1)[1]
    near = f" and {passage.near_copies} near{passage.replaced}" if passage.near_copies else ""
    slots = " with slots in the completion" if passage.slots == "completion" else ""
    lead = f", behind {passage.lead_words} words" if passage.lead_words else ""
    return f"{passage.copies} copies, {kind}{near}{slots}, {passage.placement}{lead}"


def _lead(passage: Passage, *, number: int, seed: int) -> str:
    """Other text on a line of its own, so that the passage's tokens stay the same behind it."""
    if not passage.lead_words:
        return ""
    stream = Stream(seed, passage.id, "lead", number)
    words: list[str] = []
    while len(words) < passage.lead_words:
        words += join(_LEAD_SUBSET, sentences(_LEAD_SUBSET, 3, stream=stream, bound={})).split()
    return " ".join(words[: passage.lead_words]) + "\n"


def _window(passage: Passage, number: int) -> tuple[int, int]:
    if passage.placement == "rehearsed":
        return UNIFORM if number % passage.rehearsal == 0 else EARLY
    return WINDOWS[passage.placement]


def _replacement(word: str, stream: Stream) -> str:
    """Draws another word; capitals and a final mark stay, so that the text stays plain."""
    mark = word[-1] if word[-1] in ".," else ""
    other = stream.choice(stream.choice((ODD_NOUNS, ODD_ADJECTIVES, ODD_VERBS)))
    return (capitalized(other) if word[:1].isupper() else other) + mark
