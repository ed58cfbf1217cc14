"""Inner products and cosines of per-example gradients at one checkpoint.

    dot      ∇L_q · ∇L_i
    cosine   ∇L_q · ∇L_i / (‖∇L_q‖ ‖∇L_i‖)

The methods differ in the view of the gradients: at the model's own checkpoint or the untrained
one, divided by what Adam divides by or not, in the attributed layers, in the embedding and the
output layer, or in both. A loss is the sum over tokens, in nats. An example without a gradient
(fewer than two tokens) has no score: NaN.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from whence.methods.contract import (
    Method,
    MethodInputs,
    MethodResult,
    Needs,
    from_products,
    split_of,
)
from whence.methods.products import Products
from whence.methods.views import ADAM, FINAL, INITIAL, VOCABULARY, Part, View, cosines, dots
from whence.settings import NoSettings

_COSINES = "Cosines in [-1, 1], without unit; NaN for an example without a gradient."
_CHARPIAT = (
    'Charpiat et al., "Input Similarity from the Neural Network Perspective", NeurIPS 2019; here '
    "with one gradient per document."
)
_CHANG = (
    'Chang et al., "Scalable Influence and Fact Tracing for Large Language Model Pretraining", '
    "arXiv 2410.17413, section 3; here with whole gradients."
)
_ADEBAYO = (
    'The model randomization test of Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS '
    "2018, applied to attribution of training data as by Hanawa et al., ICLR 2021."
)


def _on(view: View, part: Part) -> Callable[[MethodInputs, NoSettings], MethodResult]:
    """Computes one part of a view's products, such as their cosines."""

    def compute(inputs: MethodInputs, own: NoSettings) -> MethodResult:
        products = inputs.result(Products(view))
        return from_products(products, part(products))

    return compute


def _needs(*views: View) -> Needs:
    return lambda settings: tuple(Products(view) for view in views)


def _all_matrices(inputs: MethodInputs, own: NoSettings) -> MethodResult:
    """Computes the cosine over the attributed modules, the embedding and the output layer."""
    inner, words = inputs.result(Products(FINAL)), inputs.result(Products(VOCABULARY))
    # Inner products add up over layers, and so do squared norms.
    total = replace(
        inner,
        dots=inner.dots + words.dots,
        query_norms=np.hypot(inner.query_norms, words.query_norms),
        example_norms=np.hypot(inner.example_norms, words.example_norms),
    )
    return MethodResult(cosines(total), {**inner.settings, "modules": "all weight matrices"})


