"""A small fitted model and a corpus in which one sequence stands several times."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.methods.conftest import VOCABULARY, corpus_of, fit, query_of

from whence.records import Corpus, LoadedModel, Query


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    # For the whole module, so that it holds before its fixtures train: sums depend on threads.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def bank_folder() -> Path:
    """Where nano's bank of retrainings is; making it is too long for a test."""
    folder = os.environ.get("WHENCE_BANK")
    if not folder:
        pytest.skip("WHENCE_BANK does not name a directory that `whence bank` filled")
    return Path(folder)


@pytest.fixture(scope="package")
def sequences() -> list[list[int]]:
    """Examples 0 to 3 are copies; 4 to 43 are random, of 6 to 17 tokens; the last has one token."""
    rng = np.random.default_rng(0)
    copy = rng.integers(2, VOCABULARY, 14).tolist()
    others = [rng.integers(2, VOCABULARY, n).tolist() for n in rng.integers(6, 18, 40)]
    return [*[copy] * 4, *others, [5]]


@pytest.fixture(scope="package")
def corpus(sequences: list[list[int]]) -> Corpus:
    return corpus_of(sequences, [f"d{i:02d}" for i in range(len(sequences))])


@pytest.fixture(scope="package")
def model(sequences: list[list[int]]) -> LoadedModel:
    return replace(fit(sequences[:-1], steps=4), tokenizer=_tokenizer())


def _tokenizer():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="w0")


@pytest.fixture(scope="package")
def queries(sequences: list[list[int]]) -> list[Query]:
    return [
        query_of("copied", sequences[0], num_prompt_tokens=8),
        query_of("other", sequences[9], num_prompt_tokens=3),
    ]
