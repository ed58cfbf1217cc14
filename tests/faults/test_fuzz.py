"""Whatever is wrong with an input: one sentence, exit code 2, and nothing half-written."""

from pathlib import Path

import pytest
from tests.faults.fuzzing import GROUPS, attempt, cases, prepare

MIN_CASES = 300


@pytest.fixture(scope="module")
def base(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("fuzz") / "base", tiny_files)


def faults_of(chosen: list, base: Path, place: Path) -> list[str]:
    return [fault for case in chosen for fault in attempt(case, base, place / "case")]


def test_a_few_bad_inputs_of_each_kind(base: Path, tmp_path: Path) -> None:
    chosen = [case for group in GROUPS for case in cases(group)[:: len(cases(group)) // 2 - 1]]
    assert len(chosen) >= 2 * len(GROUPS)
    assert not faults_of(chosen, base, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("group", GROUPS)
def test_every_bad_input(base: Path, tmp_path: Path, group: str) -> None:
    assert not faults_of(cases(group), base, tmp_path)


def test_there_are_many_bad_inputs() -> None:
    assert sum(len(cases(group)) for group in GROUPS) >= MIN_CASES
