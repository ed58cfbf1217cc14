"""Documents from the rows of a reader: text, id, subset, position, step.

Every reader yields rows, mappings from column names to values. Which columns there are is looked up
in every row: JSON lines leave out what is unknown, in the first row as in any other.
"""

import ast
import json
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from whence.errors import CorpusError, did_you_mean
from whence.settings import CorpusSettings

if TYPE_CHECKING:
    import numpy as np

_ABSENT = object()
_SUBSET_COLUMNS = ("subset", "meta.pile_set_name")
_LONGEST_NESTED = 20_000
_DEEPEST_NAME = 4


class Row(NamedTuple):
    """What a reader yields: the columns of one document, and the file or dataset it is from."""

    values: Mapping[str, object]
    source: str


@dataclass(frozen=True)
class Document:
    """One training document before it is cut to what the model reads.

    Exactly one of `text` and `tokens` is known; `position` and `step` say when it was trained on
    (`step` counts from 1, the first optimizer step; `position` from 0, the first document).
    """

    id: str
    text: str | None
    tokens: "Sequence[int] | np.ndarray | None" = None
    subset: str | None = None
    position: int | None = None
    step: int | None = None
    source: str | None = None
    labels: tuple[str, ...] | None = None


def needed_columns(names: Iterable[str], settings: CorpusSettings) -> list[str]:
    """Chooses the top-level columns of a table that a corpus needs, so that others stay unread.

    Raises:
        CorpusError: A column that the settings name is not there.
    """
    names = list(names)
    named = _named(settings)
    asked = list(named.values())
    for setting, name in named.items():
        if name not in names and name.split(".")[0] not in names:
            raise missing_column(name, names, setting=setting)
    tops = {part for name in asked for part in (name, name.split(".")[0])}
    tops |= {"id", "subset", "meta", "meta.pile_set_name", "position", "step", "source", "labels"}
    return [name for name in names if name in tops]


def documents(rows: Iterable[Row], settings: CorpusSettings) -> "Documents":
    """Turns rows into documents, one by one.

    A document's id is its `id` column, else its row, counted from 0 over all files of the source.
    Its position is its `position` column, else unknown: a file says nothing about the order of
    training, unless the setting `position_column = ""` does.

    Raises:
        CorpusError: A column is missing, or a value is not what its column must hold; raised while
            documents are read.
    """
    return Documents(rows, settings)


class Documents(Iterator[Document]):
    """The documents of some rows, taken one by one; knows which columns the rows so far had."""

    def __init__(self, rows: Iterable[Row], settings: CorpusSettings) -> None:
        self._rows = iter(rows)
        self._settings = settings
        self._named = _named(settings)
        self._unseen = set(self._named.values())
        self._names: dict[str, None] = {}
        self._number = -1
        self._row_without_id: Row | None = None
        self._some_have_ids = False

    def __next__(self) -> Document:
        row = next(self._rows)
        self._number += 1
        self._look_for_columns(row)
        return self._document(row, self._number)

    def check_columns(self) -> None:
        """Refuses settings that name a column which no row so far had.

        Raises:
            CorpusError: There is one; the closest of the columns that exist is suggested.
        """
        for setting, name in self._named.items():
            if name in self._unseen and self._number >= 0:
                raise missing_column(name, list(self._names), setting=setting)

    def _look_for_columns(self, row: Row) -> None:
        if not self._unseen:
            return
        self._names |= dict.fromkeys(_paths(row.values))
        self._unseen = {name for name in self._unseen if _lookup(row.values, name) is _ABSENT}
        # Without text or id there is no document; the other columns may come later.
        if self._unseen & {self._settings.text_column, self._settings.id_column}:
            self.check_columns()

    def _document(self, row: Row, number: int) -> Document:
        settings = self._settings
        content = _lookup(row.values, settings.text_column)
        if content is _ABSENT:
            raise CorpusError(
                f"Row {number} of {row.source} has no column {settings.text_column!r}, but the "
                "first row has.",
                "Give every row that column, or leave the row out.",
            )
        text, tokens = _content(content, settings.text_column, row=row, number=number)
        position = _column(settings.position_column, "position")
        return Document(
            id=self._identity(row, number),
            text=text,
            tokens=tokens,
            subset=_subset(row, _column(settings.subset_column, *_SUBSET_COLUMNS), number),
            position=_integer(row, position, "position_column", number) if position else number,
            step=_integer(row, _column(settings.step_column, "step"), "step_column", number),
            source=_source(row, number) or row.source,
            labels=_labels(row, number),
        )

    def _identity(self, row: Row, number: int) -> str:
        columns = _column(self._settings.id_column, "id")
        if not columns:
            return str(number)
        value = _first(row.values, columns)
        if value is None or value == "":
            if self._settings.id_column is not None or self._some_have_ids:
                raise _without_id(row, columns[0], number)
            self._row_without_id = self._row_without_id or row
            return str(number)
        if self._row_without_id is not None:
            raise _without_id(self._row_without_id, columns[0], 0)
        self._some_have_ids = True
        return _plain(value, columns, "id_column", row=row, number=number)


