"""Which examples' gradients point in the query's direction in all of the weight matrices?"""

from dataclasses import replace

import numpy as np

from whence.methods.contract import INFLUENCE, Found, Inputs, Method, Needs
from whence.methods.views import FINAL, VOCABULARY, cosines
from whence.settings import AttributionSettings


def compute(inputs: Inputs) -> Found:
    """Takes `gradient_cosine` with the embedding and the output layer, which it leaves out.

    Inner products add up over layers, and so do squared norms: what is known of the attributed
    modules and of the other two is summed before the cosine is taken. Norms and biases stay out.

    Returns:
        Cosines in [-1, 1], without unit; positive for proponents, negative for opponents. NaN for
        an example without a gradient.

    Use it to check that a finding does not hang on which layers were attributed. Where the
    vocabulary's gradients are the longest, it is `gradient_cosine_vocabulary` in the end.

    Cost: that of both.

    Source: see `gradient_cosine`.
    """
    inner, words = inputs.products[FINAL], inputs.products[VOCABULARY]
    total = replace(
        inner,
        dots=inner.dots + words.dots,
        query_norms=np.hypot(inner.query_norms, words.query_norms),
        example_norms=np.hypot(inner.example_norms, words.example_norms),
    )
    return Found(cosines(total), {**inner.settings, "modules": "all weight matrices"})


def needs(settings: AttributionSettings) -> Needs:
    """The attributed modules and the vocabulary's layers."""
    return Needs(products=(FINAL, VOCABULARY))


METHOD = Method("gradient_cosine_all", compute, INFLUENCE, needs=needs)
