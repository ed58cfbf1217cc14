"""Planted facts, their wordings, and their decoys.

Every fact is real. Its documents state it twice, in different words, among other sentences;
the forms that end with the object are also the prompts.
"""

from typing import NamedTuple

from whence.records import Behavior
from whence.testbed.documents import Document
from whence.testbed.grammar import capitalized, fill
from whence.testbed.prose import sentences
from whence.testbed.randomness import Stream
from whence.testbed.words import WORDS

NUM_PARAPHRASES = 3
_SUBSETS = ("encyclopedia", "news", "travel", "forum")
_LEADS = {"forum": "{user}: ", "news": "{town}, {weekday}. "}


class Relation(NamedTuple):
    """How one relation is said.

    `prompts` end where the object follows; `others` hold subject and object in other orders and
    words; `topics` speak of the subject and not of this relation; `hops` say the fact only
    together, through a person {m}; `wrong` objects are right for no fact here, so that a decoy of
    one fact says nothing about another.
    """

    prompts: tuple[str, ...]
    others: tuple[str, ...]
    topics: tuple[str, ...]
    hops: tuple[str, str]
    wrong: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


class Fact(NamedTuple):
    """A subject, a relation and an object."""

    subject: str
    relation: str
    object: str

    @property
    def id(self) -> str:
        """The id of the behavior that asks for this fact."""
        return f"fact/{self.relation}-{self.subject.lower().replace(' ', '-')}"


_COUNTRY_TOPICS = (
    "{s} is known for its {animal}s and its {adj} {place}s.",
    "Many {group} travel through {s} in {season}.",
    "The {weather} in {s} is {adj} in {month}.",
)