def missing_column(name: str, names: list[str], *, setting: str) -> CorpusError:
    """Says that a column is missing, with the columns that exist and the closest of them."""
    hint = did_you_mean(name, names, otherwise=f"Name one of these columns as `{setting}`.")
    return CorpusError(
        f"The corpus has no column {name!r}; its columns are: {_listed(names)}.", hint
    )


def _without_id(row: Row, column: str, number: int) -> CorpusError:
    return CorpusError(
        f"Row {number} of {row.source} has no value in the id column {column!r}.",
        'Give every row an id, choose another `id_column`, or set it to "" to number the rows.',
    )


def _listed(names: list[str]) -> str:
    kept = [name.encode("utf-8", "replace").decode() for name in sorted(names)[:30]]
    return ", ".join(kept + ["…"] * (len(names) > len(kept))) or "none"


def _content(
    value: Any, column: str, *, row: Row, number: int
) -> "tuple[str | None, Sequence[int] | np.ndarray | None]":
    if value is None:
        return "", None
    if isinstance(value, str):
        return value, None
    if isinstance(value, list | tuple) and all(type(token) is int for token in value):
        return None, value
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if kind in ("i", "u"):  # a memory map's row
        return None, value
    raise CorpusError(
        f"Row {number} of {row.source} has {type(value).__name__} in the column {column!r}, "
        "where text or a list of token ids belongs.",
        "Name the column that holds the text.",
    )


def _named(settings: CorpusSettings) -> dict[str, str]:
    """Lists the columns that the settings name, by setting; an empty name is none."""
    names = ("text_column", "id_column", "subset_column", "position_column", "step_column")
    return {name: column for name in names if (column := getattr(settings, name))}


def _column(named: str | None, *usual: str) -> tuple[str, ...]:
    """Lists the columns to look into: the one that was named, none for an empty name."""
    return usual if named is None else (named,) if named else ()


def _first(values: Mapping[str, object], columns: Iterable[str]) -> Any:
    """Finds the first value that is there; None where there is none."""
    found = (_lookup(values, column) for column in columns)
    return next((value for value in found if value is not _ABSENT and value is not None), None)


def _integer(row: Row, columns: tuple[str, ...], setting: str, number: int) -> int | None:
    value = _first(row.values, columns)
    if value is None:
        return None
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise CorpusError(
            f"Row {number} of {row.source} has {_brief(value)} in the column {columns[0]!r}, which "
            "must hold whole numbers.",
            f'Correct the value, set `{setting}` to another column, or to "" to use none.',
        )
    return value


def _subset(row: Row, columns: tuple[str, ...], number: int) -> str | None:
    value = _first(row.values, columns)
    if value is None:
        return None
    return _plain(value, columns, "subset_column", row=row, number=number)


def _source(row: Row, number: int) -> str | None:
    # No setting names this column: what is no text there is about something else.
    value = _first(row.values, ("source",))
    return _whole(value, "source", row=row, number=number) if isinstance(value, str) else None


def _labels(row: Row, number: int) -> tuple[str, ...] | None:
    # Many datasets have class numbers in `labels`; only a list of names is knowledge of ours.
    value = _first(row.values, ("labels",))
    if isinstance(value, list | tuple) and all(isinstance(label, str) for label in value):
        return tuple(_whole(label, "labels", row=row, number=number) for label in value)
    return None


def _whole(value: str, column: str, *, row: Row, number: int) -> str:
    """Refuses half a surrogate pair, which JSON can spell and which is no character."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CorpusError(
            f"Row {number} of {row.source} has {_brief(value)} in the column {column!r}, which "
            "holds half of a surrogate pair and so is no text.",
            "Correct the value, or choose another column.",
        ) from None
    return value


def _brief(value: object) -> str:
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def _plain(value: object, columns: tuple[str, ...], setting: str, *, row: Row, number: int) -> str:
    """Writes a name as text; a number, as a date, stands for its digits."""
    there = (column for column in columns if _lookup(row.values, column) not in (_ABSENT, None))
    name = next(there, columns[0])
    if isinstance(value, str):
        return _whole(value, name, row=row, number=number)
    if hasattr(value, "__len__") or (isinstance(value, float) and not math.isfinite(value)):
        raise CorpusError(
            f"Row {number} of {row.source} has {_brief(value)} in the column {name!r}, where text "
            "or a number belongs.",
            f'Correct the value, set `{setting}` to another column, or to "" to use none.',
        )
    return json.dumps(value) if isinstance(value, int | float) else str(value)


def _lookup(values: Mapping[str, object], path: str) -> Any:
    if path in values:
        return values[path]
    here: object = values
    for part in path.split("."):
        if isinstance(here, str):
            here = _nested(here)
        if not isinstance(here, Mapping) or part not in here:
            return _ABSENT
        here = here[part]
    return here


def _nested(text: str) -> Any:
    """Reads a column such as `meta` that was written as a string, of JSON or by Python."""
    if not text.lstrip().startswith("{") or len(text) > _LONGEST_NESTED:
        return None
    return _parsed(text)


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes that Python would not write
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def _paths(values: Mapping[str, object], prefix: str = "", depth: int = 1) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value and depth < _DEEPEST_NAME:
            yield from _paths(value, f"{prefix}{name}.", depth + 1)
        else:
            yield f"{prefix}{name}"
