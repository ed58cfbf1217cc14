"""The reference of a page's data is that of the code, and a page's data are as it says.

After a change of the records, write it again:

    python -c "from tests.docs.test_page_data import write; write()"
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from tests.report.conftest import hostile_record, plausible
from tests.report.test_data import LEADERBOARD

from whence.report.data import page_data, page_record
from whence.report.encode import strict
from whence.report.reference import page_reference
from whence.report.run_record import RunRecord
from whence.report.schema import Page
from whence.report.sections import section_kinds

REFERENCE = Path(__file__).parents[2] / "docs" / "page-data.md"


def write() -> None:
    REFERENCE.write_text(page_reference(), encoding="utf-8")


def test_the_reference_is_generated_from_the_records() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == page_reference()


def test_every_record_says_what_it_is() -> None:
    """A dataclass without a docstring gets its signature for one."""
    text = page_reference()
    records = re.findall(r"^#{2,3} (\w+)\n\n(.*)$", text, flags=re.MULTILINE)
    assert len(records) > 20
    for name, meaning in records:
        assert not meaning.startswith(f"{name}("), name
    assert all(f"### `{name}`\n" in text for name in section_kinds())


def _validated() -> RunRecord:
    return replace(plausible(), validation=LEADERBOARD)


@pytest.mark.parametrize("make", [_validated, hostile_record, lambda: plausible(methods=())])
def test_data_have_the_declared_types(make) -> None:
    record = make()
    found, data = page_record(record), page_data(record)
    kinds = section_kinds()
    assert [s.name for s in found.sections] == [
        n for n in kinds if n in {s.name for s in found.sections}
    ]
    again = TypeAdapter(Page).validate_python(data)
    for section in again.sections:
        read = TypeAdapter(kinds[section.name].schema).validate_python(section.data)
        assert strict(read) == section.data, section.name
    assert strict(again) == data
