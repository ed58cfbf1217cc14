"""Loading models and their tokenizers, with a fingerprint of the weights."""

import re
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.artifacts import fingerprint
from whence.errors import ModelError
from whence.models.files import model_folder
from whence.models.tokenizer import load_tokenizer
from whence.records import LoadedModel
from whence.remote import explain, quiet
from whence.settings import ModelSettings

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
RANDOM_WEIGHTS = "random"
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
# What old checkpoints store and newer code computes.
_BUFFERS = ("rotary_emb", "inv_freq", "masked_bias", "attn.bias", "attention.bias", "position_ids")
# What says where a model came from, or (dtype, architectures) what the weights say themselves.
_NOT_IDENTITY = ("_name_or_path", "_commit_hash", "transformers_version", "architectures", "dtype")


def load_model(settings: ModelSettings) -> LoadedModel:
    """Loads a causal language model and its tokenizer, ready to evaluate.

    Weights come from safetensors, or else from a PyTorch file of plain tensors; a file that would
    have to be unpickled is refused, and no code that comes with a model is run. The model is in
    evaluation mode; `requires_grad` stays as it was loaded.

    Args:
        settings: A Hub id or a folder, with revision, tokenizer, dtype and device. The device
            `auto` is CUDA where there is one, else the CPU.

    Returns:
        The model; its fingerprint is a hash of its configuration and of every weight as loaded, so
        it differs between dtypes but not between places.

    Raises:
        ModelError: The model does not exist or is broken, is no causal language model, lacks
            weights, has some that its configuration knows nothing of, is quantized in a way that
            transformers does not know, or does not fit the tokenizer.

    Cost:
        Reading the weights, and hashing them at about 1 GB/s.
    """
    import torch
    import transformers  # noqa: F401 - before `quiet`, so that its progress bars are known

    device = _device(settings.device)
    with quiet():
        folder = model_folder(settings.name, revision=settings.revision)
        model, notes = _load(folder, settings, dtype=getattr(torch, settings.dtype), device=device)
        tokenizer = load_tokenizer(folder, settings, num_embeddings=_num_embeddings(model))
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=f"{settings.name}@{settings.revision}" if settings.revision else settings.name,
        fingerprint=model_fingerprint(model),
        context_length=_context_length(model.config, tokenizer, name=settings.name),
        settings=settings,
        notes=notes,
    )


def load_initial(settings: ModelSettings) -> LoadedModel | None:
    """Loads the untrained model that `settings.initial` names, for comparison.

    Args:
        settings: Those of the trained model. `initial` is a folder, a revision of the same model
            such as `step0`, or `random`: weights drawn anew, as the architecture begins (seed 0).

    Returns:
        The model with these weights and the same tokenizer; None where none is named.

    Raises:
        ModelError: As in `load_model`.
    """
    if settings.initial is None:
        return None
    if settings.initial == RANDOM_WEIGHTS:
        return _drawn_anew(load_model(settings.model_copy(update={"initial": None})))
    if Path(settings.initial).expanduser().is_dir():
        place = {"name": settings.initial, "revision": None}
    else:
        place = {"revision": settings.initial}
    return load_model(settings.model_copy(update=place | {"initial": None}))


def in_dtype(model: LoadedModel, dtype: str) -> LoadedModel:
    """Rounds the weights of a model that is already loaded, in place, to another type.

    Buffers, such as the frequencies of rotary positions, stay as precise as a load leaves them.
    """
    import torch

    if model.dtype == dtype:
        return model
    for weight in model.model.parameters():
        weight.data = weight.data.to(getattr(torch, dtype))
    return replace(model, fingerprint=model_fingerprint(model.model))


def model_fingerprint(model: "PreTrainedModel") -> str:
    """Computes a hash of a model's configuration and of the name, type and bytes of every weight.

    Two models with the same fingerprint give the same numbers on the same machine.
    """
    import hashlib

    import torch

    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        data = weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(memoryview(data))
    config = {k: v for k, v in model.config.to_dict().items() if k not in _NOT_IDENTITY}
    return fingerprint(_jsonable(config), digest.digest())


def _drawn_anew(trained: LoadedModel) -> LoadedModel:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(deepcopy(trained.model.config))
    model = model.to(trained.model.dtype).to(trained.model.device).eval()
    name = f"{trained.name} ({RANDOM_WEIGHTS} weights)"
    return replace(
        trained,
        model=model,
        name=name,
        fingerprint=model_fingerprint(model),
        settings=None,
        probed={},
    )


def _load(
    folder: Path, settings: ModelSettings, *, dtype: "torch.dtype", device: "torch.device"
) -> "tuple[PreTrainedModel, tuple[str, ...]]":
    from transformers import AutoConfig, AutoModelForCausalLM

    broken = partial(
        explain,
        what="model",
        name=settings.name,
        revision=settings.revision,
        as_error=ModelError,
    )
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{settings.name} holds no config.json, so it is not a model in Hugging Face's format.",
            "Name the folder or repository of the model itself.",
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise broken(error) from error
    _refuse_other_kinds(config, name=settings.name)
    _refuse_unknown_quantization(config, name=settings.name)
    is_safe = any(folder.glob("*.safetensors"))
    _refuse_endless(config, folder, name=settings.name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About sizes of 0; the error is raised below.
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                use_safetensors=is_safe,
                weights_only=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # `_refuse_partial` names them.
            )
    except Exception as error:
        raise _explain_weights(error, folder, is_safe=is_safe) or broken(error) from error
    model, report = loaded
    _refuse_partial(report, name=settings.name)
    unused = sorted(report["unexpected_keys"])
    _refuse_misfits(unused, model, name=settings.name)
    notes = tuple(
        f"{len(unused)} weights that come with {settings.name} are not part of the model and are "
        f"not used, such as {key}."
        for key in unused[:1]
    )
    try:
        return model.to(device).eval(), notes
    except RuntimeError as error:
        raise ModelError(
            f"{settings.name} cannot be moved to {device} ({str(error).splitlines()[0]}).",
            "Choose another `device` or a smaller `dtype`.",
        ) from error


