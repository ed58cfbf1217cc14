"""Finds a row of Pythia's training data: its step, its text, and whether it holds a sequence."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from whence.corpus.mmap import MemoryMap
from whence.errors import CorpusError, SettingsError
from whence.memorization.pythia_rows import OtherPass, RowPosition, locate_row
from whence.memorization.row_text import RowText, open_rows, read_row
from whence.memorization.sequences import read_sequences
from whence.runs.opening import open_tokenizer
from whence.settings import ModelSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Location:
    """What is known of a row.

    Attributes:
        position: Its step and checkpoints.
        sequence: The published sequence of this index; None where no list of them was named.
        sequences: The list, for messages.
        row: The row as the map holds it; None where no map was named.
        tokenizer: Turns its tokens into text; None where none was named.
        is_deduplicated: Whether the row is counted in the deduplicated data.
    """

    position: RowPosition
    sequence: tuple[int, ...] | None
    sequences: str | None
    row: RowText | None
    tokenizer: "PreTrainedTokenizerBase | None"
    is_deduplicated: bool

    @property
    def is_confirmed(self) -> bool | None:
        """Whether the row begins with the sequence; None where one of the two is not known."""
        if self.row is None or self.sequence is None:
            return None
        return self.row.offset == 0

    def text(self, start: int, end: int) -> str | None:
        """The text of some tokens of the row; None without a map or a tokenizer."""
        if self.row is None or self.tokenizer is None:
            return None
        tokens = list(self.row.tokens[start:end])
        return str(self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False))


def locate(
    row: int,
    *,
    sequences: str | None = None,
    split: str | None = None,
    corpus: str | None = None,
    corpus_revision: str | None = None,
    tokenizer: str | None = None,
    is_deduplicated: bool | None = None,
    first_pass_rows: int | None = None,
) -> Location:
    """Finds a row of Pythia's training data by the `index` of a published sequence.

    Args:
        row: The index, counted from 0.
        sequences: The published list, such as `EleutherAI/pythia-memorized-evals`, or a file of its
            layout; the row is compared with the sequence of this index.
        split: Of that list, such as `deduped.70m`.
        corpus: The preshuffled data: a `.bin` file, a folder of its shards, or a Hub dataset, of
            which only this row is fetched.
        corpus_revision: Of a Hub dataset.
        tokenizer: A model or folder whose tokenizer turns tokens into text.
        is_deduplicated: Whether the data is the deduplicated Pile, which is read one and a half
            times; by default what the split's name says, and else the standard Pile.
        first_pass_rows: Rows of the first pass, where they are known.

    Returns:
        The row's place. Where map and list are both named, `is_confirmed` says whether the tokens
        stand there; where the map also holds the row of the other pass, both are compared.

    Raises:
        SettingsError: Training has no such row.
        CorpusError: The list has no such index, or a file cannot be read.
        ModelError: There is no such tokenizer.
    """
    if is_deduplicated is None:
        is_deduplicated = bool(split) and "deduped" in str(split).split(".")
    if first_pass_rows is not None and not is_deduplicated:
        raise SettingsError(
            "The length of a first pass is about the deduplicated data only; the standard one is "
            "read less than once.",
            "Add that it is deduplicated, or leave it out.",
        )
    position = locate_row(row, is_deduplicated=is_deduplicated, first_pass_rows=first_pass_rows)
    sequence = None if sequences is None else _sequence(sequences, split, row)
    found = None
    if corpus is not None:
        rows = open_rows(corpus, revision=corpus_revision)
        found = read_row(rows, row, sequence=sequence)
        other = position.other_pass
        if other is not None:
            position = replace(position, other_pass=_compared(other, rows, found))
    loaded = None if tokenizer is None else open_tokenizer(ModelSettings(name=tokenizer))
    return Location(position, sequence, sequences, found, loaded, is_deduplicated)


def _sequence(source: str, split: str | None, row: int) -> tuple[int, ...]:
    found = read_sequences(
        source, split=split, duplicates="first", num_prompt_tokens=1, num_completion_tokens=None
    )
    places = (found.windows.rows == row).nonzero()[0]
    if not len(places):
        raise CorpusError(
            f"None of the {found.num_sequences:,} sequences of {found.source} has the index "
            f"{row:,}.",
            "Check the index and the split; every model memorized other rows.",
        )
    return tuple(found.windows.tokens[int(places[0])].tolist())


def _compared(other: OtherPass, rows: MemoryMap, found: RowText) -> OtherPass:
    """Compares the row with that of the other pass, where it is known and is in the map."""
    if other.row_error or not 0 <= other.row < rows.num_rows:
        return other
    return replace(other, has_same_tokens=read_row(rows, other.row).tokens == found.tokens)
