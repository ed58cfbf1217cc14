"""Readers of optimizer files that execute no code.

Read are safetensors by parameter name, and PyTorch files of plain tensors (`optimizer.pt` of a
Hugging Face trainer). A file that would have to be unpickled as more than tensors is refused.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from whence.errors import ModelError
from whence.models.second_moments import Factored
from whence.records import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor

# What different writers call Adam's moments, before or after the parameter's name.
_KEYS = ("exp_avg_sq", "second_moments", "v")
_FIRST_KEYS = ("exp_avg", "first_moments", "m")
_CONVERT = (
    "Where you trust the file, read it with the program that wrote it and save `exp_avg_sq` by "
    "parameter name with `safetensors.torch.save_file`."
)


def load_second_moments(path: Path, model: LoadedModel) -> "dict[str, Tensor | Factored]":
    """Reads Adam's or Adafactor's second moments of a model's parameters.

    Args:
        path: A `.safetensors` file whose names are the parameters', alone or as `exp_avg_sq/NAME`
            or `NAME.exp_avg_sq`, where a name may also be GPT-NeoX's own, such as
            `sequential.2.attention.dense.weight`; or a PyTorch file with `state` and
            `param_groups`. There, parameters are numbered: by the names the file gives, or else in
            the order of a Hugging Face trainer, those with weight decay first.
        model: The model the state belongs to.

    Returns:
        By parameter name, in the weights' shapes, float32, ≥ 0; of a matrix that Adafactor trained
        the factors. Adam's are divided by 1 − β₂ᵗ where the file says t and β₂.

    Raises:
        ModelError: The file cannot be read safely, or does not fit the model.
    """
    read = _named if path.suffix == ".safetensors" else _numbered
    found = read(path, model)
    shapes = {name: parameter.shape for name, parameter in model.model.named_parameters()}
    for name, values in found.items():
        if tuple(values.shape) != tuple(shapes[name]):
            raise ModelError(
                f"In {path}, the second moments of `{name}` have shape {tuple(values.shape)}, and "
                f"the weight has {tuple(shapes[name])}.",
                "Give the optimizer state of this very model.",
            )
    return {
        name: values if isinstance(values, Factored) else values.float()
        for name, values in found.items()
    }


class AdamMoments(NamedTuple):
    """Both of Adam's moments by parameter name, as Adam keeps them: not corrected for their bias.

    `step` is the number of optimizer steps that they have seen; None where the file does not say.
    """

    first: "dict[str, Tensor]"
    second: "dict[str, Tensor]"
    step: int | None


def load_moments(path: Path, model: LoadedModel) -> AdamMoments:
    """Reads both of Adam's moments of a model's parameters, to resume training from.

    Args:
        path: See `load_second_moments`; the first moments stand beside the second ones, as
            `exp_avg` or `first_moments`.
        model: The model the state belongs to.

    Raises:
        ModelError: The file cannot be read safely, does not fit the model, or lacks a moment of
            some parameter.
    """
    shapes = {n: tuple(parameter.shape) for n, parameter in model.model.named_parameters()}
    if path.suffix == ".safetensors":
        stored = _tensors(path)
        first = _find_named(stored, model, _FIRST_KEYS, bare=False)
        second = _find_named(stored, model, _KEYS)
        step = int(stored["step"].item()) if "step" in stored else None
    else:
        state, groups = _optimizer_state(path)
        named = {name: state.get(n, {}) for n, name in _names(groups, model, path).items()}
        first = {n: one["exp_avg"] for n, one in named.items() if "exp_avg" in one}
        second = {n: one["exp_avg_sq"] for n, one in named.items() if "exp_avg_sq" in one}
        step = next((int(one["step"]) for one in named.values() if "step" in one), None)
    for moments, what in ((first, "first"), (second, "second")):
        for name, shape in shapes.items():
            if name not in moments or tuple(moments[name].shape) != shape:
                raise ModelError(
                    f"{path} lacks Adam's {what} moments of `{name}` in the weight's shape {shape}"
                    ".",
                    "Give a file with both moments of every parameter of this very model, or have "
                    "the state rebuilt from the batches before it.",
                )
    return AdamMoments(
        {name: first[name].float() for name in shapes},
        {name: second[name].float() for name in shapes},
        step,
    )


def _tensors(path: Path) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read ({error}).", "Check the file.") from None


def _named(path: Path, model: LoadedModel) -> "dict[str, Tensor | Factored]":
    found = _find_named(_tensors(path), model, _KEYS)
    if not found:
        first = next(name for name, _ in model.model.named_parameters())
        raise ModelError(
            f"No tensor in {path} has the name of a parameter of {model.label}, such as `{first}`.",
            "Name the tensors after the model's parameters.",
        )
    return dict(found)


def _find_named(
    stored: "Mapping[str, Tensor]", model: LoadedModel, keys: Sequence[str], *, bare: bool = True
) -> "dict[str, Tensor]":
    """Finds one moment of each parameter; where `bare`, also under the parameter's name alone."""
    theirs = _neox_names(model)
    found = {}
    for name, _ in model.model.named_parameters():
        names = (name, theirs.get(name, name))
        candidates = (
            *(names if bare else ()),
            *(f"{k}/{n}" for n in names for k in keys),
            *(f"{n}.{k}" for n in names for k in keys),
        )
        key = next((c for c in candidates if c in stored), None)
        if key is not None:
            found[name] = stored[key]
    return found


