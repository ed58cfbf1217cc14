"""Faults of cache keys: too wide, so that much was computed again, or too narrow."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from whence.methods import METHODS
from whence.methods.influence import EkfacPass
from whence.runs.directory import open_run
from whence.runs.study import run_study
from whence.settings import StudySettings, load_study

METHOD_NAMES = ("gradient_dot", "tracin", "ekfac", "bm25", "embedding", "random")
ATTRIBUTION = {
    "methods": METHOD_NAMES,
    "tracin": {"checkpoints": (1, 2), "learning_rates": (0.25, 0.5)},
}


def _run(folder: Path, *, index: dict | None = None, **changes: object) -> Path:
    study = load_study(folder / "study.toml").model_dump() | {"index": index or {}}
    study["attribution"] = {**ATTRIBUTION, **changes}
    study = StudySettings.model_validate(study)
    return run_study(study, folder / "run", base=folder).directory


@pytest.fixture(scope="module")
def finished(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "tiny"
    shutil.copytree(tiny_files, folder)
    shutil.copytree(folder / "initial", folder / "model" / "step1")
    shutil.copytree(folder / "model", folder / "model" / "step2", ignore=lambda *_: ["step1"])
    _run(folder)
    return folder


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "tiny"))


def _times(folder: Path) -> dict[str, int]:
    """When each stage of attribution was finished."""
    run = open_run(folder / "run")
    found = {}
    for name in (*run.names("scores/"), *run.names("products"), *run.names("pass/")):
        place = run.find(name)
        assert place is not None
        found[name] = (place / "manifest.json").stat().st_mtime_ns
    return found


def _changed(folder: Path, **changes: object) -> set[str]:
    before = _times(folder)
    _run(folder, **changes)
    after = _times(folder)
    return {name for name in after if before.get(name) != after[name]}


def test_adding_a_method_computed_the_scores_of_all_others_again(study: Path) -> None:
    assert _changed(study, methods=(*METHOD_NAMES, "length")) == {"scores/length"}


def test_raising_the_disk_budget_computed_all_scores_again(study: Path) -> None:
    assert _changed(study, index={"disk_budget_gb": 3.0}) == set()


def test_one_methods_setting_computed_the_scores_of_all_others_again(study: Path) -> None:
    assert _changed(study, random={"seed": 1}) == {"scores/random"}
    assert _changed(study, random={"seed": 1}, ekfac={"damping": 0.2}) == {
        "scores/ekfac",
        "pass/ekfac",
    }


def test_scores_of_an_earlier_version_of_a_method_were_kept(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "bm25", replace(METHODS["bm25"], version=2))  # pyright: ignore
    assert _changed(study) == {"scores/bm25"}


def test_what_a_method_reads_of_an_earlier_version_was_kept(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EkfacPass, "version", 2)
    assert _changed(study) == {"scores/ekfac", "pass/ekfac"}


def test_a_finished_run_loaded_its_checkpoints_to_read_files_back(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whence.runs import opening as inputs

    _run(study)  # The copy's files are new, so that their fingerprints are computed once.
    opened = inputs.open_model

    def open_own(settings, **given):
        assert settings.revision is None, f"{settings.revision} was loaded"
        return opened(settings, **given)

    monkeypatch.setattr("whence.runs.opening.open_model", open_own)
    monkeypatch.setattr("whence.methods.products.Products.load", None)
    assert _changed(study) == set()


def test_other_weights_in_a_checkpoints_place_are_noticed(study: Path) -> None:
    shutil.rmtree(study / "model" / "step2")
    shutil.copytree(study / "initial", study / "model" / "step2")
    assert _changed(study) == {"scores/tracin", "products/step2"}
