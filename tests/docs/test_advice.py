"""Which method to use is said once, and the documents repeat it."""

import re
from pathlib import Path

import pytest

from whence.methods import METHODS
from whence.methods.advice import ADVICE, ALWAYS, markdown

ROOT = Path(__file__).parents[2]
VALIDATION = (ROOT / "docs" / "validation.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- advice -->\n(.*?)\n<!-- /advice -->", re.DOTALL)


def test_the_page_about_validation_has_these_answers():
    assert BLOCK.findall(VALIDATION) == [markdown()], "write what `markdown()` gives between marks"


def test_a_readme_that_marks_the_answers_has_these():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for block in BLOCK.findall(readme):
        assert block == markdown()


def test_every_method_that_is_named_exists():
    named = [name for one in ADVICE for name in one.methods]
    named += re.findall(r"`(\w+)`", ALWAYS)
    assert set(named) <= set(METHODS)


@pytest.mark.parametrize("advice", ADVICE, ids=[one.purpose for one in ADVICE])
def test_every_figure_stands_with_its_interval_in_the_documents(advice):
    assert advice.purpose.endswith("?")
    rest = BLOCK.sub("", VALIDATION)
    for figure in re.findall(r"\d\.\d\d", advice.grounds):
        assert re.search(rf"-?{re.escape(figure)} \[-?\d", rest), figure
