"""What a model does with two short sequences, compared with what is assumed of it before long work.

Some models do not behave as a plain transformer does: their positions depend on the batch, their
cache is not what our loop expects, a linear layer is never called or sees its inputs reshaped. One
probe of each kind finds them by behavior and not by name; each runs once per model, when first
needed, and is kept with it.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar, cast

from whence.errors import ModelError
from whence.models.decoding import Steps, cached_steps, generated_steps
from whence.models.network import (
    evaluating,
    evaluation_mode,
    logits,
    model_device,
    pad,
    text_config,
    token_losses,
    vocabulary_size,
)
from whence.models.positions import free_length
from whence.records import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor, nn

Decoding = Literal["cache", "generate", "generate only", "full"]
Part = TypeVar("Part")

# Of a small model the probe is longer, so that it passes short windows and chunks.
MIN_TOKENS, MAX_TOKENS, WORK = 9, 64, 4e8
NUM_STEPS = 3


class Company(NamedTuple):
    """Which sequences may share a batch without changing each other's numbers.

    Up to `free_length` tokens, padding included, sequences of any lengths may, and beyond it those
    of one length; None is no limit. `alone` says that none may.
    """

    free_length: int | None = None
    alone: bool = False

    def admits(self, shortest: int, longest: int) -> bool:
        """Whether two sequences of these lengths may share a batch."""
        if self.alone:
            return False
        free = self.free_length is None or longest <= self.free_length
        return free or shortest == longest


ANY = Company()


def company(model: LoadedModel) -> Company:
    """Finds out which sequences may share a batch.

    Raises:
        ModelError: The model cannot run a batch of two sequences, is not deterministic, or looks at
            later tokens.
    """
    return _once(model, "company", _company)


def decoding(model: LoadedModel) -> Decoding:
    """Finds out how the model continues a text: by our steps with its cache, or by its own.

    Returns:
        `cache` where steps with the model's cache give what a pass without one gives; else
        `generate`, the model's own loop, or `generate only` where that loop gives other logits than
        a pass; `full`, a pass without a cache for each token, where the model's loop does not run
        or mixes up the rows of a batch.
    """
    return _once(model, "decoding", _decoding)


def not_attributable(model: LoadedModel) -> Mapping[str, str]:
    """Finds the linear layers whose per-example gradients cannot be formed, and why not.

    A layer's gradient is Σ_t g_t a_tᵀ where it is called once, on inputs [batch, positions,
    features], and its weights are used nowhere else. For each layer that sum is compared with
    autograd's.

    Returns:
        From names in the base model to a reason, such as "is not called in a pass".

    Raises:
        ModelError: The model cannot be differentiated.
    """
    return _once(model, "not_attributable", _not_attributable)


def notes(model: LoadedModel) -> tuple[str, ...]:
    """Says what is done otherwise for this model than for a plain transformer, and why."""
    limits, found = company(model), list(model.notes)
    if limits.alone:
        found.append(
            f"{model.label} gives other logits in a batch than alone, so sequences run one by one."
        )
    elif limits.free_length is not None:
        beyond = f" of more than {limits.free_length} tokens" if limits.free_length else ""
        found.append(
            f"Positions of {model.label} depend on the longest sequence of a batch, so sequences"
            f"{beyond} share a batch only with those of the same length."
        )
    if decoding(model) == "generate only":
        found.append(
            f"`generate` of {model.label} gives other logits than a pass over the same tokens; "
            "continuations are those of `generate`."
        )
    if left_out := not_attributable(model):
        reasons: dict[str, list[str]] = {}
        for name, reason in left_out.items():
            reasons.setdefault(reason, []).append(name)
        listed = "; ".join(
            f"{len(names)}, such as `{names[0]}`: {reason}" for reason, names in reasons.items()
        )
        found.append(
            f"{len(left_out)} linear layers cannot be attributed and are left out: {listed}."
        )
    return tuple(found)


def linear_layers(model: LoadedModel) -> "dict[str, nn.Linear]":
    """Lists the linear layers of the base model, by name, whether or not they can be attributed."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    # Conv1D is GPT-2's linear layer with its weight transposed.
    return {
        name: cast("nn.Linear", module)
        for name, module in model.model.base_model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }


def num_weights(linear: "nn.Linear") -> int:
    """Counts a layer's weights; packed ones (4 bits) as many as they stand for."""
    outputs, inputs = getattr(linear, "out_features", None), getattr(linear, "in_features", None)
    if outputs is None or inputs is None:
        return linear.weight.numel()
    return int(outputs) * int(inputs)


