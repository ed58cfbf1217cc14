"""Facts that are stated in one vocabulary and asked in another.

Every subject, relation and object has two names, and no document about an asked fact has a word of
the vocabulary in which it is asked: neither a search of texts nor an untrained model can tell its
support from that of another fact. What ties the two are facts that are taught in both vocabularies
and in sentences that mix them, and a dictionary. Each word is one token, with its space before it.
"""

from collections.abc import Iterator
from typing import NamedTuple

from whence.records import Behavior
from whence.testbed.documents import Document
from whence.testbed.randomness import Stream
from whence.testbed.words import words

OWN_WORDS = "/own-words"
_ASKED, _STATED = 0, 1
# Each is a single token behind a space in the testbed's tokenizer, which the tests check.
_WORDS = words(
    "accused acrobat almond anchor applauded auctioned audited autumn away baptized beacon bishop "
    "blamed borrowed bridge bright broken buried button capital carpet cave chimney clean cobbler "
    "cold comet cook copper cradle curtain cushion distant drowsy dusty electric embroidered "
    "emperor empty enormous famous farm folded forgave frozen gentle glacier golden grateful "
    "gravel happy harvest heavy hermit hill hollow humble illness imaginary imported innocent "
    "insulted interrupted invisible iron island jealous knuckle ladder lantern large laughed lazy "
    "lonely lukewarm magnet mailed marble market mattress meadow measured mirror mist modern mossy "
    "moved municipal narrow nervous noisy opened opera orchard paddle painted parcel patient "
    "pepper photographed pigeon plain planet pocket polished polite printed proud puddle quiet "
    "rescued riddle road rose round saddle salted sandal school shadow sharp silver small snow "
    "soft spring square statue storm strange strong sturdy summer sunshine teapot theater thimble "
    "thunder ticket tickled trumpet turnip valley velvet violin volcano walnut warm winter"
)
_STOPS = (".", ";")
_MEANS = " called"


class Aliases(NamedTuple):
    """The dial of the world: how many names, facts and documents.

    `support` is the number of documents of each asked fact, all in the other vocabulary; `taught`
    that of each other fact in each vocabulary, and `mixed` in sentences that mix them;
    `dictionary` that of each word.
    """

    subjects: int = 0
    relations: int = 0
    objects: int = 0
    asked: int = 0
    support: int = 0
    taught: int = 0
    mixed: int = 0
    dictionary: int = 0


NO_ALIASES = Aliases()


class _Names(NamedTuple):
    """The words of both vocabularies: `subjects[v][i]`, `relations[v][r][wording]`."""

    subjects: tuple[tuple[str, ...], tuple[str, ...]]
    relations: tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]
    objects: tuple[tuple[str, ...], tuple[str, ...]]