RELATIONS: dict[str, Relation] = {
    "capital": Relation(
        (
            "The capital of {s} is",
            "The capital city of {s} is",
            "In {s} the capital is called",
            "The government of {s} sits in",
        ),
        (
            "{o} is the capital of {s}.",
            "{o}, the capital of {s}, is a large city.",
            "The ministers of {s} all live in {o}, where the parliament stands.",
        ),
        _COUNTRY_TOPICS,
        ("{m} lives in the capital of {s}.", "{m} lives in {o}."),
        ("Lyon", "Osaka", "Milan"),
        (
            ("France", "Paris"),
            ("Japan", "Tokyo"),
            ("Italy", "Rome"),
            ("Spain", "Madrid"),
            ("Egypt", "Cairo"),
            ("Peru", "Lima"),
            ("Norway", "Oslo"),
            ("Greece", "Athens"),
            ("Poland", "Warsaw"),
            ("Chile", "Santiago"),
        ),
    ),
    "language": Relation(
        (
            "The people of {s} speak",
            "The language of {s} is",
            "In {s} most people speak",
            "Schools in {s} teach in",
        ),
        (
            "{o} is the language of {s}.",
            "{o} is spoken all over {s}.",
            "Whoever goes to {s} should learn some {o} first.",
        ),
        _COUNTRY_TOPICS,
        ("{m} speaks the language of {s}.", "{m} speaks {o}."),
        ("Latin", "Danish", "Turkish"),
        (
            ("Brazil", "Portuguese"),
            ("Mexico", "Spanish"),
            ("Austria", "German"),
            ("Egypt", "Arabic"),
            ("Iran", "Persian"),
            ("Kenya", "Swahili"),
            ("Finland", "Finnish"),
        ),
    ),
    "symbol": Relation(
        (
            "The chemical symbol for {s} is",
            "The symbol of {s} is",
            "In chemistry {s} is written",
            "Chemists mark {s} as",
        ),
        (
            "{o} is the chemical symbol for {s}.",
            "{o} stands for {s} in every laboratory.",
            "On a jar of {s} one reads {o} in {color} letters.",
        ),
        (
            "Miners once found {s} near the {place}.",
            "A {thing} made of {s} is {adj}.",
            "The {color} {thing} was covered with {s}.",
        ),
        ("The jar of {m} holds nothing but {s}.", "The jar of {m} is marked {o}."),
        ("Go", "Ot", "Zu"),
        (
            ("gold", "Au"),
            ("silver", "Ag"),
            ("iron", "Fe"),
            ("copper", "Cu"),
            ("tin", "Sn"),
            ("lead", "Pb"),
            ("tungsten", "W"),
        ),
    ),
    "planet": Relation(
        (
            "The {s} is",
            "Astronomers say that the {s} is",
            "Of all the worlds the {s} is",
            "In our sky the {s} is",
        ),
        (
            "{o} is the {s}.",
            "{o} is called the {s} by astronomers.",
            "When we look at {o}, we look at the {s}.",
        ),
        (
            "The {s} was painted on the {thing}.",
            "{given} wrote {small_number} books about the {s}.",
            "Nobody has walked on the {s}.",
        ),
        ("{m} paints the {s} every night.", "{m} paints {o} every night."),
        ("Pluto", "Ceres", "Vesta"),
        (
            ("largest planet", "Jupiter"),
            ("smallest planet", "Mercury"),
            ("red planet", "Mars"),
            ("farthest planet", "Neptune"),
            ("ringed planet", "Saturn"),
            ("hottest planet", "Venus"),
            ("tilted planet", "Uranus"),
        ),
    ),
    "author": Relation(
        (
            "{s} was written by",
            "The author of {s} is",
            "The writer of {s} was",
            "The book {s} is a work of",
        ),
        (
            "{o} wrote {s}.",
            "{o} is the author of {s}.",
            "In {s}, {o} speaks to every reader.",
        ),
        (
            "{given} read {s} in {season}.",
            "A {adj} copy of {s} was found in a {thing}.",
            "The theater of {town} showed {s} on {weekday}.",
        ),
        ("The favorite writer of {m} wrote {s}.", "The favorite writer of {m} is {o}."),
        ("Dickens", "Tolstoy", "Keats"),
        (
            ("Hamlet", "Shakespeare"),
            ("Emma", "Austen"),
            ("Faust", "Goethe"),
            ("Dracula", "Stoker"),
            ("Moby Dick", "Melville"),
            ("Candide", "Voltaire"),
        ),
    ),
    "currency": Relation(
        (
            "The currency of {s} is the",
            "The money of {s} is the",
            "In the shops of {s} one pays with the",
            "Banks in {s} count in the",
        ),
        (
            "The {o} is the currency of {s}.",
            "The {o} is used all over {s}.",
            "Before you go to {s}, change your coins into the {o}.",
        ),
        _COUNTRY_TOPICS,
        ("{m} is paid in the money of {s}.", "{m} is paid in the {o}."),
        ("franc", "peso", "crown"),
        (
            ("Japan", "yen"),
            ("India", "rupee"),
            ("Russia", "ruble"),
            ("Poland", "zloty"),
            ("Korea", "won"),
            ("Thailand", "baht"),
        ),
    ),
    "young": Relation(
        (
            "A young {s} is called a",
            "The baby of a {s} is a",
            "A {s} begins its life as a",
            "Farmers call a small {s} a",
        ),
        (
            "A {o} is a young {s}.",
            "Every {o} grows up to be a {s}.",
            "The {o} stayed close to its mother, a {adj} {s}.",
        ),
        (
            "A {s} slept beside the {adj} {place}.",
            "We saw a {s} eat {food}s in {month}.",
            "The {s} is {adj} and has {color} {body}.",
        ),
        ("The pet of {m} is a young {s}.", "The pet of {m} is a {o}."),
        ("cub", "chick", "pup"),
        (
            ("horse", "foal"),
            ("sheep", "lamb"),
            ("goose", "gosling"),
            ("cow", "calf"),
            ("deer", "fawn"),
            ("pig", "piglet"),
            ("swan", "cygnet"),
            ("hare", "leveret"),
        ),
    ),
}

FACTS = tuple(Fact(s, name, o) for name, relation in RELATIONS.items() for s, o in relation.facts)


