"""What does each example of a batch ask of each layer's weights?

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
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from whence.errors import GradientError, ModelError
from whence.gradients.batches import IGNORED, Padded
from whence.gradients.loss import Backward, Precision, backward_pass, output_layer
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
    was_training = {module: module.training for module in network.modules()}
    needed_grad = [parameter.requires_grad for parameter in network.parameters()]
    network.eval().requires_grad_(False)
    try:
        yield
    finally:
        for parameter, needed in zip(network.parameters(), needed_grad, strict=True):
            parameter.requires_grad_(needed)
        for module, training in was_training.items():
            module.training = training


@contextmanager
def frozen(model: LoadedModel) -> Iterator[None]:
    """Lets gradients of outputs be taken, without those of weights, and restores the model."""
    import torch

    # With frozen weights autograd would record nothing; the embedding's output is where the part
    # of the graph that we want begins.
    start = model.model.get_input_embeddings().register_forward_hook(
        lambda _module, _inputs, output: output.requires_grad_()
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
    handles = [model.model.base_model.register_forward_pre_hook(lambda *_: seen.clear())]
    with frozen(model):
        run = backward_pass(model, precision=precision)
        if OUTPUT in modules:
            run = _with_output_layer(model, run, sink)
        try:
            for name in modules:
                if name == OUTPUT:
                    continue
                if name == EMBEDDING:
                    embedding = layer(model, name)
                    handles.append(embedding.register_forward_hook(_embedding_hook(sink)))
                    continue
                hook = _forward_hook(name, sink, seen)
                handles.append(layer(model, name).register_forward_hook(hook))
            yield run
        finally:
            for handle in handles:
                handle.remove()


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


def _head(model: LoadedModel) -> "nn.Linear":
    head = output_layer(model)
    if head is None:
        raise ModelError(
            f"The logits of {model.label} are not just its output layer's, whose gradient is "
            "therefore not taken.",
            "Leave out the methods that attribute the output layer.",
        )
    return head


def _embedding_hook(sink: Sink) -> Callable[..., None]:
    def caught(module: "nn.Module", inputs: tuple["Tensor", ...], output: "Tensor") -> None:
        num_words = module.get_parameter("weight").shape[0]

        def take(gradient: "Tensor") -> None:
            words = gradient.new_zeros(*inputs[0].shape, num_words)
            sink(EMBEDDING, words.scatter_(-1, inputs[0].unsqueeze(-1), 1.0), gradient)

        output.register_hook(take)

    return caught


def _with_output_layer(model: LoadedModel, run: Backward, sink: Sink) -> Backward:
    """Adds the output layer to a pass: at its outputs, a loss's gradient is p − 1 at the target."""
    import torch

    head = _head(model)

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
        sink(OUTPUT, signal if weights is None else signal * weights[:, None, None], states)
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
