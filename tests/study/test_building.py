"""Options of an index that do not go together are refused before anything is loaded."""

from pathlib import Path
from typing import Any

import pytest

from whence.errors import SettingsError
from whence.settings import AttributionSettings
from whence.study.index import Building, index_corpus


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (Building(precision="int4"), "no `precision int4`"),
        (Building(fsdp=True), "no `fsdp`"),
        (Building("bergson", "mixed"), "no `precision mixed`"),
        (Building("bergson", "int8", shard=(0, 2)), "no `shard`"),
        (Building("bergson", "int8", "float16"), "no `storage float16`"),
    ],
)
def test_what_does_not_go_together_is_refused(how: Building, message: str) -> None:
    nothing: Any = None
    with pytest.raises(SettingsError, match=message):
        index_corpus(Path("never"), nothing, nothing, AttributionSettings(), building=how)
