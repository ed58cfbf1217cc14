"""A testbed that has to be trained is trained once; a cache that cannot be used does no harm."""

from pathlib import Path

import pytest

from whence.artifacts import exclusive, user_cache
from whence.cli import make_app
from whence.runs.opening import open_model
from whence.settings import ModelSettings
from whence.testbed import checkpoints
from whence.training import trainer
from whence.training.checkpoints import save_tensors

NANO = ModelSettings(name="testbed:nano", revision="step4")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Counts trainings, each of which keeps the untrained model under the step's name."""
    found: list[Path] = []

    def train(size: str, directory: Path, **_: object) -> None:
        inputs = checkpoints.training_inputs(size)
        if checkpoints.is_current(directory, kind="testbed-checkpoints", inputs=inputs):
            return
        with checkpoints.building(directory, kind="testbed-checkpoints", inputs=inputs) as partial:
            found.append(directory)
            (partial / "step4").mkdir()
            weights = checkpoints.initial_model(size).state_dict()
            save_tensors(weights, partial / "step4" / checkpoints.WEIGHTS, dtype="float32")

    monkeypatch.setattr(checkpoints, "train_testbed", train)
    return found


def test_it_is_trained_once(tmp_path: Path, monkeypatch, trained: list[Path]) -> None:
    monkeypatch.setenv("WHENCE_CACHE", str(tmp_path))
    first, second = open_model(NANO), open_model(NANO)
    assert first.fingerprint == second.fingerprint
    assert trained == [tmp_path / "testbed-nano"]


def test_a_cache_that_cannot_be_used_is_gone_around(
    tmp_path: Path, monkeypatch, trained: list[Path]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WHENCE_CACHE", str(tmp_path / "file"))
    assert open_model(NANO).label == "testbed:nano@step4"
    monkeypatch.setenv("WHENCE_CACHE", str(tmp_path))
    with exclusive((tmp_path / "testbed-nano").resolve()):
        assert open_model(NANO).label == "testbed:nano@step4"
    assert len(trained) == 2
    assert not (tmp_path / "testbed-nano").exists()


def test_the_cache_is_the_users_unless_one_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("WHENCE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "whence"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_cache() == tmp_path / ".cache" / "whence"


class BeganTrainingError(Exception):
    """Raised in the place of a training."""


@pytest.mark.parametrize(
    "command",
    [
        ("index", "out", "--model", "testbed:nano", "--corpus", "testbed:nano"),
        ("verify", "testbed:nano", "--model", "testbed:nano"),
        ("discover", "out", "--model", "testbed:nano", "--corpus", "testbed:nano"),
        ("find", "x", "out", "--model", "testbed:nano", "--corpus", "testbed:nano"),
        ("run", "study.toml", "--out", "out"),
    ],
    ids=lambda command: command[0],
)
def test_a_training_is_announced_where_no_terminal_is(
    tmp_path: Path, monkeypatch, capsys, command: tuple[str, ...]
) -> None:
    def train(*_: object, **_how: object) -> None:
        raise BeganTrainingError

    monkeypatch.setattr(trainer, "train", train)
    monkeypatch.setenv("WHENCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(
        'title = "t"\n[model]\nname = "testbed:nano"\n[corpus]\nsource = "testbed:nano"\n'
        '[behaviors]\nfile = "testbed:nano"\n'
    )
    with pytest.raises(BeganTrainingError):
        make_app()(
            list(command), exit_on_error=False, print_error=False, result_action="return_value"
        )
    assert "Training testbed:nano, whose weights are kept in " in capsys.readouterr().err
