"""The worked notebook runs, and shows what it promises."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.docs.notebooks import execute

import whence

NOTEBOOK = Path(__file__).parents[2] / "examples" / "attribution.ipynb"


def _read() -> dict[str, Any]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def _sources() -> list[str]:
    return ["".join(c["source"]) for c in _read()["cells"] if c["cell_type"] == "code"]


def _shown(notebook: dict[str, Any]) -> list[list[str]]:
    """The kinds of outputs of each code cell."""
    return [
        [key for o in c["outputs"] for key in o.get("data", {"stream": 0})]
        for c in notebook["cells"]
        if c["cell_type"] == "code"
    ]


def test_it_names_only_what_the_package_has() -> None:
    for source in _sources():
        ast.parse(source)
        for name in re.findall(r"whence\.(\w+)", source):
            assert name in whence.__all__


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_every_cell_runs_and_shows_what_it_showed() -> None:
    stored, notebook = _read(), _read()
    execute(notebook)
    assert _shown(notebook) == _shown(stored)
    text = json.dumps(notebook)
    assert "fact/capital-france: shown." in text
    assert "Proponents" in text
