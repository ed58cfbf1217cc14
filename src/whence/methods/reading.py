"""Forward passes over examples and queries: hidden states, losses, probabilities."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.errors import ModelError
from whence.gradients.passes.batches import check_fits, distinct_examples
from whence.models.forward import (
    IGNORED,
    affordable_tokens,
    all_hidden_states,
    batches_by_length,
    company,
    evaluating,
    model_device,
    pad,
    text_config,
    token_losses,
)
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel, Query, Term
from whence.settings import IndexSettings

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float


class Reading(NamedTuple):
    """What was read of each sequence; NaN where undefined.

    `middle_states` are means over all tokens that are read, of the hidden state after half of the
    layers, `last_states` means over the predicting positions of what the output layer reads,
    `mean_losses_nats` the mean losses per predicted token, and `mean_probabilities` the mean
    probabilities of the predicted tokens.
    """

    middle_states: "Float[np.ndarray, 'sequences hidden']"
    last_states: "Float[np.ndarray, 'sequences hidden']"
    mean_losses_nats: "Float[np.ndarray, ' sequences']"
    mean_probabilities: "Float[np.ndarray, ' sequences']"


def read_examples(
    model: LoadedModel,
    corpus: Corpus,
    *,
    settings: IndexSettings,
    progress: Progress = SILENT,
) -> Reading:
    """Reads a corpus; examples with the same tokens are read once.

    Raises:
        CorpusError: An example does not fit the model.
    """
    check_fits(model, corpus)
    distinct = distinct_examples(corpus)
    sequences = [corpus.input_ids(int(row)) for row in distinct.rows]
    total = sum(map(len, sequences))
    with progress.task("Reading the examples", total=total, unit="tokens") as task:
        found = read(
            model, sequences, token_batch_size=settings.token_batch_size, advance=task.advance
        )
    return Reading(*(part[distinct.of_example] for part in found))


def read_queries(
    model: LoadedModel, queries: Sequence[Query], *, settings: IndexSettings
) -> Reading:
    """Reads the sequences of queries that the model produced."""
    terms = [main_term(query) for query in queries]
    return read(
        model,
        [term.input_ids for term in terms],
        num_prompt_tokens=[term.num_prompt_tokens for term in terms],
        token_batch_size=settings.token_batch_size,
    )


def main_term(query: Query) -> Term:
    """Picks the sequence that the model produced: of a contrast, the part that is not subtracted.

    Methods that compare texts have no use for the alternative.
    """
    return max(query.terms, key=lambda term: term.weight)


def read(
    model: LoadedModel,
    sequences: Sequence[Sequence[int]],
    *,
    token_batch_size: int,
    num_prompt_tokens: Sequence[int] | None = None,
    advance: Callable[[float], None] = lambda _tokens: None,
) -> Reading:
    """Reads sequences of tokens in batches of about the same length.

    Args:
        model: The model, whose state is restored afterwards.
        sequences: Token ids.
        token_batch_size: The most tokens in a batch, padding included.
        num_prompt_tokens: How many tokens at the start of each sequence are given and not
            predicted; by default only the first.
        advance: Called with the number of tokens of each batch.

    Returns:
        Middle states are NaN for an empty sequence; all else for one in which nothing is predicted.

    Raises:
        ModelError: The model gives no hidden states.

    Cost: one forward pass.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812

    device = model_device(model)
    layer = middle_layer(model)
    unlabelled = [max(1, n) for n in num_prompt_tokens or [1] * len(sequences)]
    # Their widths are the model's own affair: OPT-350m's last one is narrower than the others.
    width = int(getattr(text_config(model), "hidden_size", 1))
    middle, last = _Rows(len(sequences), width), _Rows(len(sequences), width)
    losses, probabilities = (np.full(len(sequences), np.nan, dtype=np.float32) for _ in range(2))
    lengths = [len(sequence) for sequence in sequences]
    tokens = affordable_tokens(model, token_batch_size)
    batches = batches_by_length(lengths, token_batch_size=tokens, company=company(model))
    batches += [np.array([row]) for row, length in enumerate(lengths) if length == 1]
    with evaluating(model.model):
        for rows in batches:
            input_ids, labels = pad(
                [sequences[row] for row in rows],
                num_unlabelled=[unlabelled[row] for row in rows],
                context_length=model.context_length,
            )
            sizes = torch.tensor([lengths[row] for row in rows])
            real = torch.arange(input_ids.shape[1])[None] < sizes[:, None]
            output = all_hidden_states(model.model, input_ids.to(device))
            states = getattr(output, "hidden_states", None)
            if states is None or len(states) <= layer:
                raise ModelError(
                    f"{model.label} does not give the hidden states of its layers.",
                    "Leave out the methods that compare them, such as `activation`.",
                )
            targets = labels[:, 1:].to(device)
            predicts = F.pad(targets != IGNORED, (0, input_ids.shape[1] - targets.shape[1]))
            middle.put(rows, _means(states[layer], real.to(device)))
            last.put(rows, _means(states[-1], predicts))
            found = token_losses(output.logits[:, : targets.shape[1]].float(), targets)
            predicted = (targets != IGNORED).sum(1)
            losses[rows] = (found.sum(1) / predicted).cpu().numpy()
            likely = torch.where(targets != IGNORED, (-found).exp(), 0)
            probabilities[rows] = (likely.sum(1) / predicted).cpu().numpy()
            advance(float(sizes.sum()))
    return Reading(middle.values, last.values, losses, probabilities)


def middle_layer(model: LoadedModel) -> int:
    """Chooses the layer whose output stands for a text: half of the way up, 0 is the embedding."""
    return int(text_config(model).num_hidden_layers) // 2


def cosines(
    queries: "Float[np.ndarray, 'queries hidden']", examples: "Float[np.ndarray, 'examples hidden']"
) -> "Float[np.ndarray, 'queries examples']":
    """Takes cosines between rows; NaN where one of them is zero or undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        a = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        b = examples / np.linalg.norm(examples, axis=1, keepdims=True)
    return np.clip(a @ b.T, -1, 1)


class _Rows:
    """Rows that are filled in any order; NaN until they are, and as wide as what is put in."""

    def __init__(self, num_rows: int, width: int) -> None:
        self.values = np.full((num_rows, width), np.nan, dtype=np.float32)

    def put(self, rows: "np.ndarray", values: "Float[np.ndarray, 'batch hidden']") -> None:
        if self.values.shape[1] != values.shape[1]:
            shape = (len(self.values), values.shape[1])
            self.values = np.full(shape, np.nan, dtype=np.float32)
        self.values[rows] = values


def _means(
    states: "Float[torch.Tensor, 'batch positions hidden']",
    counted: "torch.Tensor",
) -> "Float[np.ndarray, 'batch hidden']":
    """Averages over the positions that count; NaN where there is none."""
    mask = counted.unsqueeze(-1)
    return ((states.float() * mask).sum(1) / mask.sum(1)).cpu().numpy()
