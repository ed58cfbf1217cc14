"""Checks that a tokenizer belongs to a model.

A wrong tokenizer gives no error, only numbers without meaning: every id is some token.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from whence.errors import ModelError
from whence.models.files import tokenizer_folder
from whence.remote import explain
from whence.settings import ModelSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(
    folder: Path, settings: ModelSettings, *, num_embeddings: int
) -> "PreTrainedTokenizerBase":
    """Loads the tokenizer that the settings name, else the model's own, and checks that it fits.

    Args:
        folder: The model's folder.
        settings: `tokenizer` names another one, for a model that comes without.
        num_embeddings: Rows of the model's embedding.

    Raises:
        ModelError: There is no tokenizer, it has ids other than of special tokens that the model
            has no embedding for, or it differs from the model's own.
    """
    own = _load(folder, name=settings.name)
    if settings.tokenizer is None:
        if own is None:
            raise ModelError(
                f"The model {settings.name!r} comes without a tokenizer.",
                "Name one with `tokenizer`, such as `EleutherAI/pythia-14m` for a Pythia model.",
            )
        tokenizer, name = own, settings.name
    else:
        name = settings.tokenizer
        tokenizer = _load(tokenizer_folder(name), name=name)
        if tokenizer is None:
            raise ModelError(f"{name!r} holds no tokenizer.", "Name a folder or Hub id with one.")
        if own is not None and own.get_vocab() != tokenizer.get_vocab():
            raise ModelError(
                f"The tokenizer {name!r} has another vocabulary ({len(tokenizer):,} tokens) than "
                f"the one that comes with {settings.name!r} ({len(own):,} tokens).",
                "Leave `tokenizer` out to use the model's own.",
            )
    # A few more special tokens than embeddings are common (Gemma 3 shares its tokenizer with models
    # that read images); whoever uses one is refused by its id.
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    largest = max((i for i in tokenizer.get_vocab().values() if i not in special), default=0)
    if largest >= num_embeddings:
        raise ModelError(
            f"The tokenizer of {name!r} has ids up to {largest:,}, but the model "
            f"{settings.name!r} has embeddings for {num_embeddings:,} ids only.",
            "Use the tokenizer that the model was trained with.",
        )
    return tokenizer


def open_tokenizer(settings: ModelSettings) -> "PreTrainedTokenizerBase":
    """Loads the tokenizer of a model without its weights; whether both fit is not checked.

    Raises:
        ModelError: There is no such model or tokenizer.
    """
    name = settings.tokenizer or settings.name
    folder = tokenizer_folder(name, revision=None if settings.tokenizer else settings.revision)
    tokenizer = _load(folder, name=name)
    if tokenizer is None:
        raise ModelError(f"{name!r} holds no tokenizer.", "Name a folder or Hub id with one.")
    return tokenizer


def _load(folder: Path, *, name: str) -> "PreTrainedTokenizerBase | None":
    from transformers import AutoTokenizer

    if not any((folder / file).is_file() for file in _VOCABULARIES):
        # transformers would make up an empty tokenizer of the model's type.
        return None
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise explain(
            error, what="tokenizer", name=name, revision=None, as_error=ModelError
        ) from error


_VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "tokenizer.tiktoken",
)