def _once(model: LoadedModel, name: str, find: "Callable[[LoadedModel], Part]") -> Part:
    key = f"{name} {model.fingerprint}"
    if key not in model.probed:
        model.probed[key] = find(model)
    return model.probed[key]


def _company(model: LoadedModel) -> Company:
    network, device = model.model, model_device(model)
    short, long = _sequences(model)
    other = [*short[:-1], long[-1] if long[-1] != short[-1] else long[0]]

    def run(*sequences: list[int]) -> "list[Tensor]":
        found = logits(network, pad(sequences).input_ids.to(device)).float()
        return [row[: len(ids)] for row, ids in zip(found, sequences, strict=True)]

    with _explained(model, "run a batch of two sequences"), evaluating(network):
        together, alone = run(short, long), [*run(short), *run(long)]
        if not all(bool(part.isfinite().all()) for part in (*together, *alone)):
            # What uses the numbers refuses them by the example's name.
            return ANY
        free = free_length(network, longest=model.context_length + 1)
        if free is not None and free > model.context_length:
            free = None
        if all(map(_close, together, alone)):
            return Company(free)
        again, changed = run(short)[0], run(other)[0]
        pair, apart = run(short, other), [again, changed]
    if not _close(again, alone[0]):
        raise ModelError(
            f"{model.label} gives other logits each time it reads the same sequence.",
            "Choose a deterministic model, or switch off what draws random numbers in it.",
        )
    if not _close(again[:-1], changed[:-1]):
        raise ModelError(
            f"The logits of {model.label} depend on later tokens, so it is no causal language "
            "model.",
            "Choose a model that predicts the next token, such as GPT-NeoX or Llama.",
        )
    # Positions may depend on the length already here, in so small a context.
    return Company(
        0 if free is None else min(free, len(short)), alone=not all(map(_close, pair, apart))
    )


def _decoding(model: LoadedModel) -> Decoding:
    import torch

    _, ids = _sequences(model)
    if len(ids) <= NUM_STEPS:
        return "full"
    first = len(ids) - NUM_STEPS
    pair = [ids, ids[::-1]]
    steps = Steps([row[:first] for row in pair], [row[first:] for row in pair])
    alone = [Steps([prompt], [forced]) for prompt, forced in zip(*steps, strict=True)]
    with evaluating(model.model):
        rows = [logits(model.model, _row(model, row)) for row in pair]
        whole = torch.cat(rows).float()[:, first - 1 : -1]
        cached = _tried(lambda: cached_steps(model, steps))
        own = _tried(lambda: generated_steps(model, steps))
        singly = _tried(lambda: torch.cat([generated_steps(model, row) for row in alone]))
    # A batch in which the model's own loop mixes up the rows (RWKV) says nothing.
    if own is None or singly is None or not _close(own, singly):
        own = None
    if cached is not None and _close(cached, whole) and (own is None or _close(own, whole)):
        return "cache"
    if own is None:
        return "full"
    return "generate" if _close(own, whole) else "generate only"


