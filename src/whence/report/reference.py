"""The reference of a page's data, `docs/page-data.md`, generated from the records behind it."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Union, get_args, get_origin, get_type_hints

from whence.report.data import FORMAT
from whence.report.encode import is_block
from whence.report.schema import Page
from whence.report.sections import section_kinds

_HEAD = f"""# The data of a page

The page of a run carries one JSON object, packed, and offers it for download. This is format
{FORMAT}. Undefined is `null`, never 0. Places in texts count Unicode code points from 0, and `end`
is exclusive. A section that does not apply is left out.

In the page, `<script type="text/plain" id="block-0">` holds the object: base64 of zlib-compressed
JSON. In it, `{{"$block": n}}` stands for the content of `block-n`, which the page unpacks when a
reader opens it; `{{"$rows": n, "$same": {{...}}, "key": [...]}}` for a list of n objects, by their
columns and what is the same in all of them; `{{"$lengths": [...], "$flat": [...]}}` for a list of
lists. Any other key that starts with `$` is written with one `$` more.

This file is generated from the records in `whence.report`; a test compares the two.
"""
_PLAIN = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    object: "any JSON",
    NoneType: "null",
}


def page_reference() -> str:
    """Writes the reference in Markdown: the page, its sections, and the records in them."""
    sections = section_kinds()
    roots = [Page, *(kind.schema for kind in sections.values())]
    parts = [_HEAD, *_record(Page, level=2), "## Sections\n"]
    for name, kind in sections.items():
        parts += [f"### `{name}`\n", *_content(kind.schema)]
    parts.append("## Records\n")
    for record in sorted(_reachable(roots) - set(roots), key=lambda r: r.__name__):
        parts += _record(record, level=3)
    return "\n".join(parts).rstrip() + "\n"


def _record(record: type, *, level: int) -> list[str]:
    return [f"{'#' * level} {record.__name__}\n", *_content(record)]


def _content(record: type) -> list[str]:
    """The record's docstring, and a table of its keys."""
    lines = ["| key | type | meaning |", "| --- | --- | --- |"]
    for key, hint in get_type_hints(record, include_extras=True).items():
        kind, meaning = hint, ""
        if get_origin(hint) is Annotated:
            kind, meaning = get_args(hint)[:2]
        lines.append(f"| `{key}` | {_words(kind)} | {meaning} |")
    about = inspect.getdoc(record) or ""
    if is_block(record):
        about += " A block of its own in the page."
    return [f"{about}\n", "\n".join(lines) + "\n"]


def _words(hint: object) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _words(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(_words(one) for one in arguments)
    if origin in (Sequence, list, tuple):
        return f"list of {_words(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"object of {_words(arguments[1])}"
    if isinstance(hint, type) and _is_record(hint):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    if isinstance(hint, type):
        return _PLAIN.get(hint, hint.__name__)
    # What is left are literals, such as the kinds.
    return " or ".join(f"`{one}`" for one in arguments)


def _reachable(roots: list[type]) -> set[type]:
    """All records that some records hold, themselves included."""
    found: set[type] = set()
    left: list[object] = [*roots]
    while left:
        hint = left.pop()
        left += get_args(hint)
        if isinstance(hint, type) and _is_record(hint) and hint not in found:
            found.add(hint)
            left += get_type_hints(hint).values()
    return found


def _is_record(hint: type) -> bool:
    return is_dataclass(hint) or (issubclass(hint, tuple) and hasattr(hint, "_fields"))
