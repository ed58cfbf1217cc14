"""What does a ranking look like that knows nothing? A control."""

import hashlib

import numpy as np

from whence.methods.contract import CONTROL, Found, Inputs, Method


def compute(inputs: Inputs) -> Found:
    """Draws a number for each pair of query and example, from a seed.

    Numbers are dealt to the examples in the order of their ids, with one generator per query, so
    that they do not depend on the order of the corpus or on the other queries.

    Returns:
        Uniform in [0, 1), without meaning.

    Use it to see what a figure is worth: whatever chance reaches here is no evidence.

    Cost: none.
    """
    order = np.argsort(np.array(inputs.corpus.ids, dtype=object), kind="stable")
    values = np.empty((len(inputs.queries), len(inputs.corpus)), dtype=np.float32)
    for row, query in enumerate(inputs.queries):
        digest = hashlib.sha256(query.id.encode()).digest()
        seed = [inputs.settings.seed, int.from_bytes(digest[:8], "little")]
        values[row, order] = np.random.default_rng(seed).random(len(order), dtype=np.float32)
    return Found(values, {"seed": inputs.settings.seed})


METHOD = Method("random", compute, CONTROL, is_control=True)
