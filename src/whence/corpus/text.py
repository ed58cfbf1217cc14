"""Reader of plain text files: one document per paragraph.

One per paragraph: blank lines separate documents, as they separate paragraphs in a book. A passage
of that size fits a small model's context, and an answer that names it is worth reading.
"""

from collections.abc import Iterator
from pathlib import Path

from whence.corpus.lines import decode_line, read_lines
from whence.corpus.paths import shown
from whence.errors import CorpusError


def read_text(path: Path, *, max_bytes: int) -> Iterator[dict[str, object]]:
    """Reads one document per paragraph; the line breaks inside a paragraph are kept.

    Args:
        path: Plain or compressed.
        max_bytes: The longest line, and the longest paragraph.

    Raises:
        CorpusError: The file cannot be read, a line is not UTF-8, or a paragraph is too long.
    """
    # Bytes, of which a paragraph of very short lines takes no more than its size.
    paragraph = bytearray()
    first = 0
    for number, line in enumerate(read_lines(path, max_bytes=max_bytes), start=1):
        text = decode_line(line, number, path).rstrip("\r\n")
        if not text.strip():
            if paragraph:
                yield {"text": paragraph.decode()}
            paragraph.clear()
            continue
        first = first if paragraph else number
        paragraph += (b"\n" if paragraph else b"") + text.encode()
        if len(paragraph) > max_bytes:
            raise CorpusError(
                f"The paragraph of {shown(path)} that begins in line {first} is longer than "
                f"{max_bytes / 2**20:,.6g} MiB.",
                "Raise `max_line_mb` if that is one document; else separate documents by blank "
                "lines.",
            )
    if paragraph:
        yield {"text": paragraph.decode()}
