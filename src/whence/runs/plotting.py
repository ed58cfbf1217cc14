"""The pictures of a run's page, as SVG or PNG files."""

from pathlib import Path

<<<<<<< HEAD
from whence.artifacts import write_bytes, write_text
=======
from whence.artifacts import check_generated, write_generated
>>>>>>> lost
from whence.errors import SettingsError
from whence.report import Picture, page_pictures, svg_text
from whence.runs.directory import open_run
from whence.runs.record import load_run


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
<<<<<<< HEAD
        SettingsError: The run has no such picture, the file would be of another kind, or the extra
            `png` is not installed.
        ArtifactError: The place cannot be written, or there is no finished run.
=======
        SettingsError: The run has no such picture, or the file would be of another kind.
        ArtifactError: A file that whence did not write stands there, the place cannot be written,
            or there is no finished run.
>>>>>>> lost
    """
    kind = path.suffix.lower()
    if kind not in (".svg", ".png"):
        raise SettingsError(
            f"Pictures are written as SVG or PNG, not as {path.name!r}.",
            f"Call the file {path.with_suffix('.svg').name}.",
        )
    check_generated(path)
    pictures = _pictures(directory)
    if name not in pictures:
        known = ", ".join(pictures) or "none"
        raise SettingsError(f"The run has no picture called {name!r}.", f"It has: {known}.")
<<<<<<< HEAD
    text = svg_text(pictures[name])
    if kind == ".svg":
        write_text(path, text)
    else:
        write_bytes(path, _pixels(text))
=======
    write_generated(path, svg_text(pictures[name]))
>>>>>>> lost
    return path


def _pixels(svg: str) -> bytes:
    try:
        from resvg_py import svg_to_bytes
    except ImportError:
        raise SettingsError(
            "PNG files need the package resvg-py.",
            "Install it with `pip install 'whence[png]'`, or write the picture as SVG.",
        ) from None
    return svg_to_bytes(svg_string=svg, zoom=2, background="#ffffff")


def _pictures(directory: Path) -> dict[str, Picture]:
    return page_pictures(load_run(open_run(directory)))
