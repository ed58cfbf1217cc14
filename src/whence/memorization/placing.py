"""Places published sequences in a corpus: the example that each was read from, by its position.

A list names the rows of the whole training data, a corpus is a range of them. And the lists and the
data come in two kinds, standard and deduplicated, whose rows have nothing in common but the
numbers: the tokens decide whether a sequence is the one that its row begins with.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.errors import CorpusError
from whence.memorization.windows import UNKNOWN_ROW, Windows
from whence.records import Corpus

if TYPE_CHECKING:
    from jaxtyping import Bool


class Placed(NamedTuple):
    """Windows with the rows of a corpus.

    Attributes:
        windows: The same windows; `rows` are those of the corpus, -1 of windows of other examples.
        is_inside: Whether the corpus has the example of each.
    """

    windows: Windows
    is_inside: "Bool[np.ndarray, ' windows']"

    def inside(self) -> Windows:
        """The windows whose example is in the corpus."""
        return self.windows.select(np.flatnonzero(self.is_inside))

    def sentence(self) -> str:
        """Says how many are in the corpus."""
        inside, total = int(self.is_inside.sum()), len(self.windows)
        return f"{inside:,} of {total:,} sequences are of an example of this corpus."


def place_windows(windows: Windows, corpus: Corpus) -> Placed:
    """Gives windows that know their position in training the rows of a corpus.

    Args:
        windows: Rows are positions in training, as `read_sequences` gives them.
        corpus: A range of the same training data; `position` of its examples is known.

    Raises:
        CorpusError: An example of the corpus does not hold the tokens of its sequence, so that
            corpus and list are not of the same data.
    """
    positions = corpus.table.column("position").to_pylist()
    row_of = {position: row for row, position in enumerate(positions) if position is not None}
    rows = np.array([row_of.get(row, UNKNOWN_ROW) for row in windows.rows.tolist()], dtype=np.int64)
    is_inside = rows != UNKNOWN_ROW
    length = windows.tokens.shape[1]
    for place in np.flatnonzero(is_inside).tolist():
        start = int(windows.offsets[place])
        held = corpus.input_ids(int(rows[place]))[start : start + length]
        if held != windows.tokens[place].tolist():
            raise CorpusError(
                f"Row {int(windows.rows[place]):,} of {corpus.name} does not hold the tokens that "
                "the list of sequences has for it.",
                "Name the list of the same data: `deduped` sequences belong to the deduplicated "
                "Pile, `duped` ones to the standard one.",
            )
    return Placed(
        Windows(windows.ids, windows.tokens, windows.num_prompt_tokens, rows, windows.offsets),
        is_inside,
    )


def join_windows(memorized: Windows, controls: Windows) -> Windows:
    """Puts the windows of two lists together, such as memorized sequences and random ones.

    Args:
        memorized: Come first.
        controls: Those that are not among the former follow, in their order.

    Returns:
        Windows with different names; a sequence that both lists hold stands once.

    Raises:
        CorpusError: The lists have another length of windows, or different tokens for one name.
    """
    if (memorized.tokens.shape[1], memorized.num_prompt_tokens) != (
        controls.tokens.shape[1],
        controls.num_prompt_tokens,
    ):
        raise CorpusError(
            f"Sequences of {memorized.tokens.shape[1]} tokens and controls of "
            f"{controls.tokens.shape[1]} tokens cannot be compared.",
            "Cut both to the same prompt and continuation.",
        )
    known = {name: place for place, name in enumerate(memorized.ids)}
    fresh = []
    for place, name in enumerate(controls.ids):
        if name not in known:
            fresh.append(place)
        elif (controls.tokens[place] != memorized.tokens[known[name]]).any():
            raise CorpusError(
                f"The lists have two different sequences of the index {name}.",
                "Name controls of the same data: `pile-deduped-pythia-random-sampled` belongs to "
                "`deduped` sequences, `pile-duped-…` to `duped` ones.",
            )
    others = controls.select(fresh)
    return Windows(
        (*memorized.ids, *others.ids),
        np.concatenate([memorized.tokens, others.tokens]),
        memorized.num_prompt_tokens,
        np.concatenate([memorized.rows, others.rows]),
        np.concatenate([memorized.offsets, others.offsets]),
    )
