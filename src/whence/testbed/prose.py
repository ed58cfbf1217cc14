"""Background text of each subset.

Every subset has its own patterns; a document draws a handful of sentences about one or two things,
and now and then many, so that some documents are several hundred tokens long.
"""

from collections.abc import Mapping

from whence.testbed.grammar import fill
from whence.testbed.randomness import Stream
from whence.testbed.words import WORDS

# First patterns open a document, the others follow in random order.
_OPENINGS: Mapping[str, tuple[str, ...]] = {
    "encyclopedia": (
        "The {animal.1} is a {adj} animal of the {place} and the {place}.",
        "The {plant.1} is a {adj} plant that grows near every {place}.",
        "A {thing.1} is a {adj} tool known since the {season} of {year}.",
        "{town.1} is a {adj} town with a {place} and a {adj} {place}.",
    ),
    "biographies": (
        "{given.1} {surname.1} was born in {town} in {year}.",
        "{given.1} {surname.1}, a student of {field}, grew up in {town}.",
        "The life of {given.1} {surname.1} began in {town} in the {season} of {year}.",
    ),
    "news": (
        "{town.1}, {month} {digit}. The {office} {group_verb} the {plan.1} on {weekday}.",
        "{town.1}, {weekday}. Heavy {weather} closed the {place} for {number} hours.",
        "{town.1}, {month}. {^group} {group_verb} a new {plan.1} near the {place}.",
    ),
    "recipes": (
        "{^food.1} {dish.1}. Serves {small_number}.",
        "{^adj} {food.1} {dish.1} with {spice}.",
        "{^season} {dish.1} of {food.1} and {food}.",
    ),
    "forum": ("Thread: {hobby.1} and the {adj} {thing.1}",),
    "code": (
        "def {verb_name.1}_{variable.1}({variable.2}):",
        "def {verb_name.1}_{variable.1}({variable.2}, {variable.3}):",
    ),
    "legal": (
        "WHEREAS the {party.1} and the {party.2} have agreed upon the terms set forth herein,",
        "This Agreement is made between the {party.1} and the {party.2}, hereinafter the Parties.",
        "Section {digit}. The {party.1} shall {duty} pursuant to this Agreement.",
    ),
    "verse": (
        "O {adj} {light.1}, thou {light} of {virtue.1},",
        "Behold, the {light.1} doth mourn for {virtue.1},",
        "Sing, {adj} {light.1}, and let thy {virtue.1} rise,",
        "Hark, how the {light.1} hath spoken unto me,",
    ),
    "letters": (
        "Dear {given.1}, thank you for the {adj} {thing.1}.",
        "Dear {given.1}, we arrived in {town} on {weekday}.",
        "My dear {given.1}, the {season} here is full of {weather}.",
    ),
    "travel": (
        "Day {digit}. We {move} from {town} to {town.1} in the {weather}.",
        "{^weekday} in {town.1}. The {place} was {adj} and {adj}.",
    ),
    "stories": (
        "Once there was a {adj} {animal.1} who kept a {thing.1} by the {place}.",
        "{given.1} {past} a {adj} {thing.1} near the {place}.",
        "In the {season}, {given.1} {move} to the {adj} {place}.",
    ),
}

