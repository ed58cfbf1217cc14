"""A factorial bank of retrainings, each without a random half of some groups or documents.

In every retraining each unit, a planted group or a single document, is in or out with probability
one half, so that each run measures all units at once. One-at-a-time removal with the same error
would take about ten times as many runs. A bank of a window resumes the uninterrupted training at
the window's start and has only the window's documents in its units.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from whence.artifacts import alone, write_json
from whence.errors import ArtifactError, SettingsError
from whence.progress import SILENT, Progress
from whence.settings import MOST, Settings
from whence.testbed import RetrainingSettings, behaviors, corpus, groups, window, window_ids
from whence.testbed.randomness import Stream
from whence.validation.outcomes import Outcome, Retraining, check_counts
from whence.validation.removal import Removals
from whence.validation.retraining import (
    make_outcomes,
    make_place,
    place_of,
    read_outcomes,
    read_setups,
)

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float

SECOND_SEED = 1
MOST_MASKS = 100_000
MASKS = "masks.json"

Unit = Literal["group", "document"]


class BankSettings(Settings):
    """Which groups or documents are left out how often.

    Mask number i is the same whatever the number of masks, so that a bank can grow.

    Example:
        >>> BankSettings(retraining=RetrainingSettings(size="nano")).num_masks
        64
    """

    retraining: RetrainingSettings
    unit: Unit = Field(
        default="group", description="What is in or out as a whole: a planted group or a document."
    )
    num_masks: int = Field(default=64, ge=2, le=MOST_MASKS)
    num_second: int = Field(
        default=32,
        ge=0,
        le=MOST_MASKS,
        description="Masks that are trained again with a second seed.",
    )
    seed: int = Field(default=0, ge=0, le=MOST, description="Of the masks.")


@dataclass(frozen=True)
class Bank:
    """What a bank measured.

    `included[r, g]` says that group g counted in run r; `log_probs_nats[r, q]` is the summed
    log-probability of query q's completion. `second_log_probs_nats` has the same masks as the
    first rows, with other first weights and another order; it may have no rows. `groups` maps each
    group to its examples, in the order of `included`'s columns; in a bank of documents each is one
    document. `counts[g]` holds the numbers of a group's examples and of their tokens.
    """

    size: str
    groups: Mapping[str, frozenset[str]]
    query_ids: tuple[str, ...]
    included: "Bool[np.ndarray, 'runs groups']"
    log_probs_nats: "Float[np.ndarray, 'runs queries']"
    second_log_probs_nats: "Float[np.ndarray, 'second_runs queries']"
    counts: "Float[np.ndarray, 'groups 2']"
    seconds_per_run: float
    is_window: bool = False

    @property
    def num_runs(self) -> int:
        """Runs with the first seed."""
        return len(self.included)


def bank_runs(settings: BankSettings) -> tuple[Retraining, ...]:
    """Lists the training runs of a bank: every mask, then the first ones with a second seed."""
    if settings.num_second and settings.retraining.since is not None:
        raise SettingsError(
            f"{settings.num_second} masks of a window cannot have a second seed.",
            "Another seed has another order, and so another window; give --second 0.",
        )
    first = [_dropped(settings, number) for number in range(settings.num_masks)]
    second = first[: min(settings.num_second, settings.num_masks)]
    return (
        *(Retraining(dropped) for dropped in first),
        *(Retraining(dropped, SECOND_SEED) for dropped in second),
    )


class BankProgress(NamedTuple):
    """How many retrainings there are in all, and how many are still to be made."""

    num_retrainings: int
    num_left: int


def make_bank(
    settings: BankSettings,
    directory: Path,
    *,
    removals: Removals | None = None,
    jobs: int = 1,
    most: int | None = None,
    progress: Progress = SILENT,
) -> BankProgress:
    """Trains the runs of a bank that are not there yet, and after them some removals.

    Args:
        settings: Which testbed, how many masks.
        directory: Where retrainings are kept.
        removals: Trainings without what methods name, which validating their run needs.
        jobs: Processes, of one thread each.
        most: Train at most so many runs now.
        progress: Reports progress.

    Returns:
        The numbers of trainings in all and still to be made.

    Raises:
        SettingsError: `jobs` or `most` is below 1.
        ArtifactError: The directory cannot be written.

    Cost:
        One training run per mask and seed: 96 runs of about 8 seconds of a CPU core for nano.
    """
    check_counts(jobs=jobs, most=most)
    runs = [*bank_runs(settings), *(removals.runs if removals else ())]
    place = place_of(settings.retraining, directory)
    make_place(settings.retraining, place)
    note_masks(place, settings.unit, settings.num_masks)
    num_left = make_outcomes(
        settings.retraining, runs, directory, jobs=jobs, most=most, progress=progress
    )
    return BankProgress(len(set(runs)), num_left)


def load_bank(settings: BankSettings, directory: Path) -> Bank:
    """Reads a bank; of an unfinished one, the runs that are there.

    Raises:
        ArtifactError: Fewer than two masks have been trained, or a file is broken.
    """
    import numpy as np

    size = settings.retraining.size
    query_ids = tuple(b.id for b in behaviors(size))
    outcomes = read_outcomes(settings.retraining, bank_runs(settings), directory)
    first = {n: o for n, o in enumerate(outcomes[: settings.num_masks]) if o}
    second = {n: o for n, o in enumerate(outcomes[settings.num_masks :]) if o}
    if len(first) < 2:
        raise ArtifactError(
            f"{directory} holds {len(first)} retrainings of testbed:{size}'s bank.",
            f"Make them with `whence bank {directory} --size {size}`.",
        )
    # Rows are paired by mask: the second seed's runs must be the first of the first seed's.
    twice = [number for number in second if number in first]
    order = [*twice, *(number for number in first if number not in second)]
    names = units(settings)
    seconds = [outcome.seconds for outcome in outcomes if outcome]
    return Bank(
        size=size,
        groups=names,
        query_ids=query_ids,
        included=np.array([[is_in(settings, n, g) for g in names] for n in order]),
        log_probs_nats=_log_probs([first[n] for n in order], query_ids),
        second_log_probs_nats=_log_probs([second[n] for n in twice], query_ids),
        counts=_counts(size, names),
        is_window=settings.retraining.since is not None,
        seconds_per_run=float(np.mean(seconds)),
    )


def units(settings: BankSettings) -> Mapping[str, frozenset[str]]:
    """Lists what is in or out as a whole.

    Returns:
        From the name of each group, or the id of each document, to the examples that it stands
        for; of a window, only those that the window trains on, and no group without any.
    """
    retraining = settings.retraining
    in_window = window_ids(retraining)
    if settings.unit == "document":
        return {example_id: frozenset({example_id}) for example_id in in_window}
    if retraining.since is None:
        return groups(retraining.size)
    shared = {name: ids & set(in_window) for name, ids in groups(retraining.size).items()}
    return {name: ids for name, ids in shared.items() if ids}


def find_banks(size: str, directory: Path) -> tuple[BankSettings, ...]:
    """Finds the banks that a directory holds of parts of a testbed's training, or of documents.

    Returns:
        Settings with as many masks as `make_bank` was called for; the latest windows first, the
        shorter before the longer. The bank of groups over the whole training is not among them.

    Raises:
        ArtifactError: A file that describes a bank is broken.
    """
    found = []
    for place, inputs in read_setups(size, directory):
        retraining = RetrainingSettings(
            size=size, since=inputs.get("since"), stop_after=inputs.get("stop_after")
        )
        # What another version trained has another name, and is not read.
        if place == place_of(retraining, directory):
            found += [
                BankSettings(retraining=retraining, unit=unit, num_masks=num_masks, num_second=0)
                for unit, num_masks in noted_masks(place).items()
                if unit == "document" or retraining.since is not None
            ]
    return tuple(sorted(found, key=window_order))


def window_order(settings: BankSettings) -> tuple[int, int, str]:
    """The place of a window among others: the latest end first, then the shorter."""
    since, until = window(settings.retraining)
    return -until, -since, settings.unit


def is_in(settings: BankSettings, number: int, group: str) -> bool:
    """Tells whether a group counts in a mask: a fair coin for each pair of mask and group."""
    return coin(settings.seed, number, group)


def coin(seed: int, number: int, unit: str) -> bool:
    """Tosses the fair coin of a mask and a unit; the same wherever it is tossed."""
    return Stream(seed, "mask", number, unit).below(2) == 1


def own_groups(
    bank: Bank, gold: Mapping[str, frozenset[str]], *, is_complete: bool = False
) -> Mapping[str, tuple[int, ...] | None]:
    """Finds the groups that were planted for each query.

    Args:
        bank: The bank.
        gold: From query id to the examples that truly support it.
        is_complete: A query whose entry is empty is known to have no example of its own.

    Returns:
        From each of the bank's queries to columns of `included`: the groups of which more than half
        is gold. None where nothing was planted, or only what does not count. Empty where all of it
        is outside the bank's window: nothing has to be taken out there.
    """
    found: dict[str, tuple[int, ...] | None] = {}
    for query in bank.query_ids:
        own = gold.get(query, frozenset())
        columns = tuple(
            column
            for column, ids in enumerate(bank.groups.values())
            if 2 * len(ids & own) > len(ids)
        )
        is_known = (
            bool(columns) or (bank.is_window and bool(own)) or (is_complete and query in gold)
        )
        found[query] = columns if is_known else None
    return found


def _dropped(settings: BankSettings, number: int) -> frozenset[str]:
    return frozenset(
        example_id
        for name, ids in units(settings).items()
        if not is_in(settings, number, name)
        for example_id in ids
    )


def _counts(size: str, names: Mapping[str, frozenset[str]]) -> "Float[np.ndarray, 'groups 2']":
    """Counts the examples of each group and their tokens."""
    import numpy as np

    examples = corpus(size)
    length = dict(zip(examples.ids, examples.lengths.tolist(), strict=True))
    counts = [[len(ids), sum(length[i] for i in ids)] for ids in names.values()]
    return np.array(counts, dtype=np.float64).reshape(len(names), 2)


def note_masks(place: Path, unit: Unit, num_masks: int) -> None:
    """Writes down how many masks of a unit were called for: the most of all calls."""
    with alone(place):
        known = noted_masks(place)
        most = max(num_masks, known.get(unit, 0))
        if known.get(unit) != most:
            write_json(place / MASKS, known | {unit: most})


def noted_masks(place: Path) -> dict[Unit, int]:
    """Reads how many masks of each unit were called for.

    Raises:
        ArtifactError: The file is broken.
    """
    path = place / MASKS
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}).", "Delete it.") from None


def _log_probs(
    outcomes: Sequence[Outcome], query_ids: Sequence[str]
) -> "Float[np.ndarray, 'runs queries']":
    import numpy as np

    table = [[outcome.log_probs_nats[q] for q in query_ids] for outcome in outcomes]
    return np.array(table, dtype=np.float64).reshape(len(outcomes), len(query_ids))
