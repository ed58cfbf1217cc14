"""The page's scripts are laid out alike, make nodes only, and draw what the data name."""

import re
from pathlib import Path

import pytest

import whence.report
from whence.report.page import page_script
from whence.report.sections import section_kinds

ASSETS = Path(whence.report.__file__).parent / "assets"
SCRIPTS = sorted(ASSETS.rglob("*.js"))
MOST_COLUMNS = 120


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ASSETS)))
class TestEveryScript:
    def test_is_laid_out_by_the_same_rules(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert text.endswith("\n")
        assert not text.endswith("\n\n")
        for number, line in enumerate(text.splitlines(), 1):
            where = f"{path.name}:{number}"
            assert len(line) <= MOST_COLUMNS, where
            assert line == line.rstrip(), where
            assert "\t" not in line, where
            indent = len(line) - len(line.lstrip())
            assert indent % 2 == 0, where

    def test_never_reads_text_as_markup(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("):
            assert word not in text
        assert "fetch(" not in text

    def test_says_first_what_it_holds(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("// ") or lines[:2] == ['"use strict";', ""]


def test_each_section_has_one_script_and_each_script_one_section() -> None:
    scripts = {path.stem for path in (ASSETS / "sections").iterdir()}
    assert scripts == set(section_kinds())
    for name in scripts:
        text = (ASSETS / "sections" / f"{name}.js").read_text(encoding="utf-8")
        assert re.findall(r'^section\("(\w+)"', text, flags=re.MULTILINE) == [name]


def test_the_page_holds_every_script_once() -> None:
    script = page_script()
    for path in SCRIPTS:
        assert script.count(path.read_text(encoding="utf-8")) == 1, path.name
    assert script.startswith('"use strict";')


def test_kinds_verdicts_and_methods_are_named_by_the_data_alone() -> None:
    from typing import get_args

    from whence.methods import METHODS
    from whence.records import Verdict
    from whence.settings import KINDS

    script = page_script()
    for name in (*KINDS, *get_args(Verdict), *METHODS):
        assert f'"{name}"' not in script, name
