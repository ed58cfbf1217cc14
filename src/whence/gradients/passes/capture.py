"""Per-example gradients of a batch, from each layer's inputs and output gradients.

For a linear layer y = W x the gradient of example n's loss is the sum of outer products over its
positions t,

    dL_n / dW = Σ_t g_nt a_ntᵀ,      g_nt = dL_n / dy_nt,   a_nt = x_nt,

so one forward and one backward pass of a whole batch give the gradients of all its examples, if
the layers' inputs and output gradients are caught on the way. Gradients of the weights themselves,
which autograd would sum over the batch, are never computed.

Source: Goodfellow, "Efficient Per-Example Gradient Computations", arXiv 1510.01799. The orientation
(outputs × inputs, also for `Conv1D`) and the loss (summed over tokens) are Bergson's.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal

from whence.errors import GradientError, ModelError
from whence.gradients.passes.loss import (
    Backward,
    Precision,
    backward_pass,
    output_layer,
    plain_pass,
)
from whence.models.forward import IGNORED, Padded, company, evaluation_mode
from whence.records import LoadedModel

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor, nn

LOSS_REDUCTION = "sum"
Reduction = Literal["sum", "mean"]
# What holds a row per word is no layer of the base model, and in no index in Bergson's format.
EMBEDDING, OUTPUT = "(embedding)", "(output layer)"
VOCABULARY = (EMBEDDING, OUTPUT)

Sink = Callable[
    [str, "Float[Tensor, 'batch positions outputs']", "Float[Tensor, 'batch positions inputs']"],
    None,
]
"""Takes a module's name, the loss's gradient at its outputs and what it was applied to."""


def gradient_dtype(model: LoadedModel) -> "torch.dtype":
    """Chooses the precision of gradients: the model's own, but at least float32."""
    import torch

    return torch.promote_types(next(model.model.parameters()).dtype, torch.float32)


@contextmanager
def without_weight_gradients(model: LoadedModel) -> Iterator[None]:
    """Puts the model in evaluation mode, its weights frozen, and restores both afterwards."""
    network = model.model
    needed_grad = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(False)
    try:
        with evaluation_mode(network):
            yield
    finally:
        for parameter, needed in zip(network.parameters(), needed_grad, strict=True):
            parameter.requires_grad_(needed)


@contextmanager
def frozen(model: LoadedModel) -> Iterator[None]:
    """Lets gradients of outputs be taken, without those of weights, and restores the model."""
    import torch

    # Probed now, because later it would be caught like a batch.
    company(model)
    # With frozen weights autograd would record nothing; the embedding's output is where the part
    # of the graph that we want begins. A copy, because some models (CTRL) go on to scale it in
    # place, which autograd forbids at the place where a graph begins.
    start = model.model.get_input_embeddings().register_forward_hook(
        lambda _module, _inputs, output: output.requires_grad_().clone()
    )
    try:
        with without_weight_gradients(model), torch.enable_grad():
            yield
    finally:
        start.remove()


@contextmanager
def capturing(
    model: LoadedModel, modules: Sequence[str], sink: Sink, *, precision: Precision = "float32"
) -> Iterator[Backward]:
    """Hands what makes every batch's gradients to a sink while the context is open.

    Args:
        model: The model.
        modules: Names of linear layers in the base model, or of `VOCABULARY`: an embedding's
            "inputs" are its output gradients then, and its "outputs" the words, one-hot.
        sink: Called once per module and backward pass, last layer first.
        precision: How the output layer is multiplied; see `backward_pass`.

    Returns:
        The pass to run batches with.

    Raises:
        ModelError: A module does not exist, or is not used once on a batch of sequences.
    """
    seen: set[str] = set()
    layers = [name for name in modules if name not in VOCABULARY]
    with frozen(model), ExitStack() as stack:
        # The pass tries the model when it is made, so hooks come after it.
        run = backward_pass(model, precision=precision)
        if set(modules) & set(VOCABULARY):
            run = stack.enter_context(_with_vocabulary(model, run, modules, sink))
        for name in layers:
            hook = _forward_hook(name, sink, seen)
            stack.callback(layer(model, name).register_forward_hook(hook).remove)

        def backward(batch: Padded, weights: "Tensor | None" = None) -> "Tensor":
            seen.clear()
            losses = run(batch, weights=weights)
            if missing := [name for name in layers if name not in seen]:
                raise ModelError(
                    f"Module `{missing[0]}` of {model.label} is not called in a pass.",
                    "Leave it out of the modules to attribute.",
                )
            return losses

        yield backward


