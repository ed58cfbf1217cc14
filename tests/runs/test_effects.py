"""Effects of single examples are a stage of a run, read alike by `show`, `--json` and the page."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whence.cli.show import show
from whence.errors import CorpusError, ModelError
from whence.progress import Silent
from whence.report.data import page_data
from whence.runs import effects
from whence.runs.directory import open_run
from whence.runs.importing import import_scores
from whence.runs.record import load_run
from whence.runs.show import show_behavior
from whence.runs.study import run_study
from whence.settings import StudySettings, load_study
from whence.validation import step_on_examples


def study_of(folder: Path, **changes) -> StudySettings:
    study = load_study(folder / "study.toml").model_dump()
    study["attribution"]["methods"] = ("gradient_cosine", "bm25")
    study["evidence"] = {"num_null": 20}
    return StudySettings.model_validate(study | changes)


def run(folder: Path, **changes) -> Path:
    return run_study(study_of(folder, **changes), folder / "run", base=folder).directory


@pytest.fixture(scope="module")
def finished(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(tiny_files, tmp_path_factory.mktemp("effects") / "tiny"))
    return run(folder, effect={"num_examples": 2})


def test_the_first_examples_of_both_methods_and_random_ones_are_stepped_on(finished):
    record = load_run(finished)
    found = record.effects
    assert found is not None
    assert found.methods == ("gradient_cosine", "bm25")
    assert found.undefined is None
    for behavior in record.behaviors:
        listed = {
            one.example_id
            for method in found.methods
            for one in record.evidence.listed(method, behavior.id)
            if one.cluster_place is not None and one.cluster_place <= 2
        }
        stepped = {
            e.example_id for e in found.effects if e.behavior_id == behavior.id and not e.is_control
        }
        assert stepped == listed
        assert len(found.controls(behavior.id)) == (2 if listed else 0)


def test_controls_are_no_copies_of_what_is_listed(finished):
    record = load_run(finished)
    cluster = dict(zip(record.corpus.ids, record.duplicates.cluster_80.tolist(), strict=True))
    for behavior in record.behaviors:
        own = [e for e in record.effects.effects if e.behavior_id == behavior.id]
        listed = {cluster[e.example_id] for e in own if not e.is_control}
        assert not listed & {cluster[e.example_id] for e in own if e.is_control}


def test_page_show_and_json_have_the_same_figures(finished, capsys):
    record = load_run(finished)
    name = record.effects.effects[0].behavior_id
    shown = show_behavior(finished, name, k=10)
    data = page_data(record)
    (section,) = [s["data"] for s in data["sections"] if s["name"] == "behaviors"]
    (behavior,) = [b for b in section["behaviors"] if b["id"] == name]
    examples = [e for part in data["examples"] for e in part["texts"]["examples"]]
    on_page = {examples[one["example"]]["id"]: one["effect"] for one in behavior["detail"]["shown"]}
    assert len(behavior["random_effects"]) == len(shown.random_effects_nats) == 2
    show(finished, behavior=name, top_k=10, json=True)
    values = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert values["random_effects_nats"] == list(shown.random_effects_nats)
    for hit in values["proponents"]:
        effect = record.effects.find(name, hit["id"])
        assert hit["effect_nats"] == shown.evidence[hit["id"]].effect_nats == effect
        assert on_page[hit["id"]] == (None if effect is None else pytest.approx(effect, rel=1e-2))
    show(finished, behavior=name)
    assert "by one training step on the example" in capsys.readouterr().out


def test_findings_name_the_steps_and_what_was_not_tested(finished):
    (section,) = [
        s["data"] for s in page_data(load_run(finished))["sections"] if s["name"] == "findings"
    ]
    (effect,) = [one["text"] for one in section["findings"] if one["topic"] == "Effect"]
    assert effect.startswith("One training step on each of the first two examples changes")
    assert "with random examples like them" in effect
    assert "training without these examples" in effect


def test_a_method_is_summed_up_beside_the_other_and_random_examples(finished):
    data = page_data(load_run(finished))
    (section,) = [s["data"] for s in data["sections"] if s["name"] == "behaviors"]
    said = [b["results"]["gradient_cosine"]["steps"] for b in section["behaviors"] if b["results"]]
    assert said
    for text in said:
        assert text.startswith("One training step on each of its first two changes")
        assert "on BM25's by" in text
        assert "on random ones like them by" in text


def test_sentences_count_no_more_examples_than_a_list_has(tiny):
    where = run(tiny, effect={"num_examples": 3}, top_k=1)
    record = load_run(where)
    assert not any("first three" in text for text in strings(page_data(record)))
    assert any("step on its first example changes" in text for text in strings(page_data(record)))


def strings(value) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in strings(one)]


def test_one_random_example_is_no_range(tiny, capsys):
    where = run(tiny, effect={"num_examples": 1})
    show(where, behavior=load_run(where).effects.effects[0].behavior_id)
    assert "on a random one like it, " in capsys.readouterr().out


def test_effects_follow_the_methods_of_the_study_and_outlast_an_import(tiny):
    methods = {**study_of(tiny).attribution.model_dump(), "methods": ("bm25",)}
    where = run(tiny, attribution=methods)
    found = load_run(where)
    assert found.effects.methods == ("bm25",)
    table = {"query": [found.behaviors[0].id], "example": [found.corpus.ids[0]], "score": [1.0]}
    pq.write_table(pa.table(table), tiny / "theirs.parquet")
    import_scores(where, tiny / "theirs.parquet", method="theirs", orientation="higher")
    record = load_run(where)
    assert record.effects == found.effects
    assert any("with BM25 and" in text for text in strings(page_data(record)))
    run(tiny)  # The study's first method is another one now, and imported scores stay.
    assert load_run(where).effects.methods == ("gradient_cosine", "bm25")
    run(tiny, attribution=methods, effect={"num_examples": 0})
    assert load_run(where).effects is None


def test_none_is_no_stage(tiny):
    assert open_run(run(tiny, effect={"num_examples": 0})).find("effects") is None


def test_of_each_kind_the_first_behaviors_are_stepped_on(tiny):
    record = load_run(run(tiny, effect={"num_examples": 1, "behaviors_per_kind": 1}))
    kinds = [b.kind for b in record.behaviors if record.effects.controls(b.id)]
    assert len(kinds) == len(set(kinds))


def test_an_interrupted_stage_goes_on_behind_the_last_behavior(tiny, monkeypatch):
    done = []

    def interrupted(model, corpus, query, *args, **how):
        if done and query.id != done[0]:
            raise KeyboardInterrupt
        done.append(query.id)
        return step_on_examples(model, corpus, query, *args, **how)

    monkeypatch.setattr(effects, "step_on_examples", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tiny)
    later = []

    def counted(model, corpus, query, *args, **how):
        later.append(query.id)
        return step_on_examples(model, corpus, query, *args, **how)

    monkeypatch.setattr(effects, "step_on_examples", counted)
    record = load_run(run(tiny))
    assert later
    assert done[0] not in later
    monkeypatch.undo()
    shutil.rmtree(tiny / "run")
    assert load_run(run(tiny)).effects == record.effects


def test_a_half_type_and_a_small_corpus_are_said(tiny):
    record = load_run(run(tiny, model={**study_of(tiny).model.model_dump(), "dtype": "bfloat16"}))
    assert (
        record.effects.undefined
        == "The model was loaded in bfloat16, in which small steps are lost."
    )
    (section,) = [s["data"] for s in page_data(record)["sections"] if s["name"] == "findings"]
    (effect,) = [one["text"] for one in section["findings"] if one["topic"] == "Effect"]
    assert "could not be measured. The model was loaded in bfloat16" in effect
    assert "That is what a step does now" not in effect
    assert effect.endswith("such as those of whence validate.")


def test_a_corpus_without_others_has_no_effects_and_says_so(tiny):
    record = load_run(run(tiny, effect={"num_examples": 50}))
    assert "random controls were requested" in record.effects.undefined
    assert record.effects.effects == ()


def test_a_run_is_finished_where_a_step_breaks_the_model(tiny, monkeypatch):
    def broken(*args, **how):
        raise ModelError("The model gives logits that are not finite.", "Check the weights.")

    monkeypatch.setattr(effects, "step_on_examples", broken)
    assert load_run(run(tiny)).effects.undefined == (
        "After a step at a rate of 0.0001 the model's logits are not finite."
    )


def test_a_model_whose_copies_do_not_fit_is_left_out_with_a_note(tiny, monkeypatch):
    notes = []

    class Notes(Silent):
        def note(self, message):
            notes.append(message)

    monkeypatch.setattr(effects, "free_memory", lambda: 1000)
    study = study_of(tiny)
    where = run_study(study, tiny / "run", base=tiny, progress=Notes()).directory
    assert open_run(where).find("effects") is None
    assert any("Effects of single examples are left out" in text for text in notes)
    # A run that has them keeps them, however little memory is left.
    monkeypatch.undo()
    run_study(study, tiny / "run", base=tiny)
    monkeypatch.setattr(effects, "free_memory", lambda: 1000)
    run_study(study, tiny / "run", base=tiny)
    assert load_run(where).effects is not None


def test_a_behavior_without_controls_takes_no_others_with_it(tiny, monkeypatch):
    refused = []

    def scarce(model, corpus, query, *args, **how):
        if not refused or query.id == refused[0]:
            refused.append(query.id)
            raise CorpusError("3 random controls were requested.", "Search a larger corpus.")
        return step_on_examples(model, corpus, query, *args, **how)

    monkeypatch.setattr(effects, "step_on_examples", scarce)
    found = load_run(run(tiny)).effects
    assert found.undefined is None
    assert found.effects
    assert refused[0] not in {one.behavior_id for one in found.effects}
