"""Which examples contain the query's phrases, token by token?"""

from collections.abc import Sequence

import numpy as np

from whence.methods.contract import LIKENESS, Found, Inputs, Method
from whence.methods.reading import main_term

N = 3


def compute(inputs: Inputs) -> Found:
    """Measures the share of the query's distinct token 3-grams that occur in the example.

    For a query of fewer than three tokens the n-grams are as long as the query. Of a contrast only
    the completion itself counts, with its prompt.

    Returns:
        Containment in [0, 1]; 1 means that every 3-gram of prompt and completion occurs. An
        example that is shorter than the n-grams contains none: 0. NaN for an empty example.

    Use it to find verbatim spans, and to see how much of another method's result is plain copying.
    It ignores order beyond three tokens and how rare a phrase is.

    Cost: seconds per million tokens.

    Source: Broder, "On the Resemblance and Containment of Documents", 1997, with token 3-grams.
    """
    tokens, example_of, room = _flattened(inputs)
    values = np.zeros((len(inputs.queries), len(inputs.corpus)), dtype=np.float32)
    sequences = [main_term(query).input_ids for query in inputs.queries]
    for n in sorted({min(N, len(sequence)) for sequence in sequences}):
        rows = [row for row, s in enumerate(sequences) if min(N, len(s)) == n]
        wanted = {row: np.unique(_codes(np.asarray(sequences[row]), n)) for row in rows}
        pairs = _occurrences(tokens, example_of, room, np.concatenate([*wanted.values()]), n)
        for row in rows:
            hits = pairs[np.isin(pairs[:, 1], wanted[row]), 0]
            values[row] = np.bincount(hits, minlength=values.shape[1]) / len(wanted[row])
    values[:, inputs.corpus.lengths == 0] = np.nan
    return Found(values, {"n": N, "unit": "token"})


def _flattened(inputs: Inputs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All tokens in a row, the example of each, and how many tokens its example still has."""
    lengths = inputs.corpus.lengths
    chunks: Sequence[np.ndarray] = [
        chunk.flatten().to_numpy(zero_copy_only=False)
        for chunk in inputs.corpus.table.column("input_ids").chunks
    ]
    tokens = np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.int64)
    example_of = np.repeat(np.arange(len(lengths)), lengths)
    room = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))
    return tokens, example_of, room


def _codes(tokens: np.ndarray, n: int) -> np.ndarray:
    """Gives each window of n tokens one number; 21 bits a token are enough for any vocabulary."""
    size = max(0, len(tokens) - n + 1)
    codes = np.zeros(size, dtype=np.int64)
    for shift in range(n):
        codes = (codes << 21) | tokens[shift : shift + size].astype(np.int64)
    return codes


def _occurrences(
    tokens: np.ndarray, example_of: np.ndarray, room: np.ndarray, wanted: np.ndarray, n: int
) -> np.ndarray:
    """Lists the distinct pairs (example, code) of the wanted n-grams."""
    codes = _codes(tokens, n)
    size = len(codes)
    hit = np.isin(codes, wanted) & (room[:size] >= n)
    pairs = np.stack([example_of[:size][hit], codes[hit]], axis=1)
    return np.unique(pairs, axis=0)


METHOD = Method("ngram_overlap", compute, LIKENESS)
