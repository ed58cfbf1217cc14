"""An index holds the rows that Bergson would write, opens in Bergson, and refuses to mislead."""

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from whence.artifacts import progress_directory
from whence.errors import (
    ArtifactError,
    GradientError,
    IndexFormatError,
    MissingEngineError,
    SettingsError,
)
from whence.gradients import build_index, open_index, require_engine, stored_products
from whence.gradients.index.stored import query_rows
from whence.progress import SILENT
from whence.settings import IndexSettings

# Bergson and what it imports warn about their own future; none of it is ours to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    # The Attributor wraps the read-only memory map before it copies it.
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning"),
]

LENGTHS = [9, 2, 40, 1, 17, 0, 30, 5, 5, 48, 3, 22]


def build(
    model,
    corpus,
    directory,
    *,
    dim=4,
    seed=0,
    tokens=96,
    shard=None,
    second_moments=None,
    progress=SILENT,
    **how,
):
    return build_index(
        model,
        corpus,
        directory,
        IndexSettings(projection_dim=dim, projection_seed=seed, token_batch_size=tokens, **how),
        shard=shard,
        second_moments=second_moments,
        progress=progress,
    )


@pytest.fixture
def queries(lab):
    a, b, c = lab.random_sequences([12, 20, 12], seed=7)
    return (
        lab.query_of("plain", (a, 9, 1.0)),
        lab.query_of("contrast", (b, 15, 1.0), (c, 11, -1.0)),
        lab.query_of("whole", (c, 0, 1.0)),
    )


@pytest.fixture
def corpus(lab):
    return lab.corpus_of(lab.random_sequences(LENGTHS))


def bergson_index(lab, model, corpus, directory, *, dim, seed, **how):
    """The index that Bergson's own build makes of the same tokens."""
    bergson = require_engine()
    from bergson.build import build as bergson_build
    from datasets import Dataset

    lab.save(model, directory / "model")
    ids = [corpus.input_ids(row) for row in range(len(corpus))]
    dataset = Dataset.from_dict({"input_ids": ids, "labels": ids, "length": [*map(len, ids)]})
    dataset.save_to_disk(str(directory / "data"))
    config = bergson.IndexConfig(
        run_path=str(directory / "index"),
        model=str(directory / "model"),
        data=bergson.DataConfig(dataset=str(directory / "data")),
        precision="fp32",
        projection_dim=dim,
        projection_seed=seed,
        token_batch_size=48,
        drop_columns=False,
        **how,
    )
    bergson_build(config, bergson.PreprocessConfig())
    return directory / "index"


@pytest.mark.parametrize("dim", [4, 0])
def test_rows_are_those_of_bergsons_own_build(lab, family, corpus, queries, tmp_path, dim):
    model = lab.tiny(family)
    ours = build(model, corpus, tmp_path / "ours", dim=dim or None, seed=3)
    theirs = open_index(bergson_index(lab, model, corpus, tmp_path, dim=dim, seed=3))
    assert list(ours.grad_sizes.items()) == list(theirs.grad_sizes.items())
    assert theirs.ids == tuple(str(row) for row in range(len(corpus)))
    assert theirs.corpus.input_ids(4) == corpus.input_ids(4)
    assert (ours.projection_dim, ours.projection_seed) == (dim or None, 3)
    np.testing.assert_allclose(
        ours.gradients, theirs.gradients, rtol=1e-4, atol=1e-5 * np.abs(theirs.gradients).max()
    )
    a, b = np.asarray(ours.gradients), np.asarray(theirs.gradients)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    assert (norms > 0).tolist() == [length > 1 for length in LENGTHS]
    assert ((a * b).sum(1)[norms > 0] / norms[norms > 0] > 0.99999).all()
    ask = [stored_products(index, model, queries).dots for index in (ours, theirs)]
    np.testing.assert_allclose(ask[0], ask[1], rtol=1e-4, atol=1e-5 * np.abs(ask[0]).max())


