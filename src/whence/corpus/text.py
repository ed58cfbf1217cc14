"""Which documents does a plain text file hold?

One per paragraph: blank lines separate documents, as they separate paragraphs in a book. A passage
of that size fits a small model's context, and an answer that names it is worth reading.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whence.errors import CorpusError


def read_text(path: Path) -> Iterator[dict[str, Any]]:
    """Reads one document per paragraph; the line breaks inside a paragraph are kept.

    Raises:
        CorpusError: The file cannot be read, or a line is not UTF-8.
    """
    paragraph: list[str] = []
    for line in _lines(path):
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            yield {"text": "\n".join(paragraph)}
            paragraph = []
    if paragraph:
        yield {"text": "\n".join(paragraph)}


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise CorpusError(
                        f"Line {number} of {path} is not valid UTF-8 (byte {error.start}).",
                        "Convert the file to UTF-8.",
                    ) from None
                yield text.rstrip("\r\n")
    except OSError as error:
        raise CorpusError(
            f"{path} cannot be read ({error.strerror or error}).", "Check the file."
        ) from None
