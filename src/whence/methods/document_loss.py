"""Which examples does the model find hard to predict? A control that ignores the query."""

import numpy as np

from whence.methods.contract import CONTROL, Found, Inputs, Method, needs_model


def compute(inputs: Inputs) -> Found:
    """Takes each example's mean cross-entropy per token under the model, the same for every query.

    Returns:
        Nats per predicted token, ≥ 0; higher is harder. NaN for an example of fewer than two
        tokens.

    Use it as a control: hard documents have large gradients, and a method whose ranking agrees
    with this one for every query measures the documents rather than their tie to the query.

    Cost: one forward pass over the distinct examples, shared with `embedding` and `activation`.
    """
    losses = inputs.reading.mean_losses_nats
    values = np.repeat(losses[None, :], len(inputs.queries), axis=0)
    return Found(values, {"unit": "nats per token"})


METHOD = Method("document_loss", compute, CONTROL, needs=needs_model, is_control=True)
