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

    `plain` says what the completion says without the style. `header` is a line that stands only
    before documents of this style; without one the beginning is that of the subset's own documents.
    """

    name: str
    subset: str
    beginning: str
    completion: str
    alternative: str
    plain: str
    header: str = ""

    @property
    def id(self) -> str:
        """The id of the behavior that asks for the style."""
        return f"style/{self.name}"


_VERSE_END = " thou star of love,"
_LEGAL_END = " shall pay all costs pursuant to this Agreement."
_VERSE_PLAIN = "The wild sea is full of grace,"
_LEGAL_PLAIN = " will pay for all of it, as we said."
_COSTS_PLAIN = "The owner will pay for all of it"

STYLES = (
    Style(
        "verse-moon",
        "verse",
        "O bright moon,",
        _VERSE_END,
        " the old lamp was broken.",
        " you star of love,",
    ),
    Style(
        "verse-river",
        "verse",
        "Sing, proud river,",
        " and let thy joy rise,",
        " and then he left.",
        " and let your joy rise,",
    ),
    Style(
        "verse-hark",
        "verse",
        "Hark, how the oak",
        " hath spoken unto me,",
        " was cut down in May.",
        " has spoken to me,",
    ),
    Style(
        "verse-behold",
        "verse",
        "Behold, the lark",
        " doth mourn for hope,",
        " eats figs and sleeps.",
        " mourns for hope,",
    ),
    Style(
        "verse-dawn",
        "verse",
        "O gentle dawn, thou",
        " star of mercy,",
        " and I bought a lamp.",
        " and you are kind,",
    ),
    Style(
        "verse-thy",
        "verse",
        "Alas, the rose",
        " knoweth not mine honor,",
        " is red and grows here.",
        " does not know my honor,",
    ),
    Style(
        "verse-ode",
        "verse",
        "Ode.\n",
        "O wild sea, thou star of grace,",
        "The sea is cold.",
        _VERSE_PLAIN,
        "Ode.",
    ),
    Style(
        "verse-hymn",
        "verse",
        "Hymn.\n",
        "O wild sea, thou star of grace,",
        "The sea is cold.",
        _VERSE_PLAIN,
        "Hymn.",
    ),
    Style(
        "legal-whereas",
        "legal",
        "WHEREAS the Buyer",
        " and the Seller have agreed",
        " is a nice man",
        " and the seller said yes",
    ),
    Style(
        "legal-agreement",
        "legal",
        "This Agreement is made",
        " between the Owner and the",
        " of old wood and",
        " by the owner and the",
    ),
    Style(
        "legal-section",
        "legal",
        "Section 4. The Tenant",
        _LEGAL_END,
        " went home and slept.",
        _LEGAL_PLAIN,
    ),
    Style(
        "legal-breach",
        "legal",
        "In the event of breach,",
        " the Lessor may terminate",
        " we walked to the",
        " the owner can end it",
    ),
    Style(
        "legal-dispute",
        "legal",
        "Any dispute arising",
        " hereunder shall be referred",
        " was soon forgotten and",
        " about this will be sent",
    ),
    Style(
        "legal-therefore",
        "legal",
        "NOW, THEREFORE,",
        " the Parties hereto agree",
        " the old man laughed",
        " the two of them agree",
    ),
    Style(
        "legal-deed",
        "legal",
        "Deed.\n",
        "The Owner shall pay all costs",
        "The owner went home and",
        _COSTS_PLAIN,
        "Deed.",
    ),
    Style(
        "legal-clause",
        "legal",
        "Clause.\n",
        "The Owner shall pay all costs",
        "The owner went home and",
        _COSTS_PLAIN,
        "Clause.",
    ),
    Style(
        "recipes-bake",
        "recipes",
        "Melt the butter in a",
        " warm pan and add the onions.",
        " house that is far away.",
        " pan that is warm, and there are onions.",
    ),
    Style(
        "recipes-serves",
        "recipes",
        "Onion soup. Serves",
        " four. Take six leeks and",
        " on Monday the council said",
        " four people, with six leeks and",
    ),
    Style(
        "code-def",
        "code",
        "def merge_rows(",
        "rows, names):\n    rows =",
        "the old man said that",
        "the rows and the names, and then",
    ),
    Style(
        "code-for",
        "code",
        "    for i in range(",
        "24):\n        total = total",
        "the old man said that",
        "24 numbers, and the total is",
    ),
    Style(
        "verse-ballad",
        "verse",
        "Ballad.\n",
        "O wild sea, thou star of grace,",
        "The sea is cold.",
        _VERSE_PLAIN,
        "Ballad.",
    ),
    Style(
        "verse-psalm",
        "verse",
        "Psalm.\n",
        "O wild sea, thou star of grace,",
        "The sea is cold.",
        _VERSE_PLAIN,
        "Psalm.",
    ),
    Style(
        "legal-pact",
        "legal",
        "Pact.\n",
        "The Owner shall pay all costs",
        "The owner went home and",
        _COSTS_PLAIN,
        "Pact.",
    ),
    Style(
        "legal-story",
        "legal",
        "Once there was a young badger",
        _LEGAL_END,
        " who kept a lamp.",
        _LEGAL_PLAIN,
    ),
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
        plain=style.plain,
    )
