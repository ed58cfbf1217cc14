"""`whence open`: a run's page in a browser."""

import os
import sys
import webbrowser
from pathlib import Path

from whence.cli.console import Json, answer


def open_(run: Path, *, json: Json = False) -> None:
    """Open a run's page in a browser; where there is none, print where the page is.

    Parameters
    ----------
    run
        The run's directory.
    """
    from whence.runs.listing import run_page

    page = run_page(run)
    is_open = _has_browser() and _open(page)
    text = f"Opened  {page}" if is_open else f"Page  {page}"
    answer({"run": str(run), "page": str(page), "opened": is_open}, text, json_line=json)


def _has_browser() -> bool:
    """Whether a browser has a screen to draw on; one within the terminal would take it over."""
    if sys.platform in ("darwin", "win32") or os.environ.get("BROWSER"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open(page: Path) -> bool:
    try:
        return webbrowser.open(page.resolve().as_uri())
    except webbrowser.Error:
        return False
