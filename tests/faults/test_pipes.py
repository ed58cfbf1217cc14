"""A pipe that nobody writes to is refused, not waited for."""

import os
from pathlib import Path

import pytest

from whence.artifacts import check_generated
from whence.errors import ArtifactError, SettingsError
from whence.settings import load_study, read_toml


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


def test_a_name_with_a_zero_byte_was_said_to_be_no_toml(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="There is no file"):
        load_study(tmp_path / "study\0.toml")


@pytest.mark.timeout(20)
def test_a_file_of_a_gigabyte_was_read_as_settings(tmp_path: Path) -> None:
    with (tmp_path / "study.toml").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(SettingsError, match="has 1,073,741,824 bytes"):
        load_study(tmp_path / "study.toml")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", ["a", '"a b"', "'a'"])
@pytest.mark.parametrize("line", ["{} = 1", "[{}]", "[[{}]]", "x = {{ {} = 1 }}"])
def test_a_key_of_many_parts_took_all_memory(tmp_path: Path, part: str, line: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(line.format(" . ".join([part] * 3000)))
    with pytest.raises(SettingsError, match="a key of more than 100 parts"):
        load_study(path)


@pytest.mark.timeout(20)
def test_a_text_with_many_dots_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    for text in ("a." * 100_000, "a . " * 1000, "a" * 100_000):
        path.write_text(f'title = "{text}"')
        assert read_toml(path) == {"title": text}
