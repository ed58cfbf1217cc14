"""What do the lines of a JSON-lines file hold, plain or compressed?

The compression is told by the file's first bytes, not by its name. A file that ends in the middle
of a compressed stream is refused: what is missing could be any part of the corpus.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from whence.errors import CorpusError

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_CHUNK_BYTES = 1 << 20
# The Pile's own files are compressed with a long window, which the decoder refuses by default.
_ZSTD_WINDOW_BYTES = 1 << 31


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Reads one JSON object per line; blank lines are skipped.

    Raises:
        CorpusError: The file cannot be read or is cut short, or a line is not UTF-8, not JSON or
            not an object.
    """
    for number, line in enumerate(_lines(path), start=1):
        if line.isspace():
            continue
        try:
            value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"Line {number} of {path} is not valid UTF-8 (byte {error.start}).",
                "Convert the file to UTF-8.",
            ) from None
        except (ValueError, RecursionError) as error:
            raise CorpusError(
                f"Line {number} of {path} is not valid JSON ({error}).",
                "Correct or delete that line; if it is the last one, the file may be cut short.",
            ) from None
        if not isinstance(value, dict):
            raise CorpusError(
                f"Line {number} of {path} holds a JSON {type(value).__name__}, not an object.",
                'Write one object per line, such as {"text": "…"}.',
            )
        yield value


def _lines(path: Path) -> Iterator[bytes]:
    last = 0
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            for line in _decompressed(file, magic):
                last += 1
                yield line
    except EOFError:
        raise CorpusError(
            f"{path} is cut short: its compressed data ends after line {last} without an end mark.",
            "Download or write the file again.",
        ) from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(
            f"{path} is damaged after line {last} ({error}).", "Download or write the file again."
        ) from None
    except OSError as error:
        raise CorpusError(
            f"{path} cannot be read ({error.strerror or error}).", "Check the file."
        ) from None


def _decompressed(file: BinaryIO, magic: bytes) -> Iterator[bytes]:
    if magic.startswith(_GZIP):
        with gzip.open(file) as plain:
            yield from plain
    elif magic == _ZSTD:
        yield from _split_lines(_zstd_chunks(file))
    else:
        yield from file


def _zstd_chunks(file: BinaryIO) -> Iterator[bytes]:
    # The stream reader of `zstandard` ends silently where a frame is cut short; this one does not.
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    frame = None
    try:
        while data := file.read(_CHUNK_BYTES):
            while data:
                frame = frame or decompressor.decompressobj()
                yield frame.decompress(data)
                data = frame.unused_data if frame.eof else b""
                frame = None if frame.eof else frame
    except zstandard.ZstdError as error:
        raise zlib.error(str(error)) from None
    if frame is not None:
        raise EOFError


def _split_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in lines)
    if rest:
        yield rest
