"""The data of a page are strict JSON, in which undefined is null."""

import numpy as np
import pytest

from whence.records import Interval
from whence.report.encode import significant, strict

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!-- <script> --!>",
    "]]></SCRIPT >",
    "&lt;b&gt; &amp; &#60;",
    "\u2028\u2029",
    "\x00\x1b[31mred\x07\x7f",
    "\u202eevil\u2066\u2069",
    "\ud83d alone",
    "\U0001f642 e\u0301 \u05e9\u05dc\u05d5\u05dd",
    '"\\/\b\f\n\r\t',
    "${data} $$ {{ x }}",
)


def test_undefined_becomes_null_and_not_zero():
    found = strict({"a": float("nan"), "b": [float("inf"), -0.5], "c": np.float32("nan")})
    assert found == {"a": None, "b": [None, -0.5], "c": None}
    assert significant(float("nan")) is None
    assert significant(-123456.789) == -123457.0
    assert significant(0.000123456789) == 0.000123457


def test_half_a_surrogate_pair_becomes_one_replacement_character():
    assert strict({"\ud83d": ["a\udc00"]}) == {"\ufffd": ["a\ufffd"]}


def test_records_become_objects_and_sets_sorted_lists():
    assert strict(Interval(0.1, 0.2, 3)) == {"low": 0.1, "high": 0.2, "n": 3}
    assert strict(frozenset("cab")) == ["a", "b", "c"]
    assert strict(np.arange(3)) == [0, 1, 2]
    assert strict({1: True}) == {"1": True}


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(TypeError, match="object"):
        strict({"a": object()})