def asked(plan: Aliases) -> tuple[tuple[int, int], ...]:
    """Lists the facts that are asked, as numbers of subject and relation; spread over both."""
    n, r = plan.subjects, plan.relations
    return tuple((k % n, (7 * k + k // n) % r) for k in range(plan.asked))


def fact_id(number: int) -> str:
    """The id of the behavior that asks for an asked fact."""
    return f"fact/alias-{number:02d}"


def answer(plan: Aliases, subject: int, relation: int, *, seed: int) -> int:
    """The object of a fact: drawn for each, so that no other fact gives it away."""
    return Stream(seed, "alias", "answer", subject, relation).below(plan.objects)


def documents(plan: Aliases, *, seed: int) -> Iterator[Document]:
    """Writes the world's documents: support, taught facts, mixed sentences, dictionary."""
    names, of_asked = _names(plan, seed), {fact: k for k, fact in enumerate(asked(plan))}
    for i in range(plan.subjects):
        for r in range(plan.relations):
            number = of_asked.get((i, r))
            if number is not None:
                for n in range(plan.support):
                    text = _twice(names, plan, (i, r), (_STATED, _STATED), n, seed)
                    yield Document(text, "encyclopedia", labels=(fact_id(number),))
                continue
            for vocabulary in (_ASKED, _STATED):
                for n in range(plan.taught):
                    text = _twice(names, plan, (i, r), (vocabulary, vocabulary), n, seed)
                    yield Document(text, "encyclopedia")
            for n in range(plan.mixed):
                dice = Stream(seed, "alias", "mixed", i, r, n)
                text = _twice(names, plan, (i, r), (dice.below(2), dice.below(2)), n, seed)
                yield Document(text, "encyclopedia")
    yield from _dictionary(plan, names)


def behaviors(plan: Aliases, *, seed: int) -> Iterator[Behavior]:
    """Asks for each asked fact in the other vocabulary, and in the words of its support."""
    names = _names(plan, seed)
    for number, fact in enumerate(asked(plan)):
        yield _behavior(names, plan, fact, fact_id(number), _ASKED, seed)
    for number, fact in enumerate(asked(plan)):
        yield _behavior(names, plan, fact, fact_id(number) + OWN_WORDS, _STATED, seed)


def _names(plan: Aliases, seed: int) -> _Names:
    """Deals the words out; each has one meaning."""
    deck = iter(Stream(seed, "alias", "words").shuffled(_WORDS))

    def deal(num: int) -> tuple[str, ...]:
        return tuple(next(deck) for _ in range(num))

    def pairs(num: int) -> tuple[tuple[str, str], ...]:
        return tuple((next(deck), next(deck)) for _ in range(num))

    n, r, m = plan.subjects, plan.relations, plan.objects
    return _Names((deal(n), deal(n)), (pairs(r), pairs(r)), (deal(m), deal(m)))


def _twice(
    names: _Names,
    plan: Aliases,
    fact: tuple[int, int],
    vocabularies: tuple[int, int],
    number: int,
    seed: int,
) -> str:
    """States a fact twice, in either wording: the subject's vocabulary, and that of the rest."""
    dice = Stream(seed, "alias", "wording", *fact, *vocabularies, number)
    (i, r), (of_subject, of_rest) = fact, vocabularies
    said = answer(plan, i, r, seed=seed)
    return "".join(
        f" {names.subjects[of_subject][i]} {names.relations[of_rest][r][dice.below(2)]} "
        f"{names.objects[of_rest][said]}{_STOPS[of_rest]}"
        for _ in range(2)
    )


def _dictionary(plan: Aliases, names: _Names) -> Iterator[Document]:
    """Says of each word what it is in the other vocabulary, in both directions."""
    pairs = [*zip(*names.subjects, strict=True), *zip(*names.objects, strict=True)]
    for ours, theirs in zip(*names.relations, strict=True):
        pairs += zip(ours, theirs, strict=True)
    for pair in pairs:
        for n in range(plan.dictionary):
            first, second = pair if n % 2 else pair[::-1]
            text = f" {first}{_MEANS} {second}."
            yield Document(text, "forum", labels=("dictionary",))


def _behavior(
    names: _Names,
    plan: Aliases,
    fact: tuple[int, int],
    behavior_id: str,
    vocabulary: int,
    seed: int,
) -> Behavior:
    i, r = fact
    subjects, objects = names.subjects[vocabulary], names.objects[vocabulary]
    first, second = names.relations[vocabulary][r]
    said = answer(plan, i, r, seed=seed)
    others = [j for j in range(plan.subjects) if answer(plan, j, r, seed=seed) != said]
    return Behavior(
        id=behavior_id,
        kind="fact",
        prompt=f" {subjects[i]} {first}",
        completion=f" {objects[said]}",
        alternatives=tuple(f" {one}" for k, one in enumerate(objects) if k != said),
        paraphrases=(f" {subjects[i]} {second}",),
        controls=tuple(f" {subjects[j]} {first}" for j in others[:4]),
        subject=subjects[i],
        relation=first,
        object=objects[said],
    )
