"""The table of relations in the docs is that of the code.

After a change, write it again:

    python -c "from tests.docs.test_evidence import write; write()"
"""

import re
from pathlib import Path

from whence.evidence.relations import RELATIONS

PAGE = Path(__file__).parents[2] / "docs" / "evidence.md"
_PART = re.compile(r"(<!-- relations -->\n).*(<!-- /relations -->)", re.DOTALL)


def table() -> str:
    lines = ["| relation | shown as | kind | when it holds |", "| --- | --- | --- | --- |"]
    lines += [f"| `{k.relation}` | {k.label} | {k.tier} | {k.rule} |" for k in RELATIONS.values()]
    return "\n".join(lines)


def written() -> str:
    return _PART.sub(rf"\1\n{table()}\n\n\2", PAGE.read_text(encoding="utf-8"))


def write() -> None:
    PAGE.write_text(written(), encoding="utf-8")


def test_the_table_of_relations_is_that_of_the_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == written()
    assert table() in PAGE.read_text(encoding="utf-8")
