"""A small stand-in with the layout of Pythia's data and of the lists of what Pythia memorized.

Rows of 2,049 token ids in shards that are cut at arbitrary bytes, with the `.idx` beside them;
sequences as `data/SPLIT-00000-of-00003.parquet` with `index` and `tokens`; controls with `Index`,
`Tokens` and a score. Contents are planted: some rows begin with 64 tokens of a content, other rows
hold exact copies, copies of the continuation alone and near copies of it elsewhere.
"""

import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from whence.models.load import model_fingerprint
from whence.records import LoadedModel

ROW_TOKENS, WINDOW, PROMPT = 2049, 64, 32
VOCABULARY = 500
END_OF_TEXT = 0


@dataclass(frozen=True)
class StandIn:
    """What was written, and the truth about it.

    `memorized` are rows that begin with a content, `controls` rows that begin with other text;
    `exact`, `continuation` and `near` list for each content the (row, offset) of its copies.
    """

    folder: Path
    rows: np.ndarray
    contents: np.ndarray
    memorized: tuple[int, ...]
    controls: tuple[int, ...]
    exact: tuple[tuple[tuple[int, int], ...], ...]
    continuation: tuple[tuple[tuple[int, int], ...], ...]
    near: tuple[tuple[tuple[int, int], ...], ...]
    first_pass_rows: int

    @property
    def map(self) -> Path:
        return self.folder / "preshuffled"

    @property
    def sequences(self) -> Path:
        return self.folder / "memorized-evals"

    @property
    def random_sample(self) -> Path:
        return self.folder / "random-sampled"


def write_standin(
    folder: Path,
    *,
    num_rows: int = 2600,
    num_contents: int = 6,
    marks_ends: bool = True,
    seed: int = 0,
) -> StandIn:
    """Writes map, sequences and controls.

    Args:
        folder: Is filled.
        num_rows: More than 2,048, so that rows of three steps are there.
        num_contents: Planted contents; content i has 3 i exact copies, i copies of its
            continuation and i near copies besides the row that begins with it.
        marks_ends: Put end-of-text tokens between documents, as the standard data has.
        seed: Of everything random.
    """
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, VOCABULARY, (num_rows, ROW_TOKENS)).astype("<u2")
    if marks_ends:
        rows[rng.random(rows.shape) < 1 / 400] = END_OF_TEXT
    first_pass = num_rows - 100
    contents = rng.integers(1, VOCABULARY, (num_contents, WINDOW)).astype("<u2")
    # Controls begin with text alone, too.
    rows[:, :WINDOW][rows[:, :WINDOW] == END_OF_TEXT] = 1
    memorized = np.sort(rng.choice(np.arange(100, first_pass), num_contents, replace=False))
    rows[memorized, :WINDOW] = contents
    free = rng.permutation(np.setdiff1d(np.arange(100, first_pass), memorized)).tolist()
    exact, continuation, near = [], [], []
    for number, content in enumerate(contents):
        replaced = content.copy()
        places = rng.choice(WINDOW, 6, replace=False)
        replaced[places] = replaced[places] % (VOCABULARY - 1) + 1
        copies = ((3 * number, content, exact), (number, content[PROMPT:], continuation))
        for count, tokens, listed in (*copies, (number, replaced, near)):
            found = []
            for _ in range(count):
                row, offset = free.pop(), int(rng.integers(WINDOW, ROW_TOKENS - WINDOW))
                rows[row, offset : offset + len(tokens)] = tokens
                found.append((row, offset))
            listed.append(tuple(sorted(found)))
    controls = np.sort(rng.choice(free, 20, replace=False))
    rows[first_pass:] = rows[: num_rows - first_pass]
    _write_map(folder / "preshuffled", rows, rng)
    _write_split(
        folder / "memorized-evals",
        "deduped.70m",
        {"index": memorized.tolist(), "tokens": rows[memorized, :WINDOW].tolist()},
    )
    both = np.sort(np.concatenate([memorized, controls]))
    _write_split(
        folder / "random-sampled",
        "train",
        {
            "Index": both.tolist(),
            "Tokens": rows[both, :WINDOW].tolist(),
            "70M": [1.0 if row in memorized else 0.25 for row in both],
        },
    )
    return StandIn(
        folder,
        rows,
        contents,
        tuple(memorized.tolist()),
        tuple(controls.tolist()),
        tuple(exact),
        tuple(continuation),
        tuple(near),
        first_pass,
    )


def _write_map(folder: Path, rows: np.ndarray, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    data = rows.tobytes()
    cuts = [0, *np.sort(rng.choice(len(data), 2, replace=False)).tolist(), len(data)]
    # Pythia's shards are numbered up to the number after `of`, both included.
    for number, (start, stop) in enumerate(pairwise(cuts)):
        name = f"document-{number:05}-of-00002.bin"
        (folder / name).write_bytes(data[start:stop])
    count, length = rows.shape
    sizes = np.full(count, length, dtype="<i4")
    pointers = np.arange(count, dtype="<i8") * length * 2
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, count, count + 1)
    body = sizes.tobytes() + pointers.tobytes() + np.arange(count + 1, dtype="<i8").tobytes()
    (folder / "document.idx").write_bytes(header + body)


def _write_split(folder: Path, split: str, columns: dict[str, list]) -> None:
    (folder / "data").mkdir(parents=True)
    table = pa.table(columns)
    third = -(-table.num_rows // 3)
    for number in range(3):
        name = f"{split}-{number:05}-of-00003-0123456789abcdef.parquet"
        pq.write_table(table.slice(number * third, third), folder / "data" / name)


def write_tokenizer(folder: Path) -> Any:
    """Writes a tokenizer whose token i is the word wi; 0 is the end of text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<|endoftext|>": 0} | {f" w{i}": i for i in range(1, VOCABULARY)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    core.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_next")  # pyright: ignore
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|endoftext|>", unk_token="<|endoftext|>"
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_model(sequences: np.ndarray, *, steps: int = 120, seed: int = 0) -> Any:
    """Fits a tiny GPT-NeoX to sequences of the stand-in's tokens."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(seed)
    model = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=VOCABULARY,
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=96,
            max_position_embeddings=128,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    ids = torch.tensor(np.asarray(sequences).astype(np.int64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()
    return model.eval()


def loaded(model: Any, tokenizer: Any, name: str = "standin") -> LoadedModel:
    """A model in memory as `load_model` gives it."""
    return LoadedModel(model, tokenizer, name, model_fingerprint(model), 128)
