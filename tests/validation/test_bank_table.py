"""Banks that another tool made: their schema, their units, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.validation.test_measures import LATE, subject

from whence import testbed
from whence.errors import CorpusError
from whence.validation.bank_table import read_bank_table
from whence.validation.measures import retraining_measures

SCHEMA = pa.schema(
    {"dropped": pa.list_(pa.string()), "log_probs_nats": pa.map_(pa.string(), pa.float64())}
)


def write(path: Path, rows: list[dict], schema: pa.Schema | None = SCHEMA) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def masks(num: int = 30) -> list[dict]:
    """Outcomes that are the sum of what each kept document is worth; two are always together."""
    rng = np.random.default_rng(0)
    ids = list(testbed.window_ids(LATE))
    worth = {i: float(n % 7) - 3 for n, i in enumerate(testbed.corpus("nano").ids)}
    rows = []
    for _ in range(num):
        coins = rng.integers(0, 2, len(ids))
        coins[1] = coins[0]
        dropped = [i for i, coin in zip(ids, coins, strict=True) if not coin]
        outcome = -sum(worth[i] for i in dropped)
        rows.append(
            {
                "dropped": dropped,
                "log_probs_nats": [(b.id, outcome) for b in testbed.behaviors("nano")[:8]],
            }
        )
    return rows


def test_a_table_is_a_bank_whose_units_are_what_is_dropped_together(tmp_path: Path):
    rows = masks()
    bank = read_bank_table(write(tmp_path / "theirs.parquet", rows), testbed.corpus("nano"))
    ids = testbed.window_ids(LATE)
    assert sorted(len(members) for members in bank.groups.values()) == [1] * (len(ids) - 2) + [2]
    assert frozenset(ids[:2]) in bank.groups.values()
    for row, kept in zip(rows, bank.included, strict=True):
        dropped = {
            i for mine, g in zip(kept, bank.groups.values(), strict=True) if not mine for i in g
        }
        assert dropped == set(row["dropped"])
    corpus = testbed.corpus("nano")
    for (name, members), (number, tokens) in zip(bank.groups.items(), bank.counts, strict=True):
        assert name in members
        assert number == len(members)
        assert tokens == corpus.lengths[corpus.rows(sorted(members))].sum()


def test_scores_are_compared_with_a_table_as_with_a_bank_of_ours(tmp_path: Path):
    path = write(tmp_path / "theirs.parquet", masks())
    given = subject()
    found = retraining_measures(given, [path], num_masks=2, num_second=0)
    by_name = {one.name: one for one in found.measures}
    for name in ("LDS, theirs.parquet", "own-removed LDS, theirs.parquet"):
        value = by_name[name].estimate("truth", given.scores[0].query_ids).value
        assert value is not None
        assert value > 0.8
    assert [w.label for w in found.windows] == ["theirs.parquet"]
    assert found.windows[0].share is None
    # A run on any corpus has it; without truth on file, own examples are unknown.
    elsewhere = replace(given, testbed=None, truth=None, step=None)
    found = retraining_measures(elsewhere, [path], num_masks=2, num_second=0)
    by_name = {one.name: one for one in found.measures}
    assert by_name["LDS, theirs.parquet"].undefined is None
    assert "not on file" in (by_name["own-removed LDS, theirs.parquet"].undefined or "")


@pytest.mark.parametrize(
    ("change", "schema", "message"),
    [
        (lambda rows: rows[:2], SCHEMA, "has 2 retrained models"),
        (lambda rows: [r | {"dropped": []} for r in rows], SCHEMA, "drops 0 examples"),
        (
            lambda rows: [r | {"dropped": ["what"]} for r in rows],
            SCHEMA,
            "drops the example `what`",
        ),
        (
            lambda rows: [r | {"log_probs_nats": [("q", float("nan"))]} for r in rows],
            SCHEMA,
            "not finite",
        ),
        (
            lambda rows: [{"dropped": r["dropped"]} for r in rows],
            None,
            "no column `log_probs_nats`",
        ),
        (
            lambda rows: [{"dropped": "a", "log_probs_nats": 1.0} for _ in rows],
            None,
            "`dropped` of",
        ),
    ],
)
def test_what_is_no_such_table_is_refused(change, schema, message: str, tmp_path: Path):
    path = write(tmp_path / "theirs.parquet", change(masks(4)), schema)
    with pytest.raises(CorpusError, match=message):
        read_bank_table(path, testbed.corpus("nano"))


def test_another_file_is_no_table(tmp_path: Path):
    (tmp_path / "theirs.parquet").write_text("mask,outcome")
    with pytest.raises(CorpusError, match="no Parquet file"):
        read_bank_table(tmp_path / "theirs.parquet", testbed.corpus("nano"))
