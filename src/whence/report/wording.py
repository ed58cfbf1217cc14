"""Which words does a page use for what was measured, and for what was not?"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Family = Literal["gradient", "baseline"]


class MethodWording(NamedTuple):
    """What a method's score means, in one sentence, and whether gradients are behind it."""

    about: str
    family: Family


METHODS: Mapping[str, MethodWording] = {
    "gradient_cosine": MethodWording(
        "The angle between an example's gradient and the query's. Positive: to first order, a "
        "small step of training on the example lowers the query's loss. Long gradients count no "
        "more than short ones.",
        "gradient",
    ),
    "gradient_dot": MethodWording(
        "The inner product of an example's gradient and the query's. Positive: to first order, a "
        "small step of training on the example lowers the query's loss. Examples with large "
        "gradients, often long or unusual ones, are favored.",
        "gradient",
    ),
    "gradient_cosine_adam": MethodWording(
        "The angle between an example's gradient and the query's, after dividing both by what Adam "
        "divides by. Long gradients count no more than short ones.",
        "gradient",
    ),
    "gradient_dot_adam": MethodWording(
        "The inner product of an example's gradient and the query's, after dividing both by what "
        "Adam divides by. Examples with large gradients are favored.",
        "gradient",
    ),
    "tracin": MethodWording(
        "What small steps of training on the example at several checkpoints would have done to the "
        "query's loss, added up. Examples with large gradients are favored.",
        "gradient",
    ),
    "tracin_cosine": MethodWording(
        "The angle between an example's gradient and the query's, averaged over several "
        "checkpoints.",
        "gradient",
    ),
    "tracin_adam": MethodWording(
        "What small steps of Adam on the example at several checkpoints would have done to the "
        "query's loss, added up. Examples with large gradients are favored.",
        "gradient",
    ),
    "tracin_adam_cosine": MethodWording(
        "The angle between an example's gradient and the query's in the metric of Adam's steps, "
        "averaged over several checkpoints.",
        "gradient",
    ),
    "trackstar": MethodWording(
        "The angle between an example's projected gradient and the query's, after holding down "
        "the directions that many examples share.",
        "gradient",
    ),
    "influence": MethodWording(
        "How much the query's loss would fall if the example weighed more and training went on to "
        "a new optimum, to first order and with projected gradients. Examples with large gradients "
        "are favored.",
        "gradient",
    ),
    "ekfac": MethodWording(
        "How much the query's loss would fall if the example weighed more and training went on to "
        "a new optimum, to first order and with an approximate curvature. Examples with large "
        "gradients are favored.",
        "gradient",
    ),
    "source": MethodWording(
        "How much the example's step lowered the query's loss, after what came later in training "
        "is allowed for, with an approximate curvature. Examples with large gradients are favored.",
        "gradient",
    ),
    "magic": MethodWording(
        "How much lower the query's loss would have ended, had training weighed the example more: "
        "the exact derivative through the whole run, and not what leaving the example out does.",
        "gradient",
    ),
    "trak": MethodWording(
        "How much the query's log-odds would rise with the example in a linear model of the "
        "network, from projected gradients of one or more models.",
        "gradient",
    ),
    "gradient_cosine_vocabulary": MethodWording(
        "The angle between gradients in the embedding and the output layer, which have a row per "
        "word: much of it is likeness of words.",
        "gradient",
    ),
    "gradient_cosine_all": MethodWording(
        "The angle between gradients in all weight matrices, the embedding and the output layer "
        "among them.",
        "gradient",
    ),
    "gradient_cosine_initial": MethodWording(
        "The angle between gradients in the untrained model, which has learned nothing. A floor: "
        "what it finds too is found by likeness of texts.",
        "baseline",
    ),
    "gradient_dot_initial": MethodWording(
        "The inner product of gradients in the untrained model, which has learned nothing: "
        "likeness of texts, times their length. A floor.",
        "baseline",
    ),
    "bm25": MethodWording(
        "Shares rare words with the query. A plain search: it knows the texts, not the model.",
        "baseline",
    ),
    "tfidf": MethodWording(
        "Uses the query's words in similar proportions. A plain search: it knows the texts, not "
        "the model.",
        "baseline",
    ),
    "embedding": MethodWording(
        "Is similar to the query in an embedding. It says nothing about what training did.",
        "baseline",
    ),
    "activation": MethodWording(
        "Puts the model's last layer in a state like that in which it says the completion. It "
        "says nothing about what training did.",
        "baseline",
    ),
    "ngram_overlap": MethodWording(
        "Contains runs of the query's tokens. It knows the texts, not the model.", "baseline"
    ),
    "document_loss": MethodWording(
        "Orders examples by the model's loss on them, the same for every query: what a method "
        "finds that looks at the example alone.",
        "baseline",
    ),
    "length": MethodWording(
        "Orders examples by their number of tokens, the same for every query: what a method finds "
        "that looks at the example alone.",
        "baseline",
    ),
    "random": MethodWording("A random order: what a method finds that knows nothing.", "baseline"),
}

