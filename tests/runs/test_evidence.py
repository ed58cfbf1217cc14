"""Evidence is a stage of a run, read alike by `show`, `export`, the page and Python."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import whence
from whence.artifacts import read_manifest
from whence.errors import ArtifactError, SettingsError
from whence.methods.foreign import read_pairs
from whence.progress import SILENT
from whence.runs.directory import open_run, writing
from whence.runs.exporting import export
from whence.runs.importing import import_scores
from whence.runs.record import load_run
from whence.runs.show import show_behavior
from whence.runs.study import run_study
from whence.runs.surprising import check_surprises
from whence.settings import StudySettings, load_study

QUERIES = ("fact/france", "memorized/herons")


def study_of(folder: Path, **changes) -> StudySettings:
    study = load_study(folder / "study.toml").model_dump()
    study["attribution"]["methods"] = ("gradient_cosine", "bm25", "random")
    study["evidence"] = {"num_null": 50}
    return StudySettings.model_validate(study | changes)


@pytest.fixture(scope="module")
def folder(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study, with a second copy of the passage in the corpus."""
    found = Path(shutil.copytree(tiny_files, tmp_path_factory.mktemp("evidence") / "tiny"))
    lines = (found / "corpus.jsonl").read_text().splitlines()
    lines.append(json.dumps({**json.loads(lines[-1]), "id": "copy"}))
    (found / "corpus.jsonl").write_text("\n".join(lines))
    return found


