"""Strict JSON of records, which stays JSON inside an HTML page."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields as fields_of
from dataclasses import is_dataclass

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

# What could end or confuse a script element, or end a line in older JavaScript.
_UNSAFE = {
    ord("<"): "\\u003c",
    ord(">"): "\\u003e",
    ord("&"): "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


def strict(value: object) -> Json:
    """Turns a value into what JSON can hold.

    NaN and infinities, which JSON lacks, become None: undefined. Dataclasses and named tuples
    become objects, NumPy scalars and arrays numbers and lists, sets sorted lists. Half a surrogate
    pair, which no encoding holds, becomes U+FFFD, one for one, so that offsets into texts stay
    right.

    Args:
        value: Anything made of the above.

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
        return {_LONE_SURROGATE.sub("\ufffd", str(key)): strict(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        if (fields := getattr(value, "_fields", None)) is not None:
            return {name: strict(item) for name, item in zip(fields, value, strict=True)}
        return [strict(item) for item in value]
    if isinstance(value, set | frozenset):
        return [strict(item) for item in sorted(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: strict(getattr(value, field.name)) for field in fields_of(value)}
    if (tolist := getattr(value, "tolist", None)) is not None:
        return strict(tolist())
    raise TypeError(f"JSON cannot hold a {type(value).__name__}")


def jsonable(value: object) -> Json:
    """Turns settings, which may hold anything, into JSON; what JSON lacks is written as text."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def script_json(value: Json) -> str:
    """Writes strict JSON that is safe as the content of a `<script type="application/json">`.

    Args:
        value: What `strict` returns.

    Returns:
        JSON without `<`, `>` and `&`, which can stand only inside its strings and are escaped
        there, so that no text ends the element, opens a comment or starts an entity.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_UNSAFE)


def significant(value: float, digits: int = 6) -> float | None:
    """Rounds to significant digits, so that a page of many numbers stays small.

    Returns:
        The rounded number; None where there is none.
    """
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
