"""A factorial bank of retrainings, each without a random half of the planted groups.

In every retraining each group is in or out with probability one half, so that
each run measures all groups at once. One-at-a-time removal with the same error would
take about ten times as many runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from whence.errors import ArtifactError
from whence.progress import SILENT, Progress
from whence.settings import MOST, Settings
from whence.testbed import RetrainingSettings, behaviors, groups
from whence.testbed.randomness import Stream
from whence.validation.removal import Removals
from whence.validation.retraining import Outcome, Retraining, make_outcomes, read_outcomes

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float

SECOND_SEED = 1
MOST_MASKS = 100_000


class BankSettings(Settings):
    """Which groups are left out how often.

    Mask number i is the same whatever the number of masks, so that a bank can grow.

    Example:
        >>> BankSettings(retraining=RetrainingSettings(size="nano")).num_masks
        64
    """

    retraining: RetrainingSettings
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
    group to its examples, in the order of `included`'s columns.
    """

    size: str
    groups: Mapping[str, frozenset[str]]
    query_ids: tuple[str, ...]
    included: "Bool[np.ndarray, 'runs groups']"
    log_probs_nats: "Float[np.ndarray, 'runs queries']"
    second_log_probs_nats: "Float[np.ndarray, 'second_runs queries']"
    seconds_per_run: float

    @property
    def num_runs(self) -> int:
        """Runs with the first seed."""
        return len(self.included)


def bank_runs(settings: BankSettings) -> tuple[Retraining, ...]:
    """Lists the training runs of a bank: every mask, then the first ones with a second seed."""
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
    runs = [*bank_runs(settings), *(removals.runs if removals else ())]
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
    names = groups(size)
    seconds = [outcome.seconds for outcome in outcomes if outcome]
    return Bank(
        size=size,
        groups=names,
        query_ids=query_ids,
        included=np.array([[is_in(settings, n, g) for g in names] for n in order]),
        log_probs_nats=_log_probs([first[n] for n in order], query_ids),
        second_log_probs_nats=_log_probs([second[n] for n in twice], query_ids),
        seconds_per_run=float(np.mean(seconds)),
    )


def is_in(settings: BankSettings, number: int, group: str) -> bool:
    """Tells whether a group counts in a mask: a fair coin for each pair of mask and group."""
    return Stream(settings.seed, "mask", number, group).below(2) == 1


def own_groups(bank: Bank, gold: Mapping[str, frozenset[str]]) -> Mapping[str, tuple[int, ...]]:
    """Finds the groups that were planted for each query.

    Args:
        bank: The bank.
        gold: From query id to the examples that truly support it.

    Returns:
        From each of the bank's queries to columns of `included`: the groups of which more than half
        is gold. Empty where nothing was planted, or only what does not count.
    """
    return {
        query: tuple(
            column
            for column, ids in enumerate(bank.groups.values())
            if 2 * len(ids & gold.get(query, frozenset())) > len(ids)
        )
        for query in bank.query_ids
    }


def _dropped(settings: BankSettings, number: int) -> frozenset[str]:
    return frozenset(
        example_id
        for name, ids in groups(settings.retraining.size).items()
        if not is_in(settings, number, name)
        for example_id in ids
    )


def _log_probs(
    outcomes: Sequence[Outcome], query_ids: Sequence[str]
) -> "Float[np.ndarray, 'runs queries']":
    import numpy as np

    table = [[outcome.log_probs_nats[q] for q in query_ids] for outcome in outcomes]
    return np.array(table, dtype=np.float64).reshape(len(outcomes), len(query_ids))
