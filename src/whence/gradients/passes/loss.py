"""The output layer's loss and its gradient, without storing the logits.

With a vocabulary of 50,000 tokens the logits of one document take more memory than all else, and
passing over them again and again more time than multiplying. With logits l = W h, the loss of a
token with target y and its gradient are

    loss = log Σ_v exp(l_v) - l_y,      dloss/dh = Σ_v softmax(l)_v W_v - W_y,

and both sums are computed in one pass over blocks of the vocabulary, with Σ_v exp(l_v - c) for a
number c near the token's highest logit: that of its target, or of the vocabulary's first words,
which are the most frequent ones. The product itself subtracts c, so that a block of logits is
written, turned into exponentials, summed and multiplied in the words' own type while it is in the
cache, and then discarded. Where a sum is too large, because the highest logit is far above c, it is
computed again with the highest as c. Only labelled positions are computed at all.

A softmax cross-entropy over the vocabulary has the form of attention: queries are hidden states,
keys and values are the output embeddings W, and Σ_v softmax(l)_v W_v is its output. On a CPU, in
float32, PyTorch's fused attention therefore computes both sums without leaving the cache.

Source: keeping no logits is the idea of Wijmans et al., "Cut Your Losses in Large-Vocabulary
Language Models", arXiv 2411.09009.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from whence.models.forward import (
    IGNORED,
    Padded,
    affordable_tokens,
    last_hidden_states,
    logits,
    model_device,
    num_words,
    token_losses,
)
from whence.records import LoadedModel

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int
    from torch import Tensor, nn

Precision = Literal["float32", "mixed"]
Backward = Callable[..., "Float[Tensor, ' batch']"]
"""Takes a batch and, by name, `weights`, a factor for each sequence's loss (1 by default); runs it
forward and backward; gives each sequence's loss in nats, summed over its labelled tokens and not
weighted."""

# How many words are looked at for a number near the highest logit, and how large Σ exp may be: far
# from that number, rounding to bfloat16 leaves little of a logit.
SAMPLED_WORDS, LARGEST_TOTAL = 1024, 1e6
# Per device: tokens and words of a block of logits. On a CPU a block must fit its cache.
BLOCK = {"cpu": (1024, 1024), "cuda": (8192, 16384)}


def backward_pass(model: LoadedModel, *, precision: Precision = "float32") -> Backward:
    """Chooses how batches of a model are run.

    Args:
        model: The model, frozen.
        precision: `mixed` multiplies with the output layer in bfloat16, and sums in float32; where
            the device only emulates bfloat16 it is float32, which is faster there.

    Returns:
        A pass that holds no logits, where the model's logits are nothing but its output layer
        times its last hidden state (which is tried); otherwise the model's own forward pass.
    """
    head = output_layer(model)
    if head is None:
        return lambda batch, weights=None: plain_pass(model, batch, weights)
    smaller = precision == "mixed" and multiplies_bfloat16(head.weight.device)
    words = head.weight.bfloat16() if smaller else head.weight
    return lambda batch, weights=None: _fused(model, words, head.bias, batch, weights)


def multiplies_bfloat16(device: "torch.device") -> bool:
    """Whether a device has products of bfloat16; a CPU without AVX-512 emulates them, slowly."""
    import torch

    if device.type != "cpu":
        return True
    return torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "NO AVX", "AVX2")


def emulated(model: LoadedModel) -> str | None:
    """Names the type of a model's weights where the device only emulates it; None where not."""
    small = model.dtype in ("bfloat16", "float16")
    return model.dtype if small and not multiplies_bfloat16(model_device(model)) else None


def batch_tokens(model: LoadedModel, token_batch_size: int) -> int:
    """Limits a batch's tokens so that its logits fit into memory, where they are held at all."""
    if output_layer(model) is None:
        return affordable_tokens(model, token_batch_size)
    return token_batch_size


def output_layer(model: LoadedModel) -> "nn.Linear | None":
    """Finds the layer that makes logits; None where the model does more than apply it."""
    import torch

    network: Any = model.model
    head = network.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        return None
    ids = torch.arange(min(4, num_words(model)), device=head.weight.device)[None]
    with torch.no_grad():
        theirs = logits(network, ids)
        states = last_hidden_states(network, ids)
        if states is None or states.shape[-1] != head.in_features:
            return None
        ours = head(states)
    same = theirs.shape == ours.shape and torch.allclose(
        theirs.to(ours.dtype), ours, rtol=1e-3, equal_nan=True
    )
    return head if same else None