@pytest.fixture(scope="module")
def finished(folder: Path) -> Path:
    return run_study(study_of(folder), folder / "run", base=folder).directory


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run, beside the model that it names."""
    shutil.copytree(finished.parent, tmp_path / "tiny")
    return tmp_path / "tiny" / "run"


def test_a_run_knows_what_ties_every_listed_example(finished: Path):
    record = load_run(finished)
    assert record.evidence is not None
    assert record.duplicates is not None
    for method in ("gradient_cosine", "bm25"):
        for name in QUERIES:
            found = show_behavior(finished, name, method=method, k=10)
            assert found.hits.proponents
            for hit in (*found.hits.proponents, *found.hits.opponents):
                tie, strength, num_near, _ = found.evidence[hit.id]
                assert tie == record.evidence.tie(name, hit.id)
                assert tie is not None
                assert strength.score == hit.score
                assert num_near >= 1
    assert whence.load_evidence(finished) == record.evidence


def test_copies_of_a_memorized_passage_are_called_copies(finished: Path):
    relations = load_run(finished).evidence.relations("bm25", "memorized/herons", k=5)
    assert next(iter(relations)) in ("exact", "continuation", "near")


def test_a_second_run_makes_no_evidence_again(folder: Path, run: Path):
    before = {name: open_run(run).find(name) for name in ("nulls", "evidence", "duplicates")}
    made = {name: (place / "manifest.json").stat().st_mtime_ns for name, place in before.items()}
    run_study(study_of(folder), run, base=folder)
    after = {name: open_run(run).find(name) for name in before}
    assert after == before
    assert made == {n: (p / "manifest.json").stat().st_mtime_ns for n, p in after.items()}


def test_other_null_queries_are_another_stage(folder: Path, run: Path):
    before = {name: place for name in open_run(run).names() if (place := open_run(run).find(name))}
    run_study(study_of(folder, evidence={"num_null": 0}), run, base=folder)
    found = open_run(run)
    assert found.find("nulls") is None
    assert found.find("evidence") != before["evidence"]
    assert found.find("duplicates") == before["duplicates"]
    evidence = load_run(run).evidence
    assert evidence.num_null == 0
    assert all(one.z is None for one in evidence.strengths)


def test_sampling_null_queries_is_one_task(folder: Path, tmp_path: Path) -> None:
    names = []

    class Listening(type(SILENT)):
        def task(self, name, *, total, unit):
            names.append(name)
            return super().task(name, total=total, unit=unit)

    run_study(study_of(folder), tmp_path / "run", base=folder, progress=Listening())
    assert names.count("Sample null queries") == 1
    assert sum(name.startswith("Sample continuations") for name in names) <= 2, "verification's"


def test_null_texts_can_be_a_file(folder: Path, run: Path):
    rng = np.random.default_rng(0)
    text = folder / "unrelated.jsonl"
    words = ["zebra", "quartz", "violin", "tundra", "kelp", "onyx", "fjord", "mango", "pixel"]
    lines = [json.dumps({"text": " ".join(rng.choice(words, 60))}) for _ in range(120)]
    text.write_text("\n".join(lines))
    run_study(
        study_of(folder, evidence={"num_null": 50, "null_texts": str(text)}), run, base=folder
    )
    place = open_run(run).find("nulls")
    queries = json.loads((place / "queries.json").read_text())
    assert len(queries) == 50
    # The tokenizer knows none of these words.
    assert all(set(query["terms"][0][0]) == {1} for query in queries)


def test_a_missing_file_of_null_texts_is_refused(folder: Path, tmp_path: Path):
    with pytest.raises((SettingsError, ArtifactError, whence.errors.WhenceError), match="no-such"):
        run_study(
            study_of(folder, evidence={"null_texts": "no-such.jsonl"}), tmp_path / "r", base=folder
        )


def test_imported_scores_are_judged_with_the_others(run: Path, tmp_path: Path):
    examples = load_run(run).corpus.ids
    columns = {"query": [QUERIES[0]] * 3, "example": list(examples[:3]), "score": [3.0, 2.0, -1.0]}
    pq.write_table(pa.table(columns), tmp_path / "theirs.parquet")
    import_scores(run, tmp_path / "theirs.parquet", method="theirs", orientation="higher")
    evidence = load_run(run).evidence
    assert [one.example_id for one in evidence.listed("theirs", QUERIES[0])] == list(examples[:2])
    assert evidence.tie(QUERIES[0], examples[2])
    assert evidence.families["theirs"] == "unknown"
    assert evidence.listed("bm25", QUERIES[0])


def test_damaged_evidence_is_refused_by_readers_and_made_again_by_the_run(folder: Path, run: Path):
    place = open_run(run).find("evidence")
    (place / "ties.parquet").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"ties\.parquet"):
        load_run(run)
    run_study(study_of(folder), run, base=folder)
    assert load_run(run).evidence.ties


def test_the_export_reads_back_as_scores(finished: Path, tmp_path: Path):
    text = export(finished, method="gradient_cosine", k=4)
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["example_id"] for row in rows] == list(QUERIES)
    for row in rows:
        assert (
            len(row["proponent_ids"]) == len(row["proponent_relations"]) == len(row["proponents"])
        )
        assert all(row["proponent_relations"])
        assert all(score > 0 for score in row["proponent_scores"])
        assert all(score < 0 for score in row["opponent_scores"])
    (tmp_path / "scores.jsonl").write_text(text)
    pairs = read_pairs(tmp_path / "scores.jsonl")
    assert len(pairs) == sum(len(r["proponent_ids"]) + len(r["opponent_ids"]) for r in rows)


def test_a_removal_list_has_every_copy(finished: Path):
    record = load_run(finished)
    first = export(finished, method="bm25", form="ids", behavior_id=QUERIES[1], k=1).split()
    assert len(first) == 1
    whole = export(
        finished, method="bm25", form="ids", behavior_id=QUERIES[1], k=1, with_copies=True
    ).split()
    clusters = record.duplicates.cluster_80
    (row,) = record.corpus.rows(first)
    assert set(whole) == {record.corpus.ids[r] for r in np.flatnonzero(clusters == clusters[row])}
    assert len(whole) == len(set(whole)) > 1


def test_an_export_can_be_of_some_relations_only(finished: Path):
    everything = export(finished, method="bm25", form="ids", k=10).split()
    copies = export(finished, method="bm25", form="ids", k=10, relations=("exact", "near")).split()
    assert set(copies) < set(everything)
    assert export(finished, method="random", form="ids", k=3, relations=("self",)) == ""


def test_an_export_overwrites_nothing(finished: Path, tmp_path: Path):
    out = tmp_path / "out.txt"
    text = export(finished, method="bm25", form="ids", out=out)
    assert out.read_text() == text
    with pytest.raises(ArtifactError, match="exists"):
        export(finished, method="bm25", form="ids", out=out)


@pytest.mark.parametrize("changes", [{"method": "none"}, {"k": 0}, {"behavior_id": "nobody"}])
def test_wrong_requests_of_an_export_are_refused(finished: Path, changes: dict):
    with pytest.raises(SettingsError):
        export(finished, **{"method": "bm25", **changes})


def test_surprises_are_kept_and_rename_what_they_checked(folder: Path, run: Path):
    found = check_surprises(run, checkpoint=str(folder / "initial"))
    place = open_run(run).find("surprises")
    evidence_key = read_manifest(open_run(run).find("evidence")).key
    assert read_manifest(place).inputs["about"] == [evidence_key]
    record = load_run(run)
    assert record.surprises == found
    for one in found.candidates:
        relation = record.evidence.tie(one.behavior_id, one.example_id).relation
        assert relation == (found.relation(one.behavior_id, one.example_id) or "unexplained")
    run_study(study_of(folder), run, base=folder)
    assert load_run(run).surprises == found


def test_an_import_made_the_evidence_anew_and_dropped_the_surprises(
    folder: Path, run: Path, tmp_path: Path
):
    before = read_manifest(open_run(run).find("evidence")).key
    pairs = {"query": [QUERIES[0]], "example": ["copy"], "score": [2.0]}
    pq.write_table(pa.table(pairs), tmp_path / "scores.parquet")
    import_scores(run, tmp_path / "scores.parquet", method="elsewhere", orientation="higher")
    assert read_manifest(open_run(run).find("evidence")).key != before
    # Checked after an import, or before one: known of the run's own methods, and kept with them.
    found = check_surprises(run, checkpoint=str(folder / "initial"))
    place = open_run(run).find("surprises")
    run_study(study_of(folder), run, base=folder)
    assert load_run(run).surprises == found
    import_scores(run, tmp_path / "scores.parquet", method="other", orientation="higher")
    assert check_surprises(run, checkpoint=str(folder / "initial")) == found
    assert open_run(run).find("surprises") == place
    run_study(study_of(folder), run, base=folder)
    record = load_run(run)
    assert record.surprises == found
    assert {one.method for one in record.scores} >= {"elsewhere", "other"}
    # What it is about has changed with another list length.
    run_study(study_of(folder, top_k=3), run, base=folder)
    assert load_run(run).surprises is None


def test_the_runs_own_checkpoint_confirms_nothing(folder: Path, run: Path):
    with pytest.raises(SettingsError, match="is the checkpoint that the run attributes"):
        check_surprises(run, checkpoint=str(folder / "model"))
    with pytest.raises(SettingsError, match="no number of candidates"):
        check_surprises(run, checkpoint=str(folder / "initial"), max_candidates=0)


def test_a_run_without_evidence_is_refused_by_what_needs_it(run: Path):
    with writing(run) as opened:
        manifest = json.loads((run / "manifest.json").read_text())
        del manifest["stages"]["evidence"], manifest["stages"]["duplicates"]
        (run / "manifest.json").write_text(json.dumps(manifest))
        assert opened.names()
    assert load_run(run).evidence is None
    assert show_behavior(run, QUERIES[0], method="bm25", k=2).relations == {}
    for change in ({"relations": ("exact",)}, {"with_copies": True, "form": "ids"}):
        with pytest.raises(ArtifactError, match="keep"):
            export(run, **{"method": "bm25", **change})
    with pytest.raises(ArtifactError, match="keeps no evidence"):
        check_surprises(run, checkpoint="initial")
