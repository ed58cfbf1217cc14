"""Whatever is wrong with an input: one sentence, exit code 2, and nothing half-written."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.faults.fuzzing import GROUPS, attempt, cases, fits, leaves, prepare

from whence.errors import SettingsError
from whence.settings import StudySettings, parse

MIN_CASES = 300
PART = 50
# The same examples in every run, without a file of earlier ones.
settings.register_profile("same", derandomize=True, max_examples=300, deadline=None, database=None)
STUDY: dict[str, Any] = {
    "title": "t",
    "model": {"name": "m"},
    "corpus": {"source": "c"},
    "behaviors": {"file": "b"},
    "verify_model": {"name": "m"},
}
# Settings whose values must also fit together, or lie in a range that their type does not state.
TOGETHER = {"collector", "precision", "storage", "fsdp", "mixing"}
TOML = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["float32", "auto"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def base(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("fuzz") / "base", tiny_files)


def faults_of(chosen: list, base: Path, place: Path) -> list[str]:
    return [fault for case in chosen for fault in attempt(case, base, place / "case")]


def test_a_few_bad_inputs_of_each_kind(base: Path, tmp_path: Path) -> None:
    chosen = [case for group in GROUPS for case in cases(group)[:: len(cases(group)) // 2 - 1]]
    assert len(chosen) >= 2 * len(GROUPS)
    assert not faults_of(chosen, base, tmp_path)


def parts() -> list[tuple[str, int]]:
    """Where each part of a group starts."""
    return [(group, start) for group in GROUPS for start in range(0, len(cases(group)), PART)]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("group", "start"), parts())
def test_every_bad_input(base: Path, tmp_path: Path, group: str, start: int) -> None:
    assert not faults_of(cases(group)[start : start + PART], base, tmp_path)


def test_there_are_many_bad_inputs() -> None:
    assert sum(len(cases(group)) for group in GROUPS) >= MIN_CASES


@settings(settings.get_profile("same"))
@given(
    leaf=st.sampled_from([leaf for leaf in leaves(StudySettings) if len(leaf[0]) > 1]), value=TOML
)
def test_a_setting_is_accepted_where_its_type_and_bounds_allow_it(leaf: Any, value: Any) -> None:
    path, field = leaf
    study: Any = {name: dict(v) if isinstance(v, dict) else v for name, v in STUDY.items()}
    here = study
    for name in path[:-1]:
        here = here.setdefault(name, {})
    here[path[-1]] = value
    is_fit = fits(field.annotation, list(field.metadata), value)
    try:
        found: Any = parse(StudySettings, study, where="study.toml")
    except SettingsError:
        assert not is_fit or path[-1] in TOGETHER or isinstance(value, dict)
        return
    assert is_fit
    for name in path:
        found = getattr(found, name)
    if isinstance(value, float) and not isinstance(found, str):
        assert math.isclose(found, value)
