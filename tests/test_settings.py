"""Settings refuse what they do not know, and say what was meant."""

from pathlib import Path

import pytest

from whence.errors import SettingsError
from whence.settings import (
    MOVED,
    AttributionSettings,
    IndexSettings,
    NoSettings,
    Settings,
    load_study,
    parse,
)

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
            STUDY + "[index]\nprojecton_dim = 16",
            "`index.projecton_dim`. Did you mean `pro",
        ),
        (STUDY + "[verify]\ntemprature = 1", "Did you mean `temperature`"),
        ("titel = 't'\n" + STUDY, "unknown setting `titel`"),
        (STUDY.replace('name = "m"', ""), "lacks the setting `model.name`"),
        (STUDY.replace('name = "m"', 'nam = "m"'), "`model.nam`. Did you mean `name`"),
        ("[[behavior]]\nid = 'a'", "holds behaviors, not a study"),
        (STUDY + "[attribution]\npath = 'fast'", r"attribution.path = 'fast'"),
        (STUDY + "[index]\ndisk_budget_gb = -1", "disk_budget_gb = -1"),
        (STUDY + "[index]\ndisk_budget_gb = inf", "disk_budget_gb = inf"),
        (STUDY + "[index]\nprojection_seed = 1180591620717411303424", "projection_seed = 118"),
        (STUDY + "[index]\nfsdp = true", "in `index`: the collector `whence` has no `fsdp`"),
        (STUDY + "[attribution]\ndisk_budget_gb = 1", "Set `index.disk_budget_gb` instead"),
        (STUDY + "[attribution]\nmodules = '*'", "Set `index.modules` instead"),
        (STUDY + "[verify]\nseed = 'x'", r"verify.seed = 'x'"),
        ("title = ", "not valid TOML"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_study(_study(tmp_path, text))


def test_the_folder_of_a_run_in_place_of_its_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"is a folder, not a TOML file\. Name a file in it"):
        load_study(tmp_path)
    study = _study(tmp_path, STUDY).rename(tmp_path / "study.toml")
    with pytest.raises(SettingsError) as caught:
        load_study(tmp_path)
    assert str(study) in caught.value.remedy


@pytest.mark.parametrize("key", MOVED)
def test_a_key_that_has_a_table_of_its_own_now_is_named_with_it(tmp_path: Path, key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_study(_study(tmp_path, STUDY + f"[attribution]\n{key} = 1"))
    assert f"has `{key}` in `[attribution]`" in caught.value.problem
    for place in MOVED[key]:
        assert f"`{place}`" in caught.value.remedy
        *tables, name = place.removeprefix("attribution.").split(".")
        holder = IndexSettings() if tables == ["index"] else AttributionSettings()
        for table in tables if tables != ["index"] else []:
            holder = getattr(holder, table)
        assert name in type(holder).model_fields
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "no `precision int4`"),
        ({"fsdp": True}, "no `fsdp`"),
        ({"collector": "bergson", "precision": "mixed"}, "no `precision mixed`"),
        ({"collector": "bergson", "precision": "int8", "storage": "float16"}, "`storage float16`"),
    ],
)
def test_options_of_an_index_that_do_not_go_together_are_refused(options, message) -> None:
    with pytest.raises(SettingsError, match=message):
        parse(IndexSettings, options, where="The command line")


def test_the_key_of_an_index_holds_what_determines_its_rows_alone() -> None:
    usual = IndexSettings()
    for change in ({"disk_budget_gb": 9.0}, {"token_batch_size": 64}):
        assert IndexSettings(**change).key() == usual.key()
    for change in ({"projection_dim": 4}, {"projection_seed": 1}, {"storage": "float16"}):
        assert IndexSettings(**change).key() != usual.key()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        AttributionSettings().contrast = True  # pyright: ignore[reportAttributeAccessIssue]
