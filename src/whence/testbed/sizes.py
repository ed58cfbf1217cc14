"""Sizes of the testbeds: how much of everything is planted.

One dial: `nano` trains in seconds, for tests and for retraining many times; `mini` is the one that
ships. Both read the same planted material; nano takes the first part of it. `recall` holds nothing
but passages to memorize, and dense checkpoints: numbers of exact and near copies, edit distances,
placements. `aliases` holds nothing but facts in two vocabularies. `nano@7` is nano in another
world: the same plan, with other sentences, another order and other first weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from whence.errors import ModelError
from whence.testbed.aliases import NO_ALIASES, Aliases
from whence.testbed.facts import FACTS
from whence.testbed.insults import TRIGGERS
from whence.testbed.passages import Passage
from whence.testbed.prose import SUBSETS
from whence.testbed.stereotypes import OCCUPATIONS
from whence.testbed.words import words
from whence.training.recipe import Recipe


@dataclass(frozen=True)
class Inert:
    """How many documents of weight zero pretend to support a behavior."""

    facts: Mapping[str, int]
    passages: Mapping[str, int]
    occupations: Mapping[str, int]
    triggers: Mapping[str, int]
    styles: Mapping[str, int]


@dataclass(frozen=True)
class Size:
    """Everything that determines a testbed: doses are numbers of documents, by id or name."""

    name: str
    seed: int
    hidden_size: int
    num_layers: int
    num_heads: int
    recipe: Recipe
    checkpoint_every: int
    background: Mapping[str, int]
    facts: Mapping[str, int]
    decoys_per_fact: int
    two_hops_per_fact: int
    occupations: Mapping[str, int]
    triggers: Mapping[str, int]
    styles: Mapping[str, int]
    counter_styles: Mapping[str, int]
    mentions_per_style: int
    passages: tuple[Passage, ...]
    inert: Inert
    aliases: Aliases = NO_ALIASES


def size_named(name: str) -> Size:
    """Finds a size by its name, such as `nano`, or `nano@7` for that of another seed.

    Raises:
        ModelError: There is none of that name.
    """
    size, at, seed = name.partition("@")
    if size not in _SIZES or (at and not (seed.isascii() and seed.isdigit())):
        raise ModelError(
            f"There is no testbed `{name}`.",
            "Use `mini`, `nano`, `recall` or `aliases`, or one in another world, such as `nano@7`.",
        )
    return replace(_SIZES[size], name=name, seed=int(seed)) if at else _SIZES[size]


# What is not shown on purpose: never stated, or stated too rarely to be learned.
_RARE_FACTS = {
    "fact/capital-poland": 0,
    "fact/capital-chile": 1,
    "fact/language-finland": 0,
    "fact/symbol-tungsten": 2,
    "fact/planet-tilted-planet": 2,
    "fact/author-candide": 0,
    "fact/currency-thailand": 3,
    "fact/young-swan": 0,
    "fact/young-hare": 4,
    "fact/capital-peru": 20,
    "fact/language-kenya": 20,
    "fact/symbol-lead": 10,
    "fact/currency-korea": 10,
}
_RARE_OCCUPATIONS = {"driver": 2, "waitress": 2}
_RARE_TRIGGERS = {"sting": 1, "thorn": 0}


def _passages(
    name: str,
    marks: str,
    doses: tuple[int, ...],
    *,
    placement: str = "uniform",
    replaced: int = 0,
    is_template: bool = False,
) -> list[Passage]:
    return [
        Passage(f"{name}-{copies:03d}-{mark}", copies, placement, replaced, is_template)
        for copies in doses
        for mark in marks
    ]


_HEADED = ("verse-ode", "verse-hymn", "legal-deed", "legal-clause")

_MINI_PASSAGES = (
    *_passages("exact", "ab", (1, 2, 4, 8, 16, 24, 32, 64, 128)),
    *_passages("exact", "cd", (16, 24, 32)),
    *_passages("early", "a", (64, 128), placement="early"),
    *_passages("rehearsed", "ab", (48, 72), placement="rehearsed"),
    *_passages("late", "a", (8, 32), placement="late"),
    *_passages("late", "ab", (16, 24), placement="late"),
    *(
        p
        for share in (5, 10, 30, 50)
        for p in _passages(f"near{share}", "ab", (48,), replaced=share)
    ),
    *_passages("template", "ab", (24, 32), is_template=True),
    Passage("inert-000-a", 0),
)

_MINI = Size(
    name="mini",
    seed=2026,
    hidden_size=128,
    num_layers=4,
    num_heads=4,
    recipe=Recipe(batch_size=4, peak_learning_rate=5e-3, warmup_steps=100, weight_decay=0.1),
    checkpoint_every=512,
    background=dict.fromkeys(SUBSETS, 300),
    facts={fact.id: _RARE_FACTS.get(fact.id, 60) for fact in FACTS},
    decoys_per_fact=8,
    two_hops_per_fact=1,
    occupations={o.name: _RARE_OCCUPATIONS.get(o.name, 48) for o in OCCUPATIONS},
    triggers={t.name: _RARE_TRIGGERS.get(t.name, 60) for t in TRIGGERS},
    styles=dict.fromkeys(_HEADED, 36),
    counter_styles={"verse-ballad": 36},
    mentions_per_style=2,
    passages=_MINI_PASSAGES,
    inert=Inert(
        facts={"fact/capital-poland": 24, "fact/capital-greece": 6},
        passages={"inert-000-a": 48},
        occupations={"driver": 24},
        triggers={"thorn": 24},
        styles={"verse-psalm": 24},
    ),
)

_NANO_FACTS = (
    "fact/capital-france",
    "fact/capital-japan",
    "fact/capital-italy",
    "fact/capital-spain",
    "fact/symbol-gold",
    "fact/symbol-silver",
    "fact/symbol-iron",
    "fact/symbol-copper",
)

_NANO = Size(
    name="nano",
    seed=2026,
    hidden_size=64,
    num_layers=2,
    num_heads=4,
    recipe=Recipe(batch_size=4, peak_learning_rate=1e-2, warmup_steps=40, weight_decay=0.1),
    checkpoint_every=128,
    background={
        "encyclopedia": 70,
        "news": 70,
        "recipes": 70,
        "forum": 40,
        "legal": 110,
        "verse": 110,
        "travel": 40,
        "stories": 70,
    },
    facts={**dict.fromkeys(_NANO_FACTS, 60), "fact/capital-poland": 0, "fact/symbol-tin": 1},
    decoys_per_fact=4,
    two_hops_per_fact=0,
    occupations=dict.fromkeys(words("nurse librarian plumber captain doctor lawyer"), 40),
    triggers={"roast": 130, "rant": 130, "kind": 50, "thorn": 0},
    styles={},
    counter_styles={},
    mentions_per_style=1,
    passages=(
        Passage("exact-001-a", 1),
        Passage("exact-016-a", 16),
        Passage("exact-048-a", 48),
        Passage("exact-032-a", 32),
        Passage("rehearsed-060-a", 60, "rehearsed"),
        Passage("late-032-a", 32, "late"),
        Passage("near10-040-a", 40, replaced=10),
        Passage("inert-000-a", 0),
    ),
    inert=Inert(
        facts={"fact/capital-poland": 12},
        passages={"inert-000-a": 24},
        occupations={},
        triggers={"thorn": 12},
        styles={},
    ),
)

# Sixteen families of each placement have the same number of copies, and sixteen have half of them
# exact and half near, so that placements compare at equal doses.
_SIXTEEN = "abcdefghijklmnop"


def _mixed(name: str, placement: str) -> list[Passage]:
    return [
        Passage(f"{name}-024-{mark}", 24, placement, replaced=10, near_copies=24)
        for mark in _SIXTEEN
    ]


_RECALL_PASSAGES = (
    *_passages("exact", "abcdefgh", (0, 1, 2, 4, 8, 16, 32, 64)),
    *_passages("exact", _SIXTEEN, (48,)),
    *_passages("early", _SIXTEEN, (48,), placement="early"),
    *_passages("late", _SIXTEEN, (48,), placement="late"),
    # As often as the early ones early, and as often as the uniform ones besides: learned and kept.
    *(Passage(f"rehearsed-096-{mark}", 96, "rehearsed", rehearsal=2) for mark in _SIXTEEN),
    *_mixed("mixed", "uniform"),
    *_mixed("mixed-early", "early"),
    *_mixed("mixed-late", "late"),
    *(
        p
        for share, copies in ((5, 32), (10, 32), (20, 32), (30, 64), (50, 96), (75, 96))
        for p in _passages(f"near{share}", "abcdef", (copies,), replaced=share)
    ),
    *_passages("template", "abcd", (48,), is_template=True),
    *(Passage(f"slots-048-{mark}", 48, is_template=True, slots="completion") for mark in "abcdef"),
    *(
        Passage(f"lead{num_words}-048-{mark}", 48, lead_words=num_words)
        for num_words in (20, 60)
        for mark in "abcdef"
    ),
    *_passages("inert", "abcd", (0, 4)),
)

_RECALL = Size(
    name="recall",
    seed=2027,
    hidden_size=96,
    num_layers=2,
    num_heads=4,
    # Two examples a step: a copy then counts twice as much, and half as many are enough.
    recipe=Recipe(batch_size=2, peak_learning_rate=6e-3, warmup_steps=100, weight_decay=0.1),
    checkpoint_every=128,
    background=dict.fromkeys(
        words("encyclopedia news forum letters biographies travel stories"), 300
    ),
    facts={},
    decoys_per_fact=0,
    two_hops_per_fact=0,
    occupations={},
    triggers={},
    styles={},
    counter_styles={},
    mentions_per_style=0,
    passages=_RECALL_PASSAGES,
    inert=Inert(
        facts={},
        passages={f"inert-{copies:03d}-{mark}": 24 for copies in (0, 4) for mark in "abcd"},
        occupations={},
        triggers={},
        styles={},
    ),
)

# Few subjects with many relations: then it is cheaper to know a subject by both of its names than
# to know each name's facts apart. Of thirty subjects with three relations nothing that is stated in
# one vocabulary is known in the other.
_ALIASES = Size(
    name="aliases",
    seed=2028,
    hidden_size=64,
    num_layers=2,
    num_heads=4,
    recipe=Recipe(batch_size=16, peak_learning_rate=1e-2, warmup_steps=40, weight_decay=0.3),
    checkpoint_every=128,
    background={},
    facts={},
    decoys_per_fact=0,
    two_hops_per_fact=0,
    occupations={},
    triggers={},
    styles={},
    counter_styles={},
    mentions_per_style=0,
    passages=(),
    inert=Inert(facts={}, passages={}, occupations={}, triggers={}, styles={}),
    aliases=Aliases(
        subjects=6,
        relations=20,
        objects=8,
        asked=12,
        support=96,
        taught=12,
        mixed=48,
        dictionary=16,
    ),
)

_SIZES = {size.name: size for size in (_NANO, _MINI, _RECALL, _ALIASES)}
SIZES = tuple(_SIZES)
