"""Causal attention in bfloat16 on a CPU, forward and back.

PyTorch's fused attention gains nothing from bfloat16 on a CPU, and its backward pass is slower than
in float32. The same products, a block of queries at a time, by the library that multiplies all else
take less time (`benchmarks/bfloat16.py` measures both). For queries Q, keys K, values V and a scale
s, with S masked above the diagonal,

    P = softmax(s Q Kᵀ),    O = P V,
    dV = Pᵀ dO,    dS = P ∘ (dO Vᵀ - Σ dO ∘ O),    dQ = s dS K,    dK = s dSᵀ Q.

P is rounded to bfloat16, as in fused attentions, and what blocks add to dK and dV is summed in
float32. P is kept for the backward pass where it is small, and else computed again.

Source: Dao et al., "FlashAttention", arXiv 2205.14135, section B.2.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

OPERANDS = ("query", "key", "value")
BLOCK = 128
MAX_KEPT_BYTES = 24 * 2**20


def attention_in_bfloat16(
    device: "torch.device", dtype: "torch.dtype"
) -> AbstractContextManager[Any]:
    """Replaces causal attention in this thread while it is open, where a CPU runs bfloat16."""
    import torch
    import torch.nn.functional as F  # noqa: N812
    from torch.overrides import TorchFunctionMode

    if device.type != "cpu" or dtype != torch.bfloat16:
        return nullcontext()

    class Replaced(TorchFunctionMode):
        """Catches calls of PyTorch's attention."""

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            named = kwargs or {}
            if func is F.scaled_dot_product_attention and _is_plain(*args, **named):
                operands = {**dict(zip(OPERANDS, args, strict=False)), **named}
                return causal_attention(
                    *(operands[name] for name in OPERANDS), scale=named.get("scale")
                )
            return func(*args, **named)

    return Replaced()


def _is_plain(
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **how: Any,
) -> bool:
    """Whether a call is nothing but causal attention of as many queries as keys and values."""
    import torch

    same = query.shape[:-1] == key.shape[:-1] == value.shape[:-1] and query.dim() == 4
    return (
        same
        and query.dtype == torch.bfloat16
        and is_causal
        and attn_mask is None
        and not dropout_p
        and set(how) <= {"scale", "enable_gqa"}
    )


def causal_attention(
    query: "Float[Tensor, 'batch heads positions size']",
    key: "Float[Tensor, 'batch heads positions size']",
    value: "Float[Tensor, 'batch heads positions values']",
    *,
    scale: float | None = None,
) -> "Float[Tensor, 'batch heads positions values']":
    """Computes softmax(s Q Kᵀ) V, each position's over itself and those before.

    Args:
        query: In any type; all three have the same.
        key: Likewise.
        value: Likewise.
        scale: s; by default 1 / √size.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    operands = (part.flatten(0, 1) for part in (query, key, value))
    found: Tensor = _function().apply(*operands, scale)  # pyright: ignore[reportAssignmentType]
    return found.unflatten(0, query.shape[:2])


def _probabilities(
    query: "Tensor", key: "Tensor", part: slice, scale: float
) -> "Float[Tensor, 'heads block keys']":
    """P of a block of queries, which look at no key behind the block."""
    import torch

    scores = torch.bmm(query[:, part] * scale, key[:, : part.stop].mT)
    size = part.stop - part.start
    above = torch.full((size, size), -torch.inf, dtype=scores.dtype).triu(1)
    scores[:, :, part] += above
    return scores.softmax(dim=-1)


def _blocks(length: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]


@cache
def _function() -> "type[torch.autograd.Function]":
    """Makes the function where torch is used, so that importing this file does not import it."""
    import torch

    class Attention(torch.autograd.Function):
        """Attention of heads × positions × size, with a backward pass of its own."""

        @staticmethod
        def forward(ctx: Any, query: "Tensor", key: "Tensor", value: "Tensor", scale: float) -> Any:
            heads, length, _ = query.shape
            is_small = heads * length * (length + BLOCK) * query.itemsize // 2 <= MAX_KEPT_BYTES
            found, kept = torch.empty_like(value), []
            for part in _blocks(length):
                chances = _probabilities(query, key, part, scale)
                found[:, part] = torch.bmm(chances, value[:, : part.stop])
                if is_small:
                    kept.append(chances)
            ctx.scale, ctx.kept = scale, kept
            ctx.save_for_backward(query, key, value, found)
            return found

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - one gradient comes
            ctx: Any, gradient: "Tensor"
        ) -> Any:
            query, key, value, found = ctx.saved_tensors
            scale, kept, ctx.kept = ctx.scale, ctx.kept, []
            exact = torch.promote_types(query.dtype, torch.float32)
            of_query = torch.empty_like(query)
            of_key = torch.zeros(key.shape, dtype=exact)
            of_value = torch.zeros(value.shape, dtype=exact)
            means = (gradient.to(exact) * found.to(exact)).sum(dim=-1, keepdim=True)
            means = means.to(query.dtype)
            for n, part in enumerate(_blocks(query.shape[1])):
                chances = kept[n] if kept else _probabilities(query, key, part, scale)
                before, signal = slice(part.stop), gradient[:, part]
                of_value[:, before] += torch.bmm(chances.mT, signal)
                scores = torch.bmm(signal, value[:, before].mT).sub_(means[:, part]).mul_(chances)
                of_query[:, part] = torch.bmm(scores, key[:, before]).mul_(scale)
                of_key[:, before] += torch.bmm(scores.mT, query[:, part])
            of_key = of_key.mul_(scale).to(key.dtype)
            return of_query, of_key, of_value.to(value.dtype), None

    return Attention