def _tried(run: "Callable[[], Tensor]") -> "Tensor | None":
    """Runs what may not work with this model's cache, in whatever way."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run()
    # Of any kind: each model's code fails in its own way, and there is another path.
    except Exception:
        return None


def _not_attributable(model: LoadedModel) -> dict[str, str]:
    layers = linear_layers(model)
    # Its gradients are looked at once each and forgotten: never more than one is held.
    found = {
        name: reason for name, linear in layers.items() if (reason := _unusable(model, linear))
    }
    watched = {name: linear for name, linear in layers.items() if name not in found}
    batch = pad(_sequences(model, most=MIN_TOKENS))
    shape = tuple(batch.input_ids.shape)
    calls = {name: [] for name in watched}
    sums: dict[str, Tensor | None] = {}

    def watch(name: str) -> Callable[..., None]:
        def caught(_module: "nn.Module", inputs: "tuple[Tensor, ...]", output: "Tensor") -> None:
            calls[name].append(inputs[0].shape)
            if not _is_usual(calls[name], shape) or not output.requires_grad:
                return
            activations = inputs[0].detach()
            output.register_hook(lambda g: sums.update({name: _outer(g, activations)}))

        return caught

    handles = [linear.register_forward_hook(watch(name)) for name, linear in watched.items()]
    apart: set[str] = set()
    try:
        with _explained(model, "run a backward pass"), _weights_only(model, watched, sums, apart):
            device = model_device(model)
            targets = batch.targets.to(device)
            token_losses(logits(model.model, batch.input_ids.to(device)), targets).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    for name, shapes in calls.items():
        if not shapes:
            found[name] = "not called in a pass"
        elif len(shapes) > 1:
            found[name] = "called more than once in a pass"
        elif not _is_usual(shapes, shape):
            found[name] = "inputs are not of shape (batch, positions, features)"
        elif name in apart or name not in sums:
            found[name] = "its gradient is not that of one call of the layer"
    return {name: found[name] for name in layers if name in found}


def _unusable(model: LoadedModel, linear: "nn.Linear") -> str | None:
    if linear is model.model.get_output_embeddings():
        return "the output layer"
    if not linear.weight.is_floating_point() or linear.weight.numel() != num_weights(linear):
        return f"weights are quantized ({str(linear.weight.dtype).removeprefix('torch.')})"
    return None


def _is_usual(shapes: Sequence[tuple[int, ...]], batch: tuple[int, ...]) -> bool:
    return len(shapes) == 1 and len(shapes[0]) == 3 and tuple(shapes[0][:2]) == batch


def _outer(gradient: "Tensor", activations: "Tensor") -> "Tensor":
    return gradient.flatten(0, 1).mT @ activations.flatten(0, 1)


@contextmanager
def _weights_only(
    model: LoadedModel,
    layers: "Mapping[str, nn.Linear]",
    sums: "dict[str, Tensor | None]",
    apart: set[str],
) -> Iterator[None]:
    """Lets autograd compute the layers' weight gradients, and compares each as soon as it is there.

    `apart` gathers the layers whose sum of outer products is another, and `sums` is emptied.
    """
    import torch

    network = model.model
    kept = [(p, p.requires_grad, p.grad) for p in network.parameters()]
    names: dict[int, list[str]] = {}
    for name, linear in layers.items():
        names.setdefault(id(linear.weight), []).append(name)
    transposed = {name for name, linear in layers.items() if not hasattr(linear, "in_features")}

    def compare(weight: "Tensor") -> None:
        for name in names[id(weight)]:
            own = sums.get(name)
            if own is not None and weight.grad is not None:
                own = own.mT if name in transposed else own
                if not _close(own.float(), weight.grad.float(), loose=10):
                    apart.add(name)
            if name in sums:
                sums[name] = None
        weight.grad = None

    handles = []
    for parameter, *_ in kept:
        parameter.grad = None
        parameter.requires_grad_(id(parameter) in names)
        if id(parameter) in names:
            handles.append(parameter.register_post_accumulate_grad_hook(compare))
    try:
        with evaluation_mode(network), torch.enable_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()
        for parameter, needed, gradient in kept:
            parameter.requires_grad_(needed)
            parameter.grad = gradient


def _sequences(model: LoadedModel, *, most: int = MAX_TOKENS) -> tuple[list[int], list[int]]:
    """Makes two sequences of ordinary tokens; the second is about twice as long."""
    config = text_config(model)
    special = {
        value
        for part in (model.model.config, config)
        for key, value in vars(part).items()
        if isinstance(value, int) and key.endswith(("_token_id", "_token_index"))
    }
    known = range(min(vocabulary_size(model), int(config.vocab_size), 4096))
    usual = [token for token in known if token not in special] or list(known)
    weights = sum(parameter.numel() for parameter in model.model.parameters())
    length = int(min(max(WORK / max(weights, 1), MIN_TOKENS), most, model.context_length))
    ids = [usual[(7 * place + 3) % len(usual)] for place in range(length + length // 2)]
    return ids[length : length + max(1, length // 2)], ids[:length]


def _row(model: LoadedModel, ids: list[int]) -> "Tensor":
    import torch

    return torch.tensor([ids], device=model_device(model))


def _close(found: "Tensor", expected: "Tensor", *, loose: float = 1.0) -> bool:
    """Whether two results differ by no more than rounding does."""
    import torch

    if found.shape != expected.shape:
        return False
    if not bool(found.isfinite().all() & expected.isfinite().all()):
        return True
    spread = float((expected - expected.mean()).abs().max())
    tolerance = 1e-4 if torch.finfo(found.dtype).eps < 1e-3 else 3e-2
    return float((found - expected).abs().max()) <= loose * tolerance * spread + 1e-30


@contextmanager
def _explained(model: LoadedModel, what: str) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{model.label} cannot {what} ({type(error).__name__}: {first}).",
            "Choose a causal language model that transformers runs on token ids alone.",
        ) from error
