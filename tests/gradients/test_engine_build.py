"""What is left to Bergson's own build is asked for in its words, and comes back as an index."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from whence.errors import SettingsError
from whence.gradients import build_index, stored_products
from whence.gradients.index import engine_build
from whence.gradients.index.engine_build import build_by_engine, engine_config
from whence.settings import IndexSettings, ModelSettings

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

HOW = {"projection_dim": 4, "projection_seed": 3}
PLACE = ModelSettings(name="some/model", revision="step7")


@pytest.mark.parametrize(
    ("precision", "dtype", "fsdp", "engine"),
    [
        ("int4", "float32", False, "int4"),
        ("int8", "float32", True, "int8"),
        ("float32", "bfloat16", True, "bf16"),
        ("float32", "float32", False, "fp32"),
    ],
)
def test_what_was_asked_for_reaches_bergsons_config(lab, tmp_path, precision, dtype, fsdp, engine):
    model = replace(lab.tiny("neox", dtype=dtype), settings=PLACE)
    modules = lab.modules_of(model)
    config = engine_config(
        model,
        IndexSettings(
            precision=precision,
            fsdp=fsdp,
            collector="bergson",
            include_bias=True,
            loss_reduction="mean",
            **HOW,
        ),
        modules[1:],
        tokens=tmp_path / "tokens",
        run=tmp_path / "index",
    )
    assert (config.precision, config.fsdp) == (engine, fsdp)
    assert (config.model, config.revision) == ("some/model", "step7")
    assert (config.projection_dim, config.projection_seed) == (4, 3)
    assert (config.include_bias, config.loss_reduction) == (True, "mean")
    assert config.filter_modules == modules[0]
    assert config.token_batch_size == model.context_length
    assert (config.data.dataset, config.run_path) == tuple(
        str(tmp_path / name) for name in ("tokens", "index")
    )


def test_what_bergson_built_is_an_index_like_ours(lab, tmp_path, monkeypatch):
    model = lab.tiny("neox")
    lab.save(model, tmp_path / "model")
    model = replace(model, settings=ModelSettings(name=str(tmp_path / "model")))
    corpus = lab.corpus_of(lab.random_sequences([9, 2, 40, 1, 17, 0, 30]))
    modules = lab.modules_of(model)[2:]
    how = IndexSettings(modules=",".join(modules), loss_reduction="mean", include_bias=True, **HOW)
    theirs = build_by_engine(model, corpus, tmp_path / "theirs", how, modules)
    ours = build_index(model, corpus, tmp_path / "ours", how)
    assert theirs.grad_sizes == ours.grad_sizes
    assert (theirs.ids, theirs.corpus.fingerprint) == (corpus.ids, corpus.fingerprint)
    assert (theirs.loss_reduction, theirs.include_bias) == ("mean", True)
    scale = np.abs(ours.gradients).max()
    np.testing.assert_allclose(theirs.gradients, ours.gradients, rtol=1e-4, atol=1e-5 * scale)
    query = lab.query_of("q", (lab.random_sequences([12], seed=7)[0], 9, 1.0))
    asked = [stored_products(index, model, (query,)) for index in (theirs, ours)]
    np.testing.assert_allclose(
        asked[0].dots, asked[1].dots, rtol=1e-4, atol=1e-5 * np.abs(asked[1].dots).max()
    )
    np.testing.assert_allclose(asked[0].example_norms, asked[1].example_norms, rtol=1e-4)
    assert sorted(path.name for path in theirs.path.iterdir()) == sorted(
        path.name for path in ours.path.iterdir()
    )
    monkeypatch.setattr(engine_build, "_run", None)
    build_by_engine(model, corpus, tmp_path / "theirs", how, modules)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which would be used")
@pytest.mark.parametrize("asked", [{"precision": "int4"}, {"fsdp": True}])
def test_without_a_gpu_it_is_said_and_nothing_is_written(lab, tmp_path, asked):
    model, corpus = lab.tiny("neox"), lab.corpus_of([[1, 2, 3]])
    with pytest.raises(SettingsError, match=r"needs a GPU"):
        build_index(
            model, corpus, tmp_path / "index", IndexSettings(collector="bergson", **HOW, **asked)
        )
    assert not list(tmp_path.iterdir())


def test_a_model_that_bergson_cannot_load_is_refused(lab, tmp_path):
    place = ModelSettings(name="testbed:mini")
    model = replace(lab.tiny("neox"), name="testbed:mini@step512", settings=place)
    corpus, settings = lab.corpus_of([[1, 2, 3]]), IndexSettings(collector="bergson", **HOW)
    with pytest.raises(SettingsError, match="testbed:mini"):
        build_by_engine(model, corpus, tmp_path / "index", settings, lab.modules_of(model))
    assert not list(tmp_path.iterdir())
