"""What does the model make of each example, reading it once without gradients?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.gradients.batches import (
    IGNORED,
    affordable_tokens,
    check_fits,
    distinct_examples,
    length_batches,
    pad,
)
from whence.gradients.capture import frozen, model_device
from whence.records import Corpus, LoadedModel
from whence.settings import AttributionSettings

if TYPE_CHECKING:
    from jaxtyping import Float


class Reading(NamedTuple):
    """Mean hidden states, and mean losses in nats per predicted token; NaN where undefined."""

    states: "Float[np.ndarray, 'sequences hidden']"
    mean_losses_nats: "Float[np.ndarray, ' sequences']"


def read_examples(model: LoadedModel, corpus: Corpus, *, settings: AttributionSettings) -> Reading:
    """Reads a corpus; examples with the same tokens are read once.

    Raises:
        CorpusError: An example does not fit the model.
    """
    check_fits(model, corpus)
    distinct = distinct_examples(corpus)
    sequences = [corpus.input_ids(int(row)) for row in distinct.rows]
    found = read(model, sequences, token_batch_size=settings.token_batch_size)
    return Reading(found.states[distinct.of_example], found.mean_losses_nats[distinct.of_example])


def read(
    model: LoadedModel, sequences: Sequence[Sequence[int]], *, token_batch_size: int
) -> Reading:
    """Reads sequences of tokens in batches of about the same length.

    Returns:
        For each sequence the mean over its tokens of the hidden state after half of the layers,
        and its mean loss. NaN for the state of an empty sequence and for the loss of one with fewer
        than two tokens.

    Cost: one forward pass.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812

    device = model_device(model)
    layer = middle_layer(model)
    states = np.full((len(sequences), model.model.config.hidden_size), np.nan, dtype=np.float32)
    losses = np.full(len(sequences), np.nan, dtype=np.float32)
    lengths = [len(sequence) for sequence in sequences]
    tokens = affordable_tokens(model, token_batch_size)
    batches = length_batches(lengths, token_batch_size=tokens)
    batches += [np.array([row]) for row, length in enumerate(lengths) if length == 1]
    with frozen(model), torch.no_grad():
        for rows in batches:
            input_ids, labels = pad([sequences[row] for row in rows])
            input_ids, labels = input_ids.to(device), labels.to(device)
            output = model.model(input_ids, use_cache=False, output_hidden_states=True)
            real = (labels != IGNORED).unsqueeze(-1)
            middle = output.hidden_states[layer].float()
            states[rows] = ((middle * real).sum(1) / real.sum(1)).cpu().numpy()
            found = F.cross_entropy(
                output.logits[:, :-1].flatten(0, 1).float(),
                labels[:, 1:].flatten(),
                ignore_index=IGNORED,
                reduction="none",
            )
            predicted = (labels[:, 1:] != IGNORED).sum(1)
            losses[rows] = (found.view(len(rows), -1).sum(1) / predicted).cpu().numpy()
    return Reading(states, losses)


def middle_layer(model: LoadedModel) -> int:
    """Chooses the layer whose output stands for a text: half of the way up, 0 is the embedding."""
    return int(model.model.config.num_hidden_layers) // 2
