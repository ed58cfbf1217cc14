"""Opens pages in the machine's own Chromium, and sees to it that they stay quiet and offline."""

import html
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SERIOUS = ("serious", "critical")
NARROW, WIDE = 390, 1440


class Browser:
    """A browser without a window; every page that it opens has to be quiet and offline."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self.version: str = browser.version

    @contextmanager
    def open(
        self,
        path: Path,
        view: str = "",
        *,
        width: int = WIDE,
        is_dark: bool = False,
        **options: Any,
    ) -> Iterator[Any]:
        """Opens a view of a page, and checks at the end what it asked for and complained about.

        Args:
            path: The page.
            view: What stands after the `#`.
            width: Of the window, in pixels.
            is_dark: Whether the reader prefers dark pages.
            options: Others of the browser's context.
        """
        context = self._browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if is_dark else "light",
            reduced_motion="reduce",
            **options,
        )
        problems: list[str] = []
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("request", lambda request: problems.extend(_outside(request.url, path)))
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.goto(f"{path.as_uri()}#{view}")
        if options.get("java_script_enabled", True):
            page.wait_for_selector("footer, .notice")
        yield page
        context.close()
        assert problems == []

    def text(self, path: Path, view: str = "") -> str:
        """All text of a view, that of folded parts as well, with single spaces."""
        with self.open(path, view) as page:
            return text_of(page)


def text_of(page: Any) -> str:
    """All text of the view that is open."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.inner_html("#main"))).split())


def go(page: Any, view: str) -> None:
    """Opens another view of the page that is open, and waits until it is drawn."""
    page.evaluate(
        """(view) => new Promise((done) => {
          addEventListener("hashchange", () => setTimeout(done), { once: true });
          setTimeout(done, 1000);
          location.hash = view;
        })""",
        view,
    )
    page.wait_for_selector("#main:not([aria-busy])")


def _outside(url: str, path: Path) -> list[str]:
    is_own = url.split("#")[0] == path.as_uri() or url.startswith(("data:", "blob:"))
    return [] if is_own else [f"request: {url}"]


def serious_findings(page: Any) -> list[str]:
    """What axe finds serious or critical about the view that is open."""
    axe = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    page.evaluate(axe)
    options = "{ resultTypes: ['violations'], preload: false }"
    found = page.evaluate(f"async () => (await axe.run(document, {options})).violations")
    return [
        f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"][:3]
    ]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The machine's Chromium; nothing is downloaded."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield Browser(started)
        started.close()
