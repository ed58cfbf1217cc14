"""What a run decided is stored whole, and equal runs have equal keys."""

from dataclasses import replace

from whence.records import Coverage, Plan
from whence.runs.record import Decisions, decisions_stage
from whence.settings import StudySettings


def decided() -> Decisions:
    return Decisions(
        study=StudySettings.model_validate(
            {
                "title": "toy",
                "model": {"name": "model"},
                "corpus": {"source": "corpus.jsonl"},
                "behaviors": {"file": "behaviors.toml"},
            }
        ),
        behaviors=(),
        attributed=(),
        forced=(),
        model="model",
        methods=(),
        coverage=Coverage({"a": 1}, {"b": 2}, {"experts": "not called in a pass"}),
        plan=Plan("streamed", "small", None, 0, 7, 1.0),
        skipped=(),
        warnings=(),
    )


def test_reasons_why_layers_are_not_attributed_were_lost_on_the_way_to_a_run(tmp_path) -> None:
    stage = decisions_stage(decided())
    stage.make_in(tmp_path / "it")
    assert stage.read(tmp_path / "it") == decided()


def test_what_was_measured_made_the_decisions_of_equal_runs_different() -> None:
    first = decided()
    second = replace(first, plan=Plan("streamed", "small", None, 0, 8, 2.0))
    assert decisions_stage(first).key == decisions_stage(second).key
    other = replace(first, plan=Plan("streamed", "small", 3, 0, 7, 1.0))
    assert decisions_stage(first).key != decisions_stage(other).key