METHODS = (
    Method(
        name="gradient_cosine",
        compute=_on(FINAL, cosines),
        needs=_needs(FINAL),
        split=split_of(FINAL),
        settings=NoSettings,
        family="gradient",
        about="The angle between an example's gradient and the query's. Positive: to first order, "
        "a small step of training on the example lowers the query's loss. Long gradients count no "
        "more than short ones.",
        reads="gradients at the model's own checkpoint",
        formula="∇L_q · ∇L_i / (‖∇L_q‖ ‖∇L_i‖)",
        returns=_COSINES,
        higher_means="the example's gradient points more nearly in the query's direction; where "
        "the score is positive, a small step of gradient descent on the example lowers the "
        "query's loss, to first order",
        cost="one pass over the corpus, shared with gradient_dot",
        source=_CHARPIAT,
        avoid="For the size of an effect: the cosine discards it, and copies of a text that was "
        "learned well keep a high cosine when their gradient is nearly zero. A high cosine is no "
        "evidence that the model was influenced: an untrained model gives high cosines to "
        "documents that share words with the query, too.",
    ),
    Method(
        name="gradient_dot",
        compute=_on(FINAL, dots),
        needs=_needs(FINAL),
        split=split_of(FINAL),
        settings=NoSettings,
        family="gradient",
        about="The inner product of an example's gradient and the query's. Positive: to first "
        "order, a small step of training on the example lowers the query's loss. Examples with "
        "large gradients, often long or unusual ones, are favored.",
        reads="gradients at the model's own checkpoint",
        formula="∇L_q · ∇L_i",
        returns="Inner products, in nats² per squared unit of weight: one step of gradient descent "
        "with a small learning rate η lowers the query's loss by η times the score, to first "
        "order. NaN for an example without a gradient.",
        higher_means="a small step of gradient descent on the example lowers the query's loss by "
        "more, to first order",
        cost="one pass over the corpus, shared with gradient_cosine",
        source='Pruthi et al., "Estimating Training Data Influence by Tracing Gradient Descent", '
        "NeurIPS 2020 (TracIn), here with one checkpoint and without the learning rate.",
        avoid="For finding single documents: losses are sums over tokens, so a few long or "
        "surprising documents have large gradients and are proponents of everything.",
    ),
    Method(
        name="gradient_cosine_adam",
        compute=_on(ADAM, cosines),
        needs=_needs(ADAM),
        split=split_of(ADAM),
        settings=NoSettings,
        family="gradient",
        about="The angle between an example's gradient and the query's, after dividing both by "
        "what Adam divides by. Long gradients count no more than short ones.",
        reads="gradients at the model's own checkpoint, divided by √v + ε on both sides",
        formula="the cosine of ∇L_q / (√v + ε) and ∇L_i / (√v + ε)",
        returns=_COSINES,
        higher_means="the two gradients, each divided by what Adam divides by, point more nearly "
        "in one direction; a step of plain gradient descent may change the query's loss with the "
        "other sign",
        cost="one pass over the corpus, shared with gradient_dot_adam",
        source=f"{_CHANG} It is TrackStar without projection and without the curvature R (its "
        'ablation "Exp 3").',
        avoid="For the size of an effect, and for models that Adam did not train.",
    ),
    Method(
        name="gradient_dot_adam",
        compute=_on(ADAM, dots),
        needs=_needs(ADAM),
        split=split_of(ADAM),
        settings=NoSettings,
        family="gradient",
        about="The inner product of an example's gradient and the query's, after dividing both by "
        "what Adam divides by. Examples with large gradients are favored.",
        reads="gradients at the model's own checkpoint, divided by √v + ε on both sides",
        formula="(∇L_q / (√v + ε)) · (∇L_i / (√v + ε))",
        returns="Inner products, without unit: each side is in units of Adam's typical gradient. "
        "Weights whose gradients are large in every batch count less, weights that few examples "
        "use count more. NaN for an example without a gradient.",
        higher_means="the inner product of the two gradients, each divided by what Adam divides "
        "by, is larger; a step of plain gradient descent may change the query's loss with the "
        "other sign",
        cost="one pass over the corpus, shared with gradient_cosine_adam",
        source=_CHANG,
        avoid="For what one step of Adam would change: that divides once, not on both sides, and "
        "is tracin_adam with a single checkpoint. Long documents have large scores.",
    ),
    Method(
        name="gradient_cosine_vocabulary",
        compute=_on(VOCABULARY, cosines),
        needs=_needs(VOCABULARY),
        settings=NoSettings,
        family="gradient",
        about="The angle between gradients in the embedding and the output layer, which have a row "
        "per word: much of it is likeness of words.",
        reads="gradients of the embedding and the output layer, which Bergson and every index "
        "leave out",
        formula="the cosine of ∇L_q and ∇L_i in these two layers",
        returns=_COSINES,
        higher_means="the two gradients point more nearly in one direction in the embedding and "
        "the output layer, much of which is that the texts share tokens",
        cost="one pass over the corpus without projection, which keeps the logits and 2 · "
        "vocabulary · width entries per query and per example of a batch in memory",
        source='Yeh et al., "First is Better Than Last for Language Data Influence", NeurIPS 2022, '
        "on what the embedding's gradient shows and where it errs. Two tied weights count as two.",
        avoid="For influence of what was learned: with a row per token, the gradient is a measure "
        "of shared tokens, more than in any other layer. Its use is to show what an index that "
        "leaves these layers out does not contain.",
    ),
    Method(
        name="gradient_cosine_all",
        compute=_all_matrices,
        needs=_needs(FINAL, VOCABULARY),
        settings=NoSettings,
        family="gradient",
        about="The angle between gradients in all weight matrices, the embedding and the output "
        "layer among them.",
        reads="gradients of the attributed modules, the embedding and the output layer",
        formula="the cosine of ∇L_q and ∇L_i over all weight matrices, without norms and biases",
        returns=_COSINES,
        higher_means="the example's gradient in all weight matrices points more nearly in the "
        "query's direction; where the score is positive, a small step of gradient descent on the "
        "example lowers the query's loss, to first order",
        cost="the passes of gradient_cosine and gradient_cosine_vocabulary",
        source=_CHARPIAT,
        avoid="Where the vocabulary's gradients are the longest: it is then "
        "gradient_cosine_vocabulary in effect. Its use is to check that a finding does not depend "
        "on which layers were attributed.",
    ),
    Method(
        name="gradient_cosine_initial",
        compute=_on(INITIAL, cosines),
        needs=_needs(INITIAL),
        split=split_of(INITIAL),
        settings=NoSettings,
        family="untrained",
        about="The angle between gradients in the untrained model, which has learned nothing. An "
        "untrained baseline: what it finds too is found by likeness of texts.",
        reads="gradients of the untrained model",
        formula="the cosine of ∇L_q and ∇L_i at step 0",
        returns=_COSINES,
        higher_means="the example's text is more like the query's to a model with random weights; "
        "it cannot be influence, because nothing was learned",
        cost="one pass over the corpus with the untrained model",
        source=_ADEBAYO,
        avoid="As evidence of influence. It finds exact copies and stated facts about as well as "
        "the trained model: what counts is the difference between the two.",
    ),
    Method(
        name="gradient_dot_initial",
        compute=_on(INITIAL, dots),
        needs=_needs(INITIAL),
        split=split_of(INITIAL),
        settings=NoSettings,
        family="untrained",
        about="The inner product of gradients in the untrained model, which has learned nothing: "
        "likeness of texts, times their length. An untrained baseline.",
        reads="gradients of the untrained model",
        formula="∇L_q · ∇L_i at step 0",
        returns="Inner products, in nats² per squared unit of weight. NaN for an example without a "
        "gradient.",
        higher_means="the example's text is longer, or more like the query's, to a model with "
        "random weights; it cannot be influence, because nothing was learned",
        cost="the pass of gradient_cosine_initial, shared with it",
        source=_ADEBAYO,
        avoid="As evidence of influence, and for the likeness of texts: the longest texts come "
        "first. For likeness use gradient_cosine_initial.",
    ),
)
