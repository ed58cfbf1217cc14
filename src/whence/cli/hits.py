"""Proponents and opponents, printed as two tables or as JSON."""

from collections.abc import Callable, Mapping

from whence.cli.console import printable, table
from whence.records import Hit, Hits

COLUMNS: dict[str, Callable[[Hit], str]] = {
    "rank": lambda hit: str(hit.rank),
    "score": lambda hit: f"{hit.score:+.4f}",
    "id": lambda hit: printable(hit.id, width=32),
    "subset": lambda hit: printable(hit.subset or "—", width=32),
    "position": lambda hit: "—" if hit.position is None else str(hit.position),
    "labels": lambda hit: printable(", ".join(hit.labels) or "—", width=40),
    "text": lambda hit: printable(hit.text or "", width=80),
}


Columns = Mapping[str, Callable[[Hit], str]]


def hits_json(found: Hits) -> dict[str, list[dict[str, object]]]:
    """Lays hits out for `--json`: each list with one object per hit."""
    return {
        "proponents": [hit._asdict() for hit in found.proponents],
        "opponents": [hit._asdict() for hit in found.opponents],
    }


def hits_text(
    found: Hits,
    *,
    by: str,
    columns: tuple[str, ...],
    more: Columns | None = None,
    has_signs: bool = True,
) -> str:
    """Lays hits out for a terminal, each list under its heading; opponents count -1, -2 and so on.

    Args:
        found: The hits.
        by: What made the list, such as ` by bm25`; part of the headings.
        columns: Names out of `COLUMNS` and `more`.
        more: Columns that only this list has.
        has_signs: Whether a score can be negative; otherwise there are no opponents to list.
    """
    known = {**COLUMNS, **(more or {})}
    lists = (
        ("Proponents", "positive", found.proponents),
        ("Opponents", "negative", found.from_the_end()),
    )
    parts: list[str] = []
    for name, sign, rows in lists if has_signs else lists[:1]:
        cells = [tuple(known[column](hit) for column in columns) for hit in rows]
        parts.append(f"{name}{by}\n{table(cells, columns) if cells else nothing(sign)}")
    return "\n\n".join(parts)


def nothing(sign: str) -> str:
    """Words an empty list of hits."""
    return f"None: no example has a {sign} score."
