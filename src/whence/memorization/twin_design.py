"""Which copies are removed in which of several runs of training, family by family.

A one-at-a-time removal of exact and of near copies reports that neither matters where each stands
in for the other. So both are removed together as well, in every family: a 2 × 2 of exact and near
copies. Families take turns: in run r the family of turn f has arm (f + r) modulo the number of
arms, a Latin square, so that a few runs measure all arms of all families and no arm has a run to
itself. Turns are drawn anew in each order, since within one the same two families always have arms
that are equally far apart, and may teach each other.

What is removed is replaced at its place in the order by an unrelated passage of nearest length, so
that every run has as many passages and steps. As a control, one arm removes unrelated passages, as
many as the family has copies, which should change nothing.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from whence.errors import CorpusError, SettingsError
from whence.memorization.copies import CopyClass
from whence.settings import MOST, Settings

if TYPE_CHECKING:
    from whence.memorization.copies import Copies
    from whence.records import Corpus

# By arm: which of a family's parts it removes.
REMOVED: Mapping[str, frozenset[str]] = {
    "full": frozenset(),
    "without exact": frozenset({"exact"}),
    "without near": frozenset({"near"}),
    "without both": frozenset({"exact", "near"}),
    "without others": frozenset({"others"}),
}


class TwinSettings(Settings):
    """A short continued training and what is removed from it.

    Example:
        >>> TwinSettings().arms
        ('full', 'without exact', 'without near', 'without both', 'without others')
    """

    num_steps: int = Field(default=50, ge=1, le=MOST, description="Optimizer steps of each run.")
    max_exact: int = Field(
        default=8,
        ge=1,
        description="Exact copies of a family's target, the example that it was read from among "
        "them; of more, so many are drawn.",
    )
    max_near: int = Field(default=8, ge=1, description="Near copies of a family's target.")
    min_copies: int = Field(
        default=3, ge=1, description="A family with fewer exact or fewer near copies is left out."
    )
    exact_classes: tuple[CopyClass, ...] = Field(
        default=("self", "exact", "continuation"),
        description="What counts as exact. A copy of the whole continuation after another prompt "
        "does by default, since the continuation is what is measured.",
    )
    near_classes: tuple[CopyClass, ...] = ("near",)
    num_orders: int = Field(
        default=2,
        ge=1,
        description="How often all is drawn anew: order, copies, stand-ins and other passages.",
    )
    with_others: bool = Field(
        default=True, description="Also remove unrelated passages, as a control: one more arm."
    )
    seed: int = Field(default=0, ge=0, le=MOST)

    @model_validator(mode="after")
    def _are_apart(self) -> "TwinSettings":
        if both := set(self.exact_classes) & set(self.near_classes):
            raise ValueError(f"`{min(both)}` is among both the exact and the near classes")
        return self

    @property
    def arms(self) -> tuple[str, ...]:
        """What is done to a family: one arm in each run of an order."""
        return tuple(arm for arm in REMOVED if self.with_others or "others" not in REMOVED[arm])


class Slot(NamedTuple):
    """A place in the order: the passage there, and its stand-in where it is removed."""

    row: int
    stand_in: int
    family: int
    part: str


class Design(NamedTuple):
    """The passages of one order, in their places.

    `families` names the families, `turns[f]` is the turn of each, and `counts[f]` holds its numbers
    of exact and of near copies. A slot of family -1 is the same in every run.
    """

    families: tuple[str, ...]
    turns: tuple[int, ...]
    counts: tuple[tuple[int, int], ...]
    arms: tuple[str, ...]
    slots: tuple[Slot, ...]

    def arm(self, family: int, run: int) -> int:
        """The arm of a family in a run."""
        return (self.turns[family] + run) % len(self.arms)

    def rows(self, run: int) -> tuple[int, ...]:
        """Lists the corpus rows that a run trains on, in order."""
        removed = [REMOVED[self.arms[self.arm(f, run)]] for f in range(len(self.families))]
        return tuple(
            slot.stand_in if slot.family >= 0 and slot.part in removed[slot.family] else slot.row
            for slot in self.slots
        )


class Parts(NamedTuple):
    """The exact and near copies of a family's target, in corpus order."""

    exact: tuple[int, ...]
    near: tuple[int, ...]


