"""The testbed's corpus as the table that other rooms read."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from whence.corpus.examples import schema
from whence.records import Corpus
from whence.testbed.plan import Testbed, generate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

DATA = Path(__file__).parent / "data"
CONTEXT_LENGTH = 1024
END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0
VOCABULARY_SIZE = 1500


def corpus_hash(size: str) -> str:
    """Computes the SHA-256 of everything that the generator wrote, in training order."""
    testbed = generate(size)
    digest = hashlib.sha256()
    for example_id, document in zip(testbed.ids, testbed.documents, strict=True):
        line = [example_id, document.subset, *document.labels, document.weight, document.text]
        digest.update(json.dumps(line, ensure_ascii=True).encode() + b"\n")
    return digest.hexdigest()


def training_weights(size: str) -> "NDArray[np.float32]":
    """Tells how much each example's loss counts in training: 0 for an inert one, else 1."""
    import numpy as np

    return np.array([d.weight for d in generate(size).documents], dtype=np.float32)


@cache
def tokenizer() -> "Tokenizer":
    """Loads the testbed's tokenizer, a byte-level BPE trained on mini's corpus."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(DATA / "tokenizer.json"))


def train_tokenizer() -> "Tokenizer":
    """Trains the tokenizer that ships."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator((d.text for d in generate("mini").documents), trainer)
    return made


@cache
def corpus(size: str) -> Corpus:
    """Reads a testbed's corpus as a table, in training order.

    Every document is one example and ends with the end-of-text token; none is cut. `labels` holds
    what was planted (`fact/capital-france`, `decoy:shuffled:fact/…`, `memorized/…:exact`,
    `inert:…`), `step` the optimizer step, counted from 1, at which the example was seen.

    Args:
        size: `nano` or `mini`.

    Raises:
        ModelError: There is no such size.
    """
    import pyarrow as pa

    testbed = generate(size)
    texts = [document.text for document in testbed.documents]
    encoded = tokenizer().encode_batch(texts)
    batch_size = testbed.size.recipe.batch_size
    table = pa.table(
        {
            "id": list(testbed.ids),
            "text": texts,
            "hash": [hashlib.sha256(text.encode()).hexdigest() for text in texts],
            "subset": [document.subset for document in testbed.documents],
            "source": [f"testbed:{size}"] * len(texts),
            "position": range(len(texts)),
            "step": [position // batch_size + 1 for position in range(len(texts))],
            "input_ids": [[*encoding.ids, END_OF_TEXT_ID] for encoding in encoded],
            "num_truncated_tokens": [0] * len(texts),
            "labels": [list(document.labels) for document in testbed.documents],
        },
        schema=schema(),
    )
    return Corpus(
        name=f"testbed:{size}",
        description=_description(testbed),
        table=table,
        searched_fraction=1.0,
    )


def _description(testbed: Testbed) -> str:
    inert = sum(document.weight == 0 for document in testbed.documents)
    subsets = len({document.subset for document in testbed.documents})
    return (
        f"All {len(testbed.documents):,} documents that testbed:{testbed.size.name} was trained "
        f"on, in {subsets} subsets; {inert} of them are inert (training weight zero)."
    )
