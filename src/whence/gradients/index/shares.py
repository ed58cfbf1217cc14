"""Shares of one index: how its work is divided into batches, and which shares lack blocks.

Share k of n computes every n-th block, from the k-th on. All shares must cut the corpus into the
same batches, or none would find the blocks of the others: whoever comes first records the division
beside the rows, and later processes follow it, with however many threads or on whatever device.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from whence.artifacts import alone, progress_directory, write_json

DIVISION = "division.json"


class Division(NamedTuple):
    """What cuts a corpus into batches, beside the model and the corpus.

    `setting` is the `token_batch_size` that was set, None where it is left to the device;
    `num_tokens` are the tokens run at once, shared by `num_workers` batches. `num_shares` is None
    where the index is built in one go.
    """

    setting: int | None
    num_tokens: int
    num_workers: int
    num_shares: int | None = None


class Share(NamedTuple):
    """A share that lacks blocks: of its `num_blocks`, `num_missing` are not written."""

    number: int
    num_blocks: int
    num_missing: int


class ShareReport(NamedTuple):
    """Which of `num_shares` shares lack blocks.

    Of an index that is finished none does. `num_foreign` counts written blocks that belong to
    another division into batches, and cannot be used.
    """

    num_shares: int
    num_blocks: int
    missing: tuple[Share, ...]
    is_finished: bool
    num_foreign: int

    @property
    def num_missing(self) -> int:
        """Blocks that no share has written."""
        return sum(share.num_missing for share in self.missing)


def read_division(partial: Path) -> Division | None:
    """Reads how an unfinished index is divided; None where nothing is recorded."""
    try:
        values = json.loads((progress_directory(partial) / DIVISION).read_text(encoding="utf-8"))
        found = Division(**values)
    except (OSError, ValueError, TypeError):
        return None
    numbers = (found.num_tokens, found.num_workers)
    return found if all(isinstance(n, int) and n > 0 for n in numbers) else None


def agreed_division(partial: Path, own: Division) -> Division:
    """Chooses the division that all processes follow, and records it.

    An earlier one counts if it was made with the same setting. With another setting the own one
    counts from now on, and what was written under the earlier one is computed again.

    Args:
        partial: The directory that is being filled.
        own: What this process would choose.
    """
    with alone(partial):
        known = read_division(partial)
        chosen = own
        if known is not None and known.setting == own.setting:
            chosen = known._replace(num_shares=own.num_shares or known.num_shares)
        if chosen != known:
            write_json(progress_directory(partial) / DIVISION, chosen._asdict())
    return chosen


def report_shares(
    written: Sequence[bool], *, num_shares: int, is_finished: bool, num_foreign: int
) -> ShareReport:
    """Counts what each share lacks.

    Args:
        written: Whether each block is written, in their order.
        num_shares: How many shares there are.
        is_finished: Whether the index is.
        num_foreign: Written blocks of another division.
    """
    # Beyond the number of blocks a share has nothing to do.
    shares = (
        Share(number, len(written[number::num_shares]), written[number::num_shares].count(False))
        for number in range(min(num_shares, len(written)))
    )
    missing = () if is_finished else tuple(share for share in shares if share.num_missing)
    return ShareReport(num_shares, len(written), missing, is_finished, num_foreign)


def ranges(numbers: Sequence[int]) -> str:
    """Lists ascending numbers, those in a row as one range: `0,2-5`, as `sbatch --array` does."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)
