"""What the faults' tests share: a tokenizer whose tokens are bytes."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.faults.studies import write_memorization


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    vocabulary = {char: byte for byte, char in bytes_to_unicode().items()} | {"<end>": 256}
    core = Tokenizer(models.BPE(vocabulary, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(  # pyright: ignore
        add_prefix_space=False, use_regex=False
    )
    core.decoder = decoders.ByteLevel()  # pyright: ignore
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")


@pytest.fixture(scope="session")
def memorization_files(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study's folder with a study of memorization; read only."""
    folder = tmp_path_factory.mktemp("memorization") / "tiny"
    shutil.copytree(tiny_files, folder)
    write_memorization(folder)
    return folder


@pytest.fixture
def memorizing(memorization_files: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may break."""
    return Path(shutil.copytree(memorization_files, tmp_path / "memorizing", symlinks=True))