def optimizer_file(model, path, kind):
    """Writes random second moments of every parameter, as Adam or Adafactor would."""
    named = dict(model.model.named_parameters())
    generator = torch.Generator().manual_seed(5)
    state = {}
    for number, (name, parameter) in enumerate(named.items()):
        full = torch.rand(parameter.shape, generator=generator) ** 4
        factored = kind == "adafactor" and parameter.ndim == 2
        moments = (
            {"exp_avg_sq_row": full.mean(dim=1), "exp_avg_sq_col": full.mean(dim=0)}
            if factored
            else {"exp_avg_sq": full}
        )
        state[number] = {"param_name": name, **moments}
    groups = [{"params": list(state), "param_names": list(named)}]
    torch.save({"state": state, "param_groups": groups}, path)
    return path


@pytest.mark.parametrize(
    ("family", "kind", "dim", "include_bias", "loss_reduction"),
    [
        ("neox", None, 4, True, "sum"),
        ("neox", "adafactor", 4, True, "mean"),
        ("gpt2", "adafactor", 4, True, "sum"),
        ("gpt2", "adam", None, True, "mean"),
        # Llama has no biases to include.
        ("llama", None, None, True, "mean"),
        ("llama", "adafactor", 4, False, "sum"),
    ],
)
def test_corrections_biases_and_means_are_bergsons(
    lab, family, corpus, tmp_path, kind, dim, include_bias, loss_reduction
):
    from whence.models import load_second_moments

    model = lab.tiny(family)
    state = optimizer_file(model, tmp_path / "optimizer.pt", kind) if kind else None
    ours = build(
        model,
        corpus,
        tmp_path / "ours",
        dim=dim,
        second_moments=load_second_moments(state, model) if state else None,
        include_bias=include_bias,
        loss_reduction=loss_reduction,
    )
    theirs = bergson_index(
        lab,
        model,
        corpus,
        tmp_path,
        dim=dim or 0,
        seed=0,
        optimizer_state=str(state or ""),
        include_bias=include_bias,
        loss_reduction=loss_reduction,
    )
    rows = np.asarray(open_index(theirs).gradients)
    assert list(ours.grad_sizes.items()) == list(open_index(theirs).grad_sizes.items())
    assert (ours.include_bias, ours.loss_reduction) == (include_bias, loss_reduction)
    np.testing.assert_allclose(ours.gradients, rows, rtol=1e-4, atol=1e-5 * np.abs(rows).max())


def test_an_index_with_biases_is_asked_with_biases(lab, corpus, queries, tmp_path):
    model = lab.tiny("neox")
    index = build(model, corpus, tmp_path / "index", dim=None, include_bias=True)
    plain = build(model, corpus, tmp_path / "plain", dim=None)
    more, fewer = (stored_products(i, model, queries).dots for i in (index, plain))
    biases = sum(model.model.base_model.get_submodule(n).bias.numel() for n in index.modules)
    assert sum(index.grad_sizes.values()) == sum(plain.grad_sizes.values()) + biases
    own = lab.query_of("own", (corpus.input_ids(4), 0, 1.0))
    products = stored_products(index, model, (own,))
    assert products.dots[0, 4] == pytest.approx(products.query_norms[0] ** 2, rel=1e-5)
    assert not np.allclose(more, fewer)


@pytest.mark.parametrize("unit_norm", [False, True])
def test_bergsons_attributor_agrees_with_us(lab, family, queries, tmp_path, unit_norm):
    # Every example has a gradient here: to others Bergson gives a score of 0 and we give none.
    corpus = lab.corpus_of(lab.random_sequences([n for n in LENGTHS if n > 1]))
    model = lab.tiny(family)
    index = build(model, corpus, tmp_path / "index")
    attributor = require_engine().Attributor(index.path, unit_norm=unit_norm)
    theirs = attributor.search(query_rows(index, model, queries), k=5)
    products = stored_products(index, model, queries)
    ours = products.dots
    if unit_norm:
        norms = products.query_norms[:, None] * products.example_norms
        ours = ours / norms
    order = np.argsort(-ours, axis=1, kind="stable")[:, :5]
    assert (order == theirs.indices.numpy()).all()
    np.testing.assert_allclose(
        np.take_along_axis(ours, order, axis=1), theirs.values, rtol=2e-5, atol=1e-6
    )


