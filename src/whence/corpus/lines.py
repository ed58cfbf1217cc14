"""Lines of plain, gzip or zstd files, in bounded memory.

The compression is recognized by the file's first bytes, not by its name. A file that ends in the
middle of a compressed stream is refused: what is missing could be any part of the corpus. Memory
is bounded by the longest line that is allowed, whatever the file decompresses to: a few kilobytes
of zstd can hold a gigabyte.
"""

import gzip
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from whence.corpus.paths import find_place, one_sentence, shown
from whence.errors import CorpusError

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# A frame that decoders skip, as pzstd writes first: 0x184D2A50 to 0x184D2A5F, little-endian.
_SKIPPABLE = b"\x2a\x4d\x18"
_OTHER_PACKINGS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf": "7-zip",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
}
_CHUNK_BYTES = 1 << 20
# Zstandard packs at most 128 KiB into 4 bytes, so that so many hold 32 MiB at most.
_ZSTD_PIECE_BYTES = 1 << 10
# The Pile's own files are compressed with a long window, which the decoder refuses by default.
_ZSTD_WINDOW_BYTES = 1 << 31


def read_lines(path: Path, *, max_bytes: int) -> Iterator[bytes]:
    """Reads the lines of a file one by one, each with its end.

    Args:
        path: Plain, gzip or Zstandard, in one or several members or frames.
        max_bytes: The longest line.

    Raises:
        CorpusError: The file cannot be read or is cut short, or a line is longer.

    Cost:
        Memory for one line and 32 MiB.
    """
    if find_place(path) != "file":
        raise CorpusError(f"There is no file {shown(path)}.", "Check the path.")
    last = 0
    try:
        with one_sentence(path), path.open("rb") as file:
            for line in _split(_decompressed(file, path), max_bytes):
                if line is None:
                    raise CorpusError(
                        f"Line {last + 1} of {shown(path)} is longer than "
                        f"{max_bytes / 2**20:,.6g} MiB.",
                        "Raise `max_line_mb` if that line is one document; else check that the "
                        "file has one per line.",
                    )
                last += 1
                yield line
    except EOFError:
        raise CorpusError(
            f"{shown(path)} is cut short: its compressed data ends after line {last} without an "
            "end mark.",
            "Download or write the file again.",
        ) from None
    except zlib.error as error:
        raise CorpusError(
            f"{shown(path)} is damaged after line {last} ({error}).",
            "Download or write the file again.",
        ) from None
    except MemoryError:
        raise CorpusError(
            f"{shown(path)} needs more memory to decompress than there is, after line {last}.",
            "Compress it again with a smaller window (zstd without `--long`), or free memory.",
        ) from None


def decode_line(line: bytes, number: int, path: Path) -> str:
    """Decodes a line; the first one may begin with a byte-order mark.

    Raises:
        CorpusError: It is not UTF-8.
    """
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"Line {number} of {shown(path)} is not valid UTF-8 (byte {error.start}).",
            "Convert the file to UTF-8.",
        ) from None


def _decompressed(file: BinaryIO, path: Path) -> Iterator[bytes]:
    magic = file.read(8)
    file.seek(0)
    if magic.startswith(_GZIP):
        return _gzip_chunks(file)
    if magic.startswith(_ZSTD) or (magic[1:4] == _SKIPPABLE and magic[0] >> 4 == 5):
        return _zstd_chunks(file)
    for start, packing in _OTHER_PACKINGS.items():
        if magic.startswith(start):
            raise CorpusError(
                f"{shown(path)} is a file of {packing}, which is not read as lines.",
                "Unpack it, compress it with gzip or zstd, or choose the right `format`.",
            )
    return iter(lambda: file.read(_CHUNK_BYTES), b"")


def _gzip_chunks(file: BinaryIO) -> Iterator[bytes]:
    try:
        with gzip.open(file) as plain:
            while chunk := plain.read(_CHUNK_BYTES):
                yield chunk
    except gzip.BadGzipFile as error:
        raise zlib.error(str(error)) from None


def _zstd_chunks(file: BinaryIO) -> Iterator[bytes]:
    # The stream reader of `zstandard` ends silently where a frame is cut short; this one does not.
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    frame: Any = None
    try:
        while data := file.read(_CHUNK_BYTES):
            for first in range(0, len(data), _ZSTD_PIECE_BYTES):
                piece = data[first : first + _ZSTD_PIECE_BYTES]
                while piece:
                    frame = frame or decompressor.decompressobj()
                    yield frame.decompress(piece)
                    piece = frame.unused_data if frame.eof else b""
                    frame = None if frame.eof else frame
    except zstandard.ZstdError as error:
        if "memory" in str(error).lower():
            raise MemoryError from None
        raise zlib.error(str(error)) from None
    if frame is not None:
        raise EOFError


def _split(chunks: Iterator[bytes], max_bytes: int) -> Iterator[bytes | None]:
    """Splits chunks into lines; None where a line is too long, after which nothing follows."""
    rest: list[bytes] = []
    size = 0
    for chunk in chunks:
        for part in BytesIO(chunk):
            size += len(part)
            if size > max_bytes:
                yield None
                return
            rest.append(part)
            if part.endswith(b"\n"):
                yield b"".join(rest)
                rest, size = [], 0
    if rest:
        yield b"".join(rest)
