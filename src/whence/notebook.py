"""Records as HTML for a notebook: plain tables and sentences, every text escaped.

A notebook asks a value for its `_repr_html_`; records answer with what stands here. No style, no
script and no address is written, so that whatever a prompt or a document holds stays text.
"""

import html
from collections.abc import Iterable, Sequence

MAX_ROWS, MAX_CHARACTERS = 50, 300


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str = "") -> str:
    """Lays rows out as a table; what is left out is counted.

    Args:
        header: The names of the columns.
        rows: Cells as texts or numbers; None is undefined and shows as a dash.
        caption: A heading.
    """
    all_rows = list(rows)
    head = "".join(f"<th>{escaped(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>"
        for row in all_rows[:MAX_ROWS]
    )
    left = len(all_rows) - MAX_ROWS
    rest = f"<p>… and {left:,} more rows.</p>" if left > 0 else ""
    named = f"<caption>{escaped(caption)}</caption>" if caption else ""
    return f"<table>{named}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def paragraph(text: str) -> str:
    """Writes a sentence."""
    return f"<p>{escaped(text, limit=4000)}</p>"


def bullets(sentences: Iterable[str]) -> str:
    """Writes sentences as a list."""
    return "<ul>" + "".join(f"<li>{escaped(s, limit=4000)}</li>" for s in sentences) + "</ul>"


def escaped(text: str, *, limit: int = MAX_CHARACTERS) -> str:
    """Escapes a text, cuts it, and makes characters visible that change direction or are none."""
    short = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return html.escape("".join(_visible(character) for character in short))


def _visible(character: str) -> str:
    import unicodedata

    if character in "\n\t" or (character.isascii() and character.isprintable()):
        return character
    # Controls, marks of direction and lone surrogates.
    is_odd = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "\ufffd" if is_odd and character not in "\u200c\u200d" else character


def _cell(value: object) -> str:
    if value is None or value != value:
        return "—"
    if isinstance(value, float):
        return escaped(f"{value:.4g}".replace("-", "\u2212"))
    return escaped(str(value))
