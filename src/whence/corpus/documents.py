"""Which document does one row of a file describe?

Every reader yields rows, mappings from column names to values. Here the columns that matter are
found once, from the first row, and every row becomes a `Document`.
"""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from whence.errors import CorpusError
from whence.settings import CorpusSettings

_ABSENT = object()
_SUBSET_COLUMNS = ("subset", "meta.pile_set_name")


class Row(NamedTuple):
    """What a reader yields: the columns of one document, and the file or dataset it is from."""

    values: Mapping[str, Any]
    source: str


@dataclass(frozen=True)
class Document:
    """One training document before it is cut to what the model reads.

    Exactly one of `text` and `tokens` is known; `position` and `step` say when it was trained on
    (`step` counts from 1, the first optimizer step; `position` from 0, the first document).
    """

    id: str
    text: str | None
    tokens: tuple[int, ...] | None = None
    subset: str | None = None
    position: int | None = None
    step: int | None = None
    source: str | None = None
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Columns:
    """Where the parts of a document stand; a dot reaches into a nested column. None is absent."""

    text: str
    id: str | None = None
    subset: str | None = None
    position: str | None = None
    step: str | None = None
    source: str | None = None
    labels: str | None = None


def needed_columns(names: Iterable[str], settings: CorpusSettings) -> list[str]:
    """Chooses the top-level columns of a table that a corpus needs, so that others stay unread.

    Raises:
        CorpusError: A column that the settings name is not there.
    """
    names = list(names)
    asked = (
        settings.text_column,
        settings.id_column,
        settings.subset_column,
        settings.position_column,
        settings.step_column,
    )
    for name in filter(None, asked):
        if name not in names and name.split(".")[0] not in names:
            raise missing_column(name, names)
    tops = {part for name in filter(None, asked) for part in (name, name.split(".")[0])}
    tops |= {"id", "subset", "meta", "meta.pile_set_name", "position", "step", "source", "labels"}
    return [name for name in names if name in tops]


def find_columns(first: Mapping[str, Any], settings: CorpusSettings) -> Columns:
    """Finds the columns of a corpus in its first row.

    Raises:
        CorpusError: A column that the settings name is not there; the closest one is suggested.
    """

    def named(name: str) -> str:
        if _lookup(first, name) is _ABSENT:
            raise missing_column(name, list(_paths(first)))
        return name

    def usual(*names: str) -> str | None:
        return next((name for name in names if _lookup(first, name) is not _ABSENT), None)

    return Columns(
        text=named(settings.text_column),
        id=named(settings.id_column) if settings.id_column else usual("id"),
        subset=named(settings.subset_column) if settings.subset_column else usual(*_SUBSET_COLUMNS),
        position=named(settings.position_column) if settings.position_column else usual("position"),
        step=named(settings.step_column) if settings.step_column else usual("step"),
        source=usual("source"),
        labels=usual("labels"),
    )


def documents(rows: Iterable[Row], settings: CorpusSettings) -> Iterator[Document]:
    """Turns rows into documents, one by one.

    A document's id is its `id` column, else its row; its position is its `position` column, else
    its row, counted from 0 over all files of the source.

    Raises:
        CorpusError: A column is missing, or a value is not what its column must hold.
    """
    columns: Columns | None = None
    for number, row in enumerate(rows):
        if columns is None:
            columns = find_columns(row.values, settings)
        yield _document(row, columns, number=number)


def missing_column(name: str, names: list[str]) -> CorpusError:
    """Says that a column is missing, with the columns that exist and the closest of them."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}?" if close else "Name one of these columns."
    found = ", ".join(sorted(names)) or "none"
    return CorpusError(f"The corpus has no column {name!r}; its columns are: {found}.", hint)


def _document(row: Row, columns: Columns, *, number: int) -> Document:
    content = _lookup(row.values, columns.text)
    if content is _ABSENT:
        raise CorpusError(
            f"Row {number} of {row.source} has no column {columns.text!r}, but the first row has.",
            "Give every row that column, or leave the row out.",
        )
    text, tokens = _content(content, columns.text, row=row, number=number)
    return Document(
        id=_identity(row, columns.id, number=number),
        text=text,
        tokens=tokens,
        subset=_string(row, columns.subset),
        position=_integer(row, columns.position, number=number) if columns.position else number,
        step=_integer(row, columns.step, number=number),
        source=_string(row, columns.source) or row.source,
        labels=_labels(row, columns.labels),
    )


def _content(
    value: Any, column: str, *, row: Row, number: int
) -> tuple[str | None, tuple[int, ...] | None]:
    if value is None:
        return "", None
    if isinstance(value, str):
        return value, None
    if isinstance(value, list | tuple) and all(type(token) is int for token in value):
        return None, tuple(value)
    raise CorpusError(
        f"Row {number} of {row.source} has {type(value).__name__} in the column {column!r}, "
        "where text or a list of token ids belongs.",
        "Name the column that holds the text.",
    )


def _identity(row: Row, column: str | None, *, number: int) -> str:
    if column is None:
        return str(number)
    value = _lookup(row.values, column)
    if value is _ABSENT or value is None or value == "":
        raise CorpusError(
            f"Row {number} of {row.source} has no value in the id column {column!r}.",
            "Give every row an id, or choose another id column.",
        )
    return _plain(value)


def _integer(row: Row, column: str | None, *, number: int) -> int | None:
    value = _lookup(row.values, column) if column else None
    if value is _ABSENT or value is None:
        return None
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise CorpusError(
            f"Row {number} of {row.source} has {value!r} in the column {column!r}, which must "
            "hold whole numbers.",
            "Name another column, or correct the value.",
        )
    return value


def _string(row: Row, column: str | None) -> str | None:
    value = _lookup(row.values, column) if column else None
    return None if value is _ABSENT or value is None else _plain(value)


def _labels(row: Row, column: str | None) -> tuple[str, ...] | None:
    # Many datasets have class numbers in `labels`; only a list of names is knowledge of ours.
    value = _lookup(row.values, column) if column else None
    if isinstance(value, list | tuple) and all(isinstance(label, str) for label in value):
        return tuple(value)
    return None


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _lookup(values: Mapping[str, Any], path: str) -> Any:
    if path in values:
        return values[path]
    here: Any = values
    for part in path.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return _ABSENT
        here = here[part]
    return here


def _paths(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _paths(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
