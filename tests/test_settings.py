"""Settings refuse what they do not know, and say what was meant."""

from pathlib import Path

import pytest

from whence.errors import SettingsError
from whence.settings import MOVED, AttributionSettings, NoSettings, Settings, load_study

STUDY = """
title = "t"
[model]
name = "m"
[corpus]
source = "c"
[behaviors]
file = "b.toml"
"""


def _study(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def test_a_small_study_takes_every_default(tmp_path: Path) -> None:
    study = load_study(_study(tmp_path, STUDY))
    assert study.attribution == AttributionSettings()
    assert not study.force


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            STUDY + "[attribution]\nprojecton_dim = 16",
            "`attribution.projecton_dim`. Did you mean `pro",
        ),
        (STUDY + "[verify]\ntemprature = 1", "Did you mean `temperature`"),
        ("titel = 't'\n" + STUDY, "unknown setting `titel`"),
        (STUDY.replace('name = "m"', ""), "lacks the setting `model.name`"),
        (STUDY + "[attribution]\npath = 'fast'", r"attribution.path = 'fast'"),
        (STUDY + "[attribution]\ndisk_budget_gb = -1", "disk_budget_gb = -1"),
        (STUDY + "[verify]\nseed = 'x'", r"verify.seed = 'x'"),
        ("title = ", "not valid TOML"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_study(_study(tmp_path, text))


@pytest.mark.parametrize("key", MOVED)
def test_a_key_that_has_a_table_of_its_own_now_is_named_with_it(tmp_path: Path, key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_study(_study(tmp_path, STUDY + f"[attribution]\n{key} = 1"))
    assert f"has `{key}` in `[attribution]`" in caught.value.problem
    for place in MOVED[key]:
        assert f"`attribution.{place}`" in caught.value.remedy
        table, name = place.split(".")
        assert name in type(getattr(AttributionSettings(), table)).model_fields
    assert key not in AttributionSettings.model_fields


def test_every_table_is_found_by_its_class() -> None:
    settings = AttributionSettings()
    tables = {name: value for name, value in settings if isinstance(value, Settings)}
    assert "ekfac" in tables
    for value in tables.values():
        assert settings.table(type(value)) is value
    assert settings.table(NoSettings) == NoSettings()


def test_a_wrong_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="There is no file"):
        load_study(tmp_path / "nope.toml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_study(tmp_path / "study.toml")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        AttributionSettings().contrast = True  # pyright: ignore[reportAttributeAccessIssue]