class TargetCopies(NamedTuple):
    """The copies of every family's target; `shared` ones copy those of several and are in none."""

    by_family: dict[str, Parts]
    shared: tuple[int, ...]


def copies_of_targets(
    copies: "Copies", targets: Mapping[str, int], settings: TwinSettings
) -> TargetCopies:
    """Lists the copies of every family's target.

    Args:
        copies: Of all windows.
        targets: From each family to the place of its target window.
        settings: Which classes count.
    """
    found = {
        family: Parts(
            tuple(copies.of(window, settings.exact_classes).tolist()),
            tuple(copies.of(window, settings.near_classes).tolist()),
        )
        for family, window in targets.items()
    }
    owners: dict[int, int] = {}
    for parts in found.values():
        for row in {*parts.exact, *parts.near}:
            owners[row] = owners.get(row, 0) + 1
    return TargetCopies(
        {
            family: Parts(*(tuple(row for row in rows if owners[row] == 1) for rows in parts))
            for family, parts in found.items()
        },
        tuple(sorted(row for row, num in owners.items() if num > 1)),
    )


def families_with_copies(
    copies: "Copies", targets: Mapping[str, int], settings: TwinSettings
) -> TargetCopies:
    """Leaves out families without enough copies of their own, the one with the fewest first.

    What a family that is left out shares with another one belongs to that then.

    Args:
        copies: Of all windows.
        targets: From each family to the place of its target window.
        settings: Which classes count, and how many of each a family must have.
    """
    left = dict(targets)
    while True:
        found = copies_of_targets(copies, left, settings)
        too_few = {
            family: sum(map(len, parts))
            for family, parts in found.by_family.items()
            if min(map(len, parts)) < settings.min_copies
        }
        if not too_few:
            return found
        del left[min(too_few, key=lambda family: too_few[family])]


def twin_targets(
    copies: "Copies", families: Sequence[str], settings: TwinSettings
) -> dict[str, int]:
    """Chooses for each family the window with the most copies of both classes.

    Two families may stand in the same documents, such as a site's header and its footer. Then what
    is removed for one is missing for the other, so that only copies count which no other family's
    target has. Targets are chosen without regard to that first, then each anew beside the others.

    Args:
        copies: Of all windows.
        families: The family of each window.
        settings: Which copies count, and up to how many.

    Returns:
        By family, in order of appearance, the place of the window whose rarer class has the most
        copies; then the one with more exact copies, then the first. A family without exact and near
        copies has one, too.
    """
    members: dict[str, list[int]] = {}
    for window, family in enumerate(families):
        members.setdefault(family, []).append(window)

    def best(windows: list[int], elsewhere: "np.ndarray") -> int:
        def worth(window: int) -> tuple[int, int]:
            exact, near = (
                min(most, int((~np.isin(copies.of(window, classes), elsewhere)).sum()))
                for classes, most in (
                    (settings.exact_classes, settings.max_exact),
                    (settings.near_classes, settings.max_near),
                )
            )
            return min(exact, near), exact

        return max(windows, key=worth)

    nowhere = np.zeros(0, dtype=np.int64)
    found = {family: best(windows, nowhere) for family, windows in members.items()}
    counted = (*settings.exact_classes, *settings.near_classes)
    of_target = {family: copies.of(window, counted) for family, window in found.items()}
    for family, windows in members.items():
        others = [rows for other, rows in of_target.items() if other != family]
        found[family] = best(windows, np.concatenate([nowhere, *others]))
        of_target[family] = copies.of(found[family], counted)
    return found


