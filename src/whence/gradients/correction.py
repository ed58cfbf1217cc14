"""How does Adam see a gradient?

Adam moves a weight by its gradient divided by √v + ε, where v is the running second moment of the
training batches' gradients. Dividing the gradients of both sides by it compares them in the
coordinates in which training moved. It has to be done per example, before norms or projection.

Source: Chang et al., "Scalable Influence and Fact Tracing for Large Language Model Pretraining",
arXiv 2410.17413, section 3; ε outside the root, as Bergson's `AdamNormalizer` has it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from whence.errors import ModelError
from whence.gradients.batches import model_device
from whence.gradients.capture import gradient_dtype, layer
from whence.records import LoadedModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

EPSILON = 1e-8


def adam_scales(
    model: LoadedModel, modules: Sequence[str], second_moments: "Mapping[str, Tensor] | None"
) -> "dict[str, Float[Tensor, ' weights']] | None":
    """Computes what each weight's gradient is multiplied with, 1 / (√v + ε).

    Args:
        model: The model.
        modules: Names of the attributed layers in the base model.
        second_moments: Adam's v by the names of the model's parameters, in nats² per unit² of
            weight, each of its parameter's shape; None leaves gradients as they are.

    Returns:
        For each module a flat row, in the order of a gradient's (outputs × inputs); None without
        second moments.

    Raises:
        ModelError: A layer has no second moments, or they have another shape or are not finite.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    if second_moments is None:
        return None
    names = {id(parameter): name for name, parameter in model.model.named_parameters()}
    device, dtype = model_device(model), gradient_dtype(model)
    scales = {}
    for module in modules:
        part = layer(model, module)
        weight = part.get_parameter("weight")
        name = names[id(weight)]
        found = second_moments.get(name)
        if found is None:
            raise ModelError(
                f"There are no second moments for `{name}` of {model.label}.",
                "Give those of this model's optimizer, or leave the layer out.",
            )
        if found.shape != weight.shape:
            raise ModelError(
                f"The second moments of `{name}` have shape {tuple(found.shape)}, and the weight "
                f"has {tuple(weight.shape)}.",
                "Give those of this model's optimizer.",
            )
        if not bool((found >= 0).all() & found.isfinite().all()):
            raise ModelError(
                f"The second moments of `{name}` are negative or not finite.",
                "Give those of this model's optimizer.",
            )
        values = found.mT if isinstance(part, Conv1D) else found
        root = values.to(device=device, dtype=torch.float64).sqrt() + EPSILON
        scales[module] = root.reciprocal().to(dtype).flatten()
    return scales


def scales_digest(scales: "Mapping[str, Tensor] | None") -> str | None:
    """Computes a hash of a correction, so that what differs in it is not mixed; None of none."""
    if scales is None:
        return None
    digest = hashlib.sha256()
    for name, values in scales.items():
        digest.update(name.encode() + values.cpu().numpy().tobytes())
    return digest.hexdigest()
