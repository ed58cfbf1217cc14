"""What the page about methods says is so."""

import re
from pathlib import Path

from whence.methods import METHODS
from whence.methods.listing import markdown_table
from whence.settings import AttributionSettings, Settings, TrackstarSettings

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")


def test_the_table_is_the_one_that_the_registry_prints() -> None:
    table = PAGE.split("<!-- methods -->\n")[1].split("\n<!-- /methods -->")[0]
    assert table == markdown_table(), "write what `whence methods --markdown` prints"
    assert [row.split("`")[1] for row in table.splitlines()[2:]] == list(METHODS)


def test_every_setting_that_is_named_exists() -> None:
    settings = AttributionSettings()
    tables = {name: value for name, value in settings if isinstance(value, Settings)}
    named = re.findall(r"`(\w+)\.(\w+)(?: = [^`]*)?`", PAGE)
    named += re.findall(r"`\[attribution\.(\w+)\] (\w+)", PAGE)
    named = [(table, name) for table, name in named if table not in ("model", "attribution")]
    assert len(set(named)) >= 10
    for table, name in named:
        assert name in type(tables[table]).model_fields, (table, name)
    for name in ("reference_behaviors", "checkpoint_local"):
        assert f"`{name}" in PAGE
        assert name in AttributionSettings.model_fields


def test_the_ladder_is_made_of_settings() -> None:
    rows = re.findall(r"^\| (?:Exp \d|TrackStar) \| (.*) \|$", PAGE, flags=re.MULTILINE)
    assert len(rows) == 6
    for row in rows:
        correction, whiten, unit_norm, mixing = re.findall(r"`(\w+)`", row)
        TrackstarSettings(
            correction=correction,  # pyright: ignore[reportArgumentType]
            whiten=whiten == "true",
            unit_norm=unit_norm == "true",
            mixing=mixing,  # pyright: ignore[reportArgumentType]
        )
