"""Positions in Pythia's training data: from a row to its step, and the checkpoints that saw it.

Pythia's models read the rows of the preshuffled data in order, 1,024 in a step. With rows counted
from 0 and steps from 1,

    step(row) = row // 1024 + 1,    stepC has seen it  iff  row < 1024 · C,

for the checkpoints C = 0, 1, 2, 4 … 512, 1000, 2000 … 143000.

The 143,000 steps are less than one pass over the Pile, but about one and a half over the
deduplicated Pile: 207 billion tokens, as its README says, make a pass of about 101.1 million rows.
*If* the second pass repeats the order of the first (users of the data believe so; nobody has
published a proof), a row is read again one pass later. Both the order and the length of a pass are
estimates until rows are compared, which `row_text` does where the rows are at hand.

Source:
    https://github.com/EleutherAI/pythia, README ("Exploring the Dataset") and
    `utils/batch_viewer.py`; its issue 144 on the second pass.
"""

from dataclasses import dataclass

from whence.corpus.mmap import ROW_TOKENS, ROWS_PER_STEP, step_of_row
from whence.errors import SettingsError

NUM_STEPS = 143_000
NUM_ROWS = NUM_STEPS * ROWS_PER_STEP
CHECKPOINTS = (0, *(2**power for power in range(10)), *range(1000, NUM_STEPS + 1, 1000))
# Rounded to billions in the README; a row adds 2,048 tokens, its last one is the next one's first.
_DEDUPLICATED_TOKENS, _ROUNDING = 207_000_000_000, 500_000_000
_NEW_TOKENS = ROW_TOKENS - 1
_BYTES_PER_TOKEN = 2


@dataclass(frozen=True)
class OtherPass:
    """Where a row of the deduplicated data is read in the other pass, if that repeats the order.

    Attributes:
        row: The row, about.
        step: Its step, about.
        row_error: By how many rows it may be off; 0 where the length of a pass was given.
        is_second: Whether this is the second pass, and the row that was asked for in the first.
        has_same_tokens: Whether both rows were compared and are equal; None where not compared.
    """

    row: int
    step: int
    row_error: int
    is_second: bool
    has_same_tokens: bool | None = None


@dataclass(frozen=True)
class RowPosition:
    """Where a row of Pythia's data lies in its file and in training.

    Attributes:
        row: Counted from 0, as `index` of the published sequences.
        step: The optimizer step that reads it, counted from 1.
        place_in_batch: Its place among the 1,024 rows of that step, from 0.
        first_byte: Where it starts in the file that the shards make together.
        num_bytes: Its length.
        last_unseen: The last published checkpoint that has not seen it.
        first_seen: The first one that has.
        num_seen: How many of the 154 checkpoints have.
        other_pass: Of the deduplicated data; None of the standard one, and of rows that are read
            once in either case.
    """

    row: int
    step: int
    place_in_batch: int
    first_byte: int
    num_bytes: int
    last_unseen: int
    first_seen: int
    num_seen: int
    other_pass: OtherPass | None = None


def has_seen(checkpoint: int, row: int) -> bool:
    """Whether the checkpoint of a step has read a row; checkpoint 0 has read nothing.

    Example:
        >>> has_seen(1, 1023), has_seen(1, 1024)
        (True, False)
    """
    return row < ROWS_PER_STEP * checkpoint


def rows_of_step(step: int) -> range:
    """Lists the rows that a step reads; steps count from 1."""
    return range(ROWS_PER_STEP * (step - 1), ROWS_PER_STEP * step)


def locate_row(
    row: int, *, is_deduplicated: bool = False, first_pass_rows: int | None = None
) -> RowPosition:
    """Computes where a row lies in the file and in training.

    Args:
        row: Counted from 0.
        is_deduplicated: Of the deduplicated Pile, which is read one and a half times.
        first_pass_rows: Rows of its first pass, where they are known; else about 101.1 million.

    Raises:
        SettingsError: Pythia's training has no such row.

    Example:
        >>> position = locate_row(1_500_000)
        >>> position.step, position.last_unseen, position.first_seen
        (1465, 1000, 2000)
    """
    if not 0 <= row < NUM_ROWS:
        raise SettingsError(
            f"Pythia's training has no row {row:,}: its {NUM_STEPS:,} steps read rows 0 to "
            f"{NUM_ROWS - 1:,}.",
            "Give an `index` of the published sequences, counted from 0.",
        )
    if first_pass_rows is not None and not 0 < first_pass_rows <= NUM_ROWS:
        raise SettingsError(
            f"A first pass of {first_pass_rows:,} rows is not one of Pythia's training.",
            f"Give 1 to {NUM_ROWS:,}.",
        )
    seen = [checkpoint for checkpoint in CHECKPOINTS if has_seen(checkpoint, row)]
    return RowPosition(
        row=row,
        step=step_of_row(row),
        place_in_batch=row % ROWS_PER_STEP,
        first_byte=row * ROW_TOKENS * _BYTES_PER_TOKEN,
        num_bytes=ROW_TOKENS * _BYTES_PER_TOKEN,
        last_unseen=CHECKPOINTS[len(CHECKPOINTS) - len(seen) - 1],
        first_seen=seen[0],
        num_seen=len(seen),
        other_pass=_other_pass(row, first_pass_rows) if is_deduplicated else None,
    )


def _other_pass(row: int, first_pass_rows: int | None) -> OtherPass | None:
    length = first_pass_rows or round(_DEDUPLICATED_TOKENS / _NEW_TOKENS)
    error = 0 if first_pass_rows else round(_ROUNDING / _NEW_TOKENS)
    is_first = row < length
    other = row + length if is_first else row - length
    if other >= NUM_ROWS:
        return None
    return OtherPass(other, step_of_row(other), error, is_second=is_first)
