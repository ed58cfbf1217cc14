"""Gradients divided by the root of Adam's second moments.

Adam moves a weight by its gradient divided by √v + ε, where v is the running second moment of the
training batches' gradients. Adafactor keeps of v only the means r of its rows and c of its columns,
and divides by

    √v_ij,      v_ij = (r_i + ε)(c_j + ε) / mean(r + ε),

and a bias by √(v + ε). Dividing the gradients of both sides compares them in the coordinates
in which training moved. It has to be done per example, before norms or projection.

Source: Chang et al., "Scalable Influence and Fact Tracing for Large Language Model Pretraining",
arXiv 2410.17413, section 3; where ε stands, and what it is, as Bergson's normalizers have it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from whence.errors import ModelError
from whence.gradients.passes.batches import model_device
from whence.gradients.passes.capture import gradient_dtype, layer
from whence.models.second_moments import Factored
from whence.records import LoadedModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from whence.models.second_moments import SecondMoments

    Scales = Mapping[str, Float[Tensor, " weights"]]

EPSILON, FACTORED_EPSILON = 1e-8, 1e-30


def correction_scales(
    model: LoadedModel,
    modules: Sequence[str],
    second_moments: "SecondMoments | None",
    *,
    include_bias: bool = False,
) -> "dict[str, Float[Tensor, ' weights']] | None":
    """Computes what each weight's gradient is multiplied with, such as 1 / (√v + ε).

    Args:
        model: The model.
        modules: Names of the attributed layers in the base model.
        second_moments: Adam's v, in nats² per unit² of weight, or Adafactor's factors; None leaves
            gradients as they are.
        include_bias: Biases are attributed too.

    Returns:
        For each module a flat row, in the order of a gradient's (outputs × inputs, where there is
        a bias with one input more); None without second moments.

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
        weight, bias = part.get_parameter("weight"), getattr(part, "bias", None)
        found = _fitting(model, second_moments, names[id(weight)], tuple(weight.shape))
        scale = _inverse_root(found)
        if isinstance(part, Conv1D):
            scale = scale.mT
        if include_bias and bias is not None:
            moments = _fitting(model, second_moments, names[id(bias)], tuple(bias.shape))
            assert not isinstance(moments, Factored), "a factored state has a matrix's shape"
            column = (
                (moments.double() + EPSILON).rsqrt()
                if isinstance(found, Factored)
                else _inverse_root(moments)
            )
            scale = torch.cat([scale, column[:, None]], dim=1)
        scales[module] = scale.to(device=device, dtype=dtype).flatten()
    return scales


def _inverse_root(moments: "Tensor | Factored") -> "Tensor":
    """Computes in float64 what a parameter's gradient is multiplied with."""
    if isinstance(moments, Factored):
        row, column = (factor.double() + FACTORED_EPSILON for factor in moments)
        return (row.mean().sqrt() * row.rsqrt())[:, None] * column.rsqrt()
    return (moments.double().sqrt() + EPSILON).reciprocal()


def _fitting(
    model: LoadedModel, second_moments: "SecondMoments", name: str, shape: tuple[int, ...]
) -> "Tensor | Factored":
    """Finds a parameter's second moments, and refuses those that cannot be its own."""
    found = second_moments.get(name)
    if found is None:
        raise ModelError(
            f"There are no second moments for `{name}` of {model.label}.",
            "Give those of this model's optimizer, or leave the layer out.",
        )
    if tuple(found.shape) != shape:
        raise ModelError(
            f"The second moments of `{name}` have shape {tuple(found.shape)}, and the parameter "
            f"has {shape}.",
            "Give those of this model's optimizer.",
        )
    parts = found if isinstance(found, Factored) else (found,)
    if not all(bool((part >= 0).all() & part.isfinite().all()) for part in parts):
        raise ModelError(
            f"The second moments of `{name}` are negative or not finite.",
            "Give those of this model's optimizer.",
        )
    return found


def scales_digest(scales: "Mapping[str, Tensor] | None") -> str | None:
    """Computes a hash of a correction, so that what differs in it is not mixed; None of none."""
    if scales is None:
        return None
    digest = hashlib.sha256()
    for name, values in scales.items():
        digest.update(name.encode() + values.cpu().numpy().tobytes())
    return digest.hexdigest()
