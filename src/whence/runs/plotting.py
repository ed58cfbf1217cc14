"""The pictures of a run's page, as SVG files."""

from pathlib import Path

from whence.artifacts import check_generated, write_generated
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
        path: Where to write it; its name ends in `.svg`.

    Returns:
        `path`.

    Raises:
        SettingsError: The run has no such picture, or the file would be of another kind.
        ArtifactError: A file that whence did not write stands there, the place cannot be written,
            or there is no finished run.
    """
    if path.suffix.lower() != ".svg":
        raise SettingsError(
            f"Pictures are written as SVG, not as {path.name!r}.",
            f"Call the file {Path(path.name or name).with_suffix('.svg').name}; browsers and "
            "Inkscape convert it.",
        )
    check_generated(path)
    pictures = _pictures(directory)
    if name not in pictures:
        known = ", ".join(pictures) or "none"
        raise SettingsError(f"The run has no picture called {name!r}.", f"It has: {known}.")
    write_generated(path, svg_text(pictures[name]))
    return path


def _pictures(directory: Path) -> dict[str, Picture]:
    return page_pictures(load_run(open_run(directory)))
