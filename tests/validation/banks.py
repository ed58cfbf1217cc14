"""Banks and scores whose truth is known because they are made up."""

import numpy as np

from whence.records import Scores
from whence.validation.bank import Bank


def made_up_bank(
    *,
    num_runs: int = 64,
    num_groups: int = 12,
    noise: float = 0.3,
    own_effect: float = 3.0,
    other_effect: float = 0.0,
    seed: int = 0,
    num_second: int = 0,
) -> tuple[Bank, np.ndarray]:
    """A linear world: one query per group, whose own group has a large effect.

    Returns the bank and the true effects, queries by groups. Every group has three examples.
    """
    rng = np.random.default_rng(seed)
    effects = other_effect * rng.normal(size=(num_groups, num_groups))
    np.fill_diagonal(effects, own_effect)
    included = rng.integers(0, 2, (num_runs, num_groups)).astype(bool)

    def measured(rows: int) -> np.ndarray:
        return included[:rows] @ effects.T + noise * rng.normal(size=(rows, num_groups)) - 9

    groups = {
        f"g{g:02d}": frozenset(f"e{3 * g + i:03d}" for i in range(3)) for g in range(num_groups)
    }
    bank = Bank(
        size="nano",
        groups=groups,
        query_ids=tuple(f"q{g:02d}" for g in range(num_groups)),
        included=included,
        log_probs_nats=measured(num_runs),
        second_log_probs_nats=measured(num_second),
        counts=np.tile([3.0, 30.0], (num_groups, 1)),
        seconds_per_run=1.0,
    )
    return bank, effects


def scores_from(bank: Bank, per_group: np.ndarray, *, method: str = "m") -> Scores:
    """Scores whose group sums are `per_group`, after five examples that are in no group."""
    examples = ["b0", "b1", "b2", "b3", "b4"]
    values = np.full((len(per_group), 5), 0.7)
    for column, ids in enumerate(bank.groups.values()):
        examples += sorted(ids)
        values = np.column_stack([values, np.repeat(per_group[:, column : column + 1] / 3, 3, 1)])
    return Scores(method, bank.query_ids, tuple(examples), values.astype(np.float32))


def own_of(bank: Bank) -> dict[str, tuple[int, ...]]:
    return {query: (column,) for column, query in enumerate(bank.query_ids)}
