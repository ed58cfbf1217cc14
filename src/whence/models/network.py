"""Running a network on a batch: evaluation mode, padding on the right, logits and hidden states.

Every forward pass goes through this module, but for those of training, which keep dropout, labels
and the optimizer's order in their own hands (`training.trainer`), and cached steps (`decoding`).
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from whence.models.positions import forget_lengths, growing_tables
from whence.records import LoadedModel

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int
    from torch import Tensor, nn

IGNORED = -100


class Padded(NamedTuple):
    """A batch of sequences; `labels` is `IGNORED` where no loss is computed.

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


def pad(
    sequences: Sequence[Sequence[int]],
    *,
    num_unlabelled: Sequence[int] | None = None,
    context_length: int | None = None,
) -> Padded:
    """Pads sequences on the right, where a causal model does not look, so no mask is needed.

    Args:
        sequences: Token ids.
        num_unlabelled: How many tokens at the start of each sequence bear no loss; none by default.
        context_length: Tokens that the model reads. A last token beyond it is a target only, and
            no input: a table of positions has no row for it.
    """
    import numpy as np
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
    """Finds the device where the model's inputs belong."""
    return next(model.model.get_input_embeddings().parameters()).device


def vocabulary_size(model: LoadedModel) -> int:
    """Counts the tokens that the model has an embedding for, unused ones included."""
    weight: Any = model.model.get_input_embeddings().weight
    return int(weight.shape[0])


def text_config(model: LoadedModel) -> Any:
    """The configuration of the language model, where that of the whole network nests it."""
    return model.model.config.get_text_config()


@contextmanager
def evaluation_mode(network: "nn.Module") -> Iterator[None]:
    """Switches dropout off, and every module back to what it was.

    Frequencies of rotary positions that grow with the longest sequence seen (dynamic NTK) are reset
    before each pass and at the end, so that no pass depends on the one before it.
    """
    was_training = {module: module.training for module in network.modules()}
    growing = growing_tables(network)
    network.eval()
    handles = [
        module.register_forward_pre_hook(lambda module, _inputs: forget_lengths(module))
        for module in growing
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in growing:
            forget_lengths(module)
        for module, training in was_training.items():
            module.training = training


@contextmanager
def evaluating(network: "nn.Module") -> Iterator[None]:
    """Switches dropout and gradients off, and back to what they were.

    Not `inference_mode`: what a model keeps for later, such as frequencies, has to work in a
    gradient pass too.
    """
    import torch

    with evaluation_mode(network), torch.no_grad():
        yield


def logits(
    network: Any,
    input_ids: "Int[Tensor, 'batch positions']",
    *,
    positions: "Int[Tensor, ' kept'] | None" = None,
) -> "Float[Tensor, 'batch kept vocabulary']":
    """Computes logits without a cache, in the model's type.

    Args:
        network: A causal language model.
        input_ids: Tokens, padded on the right.
        positions: The positions whose logits are wanted; all by default.
    """
    keep = {} if positions is None else {"logits_to_keep": positions}
    found = network(input_ids=input_ids, **known_arguments(network, use_cache=False, **keep)).logits
    if positions is None or found.shape[1] == len(positions):
        return found
    # The model does not know `logits_to_keep`.
    return found[:, positions]


def last_hidden_states(
    network: Any, input_ids: "Int[Tensor, 'batch positions']"
) -> "Float[Tensor, 'batch positions hidden'] | None":
    """Computes what the output layer reads, without the logits; None where no part gives it."""
    base = network.base_model
    found = base(input_ids, **known_arguments(base, use_cache=False))
    return getattr(found, "last_hidden_state", None)


def all_hidden_states(network: Any, input_ids: "Int[Tensor, 'batch positions']") -> Any:
    """Computes logits and `hidden_states`, the embedding's first; widths may differ."""
    return network(
        input_ids, **known_arguments(network, use_cache=False, output_hidden_states=True)
    )


def token_losses(
    logits: "Float[Tensor, 'batch positions vocabulary']",
    targets: "Int[Tensor, 'batch positions']",
) -> "Float[Tensor, 'batch positions']":
    """Computes cross-entropies in nats, at least in float32; zero where the target is `IGNORED`."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    losses = F.cross_entropy(
        logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32)),
        targets.flatten(),
        ignore_index=IGNORED,
        reduction="none",
    )
    return losses.view_as(targets)


def known_arguments(module: "nn.Module", **arguments: object) -> dict[str, object]:
    """Leaves out what the module's `forward` has no parameter for.

    What a catch-all `**kwargs` would swallow is left out too, but for `use_cache` and
    `output_hidden_states`, which wrappers pass on.
    """
    forward = module.forward
    known, catches_all = _parameters(getattr(forward, "__func__", forward))
    passed_on = {"use_cache", "output_hidden_states"} if catches_all else set()
    return {name: value for name, value in arguments.items() if name in known | passed_on}


@lru_cache(maxsize=256)
def _parameters(forward: Callable[..., object]) -> tuple[frozenset[str], bool]:
    parameters = inspect.signature(forward).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    return frozenset(parameters), inspect.Parameter.VAR_KEYWORD in kinds
