"""Which examples are long? A control that ignores the query."""

import numpy as np

from whence.methods.contract import CONTROL, Found, Inputs, Method


def compute(inputs: Inputs) -> Found:
    """Takes each example's number of tokens, the same for every query.

    Returns:
        Tokens, ≥ 1; higher is longer. NaN for an example whose tokens are not known.

    Use it as a control: losses are summed over tokens, so long documents have large gradients, and
    a method whose ranking agrees with this one measures length rather than a tie to the query.

    Cost: none.
    """
    lengths = inputs.corpus.lengths.astype(np.float32)
    known = np.where(lengths > 0, lengths, np.nan)
    return Found(np.repeat(known[None, :], len(inputs.queries), axis=0), {"unit": "tokens"})


METHOD = Method("length", compute, CONTROL, is_control=True)
