"""A run's pictures are written as files, and what it lacks is refused."""

import io
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.report.conftest import plausible, with_evidence

from whence.errors import ArtifactError, SettingsError
from whence.report.run_record import RunRecord
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
    with pytest.raises(SettingsError, match="as SVG or PNG"):
        plotting.write_plot(run, "agreement", tmp_path / "a.pdf")
    assert not list(tmp_path.iterdir())


def test_pixels_are_in_color_and_twice_the_size(run: Path, tmp_path: Path) -> None:
    svg = plotting.write_plot(run, "agreement", tmp_path / "a.svg").read_text(encoding="utf-8")
    data = plotting.write_plot(run, "agreement", tmp_path / "a.PNG").read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.array(image.convert("RGB")).astype(int)
    size = [2 * float(n) for n in re.findall(r' (?:height|width)="(.*?)"', svg)[1::-1]]
    assert pixels.shape[:2] == pytest.approx(size, abs=2)
    # The accent of the dots, in no pixel of a picture whose colors were not understood.
    assert (np.abs(pixels - [0x0A, 0x5C, 0x63]).sum(axis=-1) < 9).sum() > 100


def test_an_image_of_somebody_else_is_not_replaced_and_one_of_ours_is(
    run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path)
    with pytest.raises(ArtifactError, match="not written by whence"):
        plotting.write_plot(run, "agreement", path)
    path.unlink()
    plotting.write_plot(run, "agreement", path)
    with Image.open(plotting.write_plot(run, "agreement", path)) as image:
        assert image.info["Software"] == "whence"


def test_pixels_without_the_package_are_refused_in_one_sentence(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(SettingsError, match=r"whence\[png\]"):
        plotting.write_plot(run, "agreement", tmp_path / "a.png")
    with pytest.raises(SettingsError, match="as SVG") as caught:
        plotting.write_plot(run, "agreement", Path())
    assert "agreement.svg" in str(caught.value)
    assert not list(tmp_path.iterdir())
