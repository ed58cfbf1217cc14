"""Which sequences are run together, and how are they padded?

Sequences of about the same length share a batch, so that little of it is padding. Padding stands on
the right: under causal attention no real position sees it, and its own loss is masked.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.errors import BehaviorError, CorpusError
from whence.records import Corpus, LoadedModel, Query, longest_example

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int
    from numpy.typing import NDArray
    from torch import Tensor

IGNORED = -100
MAX_LOGITS_BYTES = 512 * 2**20
MAX_GRADIENT_BYTES = 512 * 2**20
BATCHES_PER_WORKER = 4


class Padded(NamedTuple):
    """A batch of sequences; `labels` is `IGNORED` where no loss is taken.

    `input_ids` is one shorter than `labels` where a sequence is one longer than the context, so
    that its last token is only a target.
    """

    input_ids: "Int[Tensor, 'batch positions']"
    labels: "Int[Tensor, 'batch tokens']"

    @property
    def targets(self) -> "Int[Tensor, 'batch positions']":
        """The label that each position predicts, which stands behind it; at the last there is none.

        The labels are shifted and not the logits, whose copies would cost more than the softmax.
        """
        import torch.nn.functional as F  # noqa: N812

        missing = self.input_ids.shape[1] - self.labels.shape[1] + 1
        return F.pad(self.labels[:, 1:], (0, missing), value=IGNORED)


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
    corpus: Corpus, *, token_batch_size: int, num_weights: int = 1, num_workers: int = 1
) -> Pass:
    """Orders a corpus for one pass that fits into memory.

    Args:
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
    batches = length_batches(
        lengths,
        token_batch_size=tokens,
        max_sequences=affordable_sequences(num_weights * num_workers),
    )
    return Pass(corpus, distinct, lengths, batches)


def length_batches(
    lengths: "Sequence[int] | NDArray[np.int64]",
    *,
    token_batch_size: int,
    max_sequences: int | None = None,
) -> "list[NDArray[np.int64]]":
    """Groups sequences by length, longest first, so that a batch that does not fit fails at once.

    Args:
        lengths: Tokens per sequence.
        token_batch_size: The most tokens of a batch, padding included. A sequence that is longer
            runs alone.
        max_sequences: The most sequences of a batch.

    Returns:
        The rows of each batch. A sequence of fewer than two tokens has nothing to predict and is
        in none.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] >= 2]
    batches, start = [], 0
    while start < len(order):
        size = max(1, token_batch_size // int(lengths[order[start]]))
        size = min(size, max_sequences or size)
        batches.append(order[start : start + size])
        start += size
    return batches


def affordable_tokens(model: LoadedModel, token_batch_size: int) -> int:
    """Limits a batch so that its logits in float32 take no more than `MAX_LOGITS_BYTES`."""
    vocabulary = int(model.model.config.vocab_size)
    return min(token_batch_size, max(2, MAX_LOGITS_BYTES // (4 * vocabulary)))


def affordable_sequences(num_weights: int) -> int:
    """Limits a batch so that gradients of so many weights take at most `MAX_GRADIENT_BYTES`."""
    return max(1, MAX_GRADIENT_BYTES // (4 * max(1, num_weights)))


def pad(
    sequences: Sequence[Sequence[int]],
    *,
    num_unlabelled: Sequence[int] | None = None,
    context_length: int | None = None,
) -> Padded:
    """Pads sequences on the right.

    Args:
        sequences: Token ids.
        num_unlabelled: How many tokens at the start of each sequence bear no loss; none by default.
        context_length: Tokens that the model reads. A last token beyond it is a target only, and
            no input: a table of positions has no row for it.
    """
    import torch

    longest = max(len(sequence) for sequence in sequences)
    input_ids = np.zeros((len(sequences), longest), dtype=np.int64)
    labels = np.full_like(input_ids, IGNORED)
    for row, sequence in enumerate(sequences):
        first = num_unlabelled[row] if num_unlabelled is not None else 0
        input_ids[row, : len(sequence)] = sequence
        labels[row, first : len(sequence)] = sequence[first:]
    return Padded(torch.from_numpy(input_ids[:, :context_length]), torch.from_numpy(labels))


def model_device(model: LoadedModel) -> "torch.device":
    """Tells where the model's inputs belong."""
    return next(model.model.get_input_embeddings().parameters()).device


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
    vocabulary = int(model.model.config.vocab_size)
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
