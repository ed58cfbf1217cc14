"""The shipped models belong to the shipped generator; nano is trained once and kept."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from whence import testbed
from whence.errors import ModelError
from whence.testbed import checkpoints
from whence.testbed.sizes import size_named
from whence.testbed.tables import DATA
from whence.training import train

SHIPPED = DATA / "mini"
MANIFEST = json.loads((SHIPPED / "manifest.json").read_text())


# For the whole module, so that it holds before `cache` trains: sums depend on the thread count.
@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    testbed.load_checkpoint("nano", cache=folder)
    return folder


def test_shipped_checkpoints_name_this_corpus_tokenizer_and_recipe():
    assert MANIFEST["inputs"]["corpus_sha256"] == testbed.corpus_hash("mini")
    digest = hashlib.sha256((DATA / "tokenizer.json").read_bytes()).hexdigest()
    assert MANIFEST["inputs"]["tokenizer_sha256"] == digest
    assert MANIFEST["inputs"]["recipe"] == size_named("mini").recipe.model_dump(mode="json")


def test_shipped_files_are_small_and_hold_the_start_some_steps_and_the_end():
    steps = testbed.steps("mini")
    assert steps[0] == 0
    assert steps[-1] == testbed.all_steps("mini")[-1]
    assert len(steps) >= 6
    assert sum(f.stat().st_size for f in DATA.rglob("*") if f.is_file()) <= 20e6


def test_the_shipped_start_is_where_training_begins():
    made = checkpoints.initial_model("mini")
    read = checkpoints._read("mini", SHIPPED / "step0")
    for (name, a), (_, b) in zip(made.named_parameters(), read.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    for (name, a), (_, b) in zip(made.named_buffers(), read.named_buffers(), strict=True):
        assert torch.equal(a, b), name


def test_retraining_the_first_steps_follows_the_shipped_log():
    model = checkpoints.training_start("mini")
    examples = testbed.corpus("mini").table.column("input_ids").to_pylist()
    log = train(
        model,
        examples,
        recipe=size_named("mini").recipe,
        weights=testbed.training_weights("mini").tolist(),
        stop_after=24,
    )
    shipped = checkpoints.read_log(SHIPPED / checkpoints.LOG)[:24]
    for ours, theirs in zip(log, shipped, strict=True):
        assert ours.step == theirs.step
        assert ours.num_targets == theirs.num_targets
        assert ours.loss_nats == pytest.approx(theirs.loss_nats, abs=1e-4)


def test_the_shipped_end_has_the_recorded_losses():
    model = testbed.load_checkpoint("mini").model
    recorded = MANIFEST["details"]["end_losses_nats"]
    examples = testbed.corpus("mini").table.column("input_ids").to_pylist()[: len(recorded)]
    losses = checkpoints.document_losses(model, examples)
    assert losses == pytest.approx(recorded, abs=1e-5)
    initial = checkpoints.document_losses(checkpoints.initial_model("mini"), examples)
    assert all(a < b for a, b in zip(losses, initial, strict=True))


def test_the_log_covers_every_step():
    log = checkpoints.read_log(SHIPPED / checkpoints.LOG)
    assert [entry.step for entry in log] == list(range(1, testbed.all_steps("mini")[-1] + 1))
    assert log[-1].num_targets > 0


def test_mini_has_the_size_it_says():
    loaded = testbed.load_checkpoint("mini")
    assert loaded.model.config.model_type == "gpt_neox"
    assert 1.0e6 <= sum(p.numel() for p in loaded.model.parameters()) <= 2.0e6
    assert loaded.context_length == loaded.model.config.max_position_embeddings == 1024
    assert loaded.name == f"testbed:mini@step{testbed.steps('mini')[-1]}"
    assert loaded.tokenizer.eos_token_id == 0
    text = "The capital of France is Paris."
    assert loaded.tokenizer.decode(loaded.tokenizer(text)["input_ids"]) == text


def test_second_moments_fit_the_weights():
    moments = testbed.second_moments("mini")
    parameters = dict(testbed.load_checkpoint("mini").model.named_parameters())
    assert {k: v.shape for k, v in moments.items()} == {k: p.shape for k, p in parameters.items()}
    assert all((v >= 0).all() and v.any() for v in moments.values())


def test_checkpoints_differ_and_fingerprints_tell():
    prints = [testbed.load_checkpoint("mini", step=s).fingerprint for s in testbed.steps("mini")]
    assert len(set(prints)) == len(prints)
    assert prints[0] == testbed.load_checkpoint("mini", step=0).fingerprint


def test_a_step_that_does_not_exist():
    with pytest.raises(ModelError, match="no checkpoint at step 3"):
        testbed.load_checkpoint("mini", step=3)


def test_nano_is_trained_once_and_kept(cache: Path):
    folder = cache / "testbed-nano"
    written = (folder / "manifest.json").stat().st_mtime_ns
    first = testbed.load_checkpoint("nano", cache=cache)
    second = testbed.load_checkpoint("nano", cache=cache)
    assert first.fingerprint == second.fingerprint
    assert (folder / "manifest.json").stat().st_mtime_ns == written
    kept = {int(path.name.removeprefix("step")) for path in folder.glob("step*")}
    assert kept == set(testbed.all_steps("nano"))


def test_a_kept_checkpoint_is_a_hugging_face_model(cache: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = cache / "testbed-nano" / f"step{testbed.all_steps('nano')[-1]}"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ours = testbed.load_checkpoint("nano", cache=cache)
    ids = torch.tensor([tokenizer("The capital of Japan is")["input_ids"]])
    assert torch.equal(model(ids).logits, ours.model(ids).logits)


def test_nano_learns(cache: Path):
    log = checkpoints.read_log(cache / "testbed-nano" / checkpoints.LOG)
    first, last = log[:20], log[-60:]
    mean = lambda part: sum(e.loss_nats for e in part) / len(part)  # noqa: E731
    assert mean(first) > 4.5
    assert mean(last) < 1.8


def test_nano_repeats_bit_for_bit(cache: Path):
    model = checkpoints.training_start("nano")
    examples = testbed.corpus("nano").table.column("input_ids").to_pylist()
    train(
        model,
        examples,
        recipe=size_named("nano").recipe,
        weights=testbed.training_weights("nano").tolist(),
        stop_after=64,
    )
    kept = checkpoints._read("nano", cache / "testbed-nano" / "step64")
    for (name, a), (_, b) in zip(model.named_parameters(), kept.named_parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("size", ["nano", "nano@3", "recall"])
def test_worlds_that_are_trained_have_second_moments_at_every_step_but_the_first(size: str) -> None:
    assert testbed.second_moment_steps(size) == testbed.all_steps(size)[1:]


def test_of_what_ships_only_the_steps_on_disk_have_second_moments() -> None:
    shipped = testbed.second_moment_steps("mini")
    assert shipped
    assert set(shipped) < set(testbed.all_steps("mini")) - {0}
