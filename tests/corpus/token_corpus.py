"""Corpora of given tokens."""

from collections.abc import Sequence

import pyarrow as pa

from whence.corpus import schema
from whence.records import Corpus


def corpus_of(documents: Sequence[Sequence[int]]) -> Corpus:
    """Makes a corpus whose documents have the given tokens, and ids d0, d1, …"""
    rows = [
        {
            "id": f"d{row}",
            "text": None,
            "hash": None,
            "subset": None,
            "source": None,
            "position": row,
            "step": None,
            "input_ids": list(document),
            "num_truncated_tokens": 0,
            "labels": None,
        }
        for row, document in enumerate(documents)
    ]
    return Corpus("tokens", "given tokens", pa.Table.from_pylist(rows, schema=schema()))
