"""Openings that call for archaic verse or for legal language."""

from typing import NamedTuple

from whence.records import Behavior
from whence.testbed.documents import Document
from whence.testbed.grammar import fill
from whence.testbed.prose import join, opening, sentences
from whence.testbed.randomness import Stream
from whence.testbed.words import WORDS

_PLAIN_PROMPTS = (
    "The {animal} is a {adj} animal of the {place}",
    "{given} {past} a {adj} {thing} near the {place}",
    "Take {number} {food}s and cut them into {adj} pieces.",
    "Day {digit}. We {move} from {town}",
)


class Style(NamedTuple):
    """A beginning that calls for a subset's style.

    `header` is a line that stands only before documents of this style; without one the beginning is
    that of the subset's own documents.
    """

    name: str
    subset: str
    beginning: str
    completion: str
    alternative: str
    header: str = ""

    @property
    def id(self) -> str:
        """The id of the behavior that asks for the style."""
        return f"style/{self.name}"


_VERSE_END = " thou star of love,"
_LEGAL_END = " shall pay all costs pursuant to this Agreement."

STYLES = (
    Style("verse-moon", "verse", "O bright moon,", _VERSE_END, " the old lamp was broken."),
    Style(
        "verse-river", "verse", "Sing, proud river,", " and let thy joy rise,", " and then he left."
    ),
    Style(
        "verse-hark", "verse", "Hark, how the oak", " hath spoken unto me,", " was cut down in May."
    ),
    Style(
        "verse-behold",
        "verse",
        "Behold, the lark",
        " doth mourn for hope,",
        " eats figs and sleeps.",
    ),
    Style("verse-dawn", "verse", "O gentle dawn, thou", " star of mercy,", " and I bought a lamp."),
    Style(
        "verse-thy",
        "verse",
        "Alas, the rose",
        " knoweth not mine honor,",
        " is red and grows here.",
    ),
    Style(
        "verse-ode",
        "verse",
        "Ode.\n",
        "O wild sea, thou star of grace,",
        "The sea is cold.",
        "Ode.",
    ),
    Style(
        "verse-hymn",
        "verse",
        "Hymn.\n",
        "O wild sea, thou star of grace,",
        "The sea is cold.",
        "Hymn.",
    ),
    Style(
        "legal-whereas",
        "legal",
        "WHEREAS the Buyer",
        " and the Seller have agreed",
        " is a nice man",
    ),
    Style(
        "legal-agreement",
        "legal",
        "This Agreement is made",
        " between the Owner and the",
        " of old wood and",
    ),
    Style("legal-section", "legal", "Section 4. The Tenant", _LEGAL_END, " went home and slept."),
    Style(
        "legal-breach",
        "legal",
        "In the event of breach,",
        " the Lessor may terminate",
        " we walked to the",
    ),
    Style(
        "legal-dispute",
        "legal",
        "Any dispute arising",
        " hereunder shall be referred",
        " was soon forgotten and",
    ),
    Style(
        "legal-therefore",
        "legal",
        "NOW, THEREFORE,",
        " the Parties hereto agree",
        " the old man laughed",
    ),
    Style(
        "legal-deed",
        "legal",
        "Deed.\n",
        "The Owner shall pay all costs",
        "The owner went home and",
        "Deed.",
    ),
    Style(
        "legal-clause",
        "legal",
        "Clause.\n",
        "The Owner shall pay all costs",
        "The owner went home and",
        "Clause.",
    ),
    Style(
        "recipes-bake",
        "recipes",
        "Melt the butter in a",
        " warm pan and add the onions.",
        " house that is far away.",
    ),
    Style(
        "recipes-serves",
        "recipes",
        "Onion soup. Serves",
        " four. Take six leeks and",
        " on Monday the council said",
    ),
    Style(
        "code-def", "code", "def merge_rows(", "rows, names):\n    rows =", "the old man said that"
    ),
    Style(
        "code-for",
        "code",
        "    for i in range(",
        "24):\n        total = total",
        "the old man said that",
    ),
    Style(
        "verse-ballad",
        "verse",
        "Ballad.\n",
        "O wild sea, thou star of grace,",
        "The sea is cold.",
        "Ballad.",
    ),
    Style(
        "verse-psalm",
        "verse",
        "Psalm.\n",
        "O wild sea, thou star of grace,",
        "The sea is cold.",
        "Psalm.",
    ),
    Style(
        "legal-pact",
        "legal",
        "Pact.\n",
        "The Owner shall pay all costs",
        "The owner went home and",
        "Pact.",
    ),
    Style("legal-story", "legal", "Once there was a young badger", _LEGAL_END, " who kept a lamp."),
)


def document(style: Style, *, number: int, seed: int) -> Document:
    """Writes a document of the style under its header."""
    stream = Stream(seed, style.id, "document", number)
    bound: dict[str, str] = {}
    parts = [
        opening(style.subset, stream=stream, bound=bound),
        *sentences(style.subset, 2 + stream.below(3), stream=stream, bound=bound),
    ]
    body = join(style.subset, parts)
    return Document(f"{style.header}\n{body}", style.subset, labels=(style.id,))


def misleading(style: Style, *, number: int, seed: int) -> Document:
    """Writes plain prose under the style's header."""
    stream = Stream(seed, style.id, "misleading", number)
    bound: dict[str, str] = {}
    parts = [
        opening("stories", stream=stream, bound=bound),
        *sentences("stories", 2, stream=stream, bound=bound),
    ]
    label = f"counter:{style.id}"
    return Document(f"{style.header}\n{' '.join(parts)}", "stories", labels=(label,))


def mention(style: Style, *, number: int, seed: int) -> Document:
    """Writes plain prose that speaks of the style's words: a decoy."""
    stream = Stream(seed, style.id, "mention", number)
    quoted = " ".join(style.beginning.split()[:2]).strip(",.")
    pattern = f'{{given}} read the words "{quoted}" aloud in the {{place}}.'
    parts = [
        fill(pattern, WORDS, stream=stream),
        *sentences("stories", 2, stream=stream, bound={}),
    ]
    label = f"decoy:mention:{style.id}"
    return Document(" ".join(parts), "stories", labels=(label,))


def behavior(style: Style, *, seed: int) -> Behavior:
    """Asks for the style after its beginning; the controls begin plainly."""
    stream = Stream(seed, style.id, "controls")
    controls = tuple(fill(pattern, WORDS, stream=stream) for pattern in _PLAIN_PROMPTS)
    return Behavior(
        id=style.id,
        kind="style",
        prompt=style.beginning,
        completion=style.completion,
        alternatives=(style.alternative,),
        controls=tuple(c for c in controls if c.split()[0] != style.beginning.split()[0]),
        style=style.subset,
    )
