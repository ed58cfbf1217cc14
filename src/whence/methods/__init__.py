"""How strongly is each example tied to each query? One file per method, under one contract."""

import difflib
from collections.abc import Mapping, Sequence

from whence.errors import SettingsError
from whence.methods import (
    activation,
    bm25,
    document_loss,
    ekfac,
    embedding,
    gradient_cosine,
    gradient_cosine_adam,
    gradient_cosine_all,
    gradient_cosine_initial,
    gradient_cosine_vocabulary,
    gradient_dot,
    gradient_dot_adam,
    gradient_dot_initial,
    influence,
    length,
    magic,
    ngram_overlap,
    random,
    source,
    tfidf,
    tracin,
    tracin_adam,
    tracin_adam_cosine,
    tracin_cosine,
    trackstar,
    trak,
)
from whence.methods.contract import Inputs, Method, Needs
from whence.methods.hubness import CORRECTIONS, derive
from whence.methods.store import load_scores, save_scores
from whence.methods.views import FINAL, View
from whence.records import Scores

__all__ = [
    "FINAL",
    "METHODS",
    "Inputs",
    "Method",
    "Needs",
    "View",
    "check_methods",
    "find_method",
    "is_method",
    "load_scores",
    "save_scores",
    "score",
]

METHODS: Mapping[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (
        gradient_cosine,
        gradient_dot,
        gradient_cosine_adam,
        gradient_dot_adam,
        tracin,
        tracin_cosine,
        tracin_adam,
        tracin_adam_cosine,
        trackstar,
        influence,
        ekfac,
        source,
        magic,
        trak,
        gradient_cosine_vocabulary,
        gradient_cosine_all,
        gradient_cosine_initial,
        gradient_dot_initial,
        bm25,
        tfidf,
        ngram_overlap,
        embedding,
        activation,
        document_loss,
        length,
        random,
    )
}


def score(name: str, inputs: Inputs) -> Scores:
    """Scores every example for every query by the method of that name.

    Args:
        name: One of `METHODS`, or one of them with `_centered` or `_zscored` behind it.
        inputs: Queries, examples, and what the method needs beside them.

    Returns:
        One number per query and example, higher is more helpful; NaN is undefined.

    Raises:
        SettingsError: There is no such method, or the inputs lack what it needs.
    """
    return find_method(name).score(inputs)


def find_method(name: str) -> Method:
    """Finds a method, or derives it: `_centered` and `_zscored` correct any method against hubs.

    Raises:
        SettingsError: There is no such method.
    """
    check_methods([name])
    if name in METHODS:
        return METHODS[name]
    base, _, correction = name.rpartition("_")
    return derive(METHODS[base], correction)


def is_method(name: str) -> bool:
    """Tells whether there is a method of that name, or one to derive it from."""
    base, _, correction = name.rpartition("_")
    return name in METHODS or (base in METHODS and correction in CORRECTIONS)


def check_methods(names: Sequence[str]) -> None:
    """Refuses a method that does not exist, with the closest name.

    Raises:
        SettingsError: There is no such method.
    """
    for name in names:
        if not is_method(name):
            close = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.5)
            remedy = f"Did you mean `{close[0]}`?" if close else f"Known: {', '.join(METHODS)}."
            raise SettingsError(f"There is no method `{name}`.", remedy)