def test_bergsons_trace_of_a_text_gives_the_same_scores(lab, family, corpus, tmp_path):
    model = lab.tiny(family)
    index = build(model, corpus, tmp_path / "index")
    tokens = lab.random_sequences([12], seed=3)[0]
    attributor = require_engine().Attributor(index.path)
    with attributor.trace(model.model.base_model, 5) as result:
        ids = torch.tensor([tokens])
        logits = model.model(ids).logits[:, :-1]
        torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum"
        ).backward()
    query = lab.query_of("text", (tokens, 0, 1.0))
    ours = stored_products(index, model, (query,)).dots[0]
    order = np.argsort(-ours, kind="stable")[:5]
    assert (order == result.indices.numpy()[0]).all()
    np.testing.assert_allclose(ours[order], result.scores.numpy()[0], rtol=2e-5)


def test_bergsons_readers_find_rows_losses_and_ids(lab, corpus, tmp_path):
    model = lab.tiny("neox")
    index = build(model, corpus, tmp_path / "index")
    bergson = require_engine()
    np.testing.assert_array_equal(bergson.load_gradients(index.path), index.gradients)
    data = bergson.load_gradient_dataset(index.path)
    assert tuple(data["id"]) == corpus.ids
    tokens = torch.tensor([corpus.input_ids(4)])
    loss = model.model(tokens, labels=tokens).loss.item() * (tokens.shape[1] - 1)
    assert data["loss"][4] == pytest.approx(loss, rel=1e-5)


def test_without_projection_both_paths_agree(lab, family, corpus, queries, tmp_path):
    from whence.gradients import streamed_products

    model = lab.tiny(family)
    index = build(model, corpus, tmp_path / "index", dim=None)
    stored = stored_products(index, model, queries)
    streamed = streamed_products(
        model, corpus, queries, modules=lab.modules_of(model), token_batch_size=96
    )
    scale = np.abs(streamed.dots).max()
    np.testing.assert_allclose(stored.dots, streamed.dots, rtol=1e-5, atol=1e-5 * scale)
    np.testing.assert_allclose(stored.query_norms, streamed.query_norms, rtol=1e-5)
    np.testing.assert_allclose(stored.example_norms, streamed.example_norms, rtol=1e-5)
    assert (stored.path, stored.settings["projection_dim"]) == ("stored", None)


def test_projected_products_estimate_the_exact_ones(lab, corpus, queries, tmp_path):
    """Over many seeds the mean of the estimates approaches the truth (unbiased)."""
    model = lab.tiny("neox")
    exact = stored_products(build(model, corpus, tmp_path / "x", dim=None), model, queries)
    estimates = np.stack(
        [
            stored_products(
                build(model, corpus, tmp_path / f"s{seed}", dim=6, seed=seed), model, queries
            ).dots
            for seed in range(30)
        ]
    )
    error = estimates.std(axis=0) / np.sqrt(30)
    off = np.abs(estimates.mean(axis=0) - exact.dots)[exact.dots != 0] / error[exact.dots != 0]
    assert np.mean(off < 2) > 0.85
    assert off.max() < 6


