"""Small models and tokenizers made on the spot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def make_tokenizer(words: tuple[str, ...] = ("one", "two", "three")) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<|endoftext|>": 0, **{word: i for i, word in enumerate(words, start=1)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def make_model(**changes: Any) -> Any:
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    sizes: dict[str, Any] = {
        "vocab_size": 8,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 32,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    torch.manual_seed(changes.pop("seed", 0))
    return GPTNeoXForCausalLM(GPTNeoXConfig(**(sizes | changes)))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model and its tokenizer to a folder."""

    def write(name: str = "model", *, tokenizer: Any = ..., **changes: Any) -> Path:
        folder = tmp_path / name
        make_model(**changes).save_pretrained(folder)
        tokenizer = make_tokenizer() if tokenizer is ... else tokenizer
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
        return folder

    return write
