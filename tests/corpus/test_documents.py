"""Columns are found by name, and a wrong one is answered with the right ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whence.errors import CorpusError
from whence.records import Corpus

Load = Callable[..., Corpus]
Write = Callable[..., Path]


def column(corpus: Corpus, name: str) -> list[Any]:
    return corpus.table.column(name).to_pylist()


def test_known_columns_are_found(write: Write, load: Load) -> None:
    rows = [
        {"id": i, "text": "text", "subset": "s", "position": 9 - i, "step": i + 1, "source": "web"}
        for i in range(3)
    ]
    corpus = load(write(rows))
    assert corpus.ids == ("0", "1", "2")
    assert column(corpus, "position") == [9, 8, 7]
    assert column(corpus, "step") == [1, 2, 3]
    assert column(corpus, "subset") == ["s"] * 3
    assert column(corpus, "source") == ["web"] * 3


def test_unknown_is_null_except_where_the_row_says_it(write: Write, load: Load) -> None:
    corpus = load(write([{"text": "one"}, {"text": "two"}]))
    assert corpus.ids == ("0", "1")
    assert column(corpus, "source") == ["corpus.jsonl"] * 2
    for name in ("position", "step", "subset", "labels"):
        assert column(corpus, name) == [None, None]


@pytest.mark.parametrize(
    "row", [{"meta": {"pile_set_name": "Enron Emails"}}, {"meta.pile_set_name": "Enron Emails"}]
)
def test_the_piles_subset_is_understood(write: Write, load: Load, row: dict[str, Any]) -> None:
    corpus = load(write([{"text": "mail", **row}]))
    assert column(corpus, "subset") == ["Enron Emails"]


def test_other_columns_are_taken_when_named(write: Write, load: Load) -> None:
    row = {"body": {"main": "text"}, "key": "k", "kind": "x", "order": 5, "at": 6.0, "id": 1}
    corpus = load(
        write([row]),
        text_column="body.main",
        id_column="key",
        subset_column="kind",
        position_column="order",
        step_column="at",
    )
    assert corpus.ids == ("k",)
    assert corpus.texts() == ["text"]
    assert column(corpus, "subset") == ["x"]
    assert column(corpus, "position") == [5]
    assert column(corpus, "step") == [6]


@pytest.mark.parametrize(
    "name", ["text_column", "id_column", "subset_column", "position_column", "step_column"]
)
def test_a_missing_column_lists_those_that_exist(write: Write, load: Load, name: str) -> None:
    path = write([{"text": "text", "contents": "c", "meta": {"lang": "en"}}])
    with pytest.raises(CorpusError) as caught:
        load(path, **{name: "content"})
    assert caught.value.problem == (
        "The corpus has no column 'content'; its columns are: contents, meta.lang, text."
    )
    assert caught.value.remedy == "Did you mean `contents`?"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"other": 1}, "Row 1 of corpus.jsonl has no column 'text'"),
        ({"text": 5, "id": 1}, "has int in the column 'text'"),
        ({"text": ["a", "b"], "id": 1}, "has list in the column 'text'"),
        ({"text": "t", "id": None}, "no value in the id column 'id'"),
        ({"text": "t", "id": 1, "step": "seven"}, "has 'seven' in the column 'step'"),
        ({"text": "t", "id": 1, "step": 2**63}, "must hold whole numbers"),
        ({"text": "t", "id": 1, "step": 1.5}, "must hold whole numbers"),
        ({"text": "t", "id": 1, "step": True}, "must hold whole numbers"),
    ],
)
def test_a_wrong_value_names_its_row(
    write: Write, load: Load, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(CorpusError) as caught:
        load(write([{"id": 0, "text": "fine", "step": 1}, row]))
    assert message in caught.value.problem
    assert "Row 1" in caught.value.problem


def test_class_numbers_in_labels_are_not_labels(write: Write, load: Load) -> None:
    assert column(load(write([{"text": "t u", "labels": [1, 2]}])), "labels") == [None]