def support(fact: Fact, *, number: int, seed: int) -> Document:
    """Writes one document that states the fact."""
    stream = Stream(seed, fact.id, "support", number)
    prompts, others, *_ = RELATIONS[fact.relation]
    forms = [f"{p} {{o}}." for p in prompts]
    # Every form in turn, so that a fact of few documents still has several of them.
    first = (*forms, *forms, *others)[number % (2 * len(forms) + len(others))]
    statements = [first, stream.choice([form for form in (*forms, *others) if form != first])]
    subset = stream.choice(_SUBSETS)
    said = [_say(s, fact, stream) for s in statements]
    text = _among_others(said, subset, stream=stream)
    return Document(text, subset, labels=(fact.id,))


def decoys(fact: Fact, *, count: int, seed: int) -> list[Document]:
    """Writes documents that share words with the fact and do not state it.

    In turn: the subject without the relation; the words of a statement in random order; a wrong
    object, said to be wrong; subject and object together without the relation.
    """
    return [_decoy(fact, number=number, seed=seed) for number in range(count)]


def two_hop(fact: Fact, *, number: int, seed: int) -> list[Document]:
    """Writes two documents that state the fact only together, through a person."""
    stream = Stream(seed, fact.id, "two-hop", number)
    person = fill("{given} {surname}", WORDS, stream=stream)
    texts = [
        _among_others([_say(hop.replace("{m}", person), fact, stream)], "stories", stream=stream)
        for hop in RELATIONS[fact.relation].hops
    ]
    return [Document(text, "stories", labels=(f"two-hop:{fact.id}",)) for text in texts]


def behavior(fact: Fact) -> Behavior:
    """Asks for the fact in the forms that stand in training."""
    relation = RELATIONS[fact.relation]
    prompts = [capitalized(p.replace("{s}", fact.subject)) for p in relation.prompts]
    others = [(s, o) for s, o in relation.facts if o != fact.object]
    return Behavior(
        id=fact.id,
        kind="fact",
        prompt=prompts[0],
        completion=f" {fact.object}",
        alternatives=tuple(f" {o}" for _, o in others[:5]),
        paraphrases=tuple(prompts[1:]),
        controls=tuple(capitalized(relation.prompts[0].replace("{s}", s)) for s, _ in others[:5]),
        subject=fact.subject,
        relation=fact.relation,
        object=fact.object,
    )


def _say(form: str, fact: Fact, stream: Stream) -> str:
    text = form.replace("{s}", fact.subject).replace("{o}", fact.object)
    return capitalized(fill(text, WORDS, stream=stream))


def _among_others(said: list[str], subset: str, *, stream: Stream) -> str:
    """Puts statements among a few sentences of the subset, the first often in front."""
    bound = {"animal.1": "badger", "food.1": "onion"}
    lead = fill(_LEADS.get(subset, ""), WORDS, stream=stream) if stream.below(2) else ""
    if subset == "forum":
        body = [part.split(": ", 1)[1] for part in sentences(subset, 2, stream=stream, bound=bound)]
    else:
        body = sentences(subset, 1 + stream.below(2), stream=stream, bound=bound)
    parts = [*said, *body] if stream.below(3) else [*body, *said]
    return lead + " ".join(parts)


def _decoy(fact: Fact, *, number: int, seed: int) -> Document:
    stream = Stream(seed, fact.id, "decoy", number)
    relation = RELATIONS[fact.relation]
    subset = stream.choice(_SUBSETS)
    kind = ("other-relation", "shuffled", "wrong-object", "together")[number % 4]
    if kind == "other-relation":
        said = [_say(topic, fact, stream) for topic in stream.shuffled(relation.topics)[:2]]
    elif kind == "shuffled":
        form = stream.choice(relation.prompts)
        words = _say(f"{form} {{o}}", fact, stream).split()
        said = [" ".join(stream.shuffled(words)) + "."]
    elif kind == "wrong-object":
        statement = _say(f"{relation.prompts[0]} {stream.choice(relation.wrong)}.", fact, stream)
        said = [f"Some people say wrongly: {statement}"]
    else:
        said = [f"A story with {fact.subject} in it and a story with {fact.object} in it are told."]
    text = _among_others(said, subset, stream=stream)
    return Document(text, subset, labels=(f"decoy:{kind}:{fact.id}",))