def test_an_interrupted_build_loses_at_most_a_block(lab, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("whence.gradients.index.build.BLOCK_TOKENS", 40)
    model = lab.tiny("neox")
    whole = np.array(build(model, corpus, tmp_path / "whole", tokens=50).gradients)
    with pytest.raises(KeyboardInterrupt):
        build(model, corpus, tmp_path / "cut", tokens=50, progress=lab.Interrupting(4))
    assert not (tmp_path / "cut").exists()
    with pytest.raises(IndexFormatError, match="is unfinished"):
        open_index(tmp_path / "cut")
    watch = lab.Interrupting(1000)
    resumed = build(model, corpus, tmp_path / "cut", tokens=50, progress=watch)
    assert watch.totals[0] < sum(n for n in LENGTHS if n > 1)
    assert (resumed.gradients == whole).all()
    assert not (resumed.path / "blocks").exists()


def test_a_finished_build_is_not_repeated_but_other_inputs_are(lab, corpus, tmp_path):
    model = lab.tiny("neox")
    build(model, corpus, tmp_path / "index")
    watch = lab.Interrupting(0)
    build(model, corpus, tmp_path / "index", progress=watch)
    assert watch.totals == []
    with pytest.raises(KeyboardInterrupt):
        build(model, corpus, tmp_path / "index", seed=1, progress=watch)


def test_copies_share_a_row_and_the_examples_travel_along(lab, tmp_path):
    a, b = lab.random_sequences([10, 20])
    corpus = lab.corpus_of([a, b, a, []], ids=["x", "y", "z", "nothing"])
    index = build(lab.tiny("neox"), corpus, tmp_path / "index")
    assert (index.gradients[0] == index.gradients[2]).all()
    assert (index.gradients[3] == 0).all()
    assert index.ids == corpus.ids
    assert index.corpus.fingerprint == corpus.fingerprint
    assert index.model_settings is None, "it was not loaded from anywhere"
    assert index.manifest.details.model_name == "tiny-neox"
    assert index.manifest.versions["bergson"] == "2.5.1"
    assert index.manifest.inputs.loss_reduction == "sum"


def test_another_models_queries_are_refused(lab, corpus, queries, tmp_path):
    index = build(lab.tiny("neox"), corpus, tmp_path / "index")
    other = lab.tiny("neox", seed=1)
    with pytest.raises(IndexFormatError, match="was made with tiny-neox"):
        stored_products(index, other, queries)
    with pytest.raises(IndexFormatError, match="was made with tiny-neox"):
        open_index(index.path, model=other)


def test_a_gradient_that_is_not_finite_stops_the_build_by_name(lab, tmp_path):
    model = lab.tiny("neox")
    with torch.no_grad():
        model.model.gpt_neox.embed_in.weight[7] = float("inf")
    corpus = lab.corpus_of([[1, 2, 3], [4, 7, 5]], ids=["good", "bad"])
    with pytest.raises(GradientError, match="example `bad`"):
        build(model, corpus, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "gradients.bin").write_bytes(b"\0" * 100), "has 100 bytes instead of"),
        (lambda d: (d / "gradients.bin").unlink(), r"gradients\.bin is missing"),
        (lambda d: (d / "info.json").unlink(), r"info\.json is missing"),
        (lambda d: (d / "info.json").write_text("{"), r"info\.json has 1 bytes instead of"),
        (lambda d: (d / "processor_config.yaml").unlink(), r"processor_config\.yaml is missing"),
        (lambda d: (d / "manifest.json").unlink(), r"has lost its manifest\.json"),
        (lambda d: (d / "manifest.json").write_text("{"), "cannot be read"),
        (shutil.rmtree, "There is no index"),
        (
            lambda d: edit(d / "manifest.json", lambda m: m["versions"].update(bergson="2.4.0")),
            r"was made with Bergson 2\.4\.0",
        ),
        (
            lambda d: edit(d / "manifest.json", lambda m: m.update(kind="scores")),
            "holds 'scores', not an index",
        ),
    ],
)
def test_a_damaged_index_is_refused_in_one_sentence(lab, corpus, tmp_path, damage, message):
    index = build(lab.tiny("neox"), corpus, tmp_path / "index")
    damage(index.path)
    with pytest.raises(IndexFormatError, match=message) as caught:
        open_index(index.path)
    assert caught.value.problem.count(". ") == 0
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "gradients.bin").write_bytes(b"\0" * 100), "has 100 bytes instead of"),
        (lambda d: (d / "gradients.bin").unlink(), r"has no gradients\.bin"),
        (lambda d: (d / "info.json").unlink(), r"has no info\.json"),
        (lambda d: (d / "info.json").write_text("{"), r"info\.json cannot be read"),
        (lambda d: (d / "info.json").write_text("{}"), r"info\.json cannot be read"),
        (lambda d: (d / "info.json").write_text("[" * 100_000), r"info\.json cannot be read"),
        (
            lambda d: edit(d / "info.json", lambda i: i.update(base_dtype="int32")),
            "names the type 'int32'",
        ),
        (
            lambda d: edit(d / "info.json", lambda i: i.update(grad_sizes={"x": -4})),
            "-4 is no count",
        ),
        (
            lambda d: edit(d / "info.json", lambda i: i.update(num_grads="12")),
            "'12' is no count",
        ),
        (
            lambda d: edit(d / "info.json", lambda i: i.update(attribute_tokens=True)),
            "a row per token",
        ),
        (lambda d: (d / "processor_config.yaml").unlink(), r"has no processor_config\.yaml"),
        (lambda d: (d / "processor_config.yaml").write_text("a: ["), "cannot be read"),
        (lambda d: (d / "processor_config.yaml").write_text("[4]"), "cannot be read"),
        (
            lambda d: (d / "processor_config.yaml").write_text("projection_dim: many\n"),
            "'many' is no count",
        ),
        (
            lambda d: (d / "processor_config.yaml").write_text("projection_dim: 4\n"),
            "version 1 of Bergson's matrices",
        ),
        (
            lambda d: (d / "processor_config.yaml").write_text(
                "projection_dim: 8\nprojection_version: 2\n"
            ),
            "projected to 8 x 8",
        ),
        (lambda d: (d / "config.yaml").write_text("steps: [[]]"), "cannot be read"),
        (lambda d: (d / "config.yaml").write_text("steps: [3]"), "cannot be read"),
    ],
)
def test_a_damaged_index_of_bergsons_is_refused_in_one_sentence(
    lab, corpus, tmp_path, damage, message
):
    """Without a manifest there are no digests: what the files say is checked."""
    index = build(lab.tiny("neox"), corpus, tmp_path / "index")
    for name in ("manifest.json", "examples.parquet", "corpus.json", "norms.npy"):
        (index.path / name).unlink()
    assert open_index(index.path).manifest is None
    damage(index.path)
    with pytest.raises(IndexFormatError, match=message) as caught:
        open_index(index.path)
    assert caught.value.problem.count(". ") == 0
    assert "\n" not in str(caught.value)