def _explain_weights(error: Exception, folder: Path, *, is_safe: bool) -> ModelError | None:
    if is_safe:
        return None
    if not any(folder.glob("pytorch_model*.bin")):
        return ModelError(
            f"{folder} holds no weights: neither model.safetensors nor pytorch_model.bin.",
            "Check the folder; weights of other frameworks must be converted first.",
        )
    if isinstance(error, EOFError):
        return ModelError(f"The weights in {folder} are empty or cut short.", "Copy them again.")
    return ModelError(
        f"The weights in {folder} are a pickle that cannot be read as plain tensors "
        f"({type(error).__name__}), and unpickling a file can run any code.",
        "Convert them to safetensors where you trust the file, or choose a revision that has them.",
    )


def _refuse_other_kinds(config: "PretrainedConfig", *, name: str) -> None:
    kinds = config.architectures or []
    if config.is_encoder_decoder or any("MaskedLM" in kind for kind in kinds):
        raise ModelError(
            f"{name} is a {', '.join(kinds) or config.model_type}, not a causal language model.",
            "Choose a model that predicts the next token, such as GPT-NeoX or Llama.",
        )


def _refuse_endless(config: "PretrainedConfig", folder: Path, *, name: str) -> None:
    """Refuses more layers than there are weights, before they are all made."""
    from safetensors import SafetensorError, safe_open

    num_layers = getattr(config.get_text_config(), "num_hidden_layers", None)
    num_weights = 0
    try:
        for path in folder.glob("*.safetensors"):
            with safe_open(path, framework="np") as file:
                num_weights += len(file.keys())
    except (OSError, SafetensorError):
        return  # Loading says what is wrong with the file.
    if isinstance(num_layers, int) and num_layers > num_weights > 0:
        raise ModelError(
            f"The configuration of {name} asks for {num_layers:,} layers, and there are "
            f"{num_weights:,} weights.",
            "Correct config.json, or load the checkpoint that it belongs to.",
        )


def _refuse_partial(report: Mapping[str, Any], *, name: str) -> None:
    # transformers fills what is missing with random numbers and goes on; we do not.
    if odd := sorted(report["missing_keys"]):
        raise ModelError(
            f"{name} lacks {len(odd)} of the weights its configuration asks for, such as {odd[0]}.",
            "Choose a whole checkpoint of a causal language model.",
        )
    if odd := sorted(report["mismatched_keys"]):
        key, found, expected = odd[0]
        raise ModelError(
            f"{name} holds {len(odd)} weights of other shapes than its configuration asks for, "
            f"such as {key} of {tuple(found)} in the place of {tuple(expected)}.",
            "Correct config.json, or load the checkpoint that it belongs to.",
        )


def _refuse_misfits(unused: list[str], model: "PreTrainedModel", *, name: str) -> None:
    """Refuses weights for which the model would have a place with another configuration.

    A weight of a further layer differs from a known name by a number; a missing bias belongs to a
    module that is there.
    """
    known = set(model.state_dict())
    shapes = {_NUMBER.sub("#", key) for key in known}
    modules = {key for key, _ in model.named_modules() if key}
    for key in unused:
        if any(part in key for part in _BUFFERS):
            continue
        if _NUMBER.sub("#", key) in shapes:
            raise ModelError(
                f"{name} holds {key}, and its configuration has fewer layers than that "
                f"({len(unused)} weights would be left out).",
                "Correct config.json, or load the checkpoint that it belongs to.",
            )
        if key.rpartition(".")[0] in modules:
            raise ModelError(
                f"{name} holds {key}, which its configuration has no place for.",
                "Correct config.json, or load the checkpoint that it belongs to.",
            )


def _refuse_unknown_quantization(config: "PretrainedConfig", *, name: str) -> None:
    # transformers warns of an unknown method and goes on with the packed numbers as they are.
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as KNOWN

    for part in (config, config.get_text_config()):
        chosen: Any = getattr(part, "quantization_config", None)
        if chosen is None:
            continue
        chosen = chosen if isinstance(chosen, dict) else chosen.to_dict()
        method = chosen.get("quant_method")
        if chosen.get("load_in_4bit") or chosen.get("load_in_8bit") or method in KNOWN:
            continue
        raise ModelError(
            f"{name} is quantized by {method!r}, a method that transformers does not know.",
            "Load the model's weights of 16 or 32 bits.",
        )


def _device(name: str) -> "torch.device":
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"There is no device {name!r} here ({str(error).splitlines()[0].rstrip('.')}).",
            "Use `auto`, `cpu`, or a device that this machine has.",
        ) from None
    return device


def _num_embeddings(model: "PreTrainedModel") -> int:
    embedding: Any = model.get_input_embeddings()
    return int(embedding.weight.shape[0])


def _context_length(
    config: "PretrainedConfig", tokenizer: "PreTrainedTokenizerBase", *, name: str
) -> int:
    text = config.get_text_config()
    for key in _CONTEXT_KEYS:
        if isinstance(value := getattr(text, key, None), int) and value > 1:
            return value
    # A model without positions has no limit of its own; its tokenizer often says what was used.
    if 1 < tokenizer.model_max_length < 10**7:
        return int(tokenizer.model_max_length)
    raise ModelError(
        f"The configuration of {name} does not say how many tokens the model can read.",
        "Add `max_position_embeddings` to its config.json.",
    )


def _jsonable(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _jsonable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(part) for part in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
