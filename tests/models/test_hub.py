"""Models come from the Hub by id and revision, and every way to fail is one sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.hub_server import LoopbackHub
from tests.models.conftest import make_model, make_tokenizer

from whence.errors import ModelError
from whence.models import load_initial, load_model
from whence.settings import ModelSettings

Checkpoint = Callable[..., Path]


def embedding(model: Any) -> torch.Tensor:
    return model.get_input_embeddings().weight


def test_loads_by_id_and_revision(hub: LoopbackHub, checkpoint: Checkpoint) -> None:
    for step in (0, 7):
        folder = checkpoint(f"step{step}", seed=step)
        hub.add_folder("models", "lab/neox", folder, revision=f"step{step}")
    settings = ModelSettings(name="lab/neox", revision="step7", initial="step0")
    end, start = load_model(settings), load_initial(settings)
    assert start is not None
    assert end.name == "lab/neox@step7"
    assert torch.equal(embedding(end.model), embedding(make_model(seed=7)))
    local = load_model(ModelSettings(name=str(checkpoint("again", seed=0))))
    assert start.fingerprint == local.fingerprint
    assert len(hub.downloads("model.safetensors")) == 2


def test_a_second_load_fetches_nothing_and_works_offline(
    hub: LoopbackHub, checkpoint: Checkpoint
) -> None:
    hub.add_folder("models", "lab/cached", checkpoint())
    first = load_model(ModelSettings(name="lab/cached"))
    hub.asked.clear()
    assert load_model(ModelSettings(name="lab/cached")).fingerprint == first.fingerprint
    assert hub.downloads() == []
    hub.stop()
    assert load_model(ModelSettings(name="lab/cached")).fingerprint == first.fingerprint


def test_fetches_weights_once_and_nothing_else(hub: LoopbackHub, checkpoint: Checkpoint) -> None:
    folder = checkpoint()
    files: dict[str, bytes | Path] = {file.name: file for file in folder.iterdir()}
    extra = {"optimizer.pt": b"0", "pytorch_model.bin": b"0", "modeling.py": b"raise SystemExit"}
    hub.add(
        "models",
        "lab/extra",
        files | extra | {"onnx/model.safetensors": b"0", "tokenizer/vocab.json": b"0"},
    )
    load_model(ModelSettings(name="lab/extra"))
    fetched = {Path(asked.path).name for asked in hub.downloads()}
    assert fetched == {file.name for file in folder.iterdir()}


def test_falls_back_to_plain_pytorch_tensors(hub: LoopbackHub, checkpoint: Checkpoint) -> None:
    folder = checkpoint(seed=2)
    (folder / "model.safetensors").unlink()
    torch.save(make_model(seed=2).state_dict(), folder / "pytorch_model.bin")
    hub.add_folder("models", "lab/old", folder)
    loaded = load_model(ModelSettings(name="lab/old"))
    assert torch.equal(embedding(loaded.model), embedding(make_model(seed=2)))


def test_a_tokenizer_by_id(hub: LoopbackHub, checkpoint: Checkpoint, tmp_path: Path) -> None:
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    hub.add_folder("models", "lab/tokenizer", tmp_path / "tokenizer")
    loaded = load_model(
        ModelSettings(name=str(checkpoint(tokenizer=None)), tokenizer="lab/tokenizer")
    )
    assert loaded.tokenizer("two").input_ids == [2]


def test_says_that_there_is_no_such_model(hub: LoopbackHub) -> None:
    with pytest.raises(ModelError, match="There is no model 'lab/nothing' on the Hub"):
        load_model(ModelSettings(name="lab/nothing"))


def test_says_that_there_is_no_such_revision(hub: LoopbackHub, checkpoint: Checkpoint) -> None:
    hub.add_folder("models", "lab/one", checkpoint())
    with pytest.raises(ModelError, match="'lab/one' has no revision 'step5'"):
        load_model(ModelSettings(name="lab/one", revision="step5"))


def test_says_that_permission_is_missing(hub: LoopbackHub, checkpoint: Checkpoint) -> None:
    hub.add_folder("models", "lab/gated", checkpoint())
    hub.gated.add("lab/gated")
    with pytest.raises(ModelError, match=r"no permission.*HF_TOKEN"):
        load_model(ModelSettings(name="lab/gated"))


def test_says_that_the_hub_cannot_be_reached(hub: LoopbackHub) -> None:
    hub.stop()
    with pytest.raises(ModelError, match="cannot be reached") as caught:
        load_model(ModelSettings(name="lab/far"))
    assert hub.url in caught.value.problem
    assert "\n" not in str(caught.value)