def cross_entropy(
    hidden: "Float[Tensor, 'tokens hidden']",
    targets: "Int[Tensor, ' tokens']",
    words: "Float[Tensor, 'vocabulary hidden']",
    bias: "Float[Tensor, ' vocabulary'] | None" = None,
    *,
    block: tuple[int, int] | None = None,
) -> "tuple[Float[Tensor, ' tokens'], Float[Tensor, 'tokens hidden']]":
    """Computes the loss of each token and its gradient with respect to its hidden state.

    Args:
        hidden: Last hidden states.
        targets: The next token of each; best on the CPU, whatever the device of the rest.
        words: The output layer's weights; products are computed in their precision.
        bias: The output layer's bias.
        block: Tokens and words that are multiplied at once; it changes results only by rounding.
            By default a block that suits the device, or PyTorch's attention where that is faster.

    Returns:
        Losses in nats and their gradients, both in float32 (float64 for a float64 model).

    Cost:
        4 · tokens · vocabulary · hidden operations; memory for one block of logits.
    """
    import torch

    if block is None and bias is None and _attends(hidden, words):
        return _cross_entropy_by_attention(hidden, targets, words)
    num_tokens, num_words = block or BLOCK.get(hidden.device.type, BLOCK["cuda"])
    exact = torch.promote_types(hidden.dtype, torch.float32)
    targets = targets.cpu()
    losses = torch.empty(len(hidden), dtype=exact, device=hidden.device)
    gradients = torch.empty(hidden.shape, dtype=exact, device=hidden.device)
    totals = torch.empty_like(losses)
    for first in range(0, len(hidden), num_tokens):
        part = slice(first, first + num_tokens)
        losses[part], gradients[part], totals[part] = _part(
            hidden[part], targets[part], words, bias, num_words=num_words, is_sampled=True
        )
    # A token that is far less likely than the others; and what is not a number stays none.
    far = (~(totals < LARGEST_TOTAL)).cpu().nonzero().squeeze(1)
    for first in range(0, len(far), num_tokens):
        some = far[first : first + num_tokens]
        losses[some], gradients[some], _ = _part(
            hidden[some], targets[some], words, bias, num_words=num_words, is_sampled=False
        )
    return losses, gradients


def _part(
    hidden: "Float[Tensor, 'tokens hidden']",
    targets: "Int[Tensor, ' tokens']",
    words: "Float[Tensor, 'vocabulary hidden']",
    bias: "Float[Tensor, ' vocabulary'] | None",
    *,
    num_words: int,
    is_sampled: bool,
) -> "tuple[Float[Tensor, ' tokens'], Float[Tensor, 'tokens hidden'], Float[Tensor, ' tokens']]":
    """Computes losses, gradients and Σ_v exp(l_v - c) of some tokens, in one pass over the words.

    Args:
        hidden: As of `cross_entropy`.
        targets: Likewise.
        words: Likewise.
        bias: Likewise.
        num_words: Words that are multiplied at once.
        is_sampled: Whether c is the highest logit of the target and the first words, or of all.
    """
    import torch

    exact, kind = torch.promote_types(hidden.dtype, torch.float32), words.dtype
    cells = _cells(targets, num_words=num_words, vocabulary=len(words), device=hidden.device)
    targets = _sent(targets, hidden.device)
    states, target = hidden.to(kind), words[targets].to(exact)
    logit = (states.to(exact) * target).sum(dim=1)
    if bias is not None:
        logit += bias[targets]

    def logits(part: slice, start: "Tensor") -> "Tensor":
        if bias is not None:
            start = start + bias[part]
        found = torch.addmm(start.to(kind), states, words[part].T)
        # Half-size numbers of float16 would lose all words that are not likely.
        return found.to(exact) if kind == torch.float16 else found

    peak, zero = logit, logit.new_zeros(1)
    limit = min(len(words), SAMPLED_WORDS) if is_sampled else len(words)
    for word in range(0, limit, num_words):
        found = logits(slice(word, min(word + num_words, limit)), zero)
        peak = torch.maximum(peak, found.amax(dim=1).to(exact))
    # What the products are rounded to is subtracted, and added again to the logarithm.
    peak = peak.to(kind)
    start = -peak[:, None]
    others = torch.zeros_like(target)
    total = torch.zeros_like(logit)
    for word, cell in zip(range(0, len(words), num_words), cells, strict=True):
        part = slice(word, word + num_words)
        weights = logits(part, start).exp_()
        if cell is not None:
            weights[cell] = 0
        total.add_(weights.sum(dim=1, dtype=exact))
        others.add_(torch.mm(weights.to(kind), words[part]))
    # The target's share is computed apart: where it is near 1, rounding would leave nothing of the
    # difference.
    own = (logit - peak.to(exact)).exp()
    whole = total + own
    gradients = others.sub_(target * total[:, None]).div_(whole[:, None])
    return (whole.log() + peak.to(exact) - logit).clamp_(min=0), gradients, whole


