"""Which tokens of an example carry its score?

An example's gradient is a sum over its positions t, so its inner product with a query's gradient G
is one too:

    ⟨G, Σ_t g_t a_tᵀ⟩ = Σ_t g_tᵀ G a_t.

The part of position t is what the weights were asked for while they read token t: by the losses of
all later tokens, and not by that of token t itself. The parts sum up to the example's product.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from whence.gradients.batches import model_device, pad
from whence.gradients.capture import capturing, gradient_dtype
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

    Args:
        model: The model, whose state is restored afterwards.
        gradient: The query's gradient by module, flat in the order outputs × inputs; of
            `query_gradients` one row. With second moments in it twice (1 / (√v + ε)²) the parts are
            those of corrected products.
        sequences: The examples' tokens. They are run one by one: a few are meant.

    Returns:
        For each example one number per token, in nats; positive parts lower the query's loss. An
        example of fewer than two tokens has zeros: it has no gradient.

    Raises:
        ModelError: A module does not exist, or is not used once on a batch of sequences.
    """
    import torch

    device, dtype = model_device(model), gradient_dtype(model)
    parts = torch.empty(0)

    def add(name: str, output_gradient: "Tensor", activations: "Tensor") -> None:
        asked = gradient[name].view(output_gradient.shape[-1], activations.shape[-1])
        parts.add_(((output_gradient[0].to(dtype) @ asked) * activations[0].to(dtype)).sum(dim=1))

    found = []
    with capturing(model, list(gradient), add) as backward:
        for sequence in sequences:
            parts = torch.zeros(len(sequence), dtype=dtype, device=device)
            if len(sequence) > 1:
                backward(pad([sequence]))
            found.append(parts.float().cpu().numpy())
    return found
