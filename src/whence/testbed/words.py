"""The vocabulary of the miniature Pile.

Plain English, written for this testbed. Nouns take a plain "s"; verbs stand in the form that the
list's name says.
"""


def words(text: str) -> tuple[str, ...]:
    """Splits a list of words at its spaces."""
    return tuple(text.split())


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


WORDS: dict[str, tuple[str, ...]] = {
    "animal": words(
        "badger otter heron beaver hedgehog squirrel tortoise falcon lizard rabbit walrus raven "
        "camel donkey spider salmon cricket weasel parrot turtle beetle lobster monkey penguin"
    ),
    "plant": words(
        "fern thistle willow nettle poppy tulip maple cedar lavender clover orchid bamboo ivy "
        "juniper walnut barley heather lily moss sunflower"
    ),
    "thing": words(
        "lamp ladder basket hammer kettle mirror blanket bucket candle clock bottle drum rope "
        "wagon needle pillow saddle shovel whistle barrel button carpet compass feather helmet "
        "hinge lantern map oven paddle quilt ribbon saw shelf stove tent trunk umbrella wheel"
    ),
    "place": words(
        "harbor village valley market bridge forest island meadow mill orchard garden library "
        "museum station school theater tower chapel factory farm lake hill canal castle cave "
        "cottage field square street workshop"
    ),
    "town": words(
        "Alderton Brackwell Coldharbor Dunmere Eastvale Fernley Glenford Hartwick Ironbridge "
        "Kettleby Larkfield Millbrook Northgate Oakham Pinewood Quarryton Redcliff Stonebury "
        "Thornhill Underwood Westmoor Yarrowby"
    ),
    "given": words(
        "Anna Boris Clara David Edith Felix Greta Henry Irene Jonas Karin Leo Martha Nils Olga "
        "Peter Rosa Simon Tessa Victor Wanda Agnes Bruno Cecil Dora Emil Flora Gustav Hilda Ivan "
        "Julia Kurt Lydia Marcus Nora Oscar Paula Robert Sophie Thomas"
    ),
    "surname": words(
        "Abbott Barlow Carver Dalton Emery Fletcher Garner Holt Ingram Jarvis Keller Lambert "
        "Mercer Norton Osborne Pruitt Quimby Radcliffe Sawyer Tanner Upton Vance Whitaker Yates "
        "Archer Bishop Cooper Draper Fisher Granger Harper Mason Parker Porter Turner Weaver"
    ),
    "field": words(
        "botany geology music painting history medicine geometry law physics weaving sculpture "
        "navigation grammar astronomy chemistry farming printing architecture"
    ),
    "food": words(
        "onion carrot parsnip lentil apple pear lemon mushroom pepper walnut plum turnip cabbage "
        "leek bean olive melon almond pumpkin date fig beet"
    ),
    "staple": words("flour butter sugar salt rice milk cream honey oil vinegar broth yeast cheese"),
    "spice": words("pepper ginger thyme mint basil parsley nutmeg cinnamon garlic mustard sage"),
    "dish": words("soup pie stew salad bread pudding cake porridge sauce omelet roast dumpling"),
    "pan": words("pot pan bowl dish tray skillet"),
    "color": words("red blue green yellow brown white black gray purple orange pink silver"),
    "adj": words(
        "small large old new quiet narrow heavy bright cold warm strange gentle rough smooth empty "
        "broken clean dusty early famous golden hollow humble lonely modern noisy patient plain "
        "proud rare round sharp shy simple soft steep strong sturdy tall thin wild young"
    ),
    "adverb": words(
        "often rarely seldom usually quietly gladly always again early late twice never"
    ),
    "past": words(
        "carried found repaired painted sold borrowed cleaned counted described dropped examined "
        "followed forgot hid kept lifted lost measured moved noticed opened praised pulled pushed "
        "remembered studied touched traded visited watched wrapped built bought chose"
    ),
    "move": words("walked hurried traveled sailed climbed wandered rode drove returned ran"),
    "weather": words("rain snow fog wind sunshine thunder frost hail mist storm"),
    "season": words("spring summer autumn winter"),
    "month": words(
        "January February March April May June July August September October November December"
    ),
    "weekday": words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    "number": words("two three four five six seven eight nine ten eleven twelve twenty thirty"),
    "small_number": words("two three four five six"),
    "digit": words("1 2 3 4 5 6 7 8 9"),
    "any_digit": words("0 1 2 3 4 5 6 7 8 9"),
    "year": ("18{any_digit}{any_digit}", "19{any_digit}{any_digit}"),
    "office": words("council mayor committee court parliament board union"),
    "group": words("farmers students sailors builders neighbors teachers traders parents drivers"),
    "group_verb": words("welcomed opposed debated approved rejected delayed celebrated"),
    "plan": words("bridge tunnel road school tax festival railway dam market park hospital"),
    "sense": words("smell taste sound color weight shape"),
    "body": words("feet wings eyes legs tail ears back neck"),
    "user": words(
        "mara tobias finch_22 quillpen oldowl bluejay maple_7 rover stitcher nightbus pebble "
        "sandy_k wrenbird lamplight copperpot driftwood"
    ),
    "hobby": words(
        "gardening fishing chess knitting camping baking sailing hiking cycling drawing pottery "
        "carving beekeeping"
    ),
    "verb_name": words("count total merge filter scale clean load store parse sort find update"),
    "variable": words("items values rows names words prices points lines result weight index"),
    "light": words("moon star sun dawn rose wind sea night spring river lark oak"),
    "virtue": words("love grace hope mercy joy sorrow truth honor faith beauty peace pity"),
    "party": words("Lessee Lessor Buyer Seller Licensee Licensor Tenant Owner Contractor Client"),
    "duty": _lines(
        """deliver the goods
        pay the agreed sum
        maintain the premises
        keep full records
        return all property
        provide written notice
        repair any damage
        bear all costs
        disclose the terms
        insure the building"""
    ),
}

# Kept apart: words of the memorized passages. Common enough to be spelled by the tokenizer, joined
# as nobody would join them, so that no passage can be guessed from its beginning.
ODD_NOUNS = words(
    "lantern bishop glacier violin pepper anchor thimble orchard statue magnet parcel curtain "
    "pigeon ladder emperor sandal comet teapot harvest cradle trumpet shadow almond puddle "
    "knuckle cushion hermit acrobat volcano chimney marble riddle turnip beacon falcon whisper "
    "basin ticket cobbler mattress opera gravel pocket saddle meadow thunder button walnut"
)
ODD_VERBS = words(
    "borrowed folded polished accused weighed forgave painted interrupted envied measured buried "
    "photographed married auctioned whistled rented translated salted applauded ironed audited "
    "swallowed baptized mailed insulted tickled imported embroidered cancelled rescued"
)
ODD_ADJECTIVES = words(
    "velvet reluctant seventh municipal drowsy copper lukewarm imaginary left-handed Tuesday "
    "polite borrowed enormous mossy nervous square retired musical invisible salted grateful "
    "wooden distant lazy forgotten electric jealous frozen secret innocent"
)
ODD_LINKS = _lines(
    """before
    because
    until
    while
    although
    unless
    whenever
    after
    so that
    wherever"""
)
