"""Behaviors of several kinds that are matched in the length of their queries.

The number of tokens of a query alone tells its kind in most collections of behaviors: facts are
short, passages are long. Only behaviors of equal lengths can show that something else tells it.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from whence.evidence.null_queries import Shape

if TYPE_CHECKING:
    import numpy as np

# Prompts whose lengths differ by less than this factor are in one class or in neighboring ones.
CALIPER = 1.5


class Matched(NamedTuple):
    """A matched selection: rows of behaviors, ascending, and the kinds they are of.

    Each kind has the same number of rows of each completion length and class of prompt length.
    """

    kinds: tuple[str, ...]
    rows: tuple[int, ...]


def match_lengths(
    kinds: Sequence[str],
    shapes: Sequence[Shape],
    *,
    families: Sequence[str],
    rng: "np.random.Generator",
    min_per_kind: int,
) -> Matched | None:
    """Selects the largest set of behaviors in which lengths are distributed alike in every kind.

    As many kinds as possible, and of these as many behaviors. Completions have exactly equal
    lengths; prompts are of one class, whose lengths differ by less than a factor of `CALIPER`.

    Args:
        kinds: The kind of each behavior.
        shapes: The numbers of tokens of each query.
        families: The family of each behavior; the selection has many rather than few.
        rng: Draws among behaviors that are equally good.
        min_per_kind: The least number of behaviors of a kind.

    Returns:
        None where no two kinds have so many behaviors of equal lengths.
    """
    strata: dict[tuple[int, int], dict[str, list[int]]] = {}
    for row in _diverse_order(families, rng):
        stratum = strata.setdefault(_stratum(shapes[row]), {})
        stratum.setdefault(kinds[row], []).append(row)
    names = sorted(set(kinds))
    for count in range(len(names), 1, -1):
        found = [(_size(strata, chosen), chosen) for chosen in combinations(names, count)]
        size, chosen = max(found, key=lambda one: one[0])
        if size >= min_per_kind:
            rows = []
            for by_kind in strata.values():
                num = min(len(by_kind.get(name, ())) for name in chosen)
                rows += [row for name in chosen for row in by_kind.get(name, ())[:num]]
            return Matched(chosen, tuple(sorted(rows)))
    return None


def _stratum(shape: Shape) -> tuple[int, int]:
    """The length of the completion, and the class of the prompt's."""
    prompt = shape.num_prompt_tokens
    return shape.num_completion_tokens, math.floor(math.log(max(1, prompt), CALIPER) + 1e-9)


def _size(strata: dict[tuple[int, int], dict[str, list[int]]], chosen: tuple[str, ...]) -> int:
    """How many behaviors of each kind a selection of these kinds has."""
    return sum(min(len(s.get(name, ())) for name in chosen) for s in strata.values())


def _diverse_order(families: Sequence[str], rng: "np.random.Generator") -> list[int]:
    """A random order in which the first member of every family stands before any second one."""
    turns: dict[str, int] = {}
    turn_of: dict[int, int] = {}
    drawn: list[int] = rng.permutation(len(families)).tolist()
    for row in drawn:
        turn_of[row] = turns.setdefault(families[row], 0)
        turns[families[row]] += 1
    return sorted(drawn, key=lambda row: turn_of[row])
