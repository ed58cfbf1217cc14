"""Templates and formats of texts."""

import pytest

from whence.evidence.formats import FORMATS, text_format
from whence.evidence.templates import is_incrementing, is_repeating, normalize

TEXTS = {
    "license header": "/* Copyright (c) 2012 A. Author\n * Permission is hereby granted, without "
    "warranty of any kind, to use this under the license. */",
    "e-mail": "From: ann@example.org\nTo: bob@example.org\nSubject: lunch\n\nAre you coming?",
    "formulas": r"We have \frac{a}{b} and so \sum_i x_i converges to \int f.",
    "markup": "<ul><li><a href='x'>One</a></li><li>Two</li></ul> <p>text</p>",
    "code": "import os\n\ndef main(x):\n    y = x + 1\n    return y\n# end\nclass A:\n    pass",
    "numbers": "1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987",
    "links": "https://a.example.com/x https://b.example.org/y www.c.example.net",
    "conversation": "Ann: Hello there.\nBob: Hi!\nAnn: Are you well?\nBob: I am.",
    "key and value": "name: a\nsize: 3\ncolor = red\nweight: 5 kg\n",
    "list": "- one thing\n- another thing\n- a third thing\n- the last thing",
    "citations": "As shown by Lee et al. (2020) and Kim et al. (2021), vol. 3, pp. 5 [7].",
    "other script": "Солнце село за холмы, и никто в деревне не говорил ни слова.",
    "marks": "~~~ *** --- !!! ??? ((( ))) === +++ ~~~ ok *** ### @@@",
    "prose": "The sun set behind the hills, and nobody in the village spoke a word.",
}


def test_a_table_of_keys_is_no_conversation():
    assert (
        text_format("Required: False\nPosition: Named\nDefault: None\nAliases: x")
        == "key and value"
    )


def test_every_format_has_a_text_here():
    assert tuple(TEXTS) == FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_a_text_of_each_format_is_told(name: str):
    assert text_format(TEXTS[name]) == name


def test_a_text_that_is_short_or_unknown_has_no_format():
    assert text_format(None) is None
    assert text_format("  short ") is None


def test_texts_that_differ_in_numbers_and_names_agree_when_normalized():
    a = "Error 4711 at 0x7ffe in user_name of Ada Byron, see https://x.example/1."
    b = "Error 12 at 0x1abc in file_path of Max Born, see https://y.example/22."
    assert normalize(a) == normalize(b) != a.split()


def test_counting_is_told_from_numbers():
    assert is_incrementing("step 1, step 2, step 3, step 4")
    assert is_incrementing("10 20 30 40 50")
    assert not is_incrementing("3 1 4 1 5 9 2 6")
    assert not is_incrementing("7 7 7 7 7")
    assert not is_incrementing("no numbers")


def test_repeating_needs_three_periods():
    assert is_repeating([1, 2, 3] * 5)
    assert not is_repeating([1, 2, 3, 4, 5, 6, 7, 1, 2, 3])
    assert not is_repeating([])
