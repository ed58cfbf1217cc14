"""Windows: sequences of a fixed number of tokens whose second part a model may reproduce."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whence.artifacts import fingerprint, write_json
from whence.errors import SettingsError
from whence.memorization.arrays import read_arrays, save_arrays
from whence.records import Corpus, Query, Term

if TYPE_CHECKING:
    from jaxtyping import Int
    from transformers import PreTrainedTokenizerBase

# Biderman et al., "Emergent and Predictable Memorization in Large Language Models", NeurIPS 2023.
NUM_PROMPT_TOKENS = 32
NUM_COMPLETION_TOKENS = 32
UNKNOWN_ROW = -1


@dataclass(frozen=True)
class Windows:
    """Sequences of one length, each with the place in the corpus that it was read from.

    Attributes:
        ids: A name for each window, unique.
        tokens: Token ids, windows × length.
        num_prompt_tokens: How many tokens are the prompt; the rest is the continuation.
        rows: The corpus row that each was read from; -1 where that is not known.
        offsets: Where each starts in its row.
    """

    ids: tuple[str, ...]
    tokens: "Int[np.ndarray, 'windows length']"
    num_prompt_tokens: int
    rows: "Int[np.ndarray, ' windows']"
    offsets: "Int[np.ndarray, ' windows']"

    def __post_init__(self) -> None:
        assert len(set(self.ids)) == len(self.ids) == len(self.tokens)
        assert len(self.rows) == len(self.offsets) == len(self.ids)
        assert 0 < self.num_prompt_tokens < self.tokens.shape[1] or not len(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of names, tokens and places."""
        parts = (self.tokens, self.rows, self.offsets)
        digest = hashlib.sha256("\n".join(self.ids).encode())
        for part in parts:
            digest.update(np.ascontiguousarray(part, dtype=np.int64).tobytes())
        return fingerprint(digest.hexdigest(), self.num_prompt_tokens)

    @property
    def num_completion_tokens(self) -> int:
        """Tokens of the continuation."""
        return self.tokens.shape[1] - self.num_prompt_tokens

    @property
    def continuations(self) -> "Int[np.ndarray, 'windows completion']":
        """The second part of each window."""
        return self.tokens[:, self.num_prompt_tokens :]

    def select(self, places: "Sequence[int] | Int[np.ndarray, ' some']") -> "Windows":
        """Keeps some windows, in the given order."""
        chosen = np.asarray(places, dtype=np.int64)
        return Windows(
            tuple(self.ids[i] for i in chosen.tolist()),
            self.tokens[chosen],
            self.num_prompt_tokens,
            self.rows[chosen],
            self.offsets[chosen],
        )

    def queries(self, tokenizer: "PreTrainedTokenizerBase") -> tuple[Query, ...]:
        """Makes of each window the query whose loss is that of its continuation."""
        return tuple(
            Query(
                window_id,
                (Term(tuple(tokens), self.num_prompt_tokens, 1.0),),
                str(tokenizer.decode(tokens, clean_up_tokenization_spaces=False)),
            )
            for window_id, tokens in zip(self.ids, self.tokens.tolist(), strict=True)
        )


def first_windows(
    corpus: Corpus,
    *,
    num_prompt_tokens: int = NUM_PROMPT_TOKENS,
    num_completion_tokens: int = NUM_COMPLETION_TOKENS,
    end_of_text: int | None = None,
) -> Windows:
    """Cuts a window from the start of every example that is long enough.

    Args:
        corpus: The examples.
        num_prompt_tokens: Tokens that the model is given.
        num_completion_tokens: Tokens that it may reproduce.
        end_of_text: An example is as long as its tokens before the first of these.

    Returns:
        Windows in corpus order, named by their examples.

    Raises:
        SettingsError: A number is below 1.
    """
    if num_prompt_tokens < 1 or num_completion_tokens < 1:
        raise SettingsError(
            f"A window of {num_prompt_tokens} and {num_completion_tokens} tokens has no prompt or "
            "no continuation.",
            "Give at least 1 of each.",
        )
    length = num_prompt_tokens + num_completion_tokens
    rows, tokens = [], []
    for row in np.flatnonzero(corpus.lengths >= length).tolist():
        window = corpus.input_ids(row)[:length]
        if end_of_text is None or end_of_text not in window:
            rows.append(row)
            tokens.append(window)
    return Windows(
        tuple(corpus.ids[row] for row in rows),
        np.array(tokens, dtype=np.int32).reshape(-1, length),
        num_prompt_tokens,
        np.array(rows, dtype=np.int64),
        np.zeros(len(rows), dtype=np.int64),
    )


def save_windows(windows: Windows, path: Path) -> None:
    """Writes windows as one file of arrays, and their names beside it."""
    save_arrays(
        path,
        tokens=windows.tokens,
        rows=windows.rows,
        offsets=windows.offsets,
        num_prompt_tokens=np.array(windows.num_prompt_tokens),
    )
    write_json(path.with_suffix(".json"), list(windows.ids))


def read_windows(path: Path) -> Windows:
    """Reads what `save_windows` wrote.

    Raises:
        ArtifactError: A file is missing or broken.
    """
    found = read_arrays(path)
    ids = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return Windows(
        tuple(ids),
        found["tokens"],
        int(found["num_prompt_tokens"]),
        found["rows"],
        found["offsets"],
    )
