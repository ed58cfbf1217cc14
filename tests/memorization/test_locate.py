"""A row's step, its checkpoints and its text are those of the layout of Pythia's data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.hub_server import LoopbackHub
from tests.memorization.pythia_standin import (
    ROW_TOKENS,
    WINDOW,
    StandIn,
    write_standin,
    write_tokenizer,
)

from whence.api import locate
from whence.cli.locate import locate as command
from whence.errors import CorpusError, SettingsError
from whence.memorization.pythia_rows import (
    CHECKPOINTS,
    NUM_ROWS,
    has_seen,
    locate_row,
    rows_of_step,
)


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return write_standin(tmp_path_factory.mktemp("standin"))


@pytest.mark.parametrize("row", [0, 1, 1023, 1024, 2047, 2048, 1_023_999, 1_024_000, NUM_ROWS - 1])
def test_a_checkpoint_has_seen_the_rows_of_its_steps(row: int) -> None:
    found = locate_row(row)
    (step,) = (s for s in range(row // 1024 - 2, row // 1024 + 4) if row in rows_of_step(s))
    assert found.step == step
    assert rows_of_step(step)[found.place_in_batch] == row
    seen = [checkpoint for checkpoint in CHECKPOINTS if checkpoint >= step]
    assert seen == [checkpoint for checkpoint in CHECKPOINTS if has_seen(checkpoint, row)]
    assert (found.first_seen, found.num_seen) == (seen[0], len(seen))
    assert found.last_unseen == max(c for c in CHECKPOINTS if c < step)
    assert found.first_byte == row * 4098


def test_pythia_has_154_checkpoints() -> None:
    assert len(CHECKPOINTS) == len(set(CHECKPOINTS)) == 154
    assert CHECKPOINTS[:12] == (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


@pytest.mark.parametrize("row", [-1, NUM_ROWS])
def test_a_row_beyond_training_is_refused(row: int) -> None:
    with pytest.raises(SettingsError, match="has no row"):
        locate_row(row)


def test_the_standard_data_is_read_less_than_once() -> None:
    assert locate_row(5).other_pass is None


def test_the_deduplicated_data_may_be_read_again_and_nothing_says_where_exactly() -> None:
    early, late = locate_row(5, is_deduplicated=True), locate_row(46_000_000, is_deduplicated=True)
    assert early.other_pass is not None
    assert early.other_pass.is_second
    assert abs(early.other_pass.row - 101_100_000) < early.other_pass.row_error < 300_000
    assert 98_000 < early.other_pass.step < 99_500
    assert early.other_pass.has_same_tokens is None
    assert late.other_pass is None
    second = locate_row(120_000_000, is_deduplicated=True).other_pass
    assert second is not None
    assert not second.is_second
    first = locate_row(second.row, is_deduplicated=True).other_pass
    assert first is not None
    assert first.row == 120_000_000
    exact = locate_row(7, is_deduplicated=True, first_pass_rows=1000).other_pass
    assert exact is not None
    assert (exact.row, exact.step, exact.row_error) == (1007, 1, 0)


def test_the_published_tokens_stand_at_the_start_of_their_row(standin: StandIn) -> None:
    for number, row in enumerate(standin.memorized):
        found = locate(
            row, sequences=str(standin.sequences), split="deduped.70m", corpus=str(standin.map)
        )
        assert found.is_confirmed
        assert found.row is not None
        assert found.row.tokens == tuple(standin.rows[row].tolist())
        assert found.sequence == tuple(standin.contents[number].tolist())
        assert found.position.step == row // 1024 + 1
    with pytest.raises(CorpusError, match=r"None of the 6 sequences of .* has the index 5"):
        locate(5, sequences=str(standin.sequences))


def test_tokens_that_do_not_stand_there_are_not_confirmed(standin: StandIn, tmp_path: Path) -> None:
    other = write_standin(tmp_path / "other", num_rows=2600, seed=1)
    row = standin.memorized[0]
    found = locate(row, sequences=str(standin.sequences), corpus=str(other.map))
    assert found.is_confirmed is False
    assert found.row is not None
    assert found.row.offset is None
    shifted = standin.rows.copy()
    shifted[row, 3:67], shifted[row, :3] = standin.rows[row, :64], 7
    (tmp_path / "shifted.bin").write_bytes(shifted.tobytes())
    moved = locate(row, sequences=str(standin.sequences), corpus=str(tmp_path / "shifted.bin"))
    assert moved.is_confirmed is False
    assert moved.row is not None
    assert moved.row.offset == 3


def test_documents_lie_between_ends_of_text(standin: StandIn) -> None:
    for row in range(100, 140):
        found = locate(row, corpus=str(standin.map)).row
        assert found is not None
        joined = [standin.rows[row][piece.start : piece.end].tolist() for piece in found.pieces]
        text = "".join(chr(token) for token in standin.rows[row])
        assert joined == [[ord(c) for c in part] for part in text.split(chr(0)) if part]
        assert [piece.is_cut_before for piece in found.pieces].count(True) == 1
        assert found.has_ends == (0 in standin.rows[row])


def test_the_document_of_the_sequence_is_named(standin: StandIn) -> None:
    row = next(row for row in standin.memorized if 0 in standin.rows[row])
    found = locate(row, sequences=str(standin.sequences), corpus=str(standin.map)).row
    assert found is not None
    assert [piece.holds_sequence for piece in found.pieces] == [
        piece.start < WINDOW for piece in found.pieces
    ]


def test_a_row_of_the_other_pass_is_compared_where_it_is_known(standin: StandIn) -> None:
    length = standin.first_pass_rows
    right = locate(
        3, corpus=str(standin.map), is_deduplicated=True, first_pass_rows=length
    ).position.other_pass
    wrong = locate(
        3, corpus=str(standin.map), is_deduplicated=True, first_pass_rows=length + 1
    ).position.other_pass
    unknown = locate(3, corpus=str(standin.map), is_deduplicated=True).position.other_pass
    assert right is not None
    assert wrong is not None
    assert unknown is not None
    assert (right.has_same_tokens, wrong.has_same_tokens) == (True, False)
    assert unknown.has_same_tokens is None
    with pytest.raises(SettingsError, match="deduplicated data only"):
        locate(3, first_pass_rows=length)


def test_of_a_map_on_the_hub_only_the_row_is_fetched(hub: LoopbackHub, standin: StandIn) -> None:
    files: dict[str, bytes | Path] = {file.name: file for file in standin.map.glob("*.bin")}
    hub.add("datasets", "lab/preshuffled", files)
    row = standin.memorized[2]
    found = locate(row, corpus="lab/preshuffled").row
    assert found is not None
    assert found.tokens == tuple(standin.rows[row].tolist())
    assert sum(asked.bytes_sent for asked in hub.downloads(".bin")) == ROW_TOKENS * 2


def test_a_row_that_the_map_lacks_is_one_sentence(standin: StandIn) -> None:
    with pytest.raises(CorpusError, match=r"Row 5,000 is not in preshuffled: the map has 2,600"):
        locate(5000, corpus=str(standin.map))
    with pytest.raises(CorpusError, match="There is no file or folder"):
        locate(5, corpus="nowhere.bin")


def test_the_command_answers_in_words_and_in_json(
    standin: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = standin.memorized[1]
    write_tokenizer(tmp_path)
    flags: Any = {
        "sequences": str(standin.sequences),
        "split": "deduped.70m",
        "corpus": str(standin.map),
        "tokenizer": str(tmp_path),
    }
    command(row, **flags)
    words = capsys.readouterr().out
    assert f"Row {row:,} is read at step {row // 1024 + 1}" in words
    assert "The row begins with the 64 tokens" in words
    assert "which is not confirmed" in words
    command(row, **flags, json=True)
    value = json.loads(capsys.readouterr().out)
    assert value["confirmed"]
    assert value["deduplicated"]
    assert value["step"] == row // 1024 + 1
    assert value["tokens"] == standin.rows[row].tolist()
    piece = value["documents"][0]
    first = " ".join(f"w{token}" for token in value["tokens"][: piece["end"]])
    assert piece["text"].split() == first.split()
    command(row)
    assert "second pass" not in capsys.readouterr().out


def test_the_stand_in_holds_what_it_says(standin: StandIn) -> None:
    for number, content in enumerate(standin.contents):
        assert np.array_equal(standin.rows[standin.memorized[number], :WINDOW], content)
        for row, offset in standin.exact[number]:
            assert np.array_equal(standin.rows[row, offset : offset + WINDOW], content)
        for row, offset in standin.near[number]:
            assert (standin.rows[row, offset : offset + WINDOW] != content).sum() == 6
