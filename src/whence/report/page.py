"""The page of a run: one HTML file that needs nothing else."""

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from whence.artifacts import write_text
from whence.report.data import page_record
from whence.report.encode import strict
from whence.report.pack import packed_blocks
from whence.report.pictures import STYLE
from whence.report.run_record import RunRecord
from whence.report.sections import section_kinds

# What sections share, in the order in which it is needed; `main.js` starts the page.
_SHARED = (
    "dom.js",
    "load.js",
    "text.js",
    "charts.js",
    "figure.js",
    "data.js",
    "relations.js",
    "state.js",
    "filters.js",
    "quote.js",
    "split.js",
    "cards.js",
    "verification.js",
    "side.js",
    "behavior.js",
)


def write_page(record: RunRecord, path: Path) -> Path:
    """Writes the page of a run: one file that works offline.

    Texts reach the page as data and are shown as text, never as markup. The page's security policy
    allows no request, and no script but its own, so that a text that slipped through could not run.

    Args:
        record: What the run found.
        path: Where to write; an old page there is replaced in one piece.

    Returns:
        `path`.

    Raises:
        ArtifactError: The place cannot be written.
    """
    style = asset("page.css") + asset(STYLE)
    script = page_script()
    write_text(
        path,
        Template(asset("page.html")).substitute(
            title=html.escape(_visible(str(strict(record.title)))),
            policy=(
                f"default-src 'none'; style-src '{policy_hash(style)}'; "
                f"script-src '{policy_hash(script)}'; img-src data:; "
                "base-uri 'none'; form-action 'none'"
            ),
            style=style,
            script=script,
            blocks=page_blocks(packed_blocks(page_record(record))),
        ),
    )
    return path


def page_blocks(blocks: Sequence[str]) -> str:
    """Lays packed blocks out as elements of the page."""
    return "\n".join(
        f'<script type="text/plain" id="block-{n}">{block}</script>'
        for n, block in enumerate(blocks)
    )


def page_script() -> str:
    """Joins the scripts of the page: what sections share, one of each section, and the start.

    All but `unpack.js` run once the page's data are unpacked. A section's script stands in a block
    of its own, so that its names are its own.
    """
    sections = ("{\n" + asset(f"sections/{name}.js") + "}\n" for name in section_kinds())
    shared = (asset(name) for name in _SHARED)
    return "\n".join(
        [
            asset("unpack.js"),
            "startPage(async () => {",
            *shared,
            *sections,
            asset("main.js"),
            "});\n",
        ]
    )


def asset(name: str) -> str:
    """Reads a file of the page's assets."""
    return (files("whence.report") / "assets" / name).read_text(encoding="utf-8")


def policy_hash(content: str) -> str:
    """Computes the hash by which a security policy admits a style or a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _visible(text: str) -> str:
    """Drops control characters, which a title cannot show."""
    return "".join(c for c in text if c.isprintable())