def layer(model: LoadedModel, name: str) -> "nn.Module":
    """Finds a layer of the base model, or one of `VOCABULARY`, by its name.

    Raises:
        ModelError: There is none.
    """
    if name == EMBEDDING:
        return model.model.get_input_embeddings()
    if name == OUTPUT:
        return _head(model)
    try:
        return model.model.base_model.get_submodule(name)
    except AttributeError:
        raise ModelError(
            f"{model.label} has no module `{name}`.",
            "Choose modules by their names in the base model, such as `layers.0.*`.",
        ) from None


def not_finite(example_id: str) -> GradientError:
    """Names the example whose gradient cannot be used."""
    return GradientError(
        f"The gradient of example `{example_id}` is NaN or infinite.",
        "Check that example and the model's weights, or use float32.",
    )


def outer(
    output_gradient: "Float[Tensor, 'batch positions outputs']",
    activations: "Float[Tensor, 'batch positions inputs']",
    *,
    dtype: "torch.dtype",
) -> "Float[Tensor, 'batch weights']":
    """Forms each example's gradient, the sum of its positions' outer products, as a flat row."""
    import torch

    return torch.bmm(output_gradient.mT.to(dtype), activations.to(dtype)).flatten(1)


def tied(model: LoadedModel) -> bool:
    """Whether embedding and output layer are one parameter, so that its gradient has two parts."""
    head = model.model.get_output_embeddings()
    embedding = model.model.get_input_embeddings()
    return head is not None and getattr(head, "weight", None) is embedding.weight


def vocabulary_layers(model: LoadedModel) -> tuple[str, ...]:
    """The names of the layers with a row per token; one name where they are tied."""
    return (EMBEDDING,) if tied(model) else VOCABULARY


def _head(model: LoadedModel) -> "nn.Linear":
    import torch

    head = model.model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        raise ModelError(
            f"{model.label} has no linear output layer, whose gradient could be computed.",
            "Leave out the methods that attribute the output layer.",
        )
    return head


@contextmanager
def _with_vocabulary(
    model: LoadedModel, run: Backward, modules: Sequence[str], sink: Sink
) -> Iterator[Backward]:
    """Adds the layers with a row per token to a pass, in which each is one sum of outer products.

    Tied, they are one parameter, whose gradient is the sum of what both uses contribute: the terms
    of both stand one behind the other, as if the sequence were twice as long.
    """
    import torch

    parts: dict[str, tuple[Tensor, Tensor]] = {}
    both = EMBEDDING in modules and tied(model)

    def keep(name: str, signal: "Tensor", inputs: "Tensor") -> None:
        parts[name] = (signal, inputs)

    with ExitStack() as stack:
        if OUTPUT in modules or both:
            run = _with_output_layer(model, run, keep)
        if EMBEDDING in modules:
            stack.enter_context(_watching_lookups(layer(model, EMBEDDING), keep))

        def backward(batch: Padded, weights: "Tensor | None" = None) -> "Tensor":
            losses = run(batch, weights=weights)
            if EMBEDDING in modules and EMBEDDING not in parts:
                raise ModelError(
                    f"The embedding of {model.label} is not looked up once in a pass.",
                    "Leave out the methods that attribute the embedding.",
                )
            if both:
                pairs = zip(parts[EMBEDDING], parts[OUTPUT], strict=True)
                signal, inputs = (torch.cat([a.to(b.dtype), b], dim=1) for a, b in pairs)
                sink(EMBEDDING, signal, inputs)
            else:
                for name, part in parts.items():
                    sink(name, *part)
            parts.clear()
            return losses

        yield backward


