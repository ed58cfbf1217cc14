"""The attributed modules of a model, and the parameters left out.

Attributed are the weight matrices of the linear layers of the model without its output layer, as
Bergson finds and names them, and their biases where `include_bias` is set. Norms, embeddings and
the output layer are not: of the 14.1 million parameters of pythia-14m, that leaves 8 percent.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from whence.errors import ModelError
from whence.models.probe import linear_layers, not_attributable, num_weights
from whence.records import Coverage, LoadedModel

if TYPE_CHECKING:
    from torch import Tensor, nn


def attributed_modules(model: LoadedModel, *, modules: str = "*") -> tuple[str, ...]:
    """Lists the modules whose weights are attributed, in the model's order.

    Args:
        model: The model.
        modules: Globs, comma-separated; a module is chosen if one of them matches its whole name,
            and none that begins with `!`, as in `*,!*router*`. Exclusions alone exclude from all.

    Returns:
        Names as in `model.model.base_model.named_modules()`, without the layers whose gradients
        cannot be formed (`probe.not_attributable`), which `coverage` counts and names.

    Raises:
        ModelError: A glob matches no linear layer, the model has none, or none of the chosen ones
            can be attributed.
    """
    names = tuple(linear_layers(model))
    globs = [glob.strip() for glob in modules.split(",") if glob.strip()]
    wanted = [glob for glob in globs if not glob.startswith("!")]
    unwanted = [glob[1:].strip() for glob in globs if glob.startswith("!")]
    if unwanted and not wanted:
        wanted = ["*"]
    if not names:
        raise ModelError(
            f"{model.name} has no linear layers, so nothing can be attributed.",
            "Choose a transformer such as GPT-NeoX or Llama.",
        )
    for glob in wanted or [""]:
        if not _matching(names, [glob]):
            raise ModelError(
                f"No module of {model.name} matches {glob!r}.",
                f"Its modules have names like {', '.join(names[:4])}.",
            )
    excluded = set(_matching(names, unwanted))
    chosen = [name for name in _matching(names, wanted) if name not in excluded]
    if not chosen:
        raise ModelError(
            f"`modules = {modules!r}` excludes every module of {model.name}.",
            "Exclude fewer.",
        )
    unusable = not_attributable(model)
    if left := tuple(name for name in chosen if name not in unusable):
        return left
    raise ModelError(
        f"None of the {len(chosen)} chosen linear layers of {model.name} can be attributed: of "
        f"`{chosen[0]}`, {unusable[chosen[0]]}.",
        "Choose other modules, or a model with plain linear layers and weights of 16 bits or more.",
    )


def _matching(names: Sequence[str], globs: Sequence[str]) -> list[str]:
    return [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]


def coverage(model: LoadedModel, *, modules: str = "*", include_bias: bool = False) -> Coverage:
    """Counts the attributed weights and the other parameters.

    Args:
        model: The model.
        modules: Globs of modules to attribute, comma-separated.
        include_bias: Attribute the chosen layers' biases too.

    Returns:
        The numbers of weights, by module and by left-out parameter; a parameter that two modules
        share, such as a tied embedding, is counted once. `not_attributable` says of linear layers
        why some cannot be attributed. Quantized weights count as many as they stand for.

    Raises:
        ModelError: A glob matches no linear layer.
    """
    layers = linear_layers(model)
    chosen = attributed_modules(model, modules=modules)
    parts = {name: [layers[name].weight] for name in chosen}
    if include_bias:
        parts = {name: [*part, *_bias(layers[name])] for name, part in parts.items()}
    attributed = {id(parameter) for part in parts.values() for parameter in part}
    packed = {id(linear.weight): num_weights(linear) for linear in layers.values()}
    return Coverage(
        modules={name: sum(p.numel() for p in part) for name, part in parts.items()},
        left_out={
            name: packed.get(id(parameter), parameter.numel())
            for name, parameter in model.model.named_parameters()
            if id(parameter) not in attributed
        },
        not_attributable=dict(not_attributable(model)),
    )


def _bias(linear: "nn.Linear") -> "list[Tensor]":
    return [] if linear.bias is None else [linear.bias]
