"""The page's wording: what was measured, and what was not."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from whence.records import Scores


class MethodWording(NamedTuple):
    """What a method's score means, in one sentence, and whether gradients are behind it."""

    about: str
    family: Literal["gradient", "baseline", "unknown"]


LIMITS: tuple[str, ...] = (
    "Text methods say that an example is similar to the query or contains its words, no more.",
    "Nothing on this page says that an example caused a behavior; that takes training without it. "
    "A single training step says what the example would do now.",
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


_PARTS: tuple[str, ...] = ("embedding", "output layer", "biases", "norms", "other layers")


def method_wording(scores: Scores) -> MethodWording:
    """Describes where scores come from, by what they say of themselves, never by their name."""
    from whence.methods import find_method, is_method

    family = scores.family
    is_ours = family != "unknown" and is_method(scores.method)
    about = find_method(scores.method).about if is_ours else f"Higher means: {scores.higher_means}."
    return MethodWording(about, family if family in ("gradient", "unknown") else "baseline")


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
    # GPT-NeoX calls its output layer `embed_out`, so it is tested before the embedding.
    if "embed_out" in name or "lm_head" in name or "unembed" in name:
        return "output layer"
    if "embed" in name or "wte" in name or "wpe" in name:
        return "embedding"
    if "norm" in name or "ln_" in name:
        return "norms"
    if name.endswith("bias"):
        return "biases"
    return "other layers"