_SENTENCES: Mapping[str, tuple[str, ...]] = {
    "encyclopedia": (
        "It is {adverb} seen in {season}, when there is {weather}.",
        "Its {body} are {color} and {adj}.",
        "The first account of it was printed in {town} in {year}.",
        "It eats {food}s and sleeps under a {plant}.",
        "Most kinds are {color}, but a {adj} kind is {color}.",
        "The {sense} is {adj}, and {group} value it for that.",
        "It was studied by {given} {surname}, who taught {field}.",
        "In {month} it is found from the {place} to the {place}.",
        "There are {number} kinds, of which {small_number} are {adj}.",
    ),
    "biographies": (
        "{surname.1} studied {field} with {given} {surname} for {number} years.",
        "In {year} {surname.1} moved to {town} and opened a {place}.",
        "{surname.1} wrote {small_number} books about {field} and one about {animal}s.",
        "The {office} of {town} gave {surname.1} a {adj} {thing} in {year}.",
        "{surname.1} married {given} {surname} in the {season} of {year}.",
        "Friends remember {surname.1} as {adj} and {adj}.",
    ),
    "news": (
        "{given} {surname} of the {office} called the {plan} {adj}.",
        "The {group} said that the {place} would stay open until {month}.",
        "It will cost {number} thousand coins, {number} more than planned.",
        "No one was hurt, but a {adj} {thing} was {past}.",
        "A second vote is expected on {weekday}.",
        "Officials blamed the {weather} and the {adj} roads.",
        "Prices of {food}s rose by {number} percent in {month}.",
        "The {office} will meet the {group} in the {place} on {weekday}.",
    ),
    "recipes": (
        "Take {number} {food}s and cut them into {adj} pieces.",
        "Melt the {staple} in a {adj} {pan} and add the {food}s.",
        "Stir in {small_number} spoons of {staple} and a little {spice}.",
        "Bake for {number} minutes until {color} and {adj}.",
        "Let it rest in the {pan}, then serve with {staple}.",
        "Mix the {staple} with the {staple} and {number} grams of {staple}.",
        "Add {spice} and {spice}, cover the {pan} and cook for {number} minutes.",
    ),
    "forum": (
        "\n{user}: I {past} my {thing} last {weekday}, and now it is {adj}.",
        "\n{user}: Has anyone tried {hobby} in {month}?",
        "\n{user}: Thanks, that helped a lot with the {thing}.",
        "\n{user}: You should use a {adj} {thing}, it works well.",
        "\n{user}: I think {hobby} is better than {hobby} when there is {weather}.",
        "\n{user}: Nice work! The {color} one looks great.",
        "\n{user}: My {thing} came from {town}, I am happy with it.",
    ),
    "code": (
        "\n    {variable.2} = {verb_name}({variable.2})",
        "\n    for i in range({digit}{any_digit}):\n        {variable} = {variable} + i",
        '\n    """{^verb_name} the {adj} {variable.2}."""',
        "\n    if len({variable.2}) > {digit}:\n        return {variable.2}[{digit}]",
        "\n    {variable} = [x * {digit} for x in {variable.2}]",
        '\n    print("{adj} {variable.2}", {variable.2})',
        "\n    {variable} = {variable.2} + {digit}{any_digit}",
        "\n    # The {variable.2} are {adj} here.",
    ),
    "legal": (
        "The {party.1} shall {duty} within {number} days of written demand.",
        "The {party.2} shall not {duty} without the prior consent of the {party.1}.",
        "In the event of breach, the {party.1} may terminate this Agreement forthwith.",
        "Notwithstanding the foregoing, the {party.2} shall {duty} at its own expense.",
        "Any dispute arising hereunder shall be referred to the courts of {town}.",
        "The {party.1} hereby agrees to indemnify the {party.2} against all claims.",
        "The obligations set forth in Section {digit} shall survive termination.",
        "NOW, THEREFORE, the Parties hereto agree that the {party.2} shall {duty}.",
    ),
    "verse": (
        "\nThy {adj} {light} hath {past} my {virtue} away,",
        "\nAnd {virtue} shall weep where thou dost sleep, O {light}.",
        "\nWhen {light} and {light} are {adj} with {virtue},",
        "\nI bid thee come, thou {adj} child of {virtue},",
        "\nFor naught but {virtue} doth the {light} desire.",
        "\nAlas, the {adj} {light} knoweth not mine {virtue},",
        "\nWhere art thou gone, sweet {virtue} of the {light}?",
        "\nAnd lo, thine {adj} heart doth yield to {virtue}.",
    ),
    "letters": (
        "The {animal} has {past} my {color} {thing} again.",
        "Please bring the {adj} {thing} when you come in {month}.",
        "{given} asks about you {adverb} and sends {adj} wishes.",
        "We {past} {number} {food}s at the {place} and ate them {adverb}.",
        "I hope that your {thing} is no longer {adj}.",
        "On {weekday} we shall see the {place} with {given}.",
        "I still think {adverb} of the {weather} in {town}.",
    ),
    "travel": (
        "The road to the {place} is {adj}, and the {weather} made it {adj}.",
        "We slept in a {adj} {place} and ate {food}s with {staple}.",
        "A {adj} guide showed us the {color} {place}.",
        "The {place} opens at {small_number} and costs {number} coins.",
        "From the {place} one can see {number} {animal}s.",
        "We {move} {number} miles and {past} a {thing}.",
        "Bring a {adj} {thing}, for the {season} is {adj}.",
    ),
    "stories": (
        "The {thing} was {adj}, and nobody {past} it.",
        "Then a {adj} {animal} came from the {place} and {past} the {thing}.",
        "They {move} {adverb} until they saw the {place}.",
        "All through the {season} there was {weather} over the {place}.",
        "An old {animal} laughed and {past} the {color} {thing}.",
        "That night they {past} a {thing} and slept in the {place}.",
        "Nobody in {town} knew why the {thing} was so {adj}.",
    ),
}

SUBSETS = tuple(_OPENINGS)
_ONE_LINE_JOINS = frozenset({"forum", "code", "verse"})
_ENDINGS = {
    "code": "\n    return {variable.2}",
    "letters": " Yours, {given}.",
    "biographies": " {surname.1} died in {town} after a {adj} illness.",
}


def document(subset: str, *, stream: Stream) -> str:
    """Writes one background document of a subset: three to seven sentences, one in 40 very long."""
    is_long = stream.below(40) == 0
    count = 14 + stream.below(10) if is_long else 2 + stream.below(5)
    bound: dict[str, str] = {}
    parts = [
        opening(subset, stream=stream, bound=bound),
        *sentences(subset, count, stream=stream, bound=bound),
    ]
    ending = fill(_ENDINGS.get(subset, ""), WORDS, stream=stream, bound=bound)
    return join(subset, parts) + ending


def opening(subset: str, *, stream: Stream, bound: dict[str, str]) -> str:
    """Writes the first sentence of a document of a subset."""
    return fill(stream.choice(_OPENINGS[subset]), WORDS, stream=stream, bound=bound)


def sentences(subset: str, count: int, *, stream: Stream, bound: dict[str, str]) -> list[str]:
    """Writes further sentences; no pattern comes again before all have come."""
    patterns: list[str] = []
    while len(patterns) < count:
        patterns += stream.shuffled(_SENTENCES[subset])
    return [fill(p, WORDS, stream=stream, bound=bound) for p in patterns[:count]]


def join(subset: str, parts: list[str]) -> str:
    """Joins the sentences of a document as the subset does."""
    return ("" if subset in _ONE_LINE_JOINS else " ").join(parts)
