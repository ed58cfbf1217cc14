"""What is exported can be opened by whoever it is for, and is what the run lists."""

import csv
import io
import json
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, ConfigDict, FiniteFloat, StringConstraints

import whence
from whence.cli import make_app
from whence.errors import ArtifactError, SettingsError
from whence.runs.exporting import COLUMNS, export, export_table
from whence.runs.record import load_run
from whence.runs.study import run_study
from whence.settings import StudySettings, load_study

Text = Annotated[str, StringConstraints(strict=True)]


class PairRecord(BaseModel):
    """A line of PAIR's pretraining-tda, by the fields that its README lists.

    The files have further fields; the viewer shows those that it knows.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    example_id: Text
    query_set: Text
    inputs_plaintext: Text
    targets_plaintext: Text
    proponents: list[Text]
    proponent_ids: list[Text]
    proponent_scores: list[FiniteFloat]
    opponents: list[Text]
    opponent_ids: list[Text]
    opponent_scores: list[FiniteFloat]


@pytest.fixture(scope="module")
def run(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("exporting") / "run"
    study = load_study(tiny_files / "study.toml").model_dump() | {
        "attribution": {"methods": ("gradient_cosine", "bm25")},
        "evidence": {"num_null": 0},
    }
    run_study(StudySettings.model_validate(study), place, base=tiny_files)
    return place


def command(*arguments: str) -> None:
    make_app()(
        ["export", *arguments],
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )


@pytest.mark.parametrize("method", ["gradient_cosine", "bm25"])
def test_json_lines_open_by_pairs_schema(run: Path, method: str) -> None:
    # The viewer splits at line feeds and parses each line.
    lines = [line for line in export(run, method=method).split("\n") if line]
    records = [PairRecord.model_validate(json.loads(line)) for line in lines]
    assert [one.example_id for one in records] == ["fact/france", "memorized/herons"]
    for one in records:
        for side in ("proponent", "opponent"):
            sizes = {
                len(getattr(one, name)) for name in (f"{side}s", f"{side}_ids", f"{side}_scores")
            }
            assert len(sizes) == 1
        scores = one.proponent_scores
        assert scores == sorted(scores, reverse=True)
        assert scores
        assert one.targets_plaintext


def test_a_text_that_is_not_known_is_a_string_for_the_viewer(run: Path, monkeypatch) -> None:
    from whence.runs import exporting

    whole = exporting.hits

    def without_texts(*arguments):
        found = whole(*arguments)
        return found._replace(proponents=tuple(h._replace(text=None) for h in found.proponents))

    monkeypatch.setattr(exporting, "hits", without_texts)
    first = json.loads(export(run, method="bm25").split("\n")[0])
    assert set(PairRecord.model_validate(first).proponents) == {""}
    assert export_table(run, method="bm25").column("text")[0].as_py() is None


def test_the_table_is_what_the_run_lists(run: Path) -> None:
    table = export_table(run, k=3)
    assert {n: str(t) for n, t in zip(table.schema.names, table.schema.types, strict=True)} == {
        name: {"float64": "double"}.get(kind, kind) for name, kind in COLUMNS.items()
    }
    rows = table.to_pylist()
    record = load_run(run)
    for scores in record.scores:
        for number, name in enumerate(scores.query_ids):
            found = whence.hits(scores, number, record.corpus, 3)
            for side in ("proponents", "opponents"):
                mine = [
                    (r["place"], r["rank"], r["score"], r["example"], r["text"])
                    for r in rows
                    if (r["method"], r["behavior"], r["side"]) == (scores.method, name, side)
                ]
                assert mine == [
                    (place, hit.rank, hit.score, hit.id, hit.text)
                    for place, hit in enumerate(getattr(found, side), start=1)
                ]
    assert {r["relation"] for r in rows if r["method"] == "bm25"} - {None}


def test_csv_and_parquet_hold_the_same_rows(run: Path, tmp_path: Path, capsys) -> None:
    command(
        str(run), "--format", "parquet", "--method", "all", "--out", str(tmp_path / "t.parquet")
    )
    assert "rows" in capsys.readouterr().out
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.equals(export_table(run))
    command(str(run), "--format", "csv", "--method", "all", "--out", str(tmp_path / "t.csv"))
    text = (tmp_path / "t.csv").read_text(encoding="utf-8")
    read = list(csv.DictReader(io.StringIO(text)))
    assert list(read[0]) == list(COLUMNS)
    for mine, theirs in zip(read, table.to_pylist(), strict=True):
        assert mine == {k: "" if v is None else str(v) for k, v in theirs.items()}
    assert text == export(run, method="all", form="csv")


def test_one_method_and_one_behavior_can_be_chosen(run: Path) -> None:
    rows = export_table(run, method="bm25", behavior_id="fact/france", k=2).to_pylist()
    assert {(r["method"], r["behavior"]) for r in rows} == {("bm25", "fact/france")}
    only = export_table(run, relations=("states",), k=20).column("relation").to_pylist()
    assert set(only) <= {"states"}


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (("--format", "parquet"), SettingsError, "Parquet is no text"),
        (("--format", "csv", "--out", "USED"), ArtifactError, "exists"),
        (("--format", "parquet", "--out", "USED"), ArtifactError, "exists"),
        (("--format", "csv", "--method", "nope"), SettingsError, "no scores by `nope`"),
        (("--method", "all"), SettingsError, "no scores by `all`"),
        (("--format", "csv", "--behavior", "x"), SettingsError, "scored no behavior `x`"),
        (("--format", "csv", "--method", "all", "--behavior", "x"), SettingsError, "behavior `x`"),
        (("--format", "csv", "--top-k", "0"), SettingsError, "0 is no number"),
    ],
)
def test_what_cannot_be_exported_is_a_sentence(
    run: Path, tmp_path: Path, arguments: tuple[str, ...], kind: type, said: str
) -> None:
    used = tmp_path / "used"
    used.touch()
    with pytest.raises(kind, match=said):
        command(str(run), *(str(used) if a == "USED" else a for a in arguments))
    assert used.read_bytes() == b""
