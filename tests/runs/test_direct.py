"""A notebook's call gives the scores of a run, and every command has a call."""

from pathlib import Path

import numpy as np
import pytest

import whence
from whence.errors import SettingsError
from whence.runs.record import load_run
from whence.runs.study import run_study
from whence.settings import IndexSettings, StudySettings, load_study

METHODS = ("gradient_cosine", "gradient_dot", "influence", "ekfac", "bm25", "embedding", "random")
# What a command's call is named where it is not the command's name with an underscore.
CALLS = {
    "bank": "make_bank",
    "demo": "run_study",
    "import": "import_scores",
    "index": "build_index",
    "memorization": "study_memorization",
    "methods": "list_methods",
    "plot": "write_plot",
    "report": "write_report",
    "runs": "list_runs",
    "surprises": "check_surprises",
    "testbed": "export_testbed",
}
# They look at the installation, write a file to edit, or show what a call has written.
NO_CALL = {"doctor", "init", "open"}


def test_scores_in_memory_are_those_of_a_run(tiny: Path) -> None:
    study = load_study(tiny / "study.toml").model_dump() | {
        "attribution": {"methods": METHODS},
        "index": {"projection_dim": 8},
        # With more queries in a product, sums are rounded in another order.
        "evidence": {"num_null": 0},
        "force": True,
    }
    record = load_run(
        run_study(StudySettings.model_validate(study), tiny / "run", base=tiny).directory
    )
    model = whence.load_model(str(tiny / "model"))
    corpus = whence.load_corpus(str(tiny / "corpus.jsonl"), model)
    found = whence.attribute(
        model,
        corpus,
        record.behaviors,
        methods=METHODS,
        index=IndexSettings(projection_dim=8),
        settings=whence.AttributionSettings(path="streamed"),
    )
    assert [scores.method for scores in found] == list(METHODS)
    for mine, kept in zip(found, record.scores, strict=True):
        np.testing.assert_array_equal(mine.values, kept.values)
        assert mine.higher_means == kept.higher_means
    assert whence.hits(found[0], 0, corpus, 3) == whence.hits(record.scores[0], 0, corpus, 3)


@pytest.mark.parametrize(
    "method", ["tracin", "magic", "adamw_influence", "gradient_cosine_adam", "nonsense"]
)
def test_what_needs_more_than_a_model_and_a_corpus_is_refused(tiny: Path, method: str) -> None:
    model = whence.load_model(str(tiny / "model"))
    corpus = whence.load_corpus(str(tiny / "corpus.jsonl"), model)
    paris = whence.Behavior(id="p", kind="fact", prompt="the capital of", completion=" france")
    settings = whence.AttributionSettings.model_validate(
        {"tracin": {"checkpoints": (1,), "learning_rates": (1.0,)}}
    )
    with pytest.raises(SettingsError):
        whence.attribute(model, corpus, [paris], methods=[method], settings=settings)


def test_every_command_has_a_call() -> None:
    from whence.cli import COMMANDS

    calls = {CALLS.get(name, name.replace("-", "_")) for name in COMMANDS if name not in NO_CALL}
    assert calls <= set(whence.__all__)
    for name in whence.__all__:
        assert callable(getattr(whence, name))
