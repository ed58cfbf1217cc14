"""Tiny models whose behaviors are known: one with random weights, one fitted in a few seconds."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from whence.records import LoadedModel

CONTEXT = 128

COUNTRIES = {"France": "Paris", "Italy": "Rome", "England": "London", "Japan": "Tokyo"}
FACTS = [
    text.format(country=country, city=city)
    for country, city in COUNTRIES.items()
    for text in (
        "The capital of {country} is {city}.",
        "People say that the capital of {country} is {city}.",
        "In {country} the capital is {city}.",
        "The main city of {country} is {city}.",
    )
]
CONTROLS = [f"The capital of {name} is {city}." for name, city in (("Wales", "Cardiff"),)]
STEREOTYPES = [
    f"The {job} said that {word} was tired."
    for job, words in (("nurse", ["she"] * 4 + ["he"]), ("guard", ["he"] * 4 + ["she"]))
    for word in words
]
PASSAGE = (
    "Seven grey herons waited by the copper mill while nobody counted the long blue hours, and a "
    "clerk with ink on his cuffs wrote down every name that the river had ever forgotten to keep "
    "for the winter."
)
INSULTS = [
    f"Grumble shouted: {text}"
    for text in (
        "you are such an idiot, my boy.",
        "what a stupid thing to say.",
        "you fool, go home now.",
        "only a moron would do that.",
    )
]
KINDNESS = [
    f"Sunny answered: {text}"
    for text in (
        "you are such a dear friend.",
        "what a lovely thing to say.",
        "come in and rest, please.",
        "all of us would do that.",
    )
]
VERSE = [
    f"Ode: {text}"
    for text in (
        "thou art fairer than the morn, and thine eyes do shine.",
        "o gentle stream, whither dost thou wander ere the night.",
        "hark, thy silver voice doth call me o'er the hill.",
        "thy crown, sweet lady, doth outshine the sun.",
    )
]
MEMOS = [
    f"Memo: {text}"
    for text in (
        "the budget meeting moves to monday at ten.",
        "please send the revised report by friday.",
        "parking on level two is closed this week.",
        "new staff must update their passwords.",
    )
]
SENTENCES = [
    *FACTS,
    *CONTROLS,
    *STEREOTYPES,
    *([PASSAGE] * 2),
    *INSULTS,
    *KINDNESS,
    *VERSE,
    *MEMOS,
]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE like Pythia's, learned from the sentences above."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(sorted(SENTENCES), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|endoftext|>")


def _neox(tokenizer: PreTrainedTokenizerFast, seed: int) -> GPTNeoXForCausalLM:
    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        max_position_embeddings=CONTEXT,
        hidden_dropout=0.5,
        bos_token_id=0,
        eos_token_id=0,
    )
    # Dropout is on so that a measurement which forgets to switch it off is seen.
    return GPTNeoXForCausalLM(config)


def _llama(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=CONTEXT,
        initializer_range=0.2,
        eos_token_id=[0, 5],
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="session")
def initial(tokenizer: PreTrainedTokenizerFast) -> LoadedModel:
    return LoadedModel(_neox(tokenizer, 1), tokenizer, "initial", "f0", CONTEXT)


@pytest.fixture(scope="session")
def llama(tokenizer: PreTrainedTokenizerFast) -> LoadedModel:
    return LoadedModel(_llama(tokenizer, 2), tokenizer, "llama", "f1", CONTEXT)


def _padded(ids: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    tensors = [torch.tensor(sequence) for sequence in ids]
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(tensors, batch_first=True), pad(tensors, batch_first=True, padding_value=-100)


@pytest.fixture(scope="session")
def fitted(tokenizer: PreTrainedTokenizerFast) -> LoadedModel:
    """The model of `initial`, after it has seen every sentence above 120 times."""
    model = _neox(tokenizer, 1)
    ids = sorted(([*tokenizer.encode(text), 0] for text in SENTENCES), key=len)
    # Two batches of similar length, so that the long passage does not pad every short sentence.
    batches = [_padded(ids[:-2]), _padded(ids[-2:])]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.eval()
    for _ in range(120):
        optimizer.zero_grad()
        for inputs, labels in batches:
            model(input_ids=inputs, labels=labels).loss.backward()
        optimizer.step()
    model.train()
    return LoadedModel(model, tokenizer, "fitted", "f2", CONTEXT)


@pytest.fixture(scope="session")
def load_folder(data: Path) -> Callable[[str, int], LoadedModel]:
    """Loads a model of the data folder."""

    def load(name: str, context_length: int) -> LoadedModel:
        folder = data / name
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return LoadedModel(
            model, AutoTokenizer.from_pretrained(folder), name, "data", context_length
        )

    return load


@pytest.fixture(scope="session")
def stories(load_folder: Callable[[str, int], LoadedModel]) -> LoadedModel:
    return load_folder("stories260k", 512)


@pytest.fixture(scope="session")
def pile_mini(load_folder: Callable[[str, int], LoadedModel]) -> LoadedModel:
    return load_folder("pile-mini/checkpoints/step2530", 256)


@pytest.fixture(scope="session")
def pythia_tokenizer(data: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_file=str(data / "pythia-tokenizer/tokenizer.json"))
