"""Training states on disk, to resume from."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from whence.errors import ArtifactError
from whence.training.trainer import TrainingState

if TYPE_CHECKING:
    import torch

_PARTS = ("weights", "first_moments", "second_moments")


def save_tensors(
    tensors: "dict[str, torch.Tensor]",
    path: Path,
    *,
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
) -> None:
    """Writes named tensors as one safetensors file, in a chosen precision."""
    import torch
    from safetensors.torch import save_file

    kept = {
        key: value.detach().to("cpu", getattr(torch, dtype)).contiguous()
        for key, value in tensors.items()
    }
    save_file(kept, path)


def load_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """Reads named tensors as float32.

    Raises:
        ArtifactError: The file is missing or broken.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {key: value.float() for key, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"The checkpoint {path} cannot be read ({error}).", "Make it again."
        ) from None


def save_state(state: TrainingState, path: Path) -> None:
    """Writes a state from which `train` resumes as if it had never stopped."""
    import torch

    tensors = {f"{part}/{key}": v for part in _PARTS for key, v in getattr(state, part).items()}
    save_tensors(tensors | {"step": torch.tensor([float(state.step)])}, path)


def load_state(path: Path) -> TrainingState:
    """Reads a state that `save_state` wrote.

    Raises:
        ArtifactError: The file is missing, broken or not a training state.
    """
    tensors = load_tensors(path)
    if "step" not in tensors:
        raise ArtifactError(f"{path} holds no training state.", "Give one that `save_state` wrote.")
    step = int(tensors.pop("step").item())
    parts: dict[str, dict[str, torch.Tensor]] = {part: {} for part in _PARTS}
    for name, value in tensors.items():
        part, key = name.split("/", 1)
        parts[part][key] = value
    return TrainingState(step, *(parts[part] for part in _PARTS))
