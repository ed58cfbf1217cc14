"""Labels drawn from the model, and the gradients of their loss, for the Fisher matrix.

The curvature of a language model's loss that has no negative directions, the Gauss-Newton matrix,
is the second moment of gradients whose labels the model drew itself (the true Fisher matrix); with
the labels of the text it would be the empirical one, which shrinks where the model is right.

A label depends on the seed and on the example's tokens alone, and on how many copies of it came
before: not on the batch, nor on the order of the corpus.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from whence.gradients.passes.batches import (
    IGNORED,
    Padded,
    affordable_sequences,
    affordable_tokens,
    model_device,
    pad,
)
from whence.models.forward import batches_by_length, company, logits
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

Labels = Literal["sampled", "given"]


class FisherBatch(NamedTuple):
    """Some examples, and a number in [0, 1) for each position, from which its label is drawn."""

    padded: Padded
    chances: "Float[Tensor, 'batch positions']"

    @property
    def positions(self) -> "Bool[Tensor, 'batch positions']":
        """The positions that predict a token."""
        return self.padded.targets != IGNORED


def fisher_batches(
    model: LoadedModel,
    corpus: Corpus,
    *,
    token_batch_size: int,
    num_weights: int,
    seed: int,
    progress: Progress = SILENT,
    name: str = "Curvature",
) -> Iterator[FisherBatch]:
    """Pads all examples of at least two tokens, longest first, each copy on its own.

    Args:
        model: The model, whose logits have to fit into memory.
        corpus: The examples.
        token_batch_size: The most tokens of a batch, padding included.
        num_weights: How many entries are held for each example of a batch.
        seed: Of the labels.
        progress: Reports progress.
        name: The label of the task.
    """
    import torch

    batches = batches_by_length(
        corpus.lengths,
        token_batch_size=affordable_tokens(model, token_batch_size),
        max_sequences=affordable_sequences(num_weights),
        company=company(model),
    )
    copies = _copies(corpus)
    total = sum(int(corpus.lengths[rows].sum()) for rows in batches)
    with progress.task(name, total=total, unit="tokens") as task:
        for rows in batches:
            sequences = [corpus.input_ids(int(row)) for row in rows]
            padded = pad(sequences, context_length=model.context_length)
            chances = torch.zeros(padded.input_ids.shape, dtype=torch.float64)
            for place, (row, tokens) in enumerate(zip(rows, sequences, strict=True)):
                drawn = _chances(tokens, copy=copies[row], seed=seed)
                drawn = drawn[: chances.shape[1]]
                chances[place, : len(drawn)] = torch.from_numpy(drawn)
            yield FisherBatch(padded, chances)
            task.advance(int(corpus.lengths[rows].sum()))


def fisher_pass(model: LoadedModel, batch: FisherBatch, *, labels: Labels) -> "Tensor":
    """Runs a batch forward and backward with the labels that were chosen.

    Returns:
        The labels, as long as the inputs; `IGNORED` at the first position and the padding.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812

    device = model_device(model)
    found = logits(model.model, batch.padded.input_ids.to(device))
    found = found.to(torch.promote_types(found.dtype, torch.float32))
    targets = batch.padded.targets.to(device)
    if labels == "sampled":
        drawn = draw(found.detach(), batch.chances.to(device))
        targets = drawn.where(targets != IGNORED, IGNORED)
    F.cross_entropy(
        found.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    ).backward()
    return F.pad(targets[:, :-1], (1, 0), value=IGNORED)


def draw(
    logits: "Float[Tensor, 'batch positions words']",
    chances: "Float[Tensor, 'batch positions']",
) -> "Int[Tensor, 'batch positions']":
    """Draws a word for each position: the one at which the summed probabilities pass the chance."""
    import torch

    ends = logits.softmax(-1).cumsum_(-1)
    marks = chances.to(ends.dtype).unsqueeze(-1) * ends[..., -1:]
    return torch.searchsorted(ends, marks).squeeze(-1).clamp_(max=logits.shape[-1] - 1)


def draw_examples(corpus: Corpus, num_examples: int, *, seed: int) -> "np.ndarray":
    """Draws rows of at least two tokens without replacement; all, where there are not more.

    Like a label, whether an example is drawn depends on the seed, its tokens and its copy, and on
    the order of the corpus only by way of copies.
    """
    rows = np.flatnonzero(corpus.lengths >= 2)
    copies = _copies(corpus)
    places = [
        _digest(corpus.input_ids(int(row)), copy=copies[row], seed=seed, name="examples")
        for row in rows
    ]
    first = sorted(range(len(rows)), key=places.__getitem__)[:num_examples]
    return np.sort(rows[first])


def _copies(corpus: Corpus) -> list[int]:
    """Counts, for each example, how many before it have the same tokens."""
    seen: dict[bytes, int] = {}
    found = []
    for row in range(len(corpus)):
        key = np.asarray(corpus.input_ids(row), dtype=np.int64).tobytes()
        found.append(seen.get(key, 0))
        seen[key] = found[-1] + 1
    return found


def _chances(tokens: Sequence[int], *, copy: int, seed: int) -> "np.ndarray":
    words = np.frombuffer(_digest(tokens, copy=copy, seed=seed), dtype=np.uint32)
    return np.random.default_rng(words).random(len(tokens))


def _digest(tokens: Sequence[int], *, copy: int, seed: int, name: str = "") -> bytes:
    """Hashes an example's tokens, which of its copies it is, and what the hash is for."""
    key = np.asarray([seed, copy, *tokens], dtype=np.int64).tobytes()
    return hashlib.sha256(name.encode() + key).digest()
