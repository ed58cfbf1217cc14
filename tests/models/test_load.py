"""A model is loaded exactly, or refused with one sentence; nothing is ever unpickled."""

import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.conftest import make_model, make_tokenizer

from whence.errors import ModelError
from whence.models import load_initial, load_model, model_fingerprint
from whence.settings import ModelSettings

Checkpoint = Callable[..., Path]


def settings(folder: Path | str, **changes: Any) -> ModelSettings:
    return ModelSettings(name=str(folder), **changes)


def test_loads_what_was_saved(checkpoint: Checkpoint) -> None:
    loaded = load_model(settings(checkpoint(seed=3)))
    expected = make_model(seed=3).state_dict()
    for name, weight in loaded.model.state_dict().items():
        assert torch.equal(weight, expected[name]), name
    assert not loaded.model.training
    assert loaded.context_length == 32
    assert loaded.tokenizer("one two").input_ids == [1, 2]


def test_a_local_revision_is_a_folder_in_the_folder(checkpoint: Checkpoint) -> None:
    folder = checkpoint("runs/step4", seed=4)
    loaded = load_model(settings(folder.parent, revision="step4"))
    assert loaded.name == f"{folder.parent}@step4"
    assert loaded.fingerprint == load_model(settings(folder)).fingerprint
    with pytest.raises(ModelError, match="no folder 'step9'"):
        load_model(settings(folder.parent, revision="step9"))


def test_fingerprint_follows_weights_config_and_dtype_only(checkpoint: Checkpoint) -> None:
    one, same = checkpoint("one"), checkpoint("same")
    first = load_model(settings(one)).fingerprint
    assert load_model(settings(same)).fingerprint == first
    assert load_model(settings(checkpoint("seed", seed=1))).fingerprint != first
    assert load_model(settings(one, dtype="bfloat16")).fingerprint != first
    assert load_model(settings(checkpoint("rotary", rope_parameters={
        "rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.25,
    }))).fingerprint != first  # fmt: skip
    model = make_model()
    before = model_fingerprint(model)
    with torch.no_grad():
        model.get_input_embeddings().weight[0, 0] += 1e-6
    assert model_fingerprint(model) != before


def test_dtype_is_what_was_asked(checkpoint: Checkpoint) -> None:
    loaded = load_model(settings(checkpoint(), dtype="bfloat16"))
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.bfloat16}


def test_initial_may_be_drawn_anew(checkpoint: Checkpoint) -> None:
    place = settings(checkpoint(seed=9), initial="random")
    trained, drawn, again = load_model(place), load_initial(place), load_initial(place)
    assert drawn is not None
    assert again is not None
    assert drawn.fingerprint == again.fingerprint != trained.fingerprint
    assert drawn.name == f"{trained.name} (random weights)"
    shapes = [{k: v.shape for k, v in m.model.state_dict().items()} for m in (trained, drawn)]
    assert shapes[0] == shapes[1]


def test_initial_is_a_folder_or_a_revision(checkpoint: Checkpoint) -> None:
    start, end = checkpoint("run/step0", seed=0), checkpoint("run/step9", seed=9)
    assert load_initial(settings(end)) is None
    at_start = load_model(settings(start)).fingerprint
    by_folder = load_initial(settings(end, initial=str(start)))
    by_revision = load_initial(settings(end.parent, revision="step9", initial="step0"))
    assert by_folder is not None
    assert by_revision is not None
    assert by_folder.fingerprint == by_revision.fingerprint == at_start


def test_loading_leaves_the_hosts_logging_alone(
    checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    import transformers
    from transformers.utils import logging as bars

    logger = logging.getLogger("transformers")
    before = (logger.level, bars.is_progress_bar_enabled(), logging.getLogger().level)
    load_model(settings(checkpoint()))
    assert (logger.level, bars.is_progress_bar_enabled(), logging.getLogger().level) == before
    assert transformers.logging.get_verbosity() == logger.getEffectiveLevel()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["/no/such/folder", "no such", "./nothing", "a/b/c"])
def test_refuses_a_name_that_is_nothing(name: str) -> None:
    with pytest.raises(ModelError, match="neither a folder nor") as caught:
        load_model(settings(name))
    assert name in caught.value.problem


