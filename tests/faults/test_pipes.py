"""A pipe that nobody writes to is refused, not waited for."""

import os
from pathlib import Path

import pytest

from whence.artifacts import check_generated
from whence.errors import ArtifactError, SettingsError
from whence.settings import load_study


@pytest.mark.timeout(20)
def test_a_study_that_is_a_pipe_was_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "study.toml")
    with pytest.raises(SettingsError, match="is a pipe, which might never end"):
        load_study(tmp_path / "study.toml")


@pytest.mark.timeout(20)
def test_a_pipe_in_the_place_of_a_file_that_would_be_written_was_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "found.toml")
    with pytest.raises(ArtifactError, match="is no regular file"):
        check_generated(tmp_path / "found.toml")
