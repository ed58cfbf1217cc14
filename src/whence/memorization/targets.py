"""Targets: the memorized windows that are attributed, and controls that are not memorized.

Two kinds of controls answer two objections. A control of the same family has much the same text and
the same copies, and is not memorized. A control with as many copies is of other content, and its
continuation stands in as many documents. What is true of memorized windows and of both controls
alike is no mark of memorization.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from whence.evidence.alignment import n_grams
from whence.memorization.onset import Onset
from whence.memorization.scan import Scan
from whence.memorization.windows import Windows

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Group = Literal["memorized", "same family", "as many copies"]
GROUPS: tuple[Group, ...] = ("memorized", "same family", "as many copies")
_RUN = 13


@dataclass(frozen=True)
class Targets:
    """What is attributed; everything is by target.

    Attributes:
        places: Its place among the scanned windows.
        groups: What it is.
        families: The family of the memorized window, or of the one that it is a control for: a
            place among the scanned windows.
        of: The target that it is a control for; its own number for a memorized one.
    """

    places: "Int[np.ndarray, ' targets']"
    groups: tuple[Group, ...]
    families: "Int[np.ndarray, ' targets']"
    of: "Int[np.ndarray, ' targets']"

    def __len__(self) -> int:
        return len(self.places)

    def numbers(self, group: Group) -> list[int]:
        """The targets of a group."""
        return [number for number, own in enumerate(self.groups) if own == group]


def choose_targets(
    windows: Windows,
    scans: Sequence[Scan],
    found: Onset,
    family_of: "Int[np.ndarray, ' windows']",
    num_documents: "Int[np.ndarray, ' windows']",
    *,
    per_family: int,
    max_targets: int,
    seed: int = 0,
) -> Targets:
    """Chooses memorized windows and, for each, two controls where there are any.

    Args:
        windows: All windows.
        scans: At ascending checkpoints; the last decides what is memorized.
        found: Their stable onset.
        family_of: The family of each memorized window; -1 for others.
        num_documents: In how many documents each continuation stands.
        per_family: Memorized windows of each family: the earliest, the latest, then between.
        max_targets: Memorized windows in all; larger families come first.
        seed: Breaks ties among windows that are memorized at one checkpoint.
    """
    rng = np.random.default_rng(seed)
    is_memorized = scans[-1].is_extractible
    ever = np.asarray(np.stack([one.is_extractible for one in scans]).any(axis=0))
    members: dict[int, list[int]] = {}
    for place in np.flatnonzero(is_memorized).tolist():
        members.setdefault(int(family_of[place]), []).append(place)
    chosen: list[int] = []
    for own in sorted(members.values(), key=lambda own: (-len(own), own[0])):
        chosen += _spread(rng.permutation(own).tolist(), found.by, per_family)
    chosen = chosen[:max_targets]
    relatives = _relatives(windows, np.flatnonzero(is_memorized), family_of, ~ever)
    is_free = ~ever
    is_free[[place for own in relatives.values() for place in own]] = False
    likeness = _likeness(scans, num_documents)
    places = list(chosen)
    groups: list[Group] = ["memorized"] * len(chosen)
    of = list(range(len(chosen)))
    taken = set(chosen)
    candidates: dict[Group, dict[int, list[int]]] = {
        "same family": {p: relatives.get(int(family_of[p]), []) for p in chosen},
        "as many copies": dict.fromkeys(chosen, np.flatnonzero(is_free).tolist()),
    }
    for group, by_place in candidates.items():
        for number, place in enumerate(chosen):
            left = [other for other in by_place[place] if other not in taken]
            if left:
                apart = np.abs(likeness[left] - likeness[place]).sum(axis=1)
                nearest = left[int(apart.argmin())]
                taken.add(nearest)
                places.append(nearest)
                groups.append(group)
                of.append(number)
    families = [int(family_of[chosen[number]]) for number in of]
    return Targets(np.array(places), tuple(groups), np.array(families), np.array(of))


def _spread(places: list[int], by: "Int[np.ndarray, ' windows']", num: int) -> list[int]:
    """Takes windows of different onsets: the earliest, the latest, then those between."""
    ordered = sorted(places, key=lambda place: int(by[place]))
    if num == 1 or len(ordered) == 1:
        return ordered[:1]
    first, last = ordered[0], ordered[-1]
    between = ordered[1:-1]
    return [first, last, *between[:: max(1, len(between) // max(1, num - 2))]][:num]


def _relatives(
    windows: Windows,
    memorized: "Int[np.ndarray, ' memorized']",
    family_of: "Int[np.ndarray, ' windows']",
    is_control: np.ndarray,
) -> dict[int, list[int]]:
    """Lists windows that share a run of 13 tokens with a family, and are never extractible."""
    length = min(_RUN, windows.tokens.shape[1])
    family: dict[tuple[int, ...], int] = {}
    for place in memorized.tolist():
        for gram in n_grams(windows.tokens[place].tolist(), length):
            family.setdefault(gram, int(family_of[place]))
    found: dict[int, list[int]] = {}
    for place in np.flatnonzero(is_control).tolist():
        grams = sorted(n_grams(windows.tokens[place].tolist(), length))
        owners = [family[gram] for gram in grams if gram in family]
        if owners:
            found.setdefault(owners[0], []).append(place)
    return found


def _likeness(
    scans: Sequence[Scan], num_documents: "Int[np.ndarray, ' windows']"
) -> "Float[np.ndarray, 'windows 2']":
    """What controls are matched on: copies, and the loss at the middle checkpoint, in spreads.

    Copies weigh ten times as much, since they are what the control is to hold constant.
    """
    early = scans[len(scans) // 2].mean_log_prob_nats
    values = np.stack([np.log(np.maximum(num_documents, 1)), early], axis=1)
    spread = values.std(axis=0)
    return values / np.where(spread > 0, spread, 1.0) * np.array([10.0, 1.0])