def test_refuses_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        load_model(settings(tmp_path))


def test_refuses_truncated_weights(checkpoint: Checkpoint) -> None:
    weights = checkpoint() / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be read") as caught:
        load_model(settings(weights.parent))
    assert "\n" not in str(caught.value)


def test_refuses_missing_weights(checkpoint: Checkpoint) -> None:
    folder = checkpoint()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        load_model(settings(folder))


def test_refuses_a_checkpoint_that_lacks_a_tensor(checkpoint: Checkpoint) -> None:
    from safetensors.torch import load_file, save_file

    weights = checkpoint() / "model.safetensors"
    tensors = load_file(weights)
    del tensors["gpt_neox.layers.0.mlp.dense_h_to_4h.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of the weights .*dense_h_to_4h"):
        load_model(settings(weights.parent))


def test_refuses_a_model_that_sees_the_future(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=8,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="BertForMaskedLM, not a causal language model"):
        load_model(settings(tmp_path))


class _Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["WHENCE_TEST_TRACE"],)


def test_never_unpickles(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "ran"
    monkeypatch.setenv("WHENCE_TEST_TRACE", str(trace))
    folder = checkpoint()
    (folder / "model.safetensors").unlink()
    torch.save({"gpt_neox.embed_in.weight": _Malicious()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="unpickling a file can run any code"):
        load_model(settings(folder))
    assert not trace.exists()
    # The trap is real: plain unpickling springs it.
    pickle.loads(pickle.dumps(_Malicious()))
    assert trace.exists()


def test_reads_a_pytorch_file_of_plain_tensors(checkpoint: Checkpoint) -> None:
    folder = checkpoint(seed=5)
    (folder / "model.safetensors").unlink()
    torch.save(make_model(seed=5).state_dict(), folder / "pytorch_model.bin")
    assert load_model(settings(folder)).fingerprint == model_fingerprint(make_model(seed=5))


def test_runs_no_code_that_comes_with_a_model(checkpoint: Checkpoint, tmp_path: Path) -> None:
    import json

    folder = checkpoint()
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "home_made",
        "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError):
        load_model(settings(folder))
    assert not (tmp_path / "ran").exists()


def test_refuses_a_device_that_is_not_there(checkpoint: Checkpoint) -> None:
    with pytest.raises(ModelError, match="no device 'abacus'"):
        load_model(settings(checkpoint(), device="abacus"))


def test_refuses_a_model_without_tokenizer(checkpoint: Checkpoint) -> None:
    folder = checkpoint(tokenizer=None)
    with pytest.raises(ModelError, match="without a tokenizer"):
        load_model(settings(folder))


def test_takes_another_tokenizer_where_there_is_none(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    loaded = load_model(settings(checkpoint(tokenizer=None), tokenizer=str(tmp_path / "tokenizer")))
    assert loaded.tokenizer("three").input_ids == [3]


def test_refuses_a_tokenizer_with_another_vocabulary(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    make_tokenizer(("two", "one", "three")).save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(ModelError, match="another vocabulary"):
        load_model(settings(checkpoint(), tokenizer=str(tmp_path / "tokenizer")))
    make_tokenizer().save_pretrained(tmp_path / "same")
    load_model(settings(checkpoint(), tokenizer=str(tmp_path / "same")))


def test_refuses_a_tokenizer_with_more_ids_than_embeddings(checkpoint: Checkpoint) -> None:
    large = make_tokenizer(tuple("abcdefgh"))
    assert len(large) == 9
    folder = checkpoint(tokenizer=large)
    with pytest.raises(ModelError, match=r"ids up to 8, .* embeddings for 8 ids"):
        load_model(settings(folder))


def test_loads_models_that_others_made(data: Path) -> None:
    stories = load_model(settings(data / "stories260k"))
    assert stories.context_length == 512
    end = load_model(settings(data / "pile-mini" / "checkpoints", revision="step2530"))
    assert end.context_length == 256
    with pytest.raises(ModelError, match="another vocabulary"):
        load_model(settings(data / "stories260k", tokenizer=str(data / "pythia-tokenizer")))