def _cells(
    targets: "Int[Tensor, ' tokens']", *, num_words: int, vocabulary: int, device: "torch.device"
) -> "list[tuple[Tensor, Tensor] | None]":
    """Where the targets are in each block of words: rows and columns, if there are any.

    `targets` are on the CPU, and sorted there, because a GPU would have to be waited for.
    """
    import torch

    known, order = targets.sort()
    edges = torch.arange(0, vocabulary + num_words, num_words)
    bounds = torch.searchsorted(known, edges).tolist()
    rows, columns = _sent(order, device), _sent(known % num_words, device)
    return [
        (rows[start:end], columns[start:end]) if end > start else None
        for start, end in pairwise(bounds)
    ]


def _sent(tensor: "Tensor", device: "torch.device") -> "Tensor":
    """Copies numbers to a device without waiting for what it has still to do.

    From memory that is not pinned, as here, they are read before the call returns.
    """
    return tensor.to(device, non_blocking=True)


def _attends(hidden: "Tensor", words: "Tensor") -> bool:
    """Whether PyTorch's attention on the CPU can compute these: float32, and at least one state."""
    import torch

    kinds = {hidden.dtype, words.dtype}
    return hidden.device.type == "cpu" and kinds == {torch.float32} and len(hidden) > 0


def _cross_entropy_by_attention(
    hidden: "Float[Tensor, 'tokens hidden']",
    targets: "Int[Tensor, ' tokens']",
    words: "Float[Tensor, 'vocabulary hidden']",
) -> "tuple[Float[Tensor, ' tokens'], Float[Tensor, 'tokens hidden']]":
    """As `cross_entropy`, of states that attend to words.

    The public `scaled_dot_product_attention` keeps the logarithm of its sum to itself, so the
    operator behind it is called.
    """
    import torch

    keys = words[None, None]
    mean, total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        hidden[None, None], keys, keys, dropout_p=0.0, is_causal=False, scale=1.0
    )
    target = words[targets]
    losses = total.flatten() - (hidden * target).sum(dim=1)
    # A difference of nearly equal numbers, which may be rounded to less than nothing.
    return losses.clamp_(min=0), mean[0, 0].sub_(target)


def _fused(
    model: LoadedModel,
    words: "Tensor",
    bias: "Tensor | None",
    batch: Padded,
    weights: "Tensor | None",
) -> "Tensor":
    """Takes a batch's loss from its labelled positions and sends its gradient back."""
    import torch

    network: Any = model.model
    # Found on the CPU: a GPU would have to come to the end of the forward pass first.
    labels = batch.targets
    rows, places = (labels != IGNORED).nonzero(as_tuple=True)
    targets = labels[rows, places]
    rows, places = _sent(rows, words.device), _sent(places, words.device)
    states = last_hidden_states(network, _sent(batch.input_ids, words.device))
    assert states is not None, "`output_layer` has tried it"
    found, gradients = cross_entropy(states.detach()[rows, places], targets, words, bias)
    if weights is not None:
        gradients *= weights[rows, None]
    downstream = torch.zeros_like(states)
    downstream[rows, places] = gradients.to(states.dtype)
    states.backward(downstream)
    losses = torch.zeros(len(states), dtype=found.dtype, device=found.device)
    return losses.index_add_(0, rows, found)


def plain_pass(
    model: LoadedModel, batch: Padded, weights: "Tensor | None" = None
) -> "Float[Tensor, ' batch']":
    """Takes a batch's loss from the model's own logits, and sends its gradient back."""
    losses = position_losses(model.model, batch, device=model_device(model)).sum(dim=1)
    (losses if weights is None else losses * weights).sum().backward()
    return losses.detach()


def position_losses(
    network: Any, batch: Padded, *, device: "torch.device | None" = None
) -> "Float[Tensor, 'batch positions']":
    """Takes the loss at each position from the model's own logits; zero where there is no label."""
    found = logits(network, batch.input_ids.to(device or network.device))
    return token_losses(found, batch.targets.to(found.device))