LIMITS: tuple[str, ...] = (
    "Text methods say that an example is similar to the query or contains its words, no more.",
    "Nothing on this page says that an example caused a behavior; that takes a counterfactual, "
    "such as training without it.",
    "Only the examples of the corpus named here were searched. Not found is not absent.",
)

GRADIENT_LIMIT = (
    "Gradient scores are first-order and local: what one small step on the example would do to "
    "this model, not what training on it did."
)

RETRIEVAL_LIMIT = (
    "An untrained model's gradients find planted copies too, so finding them is retrieval and not "
    "proof of influence."
)

TESTBED_LIMIT = (
    "The model is a miniature trained on generated text. What holds here need not hold for Pythia."
)


_CORRECTIONS = {
    "centered": "Here the example's mean score for other queries is subtracted, so that a "
    "proponent of everything is one of nothing.",
    "zscored": "Here a score is measured against the same example's scores for other queries, in "
    "standard deviations.",
}
_GRADIENT_NAMES = (
    "gradient",
    "tracin",
    "trackstar",
    "trak",
    "influence",
    "ekfac",
    "source",
    "magic",
)
_PARTS: tuple[str, ...] = ("embedding", "output layer", "biases", "norms", "other layers")


def method_wording(name: str, orientation: str) -> MethodWording:
    """Describes a method; one that is not known here is described by its orientation."""
    base, _, correction = name.rpartition("_")
    if correction in _CORRECTIONS and base in METHODS:
        wording = METHODS[base]
        return wording._replace(about=f"{wording.about} {_CORRECTIONS[correction]}")
    family: Family = "gradient" if name.startswith(_GRADIENT_NAMES) else "baseline"
    return METHODS.get(name, MethodWording(f"Orientation: {orientation}.", family))


def parts_left_out(left_out: Mapping[str, int]) -> dict[str, int]:
    """Adds up the parameters that were not attributed, by what they are.

    Args:
        left_out: From parameter name to its number of weights.

    Returns:
        From embedding, output layer, biases, norms and other layers to weights; in that order,
        without parts that are empty.
    """
    parts: dict[str, int] = dict.fromkeys(_PARTS, 0)
    for name, count in left_out.items():
        parts[_part(name.lower())] += count
    return {part: count for part, count in parts.items() if count}


def _part(name: str) -> str:
    # GPT-NeoX calls its output layer `embed_out`, so it is asked about before the embedding.
    if "embed_out" in name or "lm_head" in name or "unembed" in name:
        return "output layer"
    if "embed" in name or "wte" in name or "wpe" in name:
        return "embedding"
    if "norm" in name or "ln_" in name:
        return "norms"
    if name.endswith("bias"):
        return "biases"
    return "other layers"
