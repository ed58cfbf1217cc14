"""An example's score split by token and by layer.

An example's gradient has a block for each layer, and each is a sum over its positions t, so its
inner product with a query's gradient G is a sum over both:

    Σ_layers ⟨G, Σ_t g_t a_tᵀ⟩ = Σ_layers Σ_t g_tᵀ G a_t.

The part of position t is the gradient that flows through the weights at token t: from the losses of
all later tokens, and not from that of token t itself. The parts add up to the example's product.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from whence.gradients.passes.batches import model_device, pad
from whence.gradients.passes.capture import capturing, gradient_dtype
from whence.records import LoadedModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor


def token_products(
    model: LoadedModel,
    gradient: "Mapping[str, Float[Tensor, ' weights']]",
    sequences: Sequence[Sequence[int]],
) -> "list[NDArray[np.float32]]":
    """Splits the inner products of one query's and some examples' gradients among tokens.

    Returns:
        For each example one number per token, in nats; positive parts lower the query's loss. See
        `split_products`.
    """
    return [parts.sum(axis=1) for parts in split_products(model, gradient, sequences)]


def module_products(
    model: LoadedModel,
    gradient: "Mapping[str, Float[Tensor, ' weights']]",
    sequences: Sequence[Sequence[int]],
) -> "Float[np.ndarray, 'examples modules']":
    """Splits the inner products of one query's and some examples' gradients among layers.

    Returns:
        For each example one number per layer, in the order of `gradient`, in nats; positive parts
        lower the query's loss. See `split_products`.
    """
    parts = [parts.sum(axis=0) for parts in split_products(model, gradient, sequences)]
    return np.stack(parts) if parts else np.zeros((0, len(gradient)), dtype=np.float32)


def split_products(
    model: LoadedModel,
    gradient: "Mapping[str, Float[Tensor, ' weights']]",
    sequences: Sequence[Sequence[int]],
) -> "list[Float[np.ndarray, 'tokens modules']]":
    """Splits the inner products of one query's and some examples' gradients.

    Args:
        model: The model, whose state is restored afterwards.
        gradient: The query's gradient by module, flat in the order outputs × inputs; of
            `query_gradients` one row. With second moments in it twice (1 / (√v + ε)²), or with the
            inverse of a curvature applied, the parts are those of corrected products.
        sequences: The examples' tokens. They are run one by one: a few are meant.

    Returns:
        For each example one number per token and layer, in nats; positive parts lower the query's
        loss. An example of fewer than two tokens has zeros: it has no gradient.

    Raises:
        ModelError: A module does not exist, or is not used once on a batch of sequences.
    """
    import torch

    device, dtype = model_device(model), gradient_dtype(model)
    places = {name: place for place, name in enumerate(gradient)}
    parts = torch.empty(0)

    def add(name: str, output_gradient: "Tensor", activations: "Tensor") -> None:
        asked = gradient[name].view(output_gradient.shape[-1], activations.shape[-1])
        found_here = (output_gradient[0].to(dtype) @ asked) * activations[0].to(dtype)
        parts[: len(found_here), places[name]] = found_here.sum(dim=1)

    found = []
    with capturing(model, list(gradient), add) as backward:
        for sequence in sequences:
            parts = torch.zeros(len(sequence), len(places), dtype=dtype, device=device)
            if len(sequence) > 1:
                backward(pad([sequence], context_length=model.context_length))
            found.append(parts.float().cpu().numpy())
    return found
