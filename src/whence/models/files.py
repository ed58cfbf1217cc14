"""Local files of a model or tokenizer, fetched from the Hub where needed.

From the Hub only configuration, tokenizer and weights are fetched, never code, and never optimizer
states or exports to other frameworks. Everything is then loaded from a folder, in one way.
"""

from pathlib import Path

from whence.errors import ModelError
from whence.remote import explain, is_repository_id

_TOKENIZER = ["tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json"]
_CONFIG = ["config.json", "generation_config.json"]
_SAFE = ["model.safetensors", "model-*.safetensors", "model.safetensors.index.json"]
_PICKLED = ["pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json"]


def model_folder(name: str, *, revision: str | None) -> Path:
    """Finds the folder of a model, downloading it if it is a Hub id.

    A local folder's revision is the folder of that name in it, as in `checkpoints/step512`.

    Raises:
        ModelError: There is no such folder, repository or revision, or the Hub is unreachable.
    """
    if (folder := _local(name, revision=revision)) is not None:
        return folder
    folder = _download(name, revision, _CONFIG + _TOKENIZER + _SAFE, what="model")
    if not any(folder.glob("*.safetensors")):
        # The commit, not the branch: it must not move between the two downloads.
        folder = _download(name, folder.name, _PICKLED, what="model")
    return folder


def tokenizer_folder(name: str, *, revision: str | None = None) -> Path:
    """Finds the folder of a tokenizer, downloading it if it is a Hub id.

    Raises:
        ModelError: There is no such folder or repository, or the Hub is unreachable.
    """
    if (folder := _local(name, revision=revision)) is not None:
        return folder
    return _download(name, revision, ["config.json", *_TOKENIZER], what="tokenizer")


def _local(name: str, *, revision: str | None) -> Path | None:
    path = Path(name).expanduser()
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as error:
        raise ModelError(f"{name} cannot be used ({error.strerror}).", "Check the path.") from None
    if is_folder:
        folder = path / revision if revision else path
        if folder.is_dir():
            return folder
        raise ModelError(
            f"The folder {name} has no folder {revision!r} in it, which `revision` asks for.",
            "Leave `revision` out, or name the folder of the checkpoint itself.",
        )
    if is_there or not is_repository_id(name):
        raise ModelError(
            f"{name!r} is neither a folder nor the form of a Hub id.",
            "Name the folder that holds config.json, or an id such as `EleutherAI/pythia-14m`.",
        )
    return None


def _download(name: str, revision: str | None, patterns: list[str], *, what: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"]
        )
    except Exception as error:
        raise explain(
            error, what=what, name=name, revision=revision, as_error=ModelError
        ) from error
    return Path(folder)
