"""What is left to Bergson's own build is asked for in its words, and comes back as an index."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from whence.errors import SettingsError
from whence.gradients import build_index, engine_build, stored_products
from whence.gradients.engine_build import build_by_engine, engine_config

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

HOW = {"projection_dim": 4, "projection_seed": 3, "token_batch_size": 4096}


@pytest.mark.parametrize(
    ("precision", "fsdp"), [("int4", False), ("int8", True), ("bf16", True), ("fp32", False)]
)
def test_what_was_asked_for_reaches_bergsons_config(lab, tmp_path, precision, fsdp):
    model = replace(lab.tiny("neox"), name="some/model@step7")
    modules = lab.modules_of(model)
    config = engine_config(
        model,
        tokens=tmp_path / "tokens",
        run=tmp_path / "index",
        modules=modules[1:],
        precision=precision,
        fsdp=fsdp,
        include_bias=True,
        loss_reduction="mean",
        **HOW,
    )
    assert (config.precision, config.fsdp) == (precision, fsdp)
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
    model = replace(model, name=str(tmp_path / "model"))
    corpus = lab.corpus_of(lab.random_sequences([9, 2, 40, 1, 17, 0, 30]))
    modules = lab.modules_of(model)[2:]
    how = {"modules": modules, "loss_reduction": "mean", "include_bias": True, **HOW}
    theirs = build_by_engine(model, corpus, tmp_path / "theirs", precision="fp32", **how)
    ours = build_index(model, corpus, tmp_path / "ours", **how)
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
    build_by_engine(model, corpus, tmp_path / "theirs", precision="fp32", **how)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which would be used")
@pytest.mark.parametrize("asked", [{"precision": "int4"}, {"precision": "fp32", "fsdp": True}])
def test_without_a_gpu_it_is_said_and_nothing_is_written(lab, tmp_path, asked):
    model, corpus = lab.tiny("neox"), lab.corpus_of([[1, 2, 3]])
    with pytest.raises(SettingsError, match=r"needs a GPU"):
        build_by_engine(
            model, corpus, tmp_path / "index", modules=lab.modules_of(model), **HOW, **asked
        )
    assert not list(tmp_path.iterdir())


def test_a_model_that_bergson_cannot_load_is_refused(lab, tmp_path):
    model = replace(lab.tiny("neox"), name="testbed:mini@step512")
    with pytest.raises(SettingsError, match="testbed:mini"):
        build_by_engine(
            model,
            lab.corpus_of([[1, 2, 3]]),
            tmp_path / "index",
            modules=lab.modules_of(model),
            precision="fp32",
            **HOW,
        )
    assert not list(tmp_path.iterdir())
