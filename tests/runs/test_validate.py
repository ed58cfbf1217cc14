"""A run's leaderboard: stored and said, with controls, and undefined where it does not apply."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.report.unpacked import unpacked

from whence import testbed
from whence.artifacts import write_json
from whence.errors import ArtifactError, SettingsError
from whence.runs.demo import demo_study
from whence.runs.directory import open_run
from whence.runs.study import run_study, write_report
from whence.runs.validating import make_retrainings, validate_run
from whence.settings import TracinSettings, load_study
from whence.validation import Validation, format_validation


@pytest.fixture(scope="module")
def finished(tiny_files: Path) -> Path:
    study = load_study(tiny_files / "study.toml")
    return run_study(study, tiny_files / "validated", base=tiny_files).directory


def test_what_does_not_apply_is_undefined_with_a_reason(finished: Path):
    found = validate_run(finished)
    place = open_run(finished).find("validation")
    assert place is not None
    stored = json.loads((place / "validation.json").read_text())
    assert stored == json.loads(json.dumps(found.to_json()))
    assert Validation.from_json(stored) == found
    for name in ("planted AP", "LDS", "own-removed LDS", "QLD", "tail-patch"):
        assert stored["undefined"][name]
        assert not [f for f in stored["figures"] if f["measure"] == name]
    assert "random controls" in stored["undefined"]["tail-patch"]
    assert any("gradient_cosine_initial is not among" in s for s in stored["sentences"])
    assert stored["methods"]["bm25"]["seconds"] >= 0
    assert "undefined here" in format_validation(found)


def test_the_leaderboard_is_on_the_page_until_the_run_changes(finished: Path, tiny_files: Path):
    def leaderboard() -> dict | None:
        data = unpacked(write_report(finished))
        sections = {one["name"]: one["data"] for one in data["sections"]}
        return sections.get("leaderboard")

    stored = validate_run(finished).to_json()
    found = leaderboard()
    assert found is not None
    assert found["sentences"] == stored["sentences"]
    assert found["undefined"]["tail-patch"] == stored["undefined"]["tail-patch"]
    place = open_run(finished).find("validation")
    assert place is not None
    (place / "validation.json").write_text("{")
    with pytest.raises(ArtifactError, match="whence validate"):
        leaderboard()
    validate_run(finished)
    study = load_study(tiny_files / "study.toml")
    run_study(study, finished, base=tiny_files)
    assert leaderboard() == found, "the same study keeps what was found about its scores"
    fewer = study.attribution.model_copy(update={"methods": ("bm25",)})
    run_study(study.model_copy(update={"attribution": fewer}), finished, base=tiny_files)
    assert leaderboard() is None
    run_study(study, finished, base=tiny_files)


def test_another_run_tells_how_stable_scores_are(finished: Path):
    found = validate_run(finished, against=[finished]).to_json()
    same = [a for a in found["agreement"] if " in " in a["reference"]]
    assert len(same) == len(found["methods"])
    gradients = next(a for a in same if a["method"] == "gradient_cosine")
    assert gradients["jaccard"]["value"] == 1.0
    assert found["signal_to_noise"]["gradient_cosine"]["value"] is None  # No noise at all.


def test_only_a_finished_run_is_validated(tmp_path: Path):
    with pytest.raises(ArtifactError):
        validate_run(tmp_path)


def test_only_a_testbed_s_run_has_removals(finished: Path, tmp_path: Path):
    with pytest.raises(SettingsError, match="cannot be trained again"):
        make_retrainings(tmp_path, size="nano", num_masks=2, num_second=0, run=finished)


@pytest.mark.slow
def test_the_whole_leaderboard_of_nano_with_made_up_retrainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Retrainings are made up, and so are LDS and QLD; all else is real."""
    study = demo_study("nano", force=True)
    methods = ("gradient_cosine", "tracin", "bm25", "random")
    attribution = study.attribution.model_copy(
        update={"methods": methods, "tracin": TracinSettings(checkpoints=(256,))}
    )
    study = study.model_copy(update={"attribution": attribution})
    run = run_study(study, tmp_path / "run").directory
    asked = [b.id for b in testbed.behaviors("nano")]

    def make_up(settings, place, retraining):
        from whence.validation.outcomes import outcome_path as _path

        rng = np.random.default_rng(len(retraining.dropped) + 7919 * retraining.seed)
        log_probs = {q: float(-5 + rng.normal()) for q in asked}
        write_json(
            _path(place, retraining),
            {"dropped": [], "seed": 0, "seconds": 1.0, "log_probs_nats": log_probs},
        )

    monkeypatch.setattr("whence.validation.retraining._make", make_up)
    bank = tmp_path / "bank"
    made = make_retrainings(bank, size="nano", num_masks=24, num_second=8, run=run)
    assert made.num_left == 0
    assert made.num_retrainings >= 24 + 8 + 1 + 19
    arguments = {"banks": [bank], "num_masks": 24, "num_second": 8, "queries_per_kind": 2}
    found = validate_run(run, **arguments).to_json()
    assert set(found["undefined"]) == {"gold above inert"}  # Nano's inert imitate what has no gold.
    assert found["retraining"]["masks"] == 24
    assert found["methods"]["tracin"]["seconds"] > found["methods"]["random"]["seconds"]
    assert found["retraining"]["masks_of_second_seed"] == 8
    for name in ("planted AP", "LDS", "own-removed LDS", "QLD"):
        rows = [f for f in found["figures"] if f["measure"] == name and f["kind"] == "all"]
        assert rows, name
        for row in rows:
            assert row["n"] > 0
            assert row["low"] <= row["value"] <= row["high"]
            assert row["control"]["value"] is not None
    inert = [f for f in found["figures"] if f["measure"] == "inert above the rest"]
    assert next(f for f in inert if f["method"] == "bm25")["value"] > 0.9
    with monkeypatch.context() as patch:
        patch.setattr(
            "whence.validation.step_measures.step_on_proponents",
            lambda *_, **__: pytest.fail("steps were taken again"),
        )
        again = validate_run(run, **arguments).to_json()
    assert again == found
    steps = {f["measure"] for f in found["figures"] if f["measure"].startswith("tail-patch")}
    assert len(steps) == 45
    values = {
        f["method"]: f
        for f in found["figures"]
        if (f["measure"], f["kind"]) == ("planted AP", "memorized")
    }
    assert values["gradient_cosine"]["value"] > values["random"]["value"] + 0.5
    for name in ("LDS", "own-removed LDS"):
        chance = next(
            f
            for f in found["figures"]
            if (f["measure"], f["kind"], f["method"]) == (name, "all", "random")
        )
        assert chance["low"] <= 0 <= chance["high"]
