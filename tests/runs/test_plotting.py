"""A run's pictures are written as files, and what it lacks is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.report.conftest import plausible, with_evidence

from whence.errors import SettingsError
from whence.records import RunRecord
from whence.runs import plotting


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Path:
    record: RunRecord = replace(with_evidence(plausible(per_kind=1, num_examples=40)))
    monkeypatch.setattr(plotting, "open_run", lambda place: place)
    monkeypatch.setattr(plotting, "load_run", lambda run: record)
    return Path("run")


def test_a_picture_is_written_as_svg(run: Path, tmp_path: Path) -> None:
    assert "agreement" in plotting.list_plots(run)
    path = plotting.write_plot(run, "agreement", tmp_path / "a.svg")
    assert path.read_text(encoding="utf-8").splitlines()[1].startswith("<svg ")


def test_an_unknown_picture_and_another_kind_of_file_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no picture called 'nothing'") as caught:
        plotting.write_plot(run, "nothing", tmp_path / "a.svg")
    assert "agreement" in str(caught.value)
    with pytest.raises(SettingsError, match="as SVG"):
        plotting.write_plot(run, "agreement", tmp_path / "a.png")
    with pytest.raises(SettingsError, match="as SVG") as caught:
        plotting.write_plot(run, "agreement", Path())
    assert "agreement.svg" in str(caught.value)
    assert not list(tmp_path.iterdir())
