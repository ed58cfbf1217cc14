"""Passes over a corpus: distinct examples, in batches that fit into memory; what fits a model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.errors import BehaviorError, CorpusError
from whence.models.forward import (
    IGNORED,
    Padded,
    affordable_tokens,
    batches_by_length,
    company,
    model_device,
    num_words,
    pad,
)
from whence.records import Corpus, LoadedModel, Query, longest_example

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "IGNORED",
    "Distinct",
    "Padded",
    "Pass",
    "affordable_sequences",
    "affordable_tokens",
    "check_fits",
    "check_queries",
    "distinct_examples",
    "model_device",
    "pad",
    "plan_pass",
]

MAX_GRADIENT_BYTES = 512 * 2**20
BATCHES_PER_WORKER = 4


class Distinct(NamedTuple):
    """The examples that differ in their tokens.

    `rows` holds the first row of each distinct sequence, `of_example` each example's place in it.
    """

    rows: "NDArray[np.int64]"
    of_example: "NDArray[np.int64]"


def distinct_examples(corpus: Corpus) -> Distinct:
    """Finds exact copies: the same tokens have the same gradient, and it is computed once."""
    first: dict[bytes, int] = {}
    rows: list[int] = []
    of_example = np.empty(len(corpus), dtype=np.int64)
    row = 0
    for chunk in corpus.table.column("input_ids").chunks:
        tokens = chunk.flatten().to_numpy(zero_copy_only=False)
        ends = np.cumsum(corpus.lengths[row : row + len(chunk)])
        for start, end in zip(np.r_[0, ends[:-1]], ends, strict=True):
            place = first.setdefault(tokens[start:end].tobytes(), len(rows))
            if place == len(rows):
                rows.append(row)
            of_example[row] = place
            row += 1
    return Distinct(np.asarray(rows, dtype=np.int64), of_example)


class Pass(NamedTuple):
    """One pass over the distinct examples of a corpus, longest first.

    `batches` holds places in `distinct.rows`, `lengths` the tokens at each place.
    """

    corpus: Corpus
    distinct: Distinct
    lengths: "NDArray[np.int64]"
    batches: "list[NDArray[np.int64]]"

    def sequences(self, batch: "NDArray[np.int64]") -> list[list[int]]:
        """The tokens of a batch's examples."""
        return [self.corpus.input_ids(int(row)) for row in self.distinct.rows[batch]]

    def example_id(self, place: int) -> str:
        """The first example with the tokens at some place."""
        return self.corpus.ids[int(self.distinct.rows[place])]

    def num_tokens(self, batches: "Sequence[NDArray[np.int64]]") -> int:
        """Tokens of some batches, without padding."""
        return sum(int(self.lengths[batch].sum()) for batch in batches)


def plan_pass(
    model: LoadedModel,
    corpus: Corpus,
    *,
    token_batch_size: int,
    num_weights: int = 1,
    num_workers: int = 1,
) -> Pass:
    """Orders a corpus for one pass that fits into memory.

    Args:
        model: The model, which may limit what shares a batch.
        corpus: The examples.
        token_batch_size: The most tokens that are run at once, padding included.
        num_weights: How many numbers are held for each example of a batch.
        num_workers: How many batches are run at once, and share what may be taken.
    """
    distinct = distinct_examples(corpus)
    lengths = corpus.lengths[distinct.rows]
    tokens = token_batch_size // num_workers
    if num_workers > 1:
        # Of a small corpus, enough batches that no worker waits long for the last one.
        tokens = min(tokens, int(lengths.sum()) // (BATCHES_PER_WORKER * num_workers))
    batches = batches_by_length(
        lengths,
        token_batch_size=tokens,
        max_sequences=affordable_sequences(num_weights * num_workers),
        company=company(model),
    )
    return Pass(corpus, distinct, lengths, batches)


def affordable_sequences(num_weights: int) -> int:
    """Limits a batch so that gradients of so many weights take at most `MAX_GRADIENT_BYTES`."""
    return max(1, MAX_GRADIENT_BYTES // (4 * max(1, num_weights)))


def check_fits(model: LoadedModel, corpus: Corpus, *, spare_target: bool = True) -> None:
    """Refuses examples that the model cannot read.

    Args:
        model: The model.
        corpus: The examples.
        spare_target: Whether the pass spares the model the last token, which is only a target
            (`pad` with a `context_length`), so that `longest_example` applies.

    Raises:
        CorpusError: An example is longer than that, or has a token that the model lacks.
    """
    lengths, context = corpus.lengths, model.context_length
    limit = longest_example(context) if spare_target else context
    if len(lengths) and (longest := int(lengths.max())) > limit:
        raise CorpusError(
            f"Example `{corpus.ids[int(lengths.argmax())]}` has {longest} tokens, and {model.label}"
            f" reads at most {context}.",
            "Read the corpus with that model's context length.",
        )
    chunks = [
        chunk.flatten().to_numpy(zero_copy_only=False)
        for chunk in corpus.table.column("input_ids").chunks
    ]
    largest = max((int(tokens.max()) for tokens in chunks if len(tokens)), default=0)
    vocabulary = num_words(model)
    if largest >= vocabulary:
        raise CorpusError(
            f"The corpus has the token {largest}, and {model.label} knows {vocabulary} tokens.",
            "Read the corpus with that model's tokenizer.",
        )


def check_queries(model: LoadedModel, queries: Sequence[Query]) -> None:
    """Refuses queries that the model cannot read.

    Raises:
        BehaviorError: A query is longer than the context.
    """
    context = model.context_length
    for query in queries:
        if (longest := max((len(term.input_ids) for term in query.terms), default=0)) > context:
            raise BehaviorError(
                f"Query `{query.id}` has {longest} tokens, and {model.label} reads at most "
                f"{context}.",
                "Shorten its prompt.",
            )
