"""The way back from a packed page, written as plainly as can be: the oracle of `unpack.js`."""

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

from whence.report.encode import Json


def unpacked(path: Path) -> dict[str, Any]:
    """The data that the file of a page carries."""
    blocks = re.findall(
        r'<script type="text/plain" id="block-(\d+)">([A-Za-z0-9+/=]*)</script>',
        path.read_text(encoding="utf-8"),
    )
    assert [int(n) for n, _ in blocks] == list(range(len(blocks)))
    return whole([text for _, text in blocks])


def whole(blocks: list[str]) -> Any:
    """The data of packed blocks, each in its place."""
    contents = [json.loads(zlib.decompress(base64.b64decode(text))) for text in blocks]

    def plain(value: Json) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$block" in value:
            number = value["$block"]
            assert isinstance(number, int)
            return plain(contents[number])
        if "$lengths" in value:
            items = iter(plain(value["$flat"]))
            lengths = value["$lengths"]
            assert isinstance(lengths, list)
            return [[next(items) for _ in range(n)] for n in lengths]
        if "$rows" in value:
            same = {k.removeprefix("$"): plain(v) for k, v in value.pop("$same").items()}
            num = value.pop("$rows")
            columns = {k.removeprefix("$"): plain(v) for k, v in value.items()}
            return [{**same, **{k: v[i] for k, v in columns.items()}} for i in range(num)]
        return {key.removeprefix("$"): plain(item) for key, item in value.items()}

    return plain(contents[0])
