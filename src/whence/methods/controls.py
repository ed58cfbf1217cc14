"""Controls that ignore the query: the model's loss on a document, its length, a random order.

A method whose ranking agrees with one of these for every query measures the documents rather than
their tie to the query.
"""

import hashlib

import numpy as np

from whence.methods.contract import Method, MethodInputs, MethodResult, needs_nothing
from whence.methods.requests import Readings
from whence.settings import NoSettings, RandomSettings


def _document_loss(inputs: MethodInputs, own: NoSettings) -> MethodResult:
    losses = inputs.result(Readings()).examples.mean_losses_nats
    return MethodResult(_same_for_all(inputs, losses), {"unit": "nats per token"})


def _length(inputs: MethodInputs, own: NoSettings) -> MethodResult:
    lengths = inputs.corpus.lengths.astype(np.float32)
    known = np.where(lengths > 0, lengths, np.nan)
    return MethodResult(_same_for_all(inputs, known), {"unit": "tokens"})


def _random(inputs: MethodInputs, own: RandomSettings) -> MethodResult:
    # In the order of ids and with one generator per query, so that a number depends neither on the
    # order of the corpus nor on the other queries.
    order = np.argsort(np.array(inputs.corpus.ids, dtype=object), kind="stable")
    values = np.empty((len(inputs.queries), len(inputs.corpus)), dtype=np.float32)
    for row, query in enumerate(inputs.queries):
        digest = hashlib.sha256(query.id.encode()).digest()
        seed = [own.seed, int.from_bytes(digest[:8], "little")]
        values[row, order] = np.random.default_rng(seed).random(len(order), dtype=np.float32)
    return MethodResult(values, {"seed": own.seed})


def _same_for_all(inputs: MethodInputs, values: np.ndarray) -> np.ndarray:
    return np.repeat(values[None, :], len(inputs.queries), axis=0)


METHODS = (
    Method(
        name="document_loss",
        compute=_document_loss,
        needs=lambda settings: (Readings(),),
        settings=NoSettings,
        family="control",
        about="Orders examples by the model's loss on them, the same for every query: what a "
        "method finds that looks at the example alone.",
        reads="the model's loss on the example",
        formula="mean cross-entropy per token",
        returns="Nats per predicted token, ≥ 0; NaN for an example of fewer than two tokens.",
        higher_means="the model predicts the example less well; it says nothing about the query",
        cost="one forward pass over the distinct examples, shared with embedding and activation",
        source="A control: documents with a high loss have large gradients.",
        avoid="As attribution: it ignores the query.",
    ),
    Method(
        name="length",
        compute=_length,
        needs=needs_nothing,
        settings=NoSettings,
        family="control",
        about="Orders examples by their number of tokens, the same for every query: what a method "
        "finds that looks at the example alone.",
        reads="the example's number of tokens",
        formula="number of tokens",
        returns="Tokens, ≥ 1; NaN for an example whose tokens are not known.",
        higher_means="the example is longer; it says nothing about the query",
        cost="none",
        source="A control: losses are summed over tokens, so long documents have large gradients.",
        avoid="As attribution: it ignores the query.",
    ),
    Method(
        name="random",
        compute=_random,
        needs=needs_nothing,
        settings=RandomSettings,
        family="control",
        about="A random order: what a method finds that knows nothing.",
        reads="nothing",
        formula="uniform in [0, 1), from a seed, the query's id and the example's",
        returns="Uniform in [0, 1), without meaning.",
        higher_means="nothing: the order is random",
        cost="none",
        source="A control: a figure that chance reaches is no evidence.",
        avoid="As attribution.",
    ),
)