def _numbered(path: Path, model: LoadedModel) -> "dict[str, Tensor | Factored]":
    state, groups = _optimizer_state(path)
    names = _names(groups, model, path)
    rates = {
        number: float(group.get("betas", (0.0, 0.0))[1])
        for group in groups
        for number in group["params"]
    }
    found = {}
    for number, name in names.items():
        moment = _moment(state.get(number, {}), beta=rates[number])
        if moment is not None:
            found[name] = moment
    if not found:
        raise ModelError(
            f"{path} holds no `exp_avg_sq`, so it is not Adam's or Adafactor's state.",
            "Give the file of one of these optimizers, or estimate.",
        )
    return found


def _optimizer_state(path: Path) -> tuple[Mapping[int, Any], list[Mapping[str, Any]]]:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value: object = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"There is no file {path}.", "Check the path.") from None
    except EOFError:
        raise ModelError(f"{path} is empty or cut short.", "Copy it again.") from None
    except Exception as error:
        raise ModelError(
            f"{path} is not a file of plain tensors ({type(error).__name__}), and unpickling it "
            "can run any code.",
            _CONVERT,
        ) from None
    value = value.get("optimizer", value) if isinstance(value, dict) else value
    if not isinstance(value, dict) or not {"state", "param_groups"} <= value.keys():
        raise ModelError(
            f"{path} has no `state` and `param_groups`, as a PyTorch optimizer's has.", _CONVERT
        )
    return value["state"], value["param_groups"]


def _names(groups: list[Mapping[str, Any]], model: LoadedModel, path: Path) -> dict[int, str]:
    numbers = [number for group in groups for number in group["params"]]
    given = [name for group in groups for name in group.get("param_names", ())]
    named = dict(model.model.named_parameters())
    ours = {theirs: name for name, theirs in _neox_names(model).items()}
    given = [ours.get(str(name), str(name)) for name in given]
    if given:
        odd = [name for name in given if name not in named]
        ordered = given
    else:
        odd = []
        decayed = [name for name in named if _is_decayed(model, name)]
        others = [name for name in named if name not in set(decayed)]
        ordered = list(named) if len(groups) == 1 else decayed + others
    if odd or len(ordered) != len(numbers):
        raise ModelError(
            f"{path} has the state of {len(numbers)} parameters, and {model.label} has "
            f"{len(named)}{f', but no `{odd[0]}`' if odd else ''}.",
            "Give the optimizer state of this very model.",
        )
    return dict(zip(numbers, ordered, strict=True))


def _neox_names(model: LoadedModel) -> dict[str, str]:
    """What GPT-NeoX, which numbers the stages of a pipeline, calls a converted model's parameters.

    Stage 0 embeds, 1 prepares the input, the layers follow from 2 on, one stage restores the
    input's layout, one normalizes and the last one is the output layer.
    """
    layers = int(getattr(model.model.config, "num_hidden_layers", 0))
    places = {
        "gpt_neox.embed_in": "sequential.0.word_embeddings",
        "gpt_neox.final_layer_norm": f"sequential.{layers + 3}.norm",
        "lm_head": f"sequential.{layers + 4}.final_linear",
    } | {f"gpt_neox.layers.{i}": f"sequential.{i + 2}" for i in range(layers)}
    return {
        name: theirs + name.removeprefix(ours)
        for name, _ in model.model.named_parameters()
        for ours, theirs in places.items()
        if name.startswith(f"{ours}.")
    }


def _is_decayed(model: LoadedModel, name: str) -> bool:
    """Tells what a Hugging Face trainer decays: neither biases nor norms."""
    module = model.model.get_submodule(name.rpartition(".")[0])
    return not name.endswith("bias") and "norm" not in type(module).__name__.lower()


def _moment(state: Mapping[str, Any], *, beta: float) -> "Tensor | Factored | None":
    if "exp_avg_sq" in state:
        step = float(state.get("step", 0))
        correction = 1 - beta**step if step and beta else 1.0
        return state["exp_avg_sq"].float() / correction
    if "exp_avg_sq_col" in state and state["exp_avg_sq_row"].ndim == 1:
        return Factored(state["exp_avg_sq_row"].float(), state["exp_avg_sq_col"].float())
    return None