def test_a_row_that_is_not_finite_is_found_when_asked(lab, corpus, queries, tmp_path):
    model = lab.tiny("neox")
    index = build(model, corpus, tmp_path / "index")
    rows = np.memmap(index.path / "gradients.bin", np.float32, "r+", shape=index.gradients.shape)
    rows[6, 3] = np.nan
    rows.flush()
    with pytest.raises(IndexFormatError, match="Row 6 of"):
        stored_products(index, model, queries)


def test_a_directory_that_we_did_not_make_is_not_overwritten(lab, corpus, tmp_path):
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "thesis.txt").write_text("dear")
    with pytest.raises(ArtifactError, match="was not made by whence"):
        build(lab.tiny("neox"), corpus, tmp_path / "index")


def test_no_room_is_an_error_and_not_a_crash(lab, corpus, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("whence.gradients.index.row_file.os.posix_fallocate", full)
    with pytest.raises(ArtifactError, match="No space left"):
        build(lab.tiny("neox"), corpus, tmp_path / "index")


HOST = """
import logging, sys
handler = logging.StreamHandler(sys.stderr)
logging.basicConfig(level=logging.WARNING, handlers=[handler])
from whence.gradients import require_engine
require_engine()
root = logging.getLogger()
assert root.handlers == [handler], root.handlers
assert root.level == logging.WARNING
assert not handler.stream.closed
logging.getLogger("host").warning("still here")
"""


def check_host(**env):
    done = subprocess.run(
        [sys.executable, "-c", HOST], capture_output=True, text=True, check=True, env=env or None
    )
    assert done.stdout == ""
    assert "still here" in done.stderr


def test_the_hosts_logging_survives_an_engine_that_takes_it_over(tmp_path):
    (tmp_path / "bergson.py").write_text(
        "import logging, sys\n"
        "logging.basicConfig(level=logging.INFO, stream=sys.stdout, force=True)\n"
        "logging.getLogger('httpx').setLevel(logging.WARNING)\n"
    )
    check_host(PYTHONPATH=str(tmp_path), PATH="")


@pytest.mark.slow
def test_the_hosts_logging_survives_bergson():
    check_host()


@pytest.mark.slow
def test_a_build_that_was_killed_goes_on_and_ends_with_the_same_bytes(lab, tmp_path):
    here = str(Path(__file__).parent / "conftest.py")
    code = f"""
import importlib.util, os, signal, sys
from contextlib import contextmanager
from pathlib import Path
spec = importlib.util.spec_from_file_location("helpers", {here!r})
lab = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lab)
import whence.gradients.index.build as build
from whence.settings import IndexSettings
build.BLOCK_TOKENS = 40

class Killing(lab.Interrupting):
    def advance(self, amount=1.0):
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

model = lab.tiny("neox")
build.build_index(model, lab.corpus_of(lab.random_sequences({LENGTHS})), Path(sys.argv[1]),
    IndexSettings(projection_dim=4, token_batch_size=50), progress=Killing(int(sys.argv[2])))
"""

    def run(name, after):
        target = str(tmp_path / name)
        command = [sys.executable, "-c", code, target, str(after)]
        return subprocess.run(command, check=False).returncode

    assert run("whole", 10_000) == 0
    assert run("killed", 4) == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    progress = progress_directory(tmp_path / ".killed.partial")
    assert len(list((progress / "blocks").iterdir())) >= 1
    assert run("killed", 10_000) == 0
    whole, killed = (tmp_path / n / "gradients.bin" for n in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()


def test_a_missing_engine_says_why_and_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "bergson", None)
    with pytest.raises(MissingEngineError, match="cannot be imported") as caught:
        require_engine()
    assert "bergson==2.5.1" in caught.value.remedy


def test_importing_the_room_imports_nothing_heavy():
    code = (
        "import sys, whence.gradients, whence.methods;"
        "heavy = {'torch', 'transformers', 'bergson', 'datasets', 'bm25s'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_logging_is_untouched_here():
    assert logging.getLogger().level in (logging.WARNING, logging.NOTSET)


def small_blocks(monkeypatch):
    """Makes blocks of a batch each, so that a small corpus has several."""
    monkeypatch.setattr("whence.gradients.index.build.BLOCK_TOKENS", 1)


def test_shares_fill_one_index_and_who_ends_last_finishes_it(lab, corpus, tmp_path, monkeypatch):
    small_blocks(monkeypatch)
    model = lab.tiny("neox")
    whole = build(model, corpus, tmp_path / "whole", tokens=48)
    for share in (2, 0):
        assert build(model, corpus, tmp_path / "shared", tokens=48, shard=(share, 3)) is None
        with pytest.raises(IndexFormatError, match="unfinished"):
            open_index(tmp_path / "shared")
    shared = build(model, corpus, tmp_path / "shared", tokens=48, shard=(1, 3))
    assert np.array_equal(shared.gradients, whole.gradients)
    again = build(model, corpus, tmp_path / "shared", tokens=48, shard=(0, 3))
    assert again.path == shared.path


def test_a_build_without_a_share_takes_what_the_shares_left(lab, corpus, tmp_path, monkeypatch):
    small_blocks(monkeypatch)
    model = lab.tiny("neox")
    notes = []

    class Listening(type(SILENT)):
        def note(self, text):
            notes.append(text)

    assert build(model, corpus, tmp_path / "x", tokens=48, shard=(0, 2)) is None
    built = build(model, corpus, tmp_path / "x", tokens=48, progress=Listening())
    assert any("blocks of rows were written before" in note for note in notes)
    whole = build(model, corpus, tmp_path / "whole", tokens=48)
    assert np.array_equal(built.gradients, whole.gradients)


def test_a_share_that_does_not_exist_is_refused(lab, corpus, tmp_path):
    with pytest.raises(SettingsError, match="no share 3 of 3"):
        build(lab.tiny("neox"), corpus, tmp_path / "x", shard=(3, 3))
    assert not list(tmp_path.iterdir())


def test_going_on_with_other_batches_takes_no_block_for_another(lab, tmp_path, monkeypatch):
    small_blocks(monkeypatch)
    model, corpus = lab.tiny("neox"), lab.corpus_of(lab.random_sequences(LENGTHS))
    assert build(model, corpus, tmp_path / "x", tokens=48, shard=(0, 2)) is None
    built = build(model, corpus, tmp_path / "x", tokens=200)
    whole = build(model, corpus, tmp_path / "whole", tokens=200)
    scale = np.abs(whole.gradients).max()
    np.testing.assert_allclose(built.gradients, whole.gradients, rtol=1e-4, atol=1e-5 * scale)
    from datasets import Dataset

    stored = [Dataset.load_from_disk(str(tmp_path / n / "data.hf"))["loss"] for n in ("x", "whole")]
    np.testing.assert_allclose(*map(np.asarray, stored), rtol=1e-5)


@pytest.mark.parametrize(("storage", "size"), [("float16", 2), ("bfloat16", 2), ("float32", 4)])
def test_rows_are_stored_in_the_type_that_was_asked_for(
    lab, corpus, queries, tmp_path, storage, size
):
    model = lab.tiny("neox")
    whole = build(model, corpus, tmp_path / "whole")
    built = build(model, corpus, tmp_path / "x", storage=storage)
    assert (tmp_path / "x" / "gradients.bin").stat().st_size == size * whole.gradients.size
    a, b = (np.asarray(index.gradients, dtype=np.float32) for index in (whole, built))
    has = np.linalg.norm(a, axis=1) > 0
    cosines = (a * b).sum(1)[has] / np.linalg.norm(a, axis=1)[has] / np.linalg.norm(b, axis=1)[has]
    assert (cosines > 0.9999).all()
    dots = [stored_products(index, model, queries).dots for index in (whole, built)]
    np.testing.assert_allclose(*dots, rtol=0.05, atol=0.01 * np.abs(dots[0]).max())


def test_a_row_too_large_for_its_type_names_the_example(lab, tmp_path):
    model = lab.tiny("neox")
    with torch.no_grad():
        model.model.base_model.final_layer_norm.weight.mul_(3000)
    corpus = lab.corpus_of(lab.random_sequences([40, 30]))
    with pytest.raises(GradientError, match=r"example `e\d` is too large for float16"):
        build(model, corpus, tmp_path / "x", storage="float16")
    assert build(model, corpus, tmp_path / "x", storage="bfloat16").num_examples == 2


@pytest.mark.parametrize("how", [{"collector": "bergson"}, {"precision": "mixed"}])
def test_every_collector_and_precision_gives_about_the_same_rows(
    lab, family, corpus, tmp_path, how, monkeypatch
):
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX512")
    model = lab.tiny(family)
    usual = np.asarray(build(model, corpus, tmp_path / "usual").gradients, np.float64)
    other = np.asarray(build(model, corpus, tmp_path / "other", **how).gradients, np.float64)
    norms = np.linalg.norm(usual, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (usual * other).sum(1)[norms > 0] / norms[norms > 0]
    assert (cosines > (0.9999999 if "collector" in how else 0.999)).all()


def made_up_moments(model):
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.rand(parameter.shape, generator=generator) ** 4
        for name, parameter in model.model.named_parameters()
    }


def test_corrected_rows_give_the_corrected_products(lab, family, corpus, queries, tmp_path):
    from whence.gradients import streamed_products

    model = lab.tiny(family)
    moments = made_up_moments(model)
    index = build(model, corpus, tmp_path / "idx", dim=None, second_moments=moments)
    rows = query_rows(index, model, queries, second_moments=moments)
    asked = np.concatenate([rows[name].numpy() for name in index.modules], axis=1)
    exact = streamed_products(
        model,
        corpus,
        queries,
        modules=lab.modules_of(model),
        token_batch_size=96,
        second_moments=moments,
    )
    scale = np.outer(exact.query_norms, exact.example_norms).max()
    np.testing.assert_allclose(
        asked @ np.asarray(index.gradients).T, exact.dots, rtol=1e-4, atol=1e-6 * scale
    )


def test_gradients_are_corrected_before_they_are_projected(lab, family, corpus, tmp_path):
    """Equal second moments divide every row; unequal ones cannot be had by dividing rows."""
    model = lab.tiny(family)
    plain = np.asarray(build(model, corpus, tmp_path / "plain").gradients)
    equal = {n: torch.full(p.shape, 0.25) for n, p in model.model.named_parameters()}
    halved = np.asarray(build(model, corpus, tmp_path / "equal", second_moments=equal).gradients)
    np.testing.assert_allclose(halved, 2 * plain, rtol=1e-4, atol=1e-5 * np.abs(plain).max())
    other = build(model, corpus, tmp_path / "other", second_moments=made_up_moments(model))
    ratios = np.asarray(other.gradients)[0] / plain[0]
    assert ratios.std() > 0.1 * np.abs(ratios).mean()


def test_sides_that_were_corrected_otherwise_are_not_compared(lab, corpus, queries, tmp_path):
    model = lab.tiny("neox")
    moments = made_up_moments(model)
    plain = build(model, corpus, tmp_path / "plain")
    corrected = build(model, corpus, tmp_path / "corrected", second_moments=moments)
    with pytest.raises(IndexFormatError, match="were corrected"):
        stored_products(corrected, model, queries)
    with pytest.raises(IndexFormatError, match="were not corrected"):
        query_rows(plain, model, queries, second_moments=moments)
    other = {name: 2 * values for name, values in moments.items()}
    with pytest.raises(IndexFormatError, match="were corrected"):
        query_rows(corrected, model, queries, second_moments=other)
    again = build(model, corpus, tmp_path / "corrected", second_moments=other)
    assert again.correction != corrected.correction


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what of a map is in memory")
def test_written_rows_do_not_stay_in_memory(lab, tmp_path):
    from whence.gradients.index.row_file import allocate
    from whence.gradients.index.search import let_go

    rows = allocate(tmp_path, 4096, {"rows": 4096}, "float32")
    rows[:] = 1
    rows.flush()
    full = lab.resident()
    let_go(rows)
    assert full - lab.resident() > 0.9 * rows.nbytes
    assert (rows[::512] == 1).all()


def full_disk(file: int, offset: int, length: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_stays_full_is_the_same_sentence_again_and_no_crash(
    lab, corpus, tmp_path, monkeypatch
):
    """A file of the right size whose bytes have no place would be written into as a map."""
    model = lab.tiny("neox")
    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full_disk)
        for _ in range(2):
            with pytest.raises(ArtifactError, match="No space left on device"):
                build(model, corpus, tmp_path / "index")
            assert list(tmp_path.iterdir()) == []
    assert build(model, corpus, tmp_path / "index").num_examples == len(corpus)


def test_blocks_outlive_a_kill_in_the_last_phase(lab, corpus, tmp_path, monkeypatch):
    model = lab.tiny("neox")
    monkeypatch.setattr("whence.gradients.index.build.BLOCK_TOKENS", 40)
    with monkeypatch.context() as patched:
        patched.setattr("whence.gradients.index.finish.save_norms", None)
        with pytest.raises(TypeError):
            build(model, corpus, tmp_path / "index")
    counting = lab.Interrupting(after=10**6)
    build(model, corpus, tmp_path / "index", progress=counting)
    assert counting.totals == [0], "a block was computed again"
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
