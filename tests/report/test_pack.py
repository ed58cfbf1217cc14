"""Packing loses nothing, whatever keys and texts a run has, and no text leaves its element."""

import json
import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.test_encode import HOSTILE
from tests.report.unpacked import whole

from whence.report.encode import Json, block, strict
from whence.report.pack import columns, packed_blocks

KEYS = st.sampled_from(["", "$", "$rows", "$block", "$$same", "a", "b", "__proto__", "$lengths"])
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.just(-0.0) | st.text(max_size=2)
RECORDS = st.lists(st.fixed_dictionaries({"a": SCALARS, "$": SCALARS}), max_size=4)
VALUES = st.recursive(
    SCALARS | RECORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=20,
)


@given(VALUES)
def test_packing_loses_nothing(value: Json) -> None:
    again = whole(packed_blocks(value))
    assert json.dumps(again, sort_keys=True) == json.dumps(strict(value), sort_keys=True)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_leaves_its_script_element(text: str) -> None:
    (only,) = packed_blocks({text: [text]})
    assert re.fullmatch("[A-Za-z0-9+/=]+", only)
    clean = text.replace("\ud83d", "\ufffd")
    assert whole([only]) == {clean: [clean]}


def test_a_key_of_records_is_written_once_and_what_is_the_same_in_all_as_well() -> None:
    records: list[Json] = [{"rank": n, "z": None, "is_only": True} for n in range(3)]
    packed = columns(records)
    assert packed == {"$rows": 3, "$same": {"z": None, "is_only": True}, "rank": [0, 1, 2]}


def test_true_and_one_are_not_the_same() -> None:
    values: Json = [{"a": 1}, {"a": True}, {"a": {"b": [1]}}, {"a": {"b": [True]}}]
    for pair in (values[:2], values[2:]):
        assert json.dumps(whole(packed_blocks(pair))) == json.dumps(pair)


@block
@dataclass(frozen=True)
class Apart:
    """A record that is opened alone."""

    texts: list[str]


@dataclass(frozen=True)
class Holder:
    """Refers to records that are opened alone, beside a map that looks like such a reference."""

    parts: list[Apart]
    settings: object


def test_a_block_is_kept_apart_and_nothing_is_mistaken_for_one() -> None:
    holder = Holder([Apart(["x"] * 3), Apart(["y"])], [{"$block": 1}, {"$block": 2}])
    blocks = packed_blocks(holder)
    assert len(blocks) == 3
    assert whole(blocks) == strict(holder)
