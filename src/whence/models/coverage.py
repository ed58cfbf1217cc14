"""Which weights can a score take into account, and which are left out?

Attributed are the weight matrices of the linear layers of the model without its output layer, as
Bergson finds and names them, and their biases where that is asked for. Norms, embeddings and the
output layer are not: of the 14.1 million parameters of pythia-14m, that leaves 8 percent.
"""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, cast

from whence.errors import ModelError
from whence.records import Coverage, LoadedModel

if TYPE_CHECKING:
    from torch import Tensor, nn


def attributed_modules(model: LoadedModel, *, modules: str = "*") -> tuple[str, ...]:
    """Lists the modules whose weights are attributed, in the model's order.

    Args:
        model: The model.
        modules: Globs, comma-separated; a module is chosen if one of them matches its whole name.

    Returns:
        Names as in `model.model.base_model.named_modules()`.

    Raises:
        ModelError: A glob matches no linear layer, or the model has none.
    """
    names = tuple(_linear(model))
    globs = [glob.strip() for glob in modules.split(",") if glob.strip()]
    if not names:
        raise ModelError(
            f"{model.name} has no linear layers, so nothing can be attributed.",
            "Choose a transformer such as GPT-NeoX or Llama.",
        )
    for glob in globs or [""]:
        if not any(fnmatchcase(name, glob) for name in names):
            raise ModelError(
                f"No module of {model.name} matches {glob!r}.",
                f"Its modules have names like {', '.join(names[:4])}.",
            )
    return tuple(name for name in names if any(fnmatchcase(name, glob) for glob in globs))


def coverage(model: LoadedModel, *, modules: str = "*", include_bias: bool = False) -> Coverage:
    """Counts the attributed weights and the other parameters.

    Args:
        model: The model.
        modules: Globs of modules to attribute, comma-separated.
        include_bias: Attribute the chosen layers' biases too.

    Returns:
        The numbers of weights, by module and by left-out parameter; a parameter that two modules
        share, such as a tied embedding, is counted once.

    Raises:
        ModelError: A glob matches no linear layer.
    """
    layers = _linear(model)
    chosen = attributed_modules(model, modules=modules)
    parts = {name: [layers[name].weight] for name in chosen}
    if include_bias:
        parts = {name: [*part, *_bias(layers[name])] for name, part in parts.items()}
    attributed = {id(parameter) for part in parts.values() for parameter in part}
    return Coverage(
        modules={name: sum(p.numel() for p in part) for name, part in parts.items()},
        left_out={
            name: parameter.numel()
            for name, parameter in model.model.named_parameters()
            if id(parameter) not in attributed
        },
    )


def _bias(linear: "nn.Linear") -> "list[Tensor]":
    return [] if linear.bias is None else [linear.bias]


def _linear(model: LoadedModel) -> "dict[str, nn.Linear]":
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    # Conv1D is GPT-2's linear layer with its weight transposed.
    return {
        name: cast("nn.Linear", module)
        for name, module in model.model.base_model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }
