"""The pre-flight takes the exact path where it can, and never promises what does not fit."""

import numpy as np
import pytest

from whence.errors import ArtifactError, SettingsError
from whence.gradients import plan, streamed_products
from whence.gradients.index.probe import Measured
from whence.records import Coverage
from whence.settings import IndexSettings

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

SMALL = Coverage(modules={f"m{i}": 50_000 for i in range(24)}, left_out={})
LARGE = Coverage(modules={f"m{i}": 4_000_000 for i in range(48)}, left_out={})


def planned(
    lab, coverage, *, num_examples=1000, num_queries=10, path="auto", directory=None, **settings
):
    measured = []

    def fake(model, corpus, settings, *, path, num_queries):
        measured.append((path, settings.projection_dim))
        return Measured(12.0, 34)

    corpus = lab.corpus_of([[1, 2]] * num_examples)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("whence.gradients.index.preflight.measure", fake)
        found = plan(
            None,
            corpus,
            coverage,
            IndexSettings(**settings),
            num_queries=num_queries,
            path=path,
            directory=directory,
        )
    assert (found.seconds, found.memory_bytes) == (12.0, 34)
    assert measured == [(found.path, found.projection_dim)]
    return found


def test_small_models_are_streamed_without_projection(lab):
    found = planned(lab, SMALL)
    assert (found.path, found.projection_dim, found.disk_bytes) == ("streamed", None, 0)
    assert "1,200,000 attributed weights" in found.reason


def test_large_models_are_stored_with_the_largest_projection_that_fits(lab):
    found = planned(lab, LARGE, disk_budget_gb=0.2)
    assert (found.path, found.projection_dim) == ("stored", 32)
    assert found.disk_bytes == 1000 * 48 * 32 * 32 * 4
    assert found.disk_bytes <= 0.2e9 < 4 * found.disk_bytes
    assert "192,000,000 attributed weights are more than 5,000,000" in found.reason
    assert "32 x 32" in found.reason


def test_gradients_are_stored_whole_where_the_budget_allows(lab):
    found = planned(lab, SMALL, num_examples=100, path="stored", disk_budget_gb=1)
    assert (found.path, found.projection_dim) == ("stored", None)
    assert found.disk_bytes == 100 * 1_200_000 * 4


def test_queries_that_do_not_fit_into_memory_are_not_streamed(lab):
    found = planned(lab, SMALL, num_queries=2000)
    assert found.path == "stored"
    assert "2000 queries would take 10 GB" in found.reason


def test_what_was_asked_for_is_done(lab):
    assert planned(lab, LARGE, path="streamed").path == "streamed"
    found = planned(lab, SMALL, projection_dim=5)
    assert (found.path, found.projection_dim) == ("stored", 5)


@pytest.mark.parametrize("option", [{"storage": "bfloat16"}, {"loss_reduction": "mean"}])
def test_an_option_of_stored_rows_means_the_stored_path(lab, option):
    found = planned(lab, SMALL, **option)
    assert (found.path, found.projection_dim) == ("stored", 64)
    with pytest.raises(SettingsError, match="is about stored rows"):
        planned(lab, SMALL, path="streamed", **option)


def test_a_budget_that_is_too_small_is_refused_with_the_least_that_works(lab):
    with pytest.raises(SettingsError, match=r"8 x 8 .* needs 0\.012 GB.*at least 0\.012"):
        planned(lab, LARGE, disk_budget_gb=0.01)
    with pytest.raises(SettingsError, match="16 x 16"):
        planned(lab, LARGE, disk_budget_gb=0.01, projection_dim=16)


def test_a_full_disk_is_an_error_before_anything_starts(lab, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**12, 10**12, 1000))
    with pytest.raises(ArtifactError, match="free"):
        planned(lab, LARGE)


def test_rows_of_an_interrupted_build_need_no_more_room(lab, monkeypatch, tmp_path):
    from collections import namedtuple

    monkeypatch.chdir(tmp_path)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**12, 10**12, 1000))
    size = planned(lab, SMALL, num_examples=1, path="stored", projection_dim=2).disk_bytes
    num_bytes = {"float32": 100 * size, "bfloat16": 50 * size}
    for storage, needed in num_bytes.items():
        partial = tmp_path / f".{storage}.partial"
        partial.mkdir()
        how = {"path": "stored", "projection_dim": 2, "storage": storage}
        how |= {"num_examples": 100, "directory": tmp_path / storage}
        (partial / "gradients.bin").write_bytes(bytes(needed - 1001))
        with pytest.raises(ArtifactError, match="free"):
            planned(lab, SMALL, **how)
        (partial / "gradients.bin").write_bytes(bytes(needed - 1000))
        planned(lab, SMALL, **how)


def test_a_lack_of_room_for_what_is_built_for_a_bucket_names_the_cache(lab, monkeypatch, tmp_path):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**12, 10**12, 1000))
    monkeypatch.setenv("WHENCE_CACHE", str(tmp_path))
    place = tmp_path / "objects" / "built" / "index"
    with pytest.raises(ArtifactError, match="name another folder in WHENCE_CACHE, or lower"):
        planned(lab, LARGE, directory=place)
    with pytest.raises(ArtifactError, match="disk space, or lower"):
        planned(lab, LARGE, directory=tmp_path / "index")


@pytest.mark.parametrize("path", ["streamed", "stored"])
def test_the_probe_runs_on_this_machine_and_leaves_the_model_alone(lab, path):
    model = lab.tiny("neox")
    modules = lab.modules_of(model)
    sizes = {n: model.model.base_model.get_submodule(n).weight.numel() for n in modules}
    lengths = np.random.default_rng(0).integers(2, 48, size=200).tolist()
    corpus = lab.corpus_of(lab.random_sequences(lengths))
    settings = IndexSettings(token_batch_size=200)
    found = plan(model, corpus, Coverage(sizes, {}), settings, path=path, num_queries=3)
    assert found.seconds > 0
    assert found.memory_bytes > 50 * 2**20
    assert not any(m._forward_hooks for m in model.model.modules())
    none = lab.corpus_of([[1], []])
    empty = plan(model, none, Coverage(sizes, {}), settings, path=path, num_queries=3)
    assert empty.seconds == 0


@pytest.mark.slow
def test_the_prediction_is_of_the_right_size(lab):
    """Within a factor of three on a busy machine: batches are timed, not guessed."""
    model = lab.tiny("neox")
    modules = lab.modules_of(model)
    sizes = {n: model.model.base_model.get_submodule(n).weight.numel() for n in modules}
    lengths = np.random.default_rng(0).integers(2, 48, size=20_000).tolist()
    corpus = lab.corpus_of(lab.random_sequences(lengths))
    settings = IndexSettings(token_batch_size=400)
    found = plan(model, corpus, Coverage(sizes, {}), settings, num_queries=1)
    query = lab.query_of("q", (lab.random_sequences([9])[0], 4, 1.0))
    took = streamed_products(model, corpus, (query,), modules=modules, token_batch_size=400).seconds
    assert took / 3 < found.seconds < took * 3