def make_design(
    corpus: "Corpus",
    copies: "Copies",
    targets: Mapping[str, int],
    *,
    settings: TwinSettings,
    batch_size: int,
    order: int,
    pool: Sequence[int] | None = None,
) -> Design:
    """Draws the passages of one order, and their places.

    Args:
        corpus: The examples.
        copies: Of all windows, so that no other passage is a copy of any.
        targets: From each family to the place of its target window.
        settings: How many copies and steps.
        batch_size: Examples of an optimizer step.
        order: The order's number, from 0.
        pool: Rows among which unrelated passages are drawn; by default all. Copies of a window, of
            any class, and examples of one token are never drawn.

    Returns:
        As many slots as `settings.num_steps` batches have; no passage occurs twice.

    Raises:
        CorpusError: There are too few unrelated passages, or no family has enough copies.
        SettingsError: The copies do not fit into the steps.
    """
    rng = np.random.default_rng([settings.seed, order])
    taking_part = {
        family: Parts(
            _some(parts.exact, settings.max_exact, rng, own=copies.of(targets[family], ("self",))),
            _some(parts.near, settings.max_near, rng),
        )
        for family, parts in families_with_copies(copies, targets, settings).by_family.items()
    }
    if not taking_part:
        raise CorpusError(
            f"None of {len(targets)} families has {settings.min_copies} exact and as many near "
            "copies of its target.",
            "Lower `min_copies`, or count more classes as near.",
        )
    others = _Unrelated(corpus, copies, pool, rng)
    slots: list[Slot] = []
    for number, parts in enumerate(taking_part.values()):
        by_part: dict[str, Sequence[int]] = parts._asdict()
        if settings.with_others:
            by_part["others"] = [others.like(row) for rows in parts for row in rows]
        slots += [
            Slot(row, others.like(row), number, part)
            for part, rows in by_part.items()
            for row in rows
        ]
    num_passages = settings.num_steps * batch_size
    if len(slots) > num_passages:
        raise SettingsError(
            f"{len(taking_part)} families have {len(slots)} passages that may be removed, but "
            f"{settings.num_steps} steps of {batch_size} train on {num_passages}.",
            "Raise `num_steps`, or lower `max_exact` and `max_near`.",
        )
    slots += [Slot(row, row, -1, "") for row in others.draw(num_passages - len(slots))]
    return Design(
        tuple(taking_part),
        tuple(rng.permutation(len(taking_part)).tolist()),
        tuple((len(parts.exact), len(parts.near)) for parts in taking_part.values()),
        settings.arms,
        tuple(slots[place] for place in rng.permutation(len(slots)).tolist()),
    )


class _Unrelated:
    """Passages that copy no window, each drawn at most once."""

    def __init__(
        self,
        corpus: "Corpus",
        copies: "Copies",
        pool: Sequence[int] | None,
        rng: "np.random.Generator",
    ) -> None:
        rows = np.arange(len(corpus)) if pool is None else np.unique(np.asarray(pool, np.int64))
        rows = rows[(corpus.lengths[rows] > 1) & ~np.isin(rows, copies.rows)]
        # Shuffled once, so that the first of those of equal length is one of them at random.
        self._rows = rng.permutation(rows)
        self._all_lengths = corpus.lengths
        self._lengths = self._all_lengths[self._rows].astype(np.float64)
        self._num = len(rows)

    def like(self, row: int) -> int:
        """Draws the passage whose length is nearest to a row's."""
        return self._take(int(np.argmin(np.abs(self._lengths - self._all_lengths[row]))))

    def draw(self, num: int) -> list[int]:
        """Draws so many passages of any length."""
        free = np.flatnonzero(np.isfinite(self._lengths))[:num]
        if len(free) < num:
            self._refuse()
        return [self._take(int(place)) for place in free]

    def _take(self, place: int) -> int:
        if not self._num or math.isinf(self._lengths[place]):
            self._refuse()
        self._lengths[place] = math.inf
        return int(self._rows[place])

    def _refuse(self) -> None:
        raise CorpusError(
            f"The runs need more than the {self._num} passages that copy no window.",
            "Lower `num_steps` or the numbers of copies, or draw from a larger pool.",
        )


def _some(
    rows: Sequence[int], most: int, rng: "np.random.Generator", *, own: Collection[int] = ()
) -> tuple[int, ...]:
    """Draws so many rows at most, and the example of the target among them, in corpus order."""
    kept = [row for row in rows if row in own][:most]
    rest = [row for row in rows if row not in kept]
    num = min(most - len(kept), len(rest))
    return tuple(sorted([*kept, *rng.choice(rest, num, replace=False).tolist()]) if num else kept)
