"""The pictures of a run's page, as SVG or PNG files."""

import struct
import zlib
from pathlib import Path

from whence.artifacts import check_generated, write_bytes, write_generated
from whence.errors import ArtifactError, SettingsError
from whence.report import Picture, page_pictures, svg_text
from whence.runs.directory import open_run
from whence.runs.record import load_run

# A PNG's signature and header, and a part behind them that names the program.
_HEAD = 33
_TEXT = b"tEXtSoftware\0whence"
_SIGNED = struct.pack(">I", len(_TEXT) - 4) + _TEXT + struct.pack(">I", zlib.crc32(_TEXT))


def list_plots(directory: Path) -> dict[str, str]:
    """Lists the pictures that a run has the numbers for.

    Returns:
        From name to title.
    """
    return {name: picture.title for name, picture in _pictures(directory).items()}


def write_plot(directory: Path, name: str, path: Path) -> Path:
    """Writes a picture of a run.

    Args:
        directory: A finished run.
        name: Which picture; see `list_plots`.
        path: Where to write it; its name ends in `.svg`, or in `.png` (192 pixels an inch).

    Returns:
        `path`.

    Raises:
        SettingsError: The run has no such picture, the file would be of another kind, or the extra
            `png` is not installed.
        ArtifactError: A file that whence did not write stands there, the place cannot be written,
            or there is no finished run.
    """
    kind = path.suffix.lower()
    if kind not in (".svg", ".png"):
        raise SettingsError(
            f"Pictures are written as SVG or PNG, not as {path.name!r}.",
            f"Call the file {Path(path.name or name).with_suffix('.svg').name}.",
        )
    (check_generated if kind == ".svg" else _check_pixels)(path)
    pictures = _pictures(directory)
    if name not in pictures:
        known = ", ".join(pictures) or "none"
        raise SettingsError(f"The run has no picture called {name!r}.", f"It has: {known}.")
    text = svg_text(pictures[name])
    if kind == ".svg":
        write_generated(path, text)
    else:
        write_bytes(path, _pixels(text))
    return path


def _pixels(svg: str) -> bytes:
    try:
        from resvg_py import svg_to_bytes
    except ImportError:
        raise SettingsError(
            "PNG files need the package resvg-py.",
            "Install it with `pip install 'whence[png]'`, or write the picture as SVG.",
        ) from None
    image = svg_to_bytes(svg_string=svg, zoom=2, background="#ffffff")
    return image[:_HEAD] + _SIGNED + image[_HEAD:]


def _check_pixels(path: Path) -> None:
    """Refuses to replace an image that whence did not write."""
    if path.is_dir():
        raise ArtifactError(f"{path} is a directory.", "Name a file.")
    if path.exists() and not (path.is_file() and _SIGNED in path.read_bytes()[: 2 * _HEAD + 64]):
        raise ArtifactError(
            f"{path} exists, and was not written by whence.",
            "Choose another name, or move the file away.",
        )


def _pictures(directory: Path) -> dict[str, Picture]:
    return page_pictures(load_run(open_run(directory)))
