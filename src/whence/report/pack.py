"""Packs the data of a page: columns instead of records, compressed, in blocks that open alone.

A list of records becomes its columns, so that no key is written twice and equal values stand side
by side; what is the same in all of them is written once. `assets/unpack.js` is the way back. A
block is compressed and written in base64, so that no text can leave its `<script>` element.
"""

import base64
import json
import zlib
from collections.abc import Mapping

from whence.report.encode import Json, strict

# Keys with a meaning of their own start with this sign; any other key that does gets one more.
_SIGN = "$"
# Shorter lists are smaller as they are.
_FEWEST = 2


def packed_blocks(page: object) -> list[str]:
    """Packs the records of a page.

    Args:
        page: A `Page`.

    Returns:
        One text of base64 for each block. The first holds the page, in which `{"$block": n}` stands
        for the record that is kept in block n.
    """
    blocks: list[str] = [""]

    def keep(value: Json) -> Json:
        blocks.append(_compressed(value))
        return _Place(len(blocks) - 1)

    blocks[0] = _compressed(strict(page, keep=keep))
    return blocks


class _Place(dict[str, Json]):
    """Stands for a block; told from the objects of a run by its type."""

    def __init__(self, number: int) -> None:
        super().__init__({_SIGN + "block": number})


def _compressed(value: Json) -> str:
    text = json.dumps(columns(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def columns(value: Json) -> Json:
    """Rewrites lists of records as records of lists, all the way down.

    Args:
        value: What `strict` returns.

    Returns:
        JSON of which `assets/unpack.js` makes the same value again.
    """
    if isinstance(value, _Place):
        return dict(value)
    if isinstance(value, Mapping):
        return {_escaped(key): columns(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) >= _FEWEST and (records := _records(value)) is not None:
        return _columns(records)
    if len(value) >= _FEWEST and (lists := _lists(value)) is not None:
        flat = [item for one in lists for item in one]
        return {_SIGN + "lengths": [len(one) for one in lists], _SIGN + "flat": columns(flat)}
    return [columns(item) for item in value]


def _columns(records: list[dict[str, Json]]) -> Json:
    same: dict[str, Json] = {}
    found: dict[str, Json] = {_SIGN + "rows": len(records), _SIGN + "same": same}
    for key, first in records[0].items():
        column = [record[key] for record in records]
        if all(_is_same(item, first) for item in column):
            same[_escaped(key)] = columns(first)
        else:
            found[_escaped(key)] = columns(column)
    return found


def _is_same(one: Json, other: Json) -> bool:
    # In Python, true equals 1 and -0 equals 0; in JSON they are not the same.
    return one == other and json.dumps(one) == json.dumps(other)


def _records(value: list[Json]) -> list[dict[str, Json]] | None:
    """The items, where all are objects with the same keys, and none stands for a block."""
    records = [item for item in value if isinstance(item, dict) and not isinstance(item, _Place)]
    if len(records) < len(value) or not records[0]:
        return None
    keys = list(records[0])
    return records if all(list(record) == keys for record in records) else None


def _lists(value: list[Json]) -> list[list[Json]] | None:
    """The items, where all are lists."""
    lists = [item for item in value if isinstance(item, list)]
    return lists if len(lists) == len(value) else None


def _escaped(key: str) -> str:
    return _SIGN + key if key.startswith(_SIGN) else key
