"""Reader of JSON-lines files."""

import json
from collections.abc import Iterator
from pathlib import Path

from whence.corpus.lines import decode_line, read_lines
from whence.corpus.paths import shown
from whence.errors import CorpusError


def read_jsonl(path: Path, *, max_bytes: int) -> Iterator[dict[str, object]]:
    """Reads one JSON object per line; blank lines are skipped.

    Args:
        path: Plain or compressed.
        max_bytes: The longest line.

    Raises:
        CorpusError: The file cannot be read or is cut short, or a line is too long, not UTF-8, not
            JSON or not an object.
    """
    for number, line in enumerate(read_lines(path, max_bytes=max_bytes), start=1):
        if line.isspace():
            continue
        text = decode_line(line, number, path)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CorpusError(
                f"Line {number} of {shown(path)} is not valid JSON ({error}).",
                "Correct or delete that line; if it is the last one, the file may be cut short.",
            ) from None
        if not isinstance(value, dict):
            raise CorpusError(
                f"Line {number} of {shown(path)} holds a JSON {type(value).__name__}, not an "
                "object.",
                'Write one object per line, such as {"text": "…"}.',
            )
        yield value
