"""Faults of truth about what a score means, each with its test."""

from dataclasses import replace

import numpy as np
import pytest

from whence.methods import METHODS, load_scores, save_scores
from whence.records import UNKNOWN, Scores
from whence.report.wording import method_wording

IMPORTED = Scores("gradient_theirs", ("q",), ("a", "b"), np.array([[1.0, 2.0]], np.float32))


@pytest.mark.parametrize("name", ["gradient_theirs", "source_bm25", "sourcefile_bm25", "tracin"])
def test_imported_scores_made_a_claim_because_of_their_name(name: str) -> None:
    wording = method_wording(replace(IMPORTED, method=name))
    assert wording.family == "unknown"
    assert wording.about == f"Higher means: {UNKNOWN}."


def test_methods_that_measure_other_things_said_the_same_sentence() -> None:
    said = {name: method.higher_means for name, method in METHODS.items()}
    one_step = "a small step of gradient descent on the example lowers the query's loss"
    assert {name for name, means in said.items() if one_step in means} == {
        "gradient_cosine",
        "gradient_cosine_all",
        "gradient_dot",
    }
    for name in ("gradient_cosine_adam", "gradient_dot_adam"):
        assert (
            "step of plain gradient descent may change the query's loss with the other sign"
            in (said[name])
        )
    assert "log-odds" in said["trak"]
    assert "end of training" in said["magic"]
    assert len(set(said.values())) == len(said)


def test_scores_stored_before_they_stated_their_meaning_make_no_claim(tmp_path) -> None:
    import json

    save_scores(replace(IMPORTED, family="gradient", higher_means="more"), tmp_path)
    path = tmp_path / "scores.json"
    record = json.loads(path.read_text())
    assert (record.pop("family"), record.pop("higher_means")) == ("gradient", "more")
    path.write_text(json.dumps(record | {"orientation": "higher: a step lowers the loss"}))
    loaded = load_scores(tmp_path)
    assert (loaded.family, loaded.higher_means) == ("unknown", UNKNOWN)
