"""The list of all methods, as records and as the table of docs/methods.md."""

from typing import Any

from whence.methods import METHODS, Method
from whence.settings import AttributionSettings, NoSettings

FIELDS = (
    "name",
    "family",
    "reads",
    "formula",
    "higher_means",
    "returns",
    "about",
    "cost",
    "source",
    "avoid",
    "version",
)


def method_record(method: Method[Any]) -> dict[str, str | int | None]:
    """Lists what a method states of itself; `table` names its settings in `[attribution]`."""
    names = {type(value): name for name, value in AttributionSettings()}
    table = None if method.settings is NoSettings else names[method.settings]
    return {field: getattr(method, field) for field in FIELDS} | {"table": table}


def markdown_table() -> str:
    """Writes the methods as a Markdown table, one row each."""
    header = ("method", "family", "reads", "score", "higher means", "cost")
    rows = [
        (f"`{m.name}`", m.family, m.reads, m.formula, m.higher_means, m.cost)
        for m in METHODS.values()
    ]
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