@contextmanager
def _watching_lookups(
    embedding: "nn.Module", keep: Callable[[str, "Tensor", "Tensor"], None]
) -> Iterator[None]:
    """Gives the gradient at the looked-up rows themselves.

    A module may do more than look up, such as multiply by √width (Gemma, BioGPT, XGLM), so its
    output's gradient is not that of its weight; and the row of a padding token has none.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812
    from torch.overrides import TorchFunctionMode

    weight = embedding.get_parameter("weight")
    plain = embedding.forward

    class Lookups(TorchFunctionMode):
        """Catches lookups in the module's own weight."""

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            named = kwargs or {}
            found = func(*args, **named)
            if func is not F.embedding or not any(a is weight for a in (*args, *named.values())):
                return found
            catch(found.requires_grad_(), named["input"] if "input" in named else args[0])
            return found.clone()

    def catch(rows: "Tensor", ids: "Tensor") -> None:
        padding = getattr(embedding, "padding_idx", None)

        def take(gradient: "Tensor") -> None:
            words = gradient.new_zeros(*ids.shape, weight.shape[0])
            words.scatter_(-1, ids.unsqueeze(-1), 1.0)
            if padding is not None:
                words[..., padding] = 0.0
            keep(EMBEDDING, words, gradient)

        rows.register_hook(take)

    def forward(*args: object, **kwargs: object) -> object:
        # A mode holds for one thread, and workers call their models in threads of their own.
        with torch.enable_grad(), Lookups():
            return plain(*args, **kwargs)

    embedding.forward = forward
    try:
        yield
    finally:
        del embedding.forward


def _with_output_layer(
    model: LoadedModel, run: Backward, keep: Callable[[str, "Tensor", "Tensor"], None]
) -> Backward:
    """Adds the output layer to a pass: at its outputs, a loss's gradient is p − 1 at the target."""
    import torch

    head = output_layer(model)
    if head is None:
        return _with_called_head(model, keep)

    def backward(batch: Padded, weights: "Tensor | None" = None) -> "Tensor":
        seen: list[Tensor] = []
        handle = model.model.base_model.register_forward_hook(
            lambda _module, _inputs, output: seen.append(output.last_hidden_state.detach())
        )
        try:
            losses = run(batch, weights=weights)
        finally:
            handle.remove()
        (states,) = seen
        targets = batch.targets.to(states.device)
        with torch.no_grad():
            signal = head(states).to(gradient_dtype(model)).softmax(dim=-1)
        words = targets.clamp(min=0).unsqueeze(-1)
        signal.scatter_add_(-1, words, torch.full_like(signal[..., :1], -1.0))
        signal *= (targets != IGNORED).unsqueeze(-1)
        keep(OUTPUT, signal if weights is None else signal * weights[:, None, None], states)
        return losses

    return backward


def _with_called_head(
    model: LoadedModel, keep: Callable[[str, "Tensor", "Tensor"], None]
) -> Backward:
    """Catches what the output layer is applied to, where the model does more to make its logits."""
    head = _head(model)

    def backward(batch: Padded, weights: "Tensor | None" = None) -> "Tensor":
        seen: set[str] = set()
        handle = head.register_forward_hook(_forward_hook(OUTPUT, keep, seen))
        try:
            losses = plain_pass(model, batch, weights)
        finally:
            handle.remove()
        if not seen:
            raise ModelError(
                f"{model.label} does not call its output layer in a pass.",
                "Leave out the methods that attribute the output layer.",
            )
        return losses

    return backward


def _forward_hook(name: str, sink: Sink, seen: set[str]) -> Callable[..., None]:
    def caught(_module: "nn.Module", inputs: tuple["Tensor", ...], output: "Tensor") -> None:
        activations = inputs[0].detach()
        if activations.dim() != 3:
            raise ModelError(
                f"Module `{name}` takes inputs of shape {tuple(activations.shape)}, not "
                "(batch, positions, features).",
                "Leave it out of the modules to attribute.",
            )
        if name in seen:
            raise ModelError(
                f"Module `{name}` is used more than once in a pass.",
                "Leave it out of the modules to attribute.",
            )
        seen.add(name)

        output.register_hook(lambda gradient: sink(name, gradient, activations))

    return caught
