"""A study becomes a page; what is finished is kept, and what is wrong is one sentence."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.report.unpacked import unpacked

from whence.errors import ArtifactError, BehaviorError, SettingsError, WhenceError
from whence.methods import METHODS
from whence.progress import Silent
from whence.runs.directory import open_run
from whence.runs.record import load_run
from whence.runs.show import show_behavior, show_verdicts
from whence.runs.study import run_study, write_report
from whence.runs.summary import summarize
from whence.runs.tokens import module_parts, token_parts
from whence.settings import StudySettings, load_study


def _run(folder: Path, *, name: str = "run", **changes: object) -> Path:
    study = load_study(folder / "study.toml")
    study = StudySettings.model_validate(study.model_dump() | changes)
    return run_study(study, folder / name, base=folder).directory


@pytest.fixture(scope="module")
def finished(tiny_files: Path) -> Path:
    return _run(tiny_files, name="finished")


def test_a_study_becomes_a_page_with_a_manifest(finished: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["kind"] == "run"
    assert set(manifest["hashes"]) == {"model", "corpus"}
    page = json.dumps(unpacked(finished / "index.html"))
    assert "fact/france" in page
    assert "memorized/herons" in page


def test_only_what_the_model_shows_is_attributed(finished: Path) -> None:
    verdicts = {v.behavior_id: v.verdict for v in show_verdicts(finished)}
    assert verdicts["fact/france"] == "shown"
    assert verdicts["fact/false"] == "not shown"
    record = load_run(finished)
    assert all("fact/false" not in scores.query_ids for scores in record.scores)
    with pytest.raises(SettingsError, match="it is not shown"):
        show_behavior(finished, "fact/false", method="bm25", k=3)


def test_the_top_proponent_of_a_memorized_passage_is_the_passage(finished: Path) -> None:
    found = show_behavior(finished, "memorized/herons", method="gradient_cosine", k=3).hits
    assert found.proponents[0].subset == "passage"
    assert found.proponents[0].rank == 1
    ranks = [hit.rank for hit in found.opponents]
    assert ranks == sorted(ranks, reverse=True)


def test_every_method_scores_every_example(finished: Path) -> None:
    record = load_run(finished)
    assert [scores.method for scores in record.scores] == list(
        StudySettings.model_validate(open_run(finished).manifest.inputs).attribution.methods
    )
    for scores in record.scores:
        assert scores.values.shape == (len(scores.query_ids), len(record.corpus))
        assert scores.example_ids == record.corpus.ids


def test_a_second_run_makes_nothing_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a finished stage was made again")

    def manifest() -> dict:
        found = json.loads((finished / "manifest.json").read_text())
        assert found.pop("finished")
        return found

    study = load_study(finished / "study.toml")
    run_study(study, finished)  # Its models are named by absolute paths from here on.
    before = manifest()
    monkeypatch.setattr("whence.artifacts.stage.building", fail)
    monkeypatch.setattr("whence.runs.opening.open_model", fail)
    run_study(study, finished)
    assert manifest() == before


def test_a_killed_run_goes_on_where_it_stopped(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(METHODS, "bm25", replace(METHODS["bm25"], compute=interrupt))
        with pytest.raises(KeyboardInterrupt):
            _run(tiny)
    run = tiny / "run"
    assert not (run / "manifest.json").exists()
    assert not (run / "index.html").exists()
    (products,) = run.glob("stages/products-*/manifest.json")
    before = products.read_text()
    _run(tiny)
    assert products.read_text() == before
    assert (run / "manifest.json").exists()


def test_a_plan_is_measured_again_while_a_pass_is_left(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whence.gradients.index import preflight
    from whence.methods.products import Products

    class Notes(Silent):
        def note(self, message: str) -> None:
            told.append(message)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    told: list[str] = []
    study = load_study(tiny / "study.toml")
    measure, compute = preflight.measure, Products.compute
    busy = lambda *given, **how: measure(*given, **how)._replace(seconds=6000.0)  # noqa: E731
    monkeypatch.setattr(Products, "compute", interrupt)
    monkeypatch.setattr(preflight, "measure", busy)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tiny / "run", base=tiny, progress=Notes())
    assert "Expected: 100.0 minutes" in told[-1]
    monkeypatch.setattr(Products, "compute", compute)
    monkeypatch.setattr(preflight, "measure", measure)
    run_study(study, tiny / "run", base=tiny, progress=Notes())
    assert any("Expected: 0.0 minutes" in line for line in told)
    told.clear()
    monkeypatch.setattr(preflight, "measure", None)
    run_study(study, tiny / "run", base=tiny, progress=Notes())
    assert any("They were computed before." in line for line in told)
    assert not any("Expected" in line for line in told)


def test_the_stored_path_ranks_like_the_streamed_one(tiny: Path) -> None:
    attribution = {"methods": ("gradient_cosine",)}
    streamed = load_run(_run(tiny, name="a", attribution=attribution))
    stored = load_run(
        _run(
            tiny,
            name="b",
            attribution={**attribution, "path": "stored"},
            index={"projection_dim": 16},
        )
    )
    assert stored.plan is not None
    assert stored.plan.path == "stored"
    # Projection to 16 x 16 per module blurs small cosines; those of the passage are large.
    query = streamed.scores[0].query_ids.index("memorized/herons")
    pair = (streamed.scores[0].values[query], stored.scores[0].values[query])
    assert np.corrcoef(*pair)[0, 1] > 0.9


def test_an_unshown_behavior_is_attributed_when_asked_and_the_page_says_so(tiny: Path) -> None:
    run = _run(tiny, force=True)
    record = load_run(run)
    assert record.forced == ("fact/false",)
    assert all("fact/false" in scores.query_ids for scores in record.scores)


def test_no_behavior_shown_is_one_sentence(tiny: Path) -> None:
    study = load_study(tiny / "study.toml")
    behaviors = study.behaviors.model_copy(update={"ids": ("fact/false",)})
    with pytest.raises(BehaviorError, match="shows none of the 1 behaviors"):
        run_study(study.model_copy(update={"behaviors": behaviors}), tiny / "run", base=tiny)
    assert not (tiny / "run" / "manifest.json").exists()


def test_verifying_with_another_model_is_refused_unless_asked(tiny: Path) -> None:
    with pytest.raises(SettingsError, match=r"verifies with .* but attributes"):
        _run(tiny, verify_model={"name": "initial"})
    run = _run(
        tiny, name="other", verify_model={"name": "initial"}, allow_other_model=True, force=True
    )
    assert "were verified with" in " ".join(load_run(run).warnings)


def test_without_bergson_everything_else_still_runs(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "bergson", None)
    streamed = load_run(_run(tiny, name="streamed"))
    assert not streamed.skipped
    stored = load_run(_run(tiny, name="stored", attribution={"path": "stored"}))
    methods = [scores.method for scores in stored.scores]
    assert "bm25" in methods
    assert not {"gradient_cosine", "gradient_dot"} & set(methods)
    assert "Gradient methods were skipped" in stored.skipped[0]


def test_a_directory_that_is_no_run_is_left_alone(tiny: Path) -> None:
    (tiny / "run").mkdir()
    (tiny / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="is not a run"):
        _run(tiny)
    assert (tiny / "run" / "thesis.txt").read_text() == "years of work"


def test_a_page_is_not_written_for_an_unfinished_run(tiny: Path) -> None:
    (tiny / "run").mkdir()
    with pytest.raises(ArtifactError):
        write_report(tiny / "run")


def test_the_summary_counts_what_the_verdicts_say(finished: Path) -> None:
    verdicts = summarize(finished).values["verdicts"]
    assert verdicts["fact"] == {"shown": 1, "weak": 0, "not shown": 1}


def test_the_tokens_of_a_proponent_sum_up_to_its_inner_product(finished: Path) -> None:
    found = show_behavior(finished, "memorized/herons", method="gradient_dot", k=2).hits.proponents
    split = token_parts(finished, "memorized/herons", [hit.id for hit in found])
    for hit in found:
        parts = split[hit.id]
        assert sum(part.part for part in parts) == pytest.approx(hit.score, rel=1e-4)
        assert "".join(part.text for part in parts).split() == hit.text.split()
    with pytest.raises(SettingsError, match="no example `d999`"):
        token_parts(finished, "memorized/herons", ["d999"])
    with pytest.raises(SettingsError, match="no behavior `x`"):
        token_parts(finished, "x", [])


def test_a_run_keeps_the_splits_of_its_first_proponents_and_they_are_those_of_a_new_pass(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished
    kept = load_run(run).splits
    assert kept is not None
    assert kept.method == "gradient_cosine"
    for behavior_id in {one.behavior_id for one in kept.splits}:
        of_behavior = [one for one in kept.splits if one.behavior_id == behavior_id]
        ids = [one.example_id for one in of_behavior]
        found = show_behavior(run, behavior_id, method="gradient_cosine", k=5).hits.proponents
        assert {hit.id for hit in found} <= set(ids)
        # Scores by the inner product are the same sums: they are not kept, and computed anew.
        tokens = token_parts(run, behavior_id, ids, method="gradient_dot")
        modules = module_parts(run, behavior_id, ids, method="gradient_dot")
        for one in of_behavior:
            assert list(one.tokens) == tokens[one.example_id]
            assert one.modules == modules[one.example_id]
            assert one.total == pytest.approx(sum(part.part for part in one.tokens), rel=1e-5)
    # What is kept needs no model.
    monkeypatch.setattr("whence.runs.tokens.run_model", None)
    one = kept.splits[0]
    assert token_parts(run, one.behavior_id, [one.example_id])


def test_a_killed_split_goes_on_where_it_was(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from whence.runs.splitting import Splitter

    calls: list[str] = []
    whole = Splitter.split

    def dies_at_the_second(self, query, example_ids):
        calls.append(query.id)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(self, query, example_ids)

    monkeypatch.setattr(Splitter, "split", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        _run(tiny)
    run = _run(tiny)
    kept = load_run(run).splits
    assert kept is not None
    attributed = {one.behavior_id for one in kept.splits}
    assert len(attributed) > 1
    assert sorted(calls) == sorted([*attributed, calls[1]])


def test_a_method_without_a_split_is_refused_in_one_sentence(finished: Path) -> None:
    with pytest.raises(SettingsError, match="`bm25` are no sum over tokens and layers"):
        token_parts(finished, "memorized/herons", ["d1"], method="bm25")


def test_the_layers_of_a_proponent_sum_up_to_its_inner_product(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from whence.cli import make_app

    found = show_behavior(finished, "memorized/herons", method="gradient_dot", k=2).hits.proponents
    command = ["show", str(finished), "--behavior", "memorized/herons", "--method", "gradient_dot"]
    make_app()([*command, "--top-k", "2", "--modules", "--json"], result_action="return_value")
    said = json.loads(capsys.readouterr().out.splitlines()[-1])["modules"]
    assert list(said) == [hit.id for hit in found]
    for hit in found:
        assert sum(said[hit.id].values()) == pytest.approx(hit.score, rel=1e-4)
        assert len(said[hit.id]) == 8


def test_a_contrast_that_is_none_is_said(tiny: Path) -> None:
    attribution = {"methods": ("gradient_cosine",), "contrast": True}
    plain = {"methods": ("gradient_cosine",)}
    contrast = load_run(_run(tiny, name="a", attribution=attribution))
    usual = load_run(_run(tiny, name="b", attribution=plain))
    assert "1 of 2 behaviors name no alternative" in " ".join(contrast.warnings)
    assert "alternative" not in " ".join(usual.warnings)
    changed = dict.fromkeys(usual.scores[0].query_ids, False)
    for row, query in enumerate(usual.scores[0].query_ids):
        pair = contrast.scores[0].values[row], usual.scores[0].values[row]
        changed[query] = not np.allclose(*pair, atol=1e-3, equal_nan=True)
    assert changed == {"fact/france": True, "memorized/herons": False}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"name": "no-such-model"}}, "no-such-model"),
        ({"corpus": {"source": "no-such.jsonl"}}, "no-such.jsonl"),
        ({"corpus": {"source": "corpus.jsonl", "text_column": "txt"}}, "txt"),
        ({"behaviors": {"file": "none.toml"}}, "none.toml"),
        ({"behaviors": {"file": "behaviors.toml", "ids": ("x",)}}, "no behavior `x`"),
        (
            {"behaviors": {"file": "behaviors.toml", "kinds": ("toxic",)}},
            "no behavior of the kinds",
        ),
        ({"attribution": {"methods": ("bm52",)}}, "bm25"),
        ({"index": {"modules": "nothing.*"}}, "nothing"),
        ({"model": {"name": "testbed:huge"}}, "no testbed `huge`"),
        ({"corpus": {"source": "testbed:nano", "max_documents": 5}}, "`max_documents = 5`"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing_that_looks_finished(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], said: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WhenceError, match=said) as caught:
        _run(tiny, **changes)
    assert "\n" not in caught.value.problem
    assert caught.value.remedy
    assert not (tiny / "run" / "manifest.json").exists()
    assert not (tiny / "run" / "index.html").exists()
