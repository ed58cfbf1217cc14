"""Published memorized sequences and their controls, as windows.

`EleutherAI/pythia-memorized-evals` lists, in a split for each model, every sequence whose 32 tokens
after the first 32 the model reproduces: `index` is the row of the preshuffled training data,
counted from 0 (`pythia_rows` says where that lies), `tokens` its first 64 token ids. Controls come
from `EleutherAI/pile-deduped-pythia-random-sampled` (and `pile-duped-…`): `Index`, `Tokens` and for
each model a column such as `70M` with the share of the continuation that it reproduces, or
`is_memorized`.

What is published was measured elsewhere, in half precision: re-verify it before use (see
`reverification`).

Source:
    Biderman et al., "Emergent and Predictable Memorization in Large Language Models", NeurIPS 2023,
    and the code of https://github.com/EleutherAI/semantic-memorization, which reads both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from whence.errors import CorpusError, SettingsError
from whence.memorization.sequence_files import Columns, Source, Table, find_source, read_tables
from whence.memorization.windows import (
    NUM_COMPLETION_TOKENS,
    NUM_PROMPT_TOKENS,
    UNKNOWN_ROW,
    Windows,
)
from whence.settings import MOST

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# A published sequence is memorized if all of its continuation is reproduced.
MEMORIZED = 1.0
Which = Literal["all", "memorized", "not memorized"]


@dataclass(frozen=True)
class Sequences:
    """Windows of published sequences, and what became of the rest.

    Attributes:
        windows: One for each sequence that is kept, in the order of the source, named by `index`,
            or by its place in a file without one; rows are `index`, and offsets 0.
        source: What was read.
        num_sequences: Sequences of the source.
        num_cut_tokens: Tokens of each sequence behind its window.
        left_out: Sequences that are not kept, by reason.
        scores: Of those that are kept, the share of the continuation that the named model
            reproduces, in [0, 1]; None where no score was named.
    """

    windows: Windows
    source: str
    num_sequences: int
    num_cut_tokens: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    scores: "Float[np.ndarray, ' windows'] | None" = None

    def sentence(self) -> str:
        """Says what was read and what was left out."""
        kept, total = len(self.windows), self.num_sequences
        text = f"{kept:,} of {total:,} sequences of {self.source}"
        if self.left_out:
            text += f"; left out: {', '.join(f'{n:,} {why}' for why, n in self.left_out.items())}"
        if self.num_cut_tokens:
            length = self.windows.tokens.shape[1]
            text += (
                f"; of each, {self.num_cut_tokens} tokens behind the first {length} are not read"
            )
        return f"{text}."


def read_sequences(
    source: str,
    *,
    split: str | None = None,
    revision: str | None = None,
    score: str | None = None,
    which: Which = "all",
    duplicates: Literal["refuse", "first"] = "refuse",
    num_prompt_tokens: int = NUM_PROMPT_TOKENS,
    num_completion_tokens: int | None = NUM_COMPLETION_TOKENS,
    vocabulary_size: int | None = None,
    sample: int | None = None,
    seed: int = 0,
) -> Sequences:
    """Reads token sequences from the Hub or from files.

    Args:
        source: A Hub dataset id; a folder of Parquet shards; or one file: .parquet or .jsonl
            (plain, .gz or .zst) or .csv with the columns `index` and `tokens`, or .npy with one
            sequence in a row. Of a Hub dataset only the shards of the split are fetched.
        split: Such as `duped.70m`; not needed where there is only one.
        revision: Of a Hub dataset.
        score: The column with the share of the continuation that a model reproduces, such as `70M`
            or `is_memorized`.
        which: By that score, keep those that are reproduced whole, or those that are not.
        duplicates: Where an index occurs again with the same tokens, refuse, or keep the first.
        num_prompt_tokens: The first tokens of a sequence, which the model is given.
        num_completion_tokens: The tokens after them, which it reproduces; any others are cut off.
            None for all that a sequence has.
        vocabulary_size: Refuse token ids from this on.
        sample: Keep a uniformly random sample of so many, in the order of the source.
        seed: Of the sample.

    Raises:
        CorpusError: There is no such source or split, a file is cut short or lacks a column, a
            sequence is too short or of another length, holds an id beyond the vocabulary, an index
            is negative or occurs twice, or nothing is left.
        SettingsError: A number is below 1, or `which` needs a score and none is named.

    Cost:
        One pass over the files; 8 bytes a token.
    """
    least = num_prompt_tokens + (1 if num_completion_tokens is None else num_completion_tokens)
    if min(num_prompt_tokens, least - num_prompt_tokens, 1 if sample is None else sample) < 1:
        raise SettingsError(
            f"{num_prompt_tokens} prompt tokens, {num_completion_tokens} continuation tokens and a "
            f"sample of {sample} leave nothing to read.",
            "Give at least 1 of each.",
        )
    if which != "all" and score is None:
        raise SettingsError(
            f"Which sequences are {which} is known only by a score, and none is named.",
            "Name the column of the model's score, such as `70M` or `is_memorized`.",
        )
    found = find_source(source, split=split, revision=revision)
    is_whole = num_completion_tokens is None
    rows = _read(found, Columns(score=score), least, vocabulary_size, is_whole=is_whole)
    length = rows.tokens.shape[1]
    total = len(rows.tokens)
    if not total:
        raise CorpusError(f"{found.name} holds no sequence.", "Check the file and the split.")
    kept, left_out = np.arange(total), {}
    if which != "all":
        assert rows.scores is not None
        is_kept = (rows.scores >= MEMORIZED) == (which == "memorized")
        left_out["not memorized" if which == "memorized" else "memorized"] = total - is_kept.sum()
        kept = kept[is_kept]
    if rows.indices is not None:
        before = len(kept)
        kept = _distinct(kept, rows, duplicates, found.name)
        left_out["of an index that occurs before"] = before - len(kept)
    if sample is not None and sample < len(kept):
        chosen = np.random.default_rng(seed).choice(len(kept), sample, replace=False)
        left_out["not in the random sample"] = len(kept) - sample
        kept = kept[np.sort(chosen)]
    if not len(kept):
        raise CorpusError(
            f"None of the {total:,} sequences of {found.name} is {which}.",
            "Choose others with `which`, or another score.",
        )
    names = kept if rows.indices is None else rows.indices[kept]
    unknown = np.full(len(kept), UNKNOWN_ROW)
    return Sequences(
        Windows(
            tuple(map(str, names.tolist())),
            rows.tokens[kept],
            num_prompt_tokens,
            unknown if rows.indices is None else rows.indices[kept],
            np.zeros(len(kept), dtype=np.int64),
        ),
        found.name,
        total,
        rows.width - length,
        {reason: int(count) for reason, count in left_out.items() if count},
        None if rows.scores is None else rows.scores[kept],
    )


class _Rows(NamedTuple):
    """All rows of a source; `width` is the length of its sequences before they were cut."""

    indices: "Int[np.ndarray, ' rows'] | None"
    tokens: "Int[np.ndarray, 'rows length']"
    scores: "Float[np.ndarray, ' rows'] | None"
    width: int


def _read(
    source: Source, columns: Columns, length: int, vocabulary_size: int | None, *, is_whole: bool
) -> _Rows:
    """Reads a source, and refuses what no window can be cut from; uncut where it is whole."""
    indices, tokens, scores, widths = [], [], [], set()
    for table in read_tables(source, columns):
        if not table.tokens.size:
            continue
        width = table.tokens.shape[1]
        if width < length:
            raise CorpusError(
                f"The sequences of {table.where} have {width} tokens, fewer than the {length} of a "
                "window.",
                "Choose fewer prompt or continuation tokens.",
            )
        _check_ids(table, vocabulary_size)
        if table.indices is not None:
            indices.append(_checked_indices(table))
        widths.add(width)
        # A copy, so that the rest of a wider table is not held.
        kept = table.tokens if is_whole else table.tokens[:, :length]
        tokens.append(kept.astype(np.int32))
        scores += [] if table.scores is None else [_checked_scores(table, columns.score)]
    if not tokens:
        return _Rows(None, np.zeros((0, length), dtype=np.int32), None, length)
    if len(widths) > 1:
        raise CorpusError(
            f"The sequences of {source.name} have {min(widths)} to {max(widths)} tokens.",
            "Cut them to one length.",
        )
    return _Rows(
        np.concatenate(indices) if indices else None,
        np.concatenate(tokens),
        np.concatenate(scores) if scores else None,
        widths.pop(),
    )


def _check_ids(table: Table, vocabulary_size: int | None) -> None:
    limit = min(MOST, vocabulary_size or MOST)
    low, high = int(table.tokens.min()), int(table.tokens.max())
    if low < 0 or high >= limit:
        wrong = low if low < 0 else high
        raise CorpusError(
            f"{table.where} holds the token id {wrong}, which is not in a vocabulary of {limit:,}.",
            "Name the model and the tokenizer that the sequences were made with.",
        )


def _checked_indices(table: Table) -> "Int[np.ndarray, ' rows']":
    assert table.indices is not None
    if int(table.indices.min()) < 0:
        raise CorpusError(
            f"{table.where} holds the index {int(table.indices.min())}.",
            "An index is a row of the training data, counted from 0.",
        )
    return table.indices


def _checked_scores(table: Table, column: str | None) -> "Float[np.ndarray, ' rows']":
    assert table.scores is not None
    if not bool(((table.scores >= 0) & (table.scores <= MEMORIZED)).all()):
        raise CorpusError(
            f"The column {column!r} of {table.where} holds values that are no share between 0 and "
            "1.",
            "Name the column with the share of the continuation that a model reproduces.",
        )
    return table.scores


def _distinct(
    kept: "Int[np.ndarray, ' kept']", rows: _Rows, duplicates: str, where: str
) -> "Int[np.ndarray, ' first']":
    """Keeps the first row of each index."""
    assert rows.indices is not None
    indices = rows.indices[kept]
    _, firsts, inverse = np.unique(indices, return_index=True, return_inverse=True)
    if len(firsts) == len(kept):
        return kept
    first_of = kept[firsts[inverse]]
    differ = np.flatnonzero((rows.tokens[kept] != rows.tokens[first_of]).any(axis=1))
    if len(differ):
        raise CorpusError(
            f"{where} lists the index {int(indices[differ[0]])} with two different sequences.",
            "Read one model's split, or files of one corpus only.",
        )
    if duplicates == "refuse":
        again = np.flatnonzero(first_of != kept)
        raise CorpusError(
            f"{where} lists the index {int(indices[again[0]])} twice, and {len(again):,} rows are "
            "of an index that occurs before.",
            'Set `duplicates = "first"` to keep the first of each.',
        )
    return kept[np.sort(firsts)]
