"""Methods look at several views of the gradients; only those that are needed are computed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from whence.artifacts import read_manifest
from whence.errors import SettingsError
from whence.evidence import ranking
from whence.methods.views import FINAL
from whence.report.run_record import RunRecord
from whence.runs.demo import demo_study
from whence.runs.directory import Run, open_run
from whence.runs.record import load_run
from whence.runs.study import run_study
from whence.runs.summary import summarize
from whence.runs.views import StudyModels, study_moments
from whence.settings import StudySettings, load_study

LADDER = {
    "methods": ("gradient_dot", "gradient_cosine_initial", "tracin"),
    "tracin": {"checkpoints": (1, 2), "learning_rates": (0.25, 0.5)},
}


def _with_checkpoints(folder: Path) -> Path:
    """Step 1 has the first weights and step 2 the last, so that truth is known."""
    shutil.copytree(folder / "initial", folder / "model" / "step1")
    shutil.copytree(folder / "model", folder / "model" / "step2", ignore=lambda *_: ["step1"])
    return folder


def _run(folder: Path, *, name: str = "run", **changes: object) -> Path:
    study = load_study(folder / "study.toml")
    study = StudySettings.model_validate(study.model_dump() | changes)
    return run_study(study, folder / name, base=folder).directory


def _values(run: RunRecord, method: str) -> np.ndarray:
    return next(scores.values for scores in run.scores if scores.method == method)


def stage(run: Path, name: str) -> Path:
    """The directory of a stage of a finished run."""
    found = open_run(run).find(name)
    assert found is not None, name
    return found


@pytest.fixture(scope="module")
def ladder(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("views") / "tiny"
    shutil.copytree(tiny_files, folder)
    return _run(_with_checkpoints(folder), attribution=LADDER)


def test_each_view_has_a_directory_and_no_other_is_made(ladder: Path) -> None:
    found = set(open_run(ladder).names("products"))
    assert found == {"products", "products/initial", "products/step1", "products/step2"}


def test_the_layers_that_no_index_holds_have_their_own_products(
    tiny_files: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_files, folder)
    methods = ("gradient_cosine", "gradient_cosine_vocabulary", "gradient_cosine_all")
    made = _run(
        folder, attribution={"methods": methods, "path": "stored"}, index={"projection_dim": 4}
    )
    found = [
        np.load(stage(made, name) / "products.npz")
        for name in ("products", "products/final-vocabulary")
    ]
    record = load_run(made)
    dots, norms = (
        np.hypot(*(f[key] for f in found)) if "norms" in key else sum(f[key] for f in found)
        for key in ("dots", "example_norms")
    )
    asked = np.hypot(*(f["query_norms"] for f in found))
    with np.errstate(invalid="ignore"):
        expected = (dots / asked[:, None] / norms)[: len(record.scores[0].query_ids)]
    np.testing.assert_allclose(_values(record, "gradient_cosine_all"), expected, rtol=1e-5)
    alone = _values(record, "gradient_cosine_vocabulary")
    assert not np.allclose(alone, _values(record, "gradient_cosine"), equal_nan=True)


def test_tracin_is_the_sum_over_the_checkpoints_products(ladder: Path) -> None:
    first, last = (
        np.load(stage(ladder, f"products/{view}") / "products.npz")["dots"]
        for view in ("initial", "step2")
    )
    run = load_run(ladder)
    first, last = first[: len(run.scores[0].query_ids)], last[: len(run.scores[0].query_ids)]
    expected = 0.25 * first + 0.5 * last
    np.testing.assert_allclose(_values(run, "tracin"), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(_values(run, "gradient_dot"), last, rtol=1e-4, atol=1e-4)
    assert not np.allclose(first, last)


def test_the_plan_counts_every_pass(ladder: Path, tiny: Path) -> None:
    plan = load_run(ladder).plan
    assert plan is not None
    assert "final, initial, step1, step2" in plan.reason
    one = load_run(_run(tiny, attribution={"methods": ("gradient_dot",)})).plan
    assert one is not None
    assert "One pass for each" not in one.reason


def test_a_second_run_computes_no_view_again(ladder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a finished stage was made again")

    study = load_study(ladder / "study.toml")
    run_study(study, ladder)
    monkeypatch.setattr("whence.artifacts.stage.building", fail)
    run_study(study, ladder)


def test_one_more_checkpoint_leaves_the_others_as_they_are(tiny: Path) -> None:
    folder = _with_checkpoints(tiny)
    methods = {"methods": ("tracin",)}
    run = _run(
        folder, attribution={**methods, "tracin": {"checkpoints": (1,), "learning_rates": (1.0,)}}
    )
    before = (stage(run, "products/step1") / "manifest.json").read_bytes()
    scores = (stage(run, "scores/tracin") / "manifest.json").read_bytes()
    more = {"checkpoints": (1, 2), "learning_rates": (1.0, 2.0)}
    _run(folder, attribution={**methods, "tracin": more})
    assert (stage(run, "products/step1") / "manifest.json").read_bytes() == before
    assert (stage(run, "scores/tracin") / "manifest.json").read_bytes() != scores
    plan = load_run(run).plan
    assert plan is not None
    assert plan.reason.count("step") == 2


def test_every_view_is_stored_where_the_path_is_stored(tiny: Path) -> None:
    run = _run(
        _with_checkpoints(tiny),
        attribution={**LADDER, "path": "stored"},
        index={"projection_dim": 8},
    )
    assert set(open_run(run).names("index")) == {
        "index",
        "index/initial",
        "index/step1",
        "index/step2",
    }
    record = load_run(run)
    assert record.plan is not None
    sizes = [path.stat().st_size for path in run.glob("stages/*/gradients.bin")]
    assert record.plan.disk_bytes == sum(sizes)
    assert np.isfinite(_values(record, "gradient_cosine_initial")).all()


def test_what_adam_divides_by_is_estimated_where_it_is_not_known(ladder: Path) -> None:
    folder = ladder.parent
    attribution = {
        **LADDER,
        "methods": ("gradient_dot", "gradient_dot_adam", "tracin_adam"),
        "adam": {"training_batch_size": 23},
    }
    record = load_run(_run(folder, name="adam", attribution=attribution))
    by_method = {scores.method: scores for scores in record.scores}
    for name in ("gradient_dot_adam", "tracin_adam"):
        told = by_method[name].settings
        assert told["second_moments"] == "estimated from at most 256 examples, for batches of 23"
        assert told["correction"] == "adam"
        plain = by_method["gradient_dot"].values
        assert not np.allclose(np.corrcoef(plain.ravel(), by_method[name].values.ravel()), 1)


def test_a_file_of_second_moments_is_read_and_named(tiny: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny / "model" / "model.safetensors")
    ones = {name: torch.ones_like(value).contiguous() for name, value in weights.items()}
    save_file(ones, tiny / "v.safetensors")
    methods = ("gradient_dot", "gradient_dot_adam")
    settings = {"methods": methods, "adam": {"second_moments": "v.safetensors"}}
    record = load_run(_run(tiny, attribution=settings))
    plain, corrected = (scores.values for scores in record.scores)
    np.testing.assert_allclose(corrected, plain, rtol=1e-4, atol=1e-4)
    assert record.scores[1].settings["second_moments"] == "v.safetensors"


def test_a_stored_index_takes_no_correction(tiny: Path) -> None:
    adam = {"training_batch_size": 4}
    settings = {"methods": ("gradient_dot_adam",), "path": "stored", "adam": adam}
    with pytest.raises(SettingsError, match="final-adam is corrected by second moments"):
        _run(tiny, attribution=settings)


def test_the_testbeds_own_second_moments_are_taken_where_they_ship(tmp_path: Path) -> None:
    from whence.methods import View
    from whence.runs.demo import demo_study

    models = StudyModels(Run(tmp_path, None), demo_study("mini"))
    end, middle = (models.second_moments(View(place, "adam")) for place in ("final", 512))
    assert end.origin == {"second_moments": "the optimizer's, after step 2536"}
    assert middle.origin["second_moments"].endswith("for batches of 4")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"attribution": {"methods": ("gradient_dot_adam",)}},
            "does not say how many sequences",
        ),
        (
            {
                "attribution": {
                    "methods": ("gradient_dot_adam",),
                    "adam": {"second_moments": "none.pt"},
                }
            },
            "no file .*none.pt",
        ),
        (
            {
                "attribution": {
                    **LADDER,
                    "methods": ("tracin_adam",),
                    "adam": {"second_moments": "one.safetensors"},
                }
            },
            "names one file",
        ),
        ({"model": {"name": "model"}}, "names no step-0 weights"),
        ({"attribution": {"methods": ("tracin",)}}, "names none"),
        (
            {"attribution": {"methods": ("tracin",), "tracin": {"checkpoints": (1, 2)}}},
            "2 checkpoints by their learning rates",
        ),
        (
            {"attribution": LADDER | {"tracin": {"checkpoints": (1, 2), "learning_rates": (1.0,)}}},
            "1 are known",
        ),
    ],
)
def test_what_a_view_needs_is_asked_for_before_anything_is_done(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], said: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("something was loaded")

    monkeypatch.setattr("whence.runs.opening.open_model", fail)
    with pytest.raises(SettingsError, match=said):
        _run(tiny, **{"attribution": LADDER, **changes})


def test_a_step_that_the_testbed_did_not_keep_is_refused_at_once(tmp_path: Path) -> None:
    from whence.methods import View
    from whence.runs.demo import demo_study

    with pytest.raises(SettingsError, match="no checkpoint at step 384"):
        StudyModels(Run(tmp_path, None), demo_study("nano")).check(View(384))


def test_a_curvature_is_fitted_once_and_told(tiny: Path) -> None:
    attribution = {"methods": ("gradient_dot", "ekfac"), "ekfac": {"damping": 0.2, "seed": 3}}
    run = _run(tiny, attribution=attribution)
    record = load_run(run)
    dot, ekfac = record.scores
    told = {"correction": "ekfac", "damping": 0.2, "labels": "sampled", "label_seed": 3}
    assert told.items() <= ekfac.settings.items()
    assert dot.settings["correction"] == "none"
    query = ekfac.query_ids.index("memorized/herons")
    assert ranking(ekfac, query)[0] == len(record.corpus) - 1
    before = (stage(run, "pass/ekfac") / "manifest.json").read_bytes()
    again = {**attribution, "methods": ("ekfac", "gradient_dot")}
    _run(tiny, attribution=again)
    assert (stage(run, "pass/ekfac") / "manifest.json").read_bytes() == before
    other = _run(tiny, attribution={**attribution, "ekfac": {"damping": 0.2, "labels": "given"}})
    given = load_run(other).scores[1]
    assert not np.allclose(given.values, ekfac.values, rtol=1e-2)


def test_a_stored_index_has_no_curvature(tiny: Path) -> None:
    settings = {"methods": ("ekfac",), "path": "stored"}
    with pytest.raises(SettingsError, match="`ekfac` uses whole gradients"):
        _run(tiny, attribution=settings)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"name": "gpt2"}}, "`source` is undefined for gpt2, because the learning rate"),
        ({"corpus": {"source": "testbed:mini"}}, "`source` is undefined for testbed:mini"),
        ({"model": {"name": "testbed:nano", "revision": "step64"}}, "checkpoint is step 64"),
        ({"checkpoints": (64,)}, "last of `source.checkpoints` is 64, .* ends with step 488"),
        ({"checkpoints": ()}, "names no checkpoints"),
        ({"checkpoints": (488, 64)}, "do not ascend"),
    ],
)
def test_training_that_is_not_known_is_not_followed(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    from whence.runs.planning import prepare

    checkpoints = changes.pop("checkpoints", (64, 488))
    study = {
        "title": "t",
        "model": {"name": "testbed:nano"},
        "corpus": {"source": "testbed:nano"},
        "behaviors": {"file": "testbed:nano"},
        "attribution": {"methods": ("source",), "source": {"checkpoints": checkpoints}},
    }
    with pytest.raises(SettingsError, match=said):
        settings = StudySettings.model_validate(study | changes)
        prepare(settings, StudyModels(Run(tmp_path, None), settings))


@pytest.mark.slow
def test_a_testbeds_training_is_followed_and_repeated(tmp_path: Path) -> None:
    study = {
        "title": "t",
        "model": {"name": "testbed:nano"},
        "corpus": {"source": "testbed:nano"},
        "behaviors": {"file": "testbed:nano", "ids": ("fact/capital-france",)},
        "attribution": {
            "methods": ("source", "magic", "adamw_influence", "bm25"),
            "source": {"checkpoints": (64, 128, 256, 488)},
            "magic": {"since": 464},
        },
    }
    run = run_study(StudySettings.model_validate(study), tmp_path / "run").directory
    record = load_run(run)
    found = {scores.method: scores.values[0] for scores in record.scores}
    is_late = record.corpus.table.column("step").to_numpy() > 464
    assert np.isfinite(found["source"]).all()
    assert np.isfinite(found["magic"][is_late]).all()
    assert np.isnan(found["magic"][~is_late]).all()
    np.testing.assert_array_equal(np.isfinite(found["adamw_influence"]), is_late)
    # Measured: 0.59 for SOURCE, 0.12 for BM25.
    rank = {n: spearmanr(found["magic"][is_late], v[is_late]).statistic for n, v in found.items()}
    assert rank["source"] > 0.4 > rank["bm25"]


def test_hubs_are_told_before_and_after(tiny: Path, monkeypatch) -> None:
    methods = ("gradient_dot", "gradient_dot_centered", "length")
    run = _run(tiny, force=True, attribution={"methods": methods})
    record = load_run(run)
    assert [scores.method for scores in record.scores] == list(methods)
    told = summarize(run)
    assert told.values["hubs"]["length"]["largest_share"] == 1
    assert told.values["hubs"]["gradient_dot"]["num_queries"] == 3
    assert "gradient_dot_centered" in told.text
    assert "The example that most queries have" in told.text
    monkeypatch.setattr(
        "whence.runs.summary._hubs",
        lambda record: {"m": {**told.values["hubs"]["length"], "num_queries": 1}},
    )
    assert "The example that most queries have" not in summarize(run).text, "of one query"


def test_named_references_are_asked_and_not_shown(tiny: Path) -> None:
    text = (tiny / "behaviors.toml").read_text(encoding="utf-8")
    (tiny / "others.toml").write_text(text.replace("fact/", "other/"), encoding="utf-8")
    attribution = {
        "methods": ("gradient_dot", "gradient_dot_centered"),
        "reference_behaviors": "others.toml",
    }
    record = load_run(_run(tiny, attribution=attribution))
    plain, corrected = record.scores
    assert plain.query_ids == corrected.query_ids == ("fact/france", "memorized/herons")
    assert corrected.settings["num_references"] == 2
    # One of the references asks the very question that is scored.
    with np.load(stage(tiny / "run", "products") / "products.npz") as stored:
        # Two queries, two references, and the null queries.
        dots = stored["dots"]
    assert len(dots) > 4
    np.testing.assert_allclose(
        corrected.values[0], dots[0] - dots[2:4].mean(0), rtol=1e-3, atol=1e-3
    )


def test_a_crossing_that_no_kept_eigenvalue_reaches_is_refused_before_any_pass(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (tiny / "behaviors.toml").read_text(encoding="utf-8")
    (tiny / "others.toml").write_text(text.replace("fact/", "other/"), encoding="utf-8")
    attribution = {
        "methods": ("trackstar",),
        "reference_behaviors": "others.toml",
        "trackstar": {"mixing": "crossing", "curvature_rank": 3},
    }
    monkeypatch.setattr("whence.gradients.build_index", None)
    monkeypatch.setattr("whence.gradients.plan", None)
    with pytest.raises(SettingsError, match=r"`trackstar.curvature_rank = 3` .* Raise it to"):
        _run(tiny, attribution=attribution)


def test_a_checkpoint_sees_no_example_from_its_future(tiny: Path) -> None:
    rows = (tiny / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    dated = [json.dumps({**json.loads(row), "step": 1 + i // 8}) for i, row in enumerate(rows)]
    (tiny / "corpus.jsonl").write_text("\n".join(dated), encoding="utf-8")
    folder = _with_checkpoints(tiny)
    attribution = {"methods": ("gradient_dot", "bm25"), "checkpoint_local": True}
    model = {"name": "model", "revision": "step2"}
    record = load_run(_run(folder, model=model, attribution=attribution))
    for scores in record.scores:
        assert np.isnan(scores.values[:, 16:]).all()
        assert np.isfinite(scores.values[:, :16]).all()
        assert scores.settings["num_unseen"] == 7
    with pytest.raises(SettingsError, match="does not say after which step"):
        _run(folder, name="none", attribution=attribution)
    later = {**LADDER, "methods": ("tracin",), "checkpoint_local": True}
    with pytest.raises(SettingsError, match="checkpoint 2 comes after"):
        _run(folder, name="late", model={"name": "model", "revision": "step1"}, attribution=later)


def test_the_testbed_knows_its_learning_rates(tmp_path: Path) -> None:
    from whence.runs.demo import demo_study
    from whence.testbed import learning_rate_after
    from whence.testbed.checkpoints import read_log
    from whence.testbed.tables import DATA

    rates = StudyModels(Run(tmp_path, None), demo_study("mini")).learning_rates((512, 2536))
    logged = {entry.step: entry.learning_rate for entry in read_log(DATA / "mini" / "log.csv")}
    assert rates == pytest.approx((logged[513], logged[2536]))
    assert learning_rate_after("mini", 0) == pytest.approx(logged[1])


def test_rows_are_stored_once_and_asked_by_every_method_that_needs_them(tiny: Path) -> None:
    methods = ("gradient_cosine", "trackstar", "influence", "trak")
    attribution = {"methods": methods}
    run = _run(tiny, attribution=attribution, index={"projection_dim": 8})
    record = load_run(run)
    assert [scores.method for scores in record.scores] == list(methods)
    assert record.plan is not None
    assert record.plan.path == "streamed"
    assert record.plan.disk_bytes == (stage(run, "rows") / "gradients.bin").stat().st_size
    query = record.scores[0].query_ids.index("memorized/herons")
    passage = len(record.corpus) - 1
    for scores in record.scores:
        assert np.isfinite(scores.values).all()
        # TRAK divides by the doubt about a text, and a text known by heart leaves almost none: the
        # passage makes up the curvature, and is whitened away.
        if scores.method != "trak":
            assert ranking(scores, query)[0] == passage, scores.method
    before = (stage(run, "scores/influence") / "manifest.json").read_bytes()
    _run(tiny, attribution=attribution, index={"projection_dim": 8})
    assert (stage(run, "scores/influence") / "manifest.json").read_bytes() == before


def test_without_bergson_only_what_stores_rows_is_skipped(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "bergson", None)
    attribution = {"methods": ("gradient_cosine", "influence", "bm25")}
    record = load_run(_run(tiny, attribution=attribution))
    assert [scores.method for scores in record.scores] == ["gradient_cosine", "bm25"]
    assert "influence were skipped" in record.skipped[0]


def test_an_ensemble_has_rows_and_a_projection_for_each_model(tiny: Path) -> None:
    attribution = {"methods": ("trak",), "trak": {"ensemble": ("initial",)}}
    index = {"projection_dim": 8}
    run = _run(tiny, attribution=attribution, index=index)
    record = load_run(run)
    told = record.scores[0].settings
    assert told["num_models"] == len(set(told["model"])) == 2
    rows = [stage(run, name) / "gradients.bin" for name in ("rows", "rows/member1")]
    assert record.plan is not None
    assert record.plan.disk_bytes == sum(path.stat().st_size for path in rows)
    seeds = [read_manifest(path.parent).inputs["projection_seed"] for path in rows]
    assert seeds == [0, 1]
    alone = {**attribution, "trak": {}}
    one = load_run(_run(tiny, name="one", attribution=alone, index=index))
    assert not np.allclose(one.scores[0].values, record.scores[0].values, rtol=0.1)


@pytest.mark.parametrize(
    ("ensemble", "said"),
    [
        (("initial", "initial"), "averaged over already"),
        (("seed1",), "no testbed that could be trained"),
    ],
)
def test_an_ensemble_of_what_is_no_other_model_is_refused(
    tiny: Path, ensemble: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        table = {"ensemble": ensemble}
        _run(tiny, attribution={"methods": ("trak",), "trak": table})


@pytest.mark.slow
def test_a_testbed_of_another_seed_is_trained_once(tmp_path: Path) -> None:
    from whence.testbed import load_checkpoint, seeded_model

    first = seeded_model("nano", seed=1, cache=tmp_path)
    before = (tmp_path / "testbed-nano-seed1" / "manifest.json").stat().st_mtime_ns
    again = seeded_model("nano", seed=1, cache=tmp_path)
    assert (tmp_path / "testbed-nano-seed1" / "manifest.json").stat().st_mtime_ns == before
    assert first.fingerprint == again.fingerprint != load_checkpoint("nano").fingerprint


def test_two_indexes_take_the_disk_of_two(tiny: Path) -> None:
    attribution = {
        "methods": ("trackstar", "influence"),
        "adam": {"training_batch_size": 23},
        "trackstar": {"correction": "adam"},
    }
    run = _run(tiny, attribution=attribution, index={"projection_dim": 8})
    plan = load_run(run).plan
    assert plan is not None
    assert plan.path == "stored"
    sizes = [path.stat().st_size for path in run.glob("stages/rows*/gradients.bin")]
    assert len(sizes) == 2
    assert plan.disk_bytes == sum(sizes)


def test_rows_that_do_not_fit_the_budget_are_refused(tiny: Path) -> None:
    attribution = {"methods": ("influence",)}
    with pytest.raises(SettingsError, match=r"rows of 1 views take .* 32 x 32 numbers"):
        _run(tiny, attribution=attribution, index={"disk_budget_gb": 1e-6})


def test_trackstars_ladder_is_one_setting_each(tiny: Path) -> None:
    """The paper's Exp 1 to 5, on one index without and one with Adam's correction."""
    ladder = [
        {"whiten": False, "unit_norm": False},
        {"whiten": False},
        {"whiten": False, "correction": "adam"},
        {},
        {"correction": "adam"},
    ]
    found = []
    for switches in ladder:
        attribution = {
            "methods": ("trackstar",),
            "adam": {"training_batch_size": 23},
            "trackstar": switches,
        }
        made = _run(tiny, attribution=attribution, index={"projection_dim": 8})
        record = load_run(made)
        found.append(record.scores[0])
        query = record.scores[0].query_ids.index("memorized/herons")
        assert ranking(record.scores[0], query)[0] == len(record.corpus) - 1
    for i, one in enumerate(found):
        for other in found[i + 1 :]:
            assert not np.allclose(one.values, other.values)
    assert found[4].settings["second_moments"].startswith("estimated")
    assert len(list((tiny / "run").glob("stages/rows*/gradients.bin"))) == 2


def test_another_rank_of_the_curvature_makes_no_new_rows(tiny: Path) -> None:
    """On factorized rows, from a study's file to its record."""
    found = []
    for settings in ({}, {"curvature_rank": 4}, {"curvature_rank": 64}):
        attribution = {
            "methods": ("trackstar", "influence"),
            "trackstar": settings,
            "influence": settings,
        }
        made = _run(tiny, attribution=attribution, index={"projection_dim": 8, "rank": 1})
        found.append(load_run(made).scores)
    assert len(list((tiny / "run").glob("stages/rows*/factors.bin"))) == 1
    for whole, truncated, full in zip(*found, strict=True):
        np.testing.assert_array_equal(full.values, whole.values)
        assert not np.allclose(truncated.values, whole.values, equal_nan=True)
        assert truncated.settings["curvature_rank"] == 4
        assert "curvature_rank" not in whole.settings


@pytest.mark.parametrize(("revision", "step"), [(None, 488), ("step256", 256)])
def test_a_study_of_a_checkpoint_has_its_own_moments_and_none_of_its_future(
    revision: str | None, step: int, tmp_path: Path
):
    study = demo_study("nano")
    model = study.model.model_copy(update={"revision": revision})
    found = study_moments(study.model_copy(update={"model": model}), FINAL, tmp_path)
    assert found.origin["second_moments"] == f"the optimizer's, after step {step}"
