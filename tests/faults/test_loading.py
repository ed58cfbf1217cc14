"""A model whose configuration does not fit its weights is refused in one sentence."""

import json
import warnings
from pathlib import Path

import pytest

from whence.errors import ModelError
from whence.models import load_model
from whence.models.optimizer_files import load_second_moments
from whence.settings import ModelSettings


def edit(folder: Path, **values: object) -> ModelSettings:
    path = folder / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return ModelSettings(name=str(folder / "model"))


def test_a_billion_layers_were_made_before_anything_was_refused(tiny: Path) -> None:
    with pytest.raises(ModelError, match=r"asks for 1,000,000,000 layers, and there are \d+ wei"):
        load_model(edit(tiny, num_hidden_layers=10**9))


def test_weights_of_other_shapes_were_a_remark_about_an_unknown_option(tiny: Path) -> None:
    with pytest.raises(ModelError, match=r"holds \d+ weights of other shapes than its config"):
        load_model(edit(tiny, intermediate_size=65))


def test_sizes_of_zero_gave_a_warning_beside_the_sentence(tiny: Path) -> None:
    with warnings.catch_warnings(), pytest.raises(ModelError, match="of other shapes"):
        warnings.simplefilter("error")
        load_model(edit(tiny, intermediate_size=0))


@pytest.mark.parametrize("content", [b"", b"\x80\x02"])
def test_an_empty_file_was_said_to_be_able_to_run_code(tiny: Path, content: bytes) -> None:
    (tiny / "optimizer.pt").write_bytes(content)
    with pytest.raises(ModelError, match="is empty or cut short"):
        load_second_moments(tiny / "optimizer.pt", load_model(edit(tiny)))
    (tiny / "model" / "model.safetensors").unlink()
    (tiny / "model" / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ModelError, match="are empty or cut short"):
        load_model(edit(tiny))
