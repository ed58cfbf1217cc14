"""Strict JSON of records, in which undefined is null."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from typing import TypeVar

T = TypeVar("T")
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

_BLOCKS: set[type] = set()


def block(record: type[T]) -> type[T]:
    """Marks a dataclass whose values a page keeps apart, unpacked only when they are opened."""
    _BLOCKS.add(record)
    return record


def is_block(record: type) -> bool:
    """Whether a page keeps the values of a record apart."""
    return record in _BLOCKS


def strict(value: object, *, keep: Callable[[Json], Json] | None = None) -> Json:
    """Turns a value into what JSON can hold.

    NaN and infinities, which JSON lacks, become None: undefined. Dataclasses and named tuples
    become objects, NumPy scalars and arrays numbers and lists, sets sorted lists. Half a surrogate
    pair, which no encoding holds, becomes U+FFFD, one for one, so that offsets into texts stay
    right.

    Args:
        value: Anything made of the above.
        keep: Puts the JSON of a block away, and returns what stands in its place; None leaves every
            block where it is.

    Raises:
        TypeError: There is something else in it.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {
            _LONE_SURROGATE.sub("\ufffd", str(key)): strict(v, keep=keep)
            for key, v in value.items()
        }
    if isinstance(value, list | tuple):
        if (fields := getattr(value, "_fields", None)) is not None:
            return {name: strict(item, keep=keep) for name, item in zip(fields, value, strict=True)}
        return [strict(item, keep=keep) for item in value]
    if isinstance(value, set | frozenset):
        return [strict(item, keep=keep) for item in sorted(value)]
    if is_dataclass(value) and not isinstance(value, type):
        found: Json = {
            field.name: strict(getattr(value, field.name), keep=keep) for field in fields_of(value)
        }
        return keep(found) if keep is not None and is_block(type(value)) else found
    if (tolist := getattr(value, "tolist", None)) is not None:
        return strict(tolist(), keep=keep)
    raise TypeError(f"JSON cannot hold a {type(value).__name__}")


def jsonable(value: object) -> Json:
    """Turns settings, which may hold anything, into JSON; what JSON lacks is written as text."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def significant(value: float, digits: int = 6) -> float | None:
    """Rounds to significant digits, so that a page of many numbers stays small.

    Returns:
        The rounded number; None where there is none.
    """
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
