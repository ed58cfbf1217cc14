"""The tested world's acceptance figures lie where those of three other worlds do: A1, A2, A5, A6.

`benchmarks/worlds.py` took them in worlds of other seeds. A window reaches from the least of the
three to the greatest, and by the distance between the two beyond either. Needs WHENCE_BANK, as
test_bank_acceptance does.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from whence.runs.demo import demo_study
from whence.runs.study import run_study
from whence.runs.validating import validate_run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ROWS = json.loads((ROOT / "benchmarks" / "results" / "latest" / "worlds.json").read_text("utf-8"))[
    "rows"
]
MEASURED = [row for row in ROWS if row["method"] is not None]


def window(row: dict[str, Any]) -> tuple[float, float]:
    values = [found["value"] for found in row["worlds"].values()]
    spread = max(values) - min(values)
    return min(values) - spread, max(values) + spread


@pytest.fixture(scope="module")
def figures(
    bank_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str, str], float]:
    study = demo_study("nano")
    methods = tuple(dict.fromkeys(row["method"] for row in MEASURED))
    changed = study.attribution.model_copy(update={"methods": methods})
    place = tmp_path_factory.mktemp("windows") / "nano"
    run_study(study.model_copy(update={"attribution": changed}), place)
    validation = validate_run(place, banks=[bank_folder], num_second=0)
    values = {(f.measure, f.kind, f.method): f.estimate.value for f in validation.figures}
    return {place: value for place, value in values.items() if value is not None}


def test_there_are_three_other_worlds():
    assert all(len(row["worlds"]) >= 3 for row in ROWS)


def case(row: dict[str, Any]) -> Any:
    name = (row["figure"], row["measure"], row["kind"], row["method"])
    return pytest.param(row, id=" ".join(name))


@pytest.mark.parametrize("row", [case(row) for row in MEASURED])
def test_a_figure_lies_in_its_window(row: dict[str, Any], figures):
    low, high = window(row)
    assert low <= figures[row["measure"], row["kind"], row["method"]] <= high
