"""Rotary positions whose frequencies depend on the longest sequence of a batch.

LongRoPE takes other frequencies for *all* positions once one sequence passes the original context,
and dynamic NTK scaling takes ones that grow with the longest sequence seen so far. In such a model
a document's numbers depend on which documents share its batch, unless all have one length.

Source: Ding et al., "LongRoPE", arXiv 2402.13753; transformers' `dynamic_rope_update`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

_DEPENDENT = ("dynamic", "longrope")


def growing_tables(network: "nn.Module") -> list["nn.Module"]:
    """Finds the modules whose frequencies remember the longest sequence seen."""
    return [
        module
        for module in network.modules()
        if hasattr(module, "max_seq_len_cached")
        and any("dynamic" in kind for _, kind in _rope_types(module))
    ]


def forget_lengths(module: "nn.Module") -> None:
    """Gives a module back the frequencies that it had before its first pass."""
    original: Any = getattr(module, "original_max_seq_len", None)
    if original is None:
        return
    for layer_type, kind in _rope_types(module):
        prefix = "" if layer_type is None else f"{layer_type}_"
        if "dynamic" not in kind:
            continue
        if getattr(module, f"{prefix}max_seq_len_cached", original) == original:
            continue
        current: Any = getattr(module, f"{prefix}inv_freq")
        frequencies: Any = getattr(module, f"{prefix}original_inv_freq")
        module.register_buffer(
            f"{prefix}inv_freq", frequencies.to(current.device), persistent=False
        )
        setattr(module, f"{prefix}max_seq_len_cached", original)


def free_length(network: "nn.Module", *, longest: int) -> int | None:
    """Finds the length up to which no position depends on the batch's longest sequence.

    Args:
        network: The model; its frequencies are put back.
        longest: The longest sequence that matters.

    Returns:
        That length; None where nothing depends on it up to `longest`.

    Cost:
        A table of three positions for each rotary module, and some twenty where it does depend.
    """
    found = [
        limit
        for module in network.modules()
        for layer_type, kind in _rope_types(module)
        if (limit := _limit(module, layer_type, kind, longest)) is not None
    ]
    return min(found, default=None)


def _rope_types(module: "nn.Module") -> Iterator[tuple[str | None, str]]:
    """The kinds of a module's frequencies, by type of layer where it has several."""
    kinds: Any = getattr(module, "rope_type", None)
    if isinstance(kinds, str):
        yield None, kinds
    elif isinstance(kinds, dict):
        yield from kinds.items()


def _limit(module: "nn.Module", layer_type: str | None, kind: str, longest: int) -> int | None:
    import torch

    if longest < 4:
        return None
    try:
        with torch.no_grad():
            first = _table(module, layer_type, 3)
            if torch.equal(first, _table(module, layer_type, longest)):
                return None
            low, high = 3, longest
            while high - low > 1:
                middle = (low + high) // 2
                same = torch.equal(first, _table(module, layer_type, middle))
                low, high = (middle, high) if same else (low, middle)
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError):
        # A table that cannot be looked at alone, such as one of three axes.
        return 0 if any(name in kind for name in _DEPENDENT) else None
    else:
        return low
    finally:
        forget_lengths(module)


def _table(module: "nn.Module", layer_type: str | None, length: int) -> "Tensor":
    """The cosines and sines of the first two positions, in a sequence of some length."""
    import torch

    device = next((buffer.device for buffer in module.buffers()), torch.device("cpu"))
    forget_lengths(module)
    places = torch.tensor([[0, 1, length - 1]], device=device)
    arguments = () if layer_type is None else (layer_type,)
    found = module(torch.zeros(1, 3, 1, device=device), places, *arguments)
    parts = found if isinstance(found, tuple) else (found,)
    real = [torch.view_as_real(p).flatten(-2) if p.is_complex() else p for p in parts]
    return torch.cat(real)[..., :2, :]
