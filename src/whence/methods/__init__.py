"""Attribution methods: one score per query and example. One file per family, one contract."""

from collections.abc import Mapping, Sequence
from typing import Any

from whence.errors import SettingsError, did_you_mean
from whence.methods import (
    controls,
    gradient,
    influence,
    states,
    text,
    tracin,
    trackstar,
    trak,
    unrolled,
)
from whence.methods.contract import Method, MethodInputs
from whence.methods.hubs import CORRECTIONS, derive
from whence.methods.products import Products, Rows
from whence.methods.requests import Readings, Request
from whence.methods.store import load_scores, save_scores
from whence.methods.views import FINAL, View
from whence.records import Scores

__all__ = [
    "FINAL",
    "METHODS",
    "Method",
    "MethodInputs",
    "Products",
    "Readings",
    "Request",
    "Rows",
    "View",
    "check_methods",
    "find_method",
    "is_method",
    "load_scores",
    "save_scores",
    "score",
]

METHODS: Mapping[str, Method[Any]] = {
    method.name: method
    for module in (
        gradient,
        tracin,
        trackstar,
        influence,
        unrolled,
        trak,
        text,
        states,
        controls,
    )
    for method in module.METHODS
}


def score(name: str, inputs: MethodInputs) -> Scores:
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


def find_method(name: str) -> Method[Any]:
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
            remedy = did_you_mean(name, METHODS, otherwise=f"Known: {', '.join(METHODS)}.")
            raise SettingsError(f"There is no method `{name}`.", remedy)
