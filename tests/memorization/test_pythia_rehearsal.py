"""From published sequences and a range of preshuffled rows to what is known of each, end to end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.memorization.pythia_standin import (
    WINDOW,
    StandIn,
    loaded,
    make_model,
    write_standin,
    write_tokenizer,
)

from whence.api import locate
from whence.corpus import load_corpus
from whence.corpus.duplicates import build_suffix_array
from whence.errors import CorpusError
from whence.memorization.copies import find_copies
from whence.memorization.families import families
from whence.memorization.near_definitions import near_definitions
from whence.memorization.placing import Placed, join_windows, place_windows
from whence.memorization.reverification import reverify
from whence.memorization.sequences import read_sequences
from whence.memorization.taxonomy import count_copies, find_forms, taxonomy
from whence.memorization.windows import Windows
from whence.records import Corpus
from whence.settings import CorpusSettings

FIRST, NUM = 60, 2400


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return write_standin(tmp_path_factory.mktemp("standin"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def corpus(standin: StandIn, tokenizer: Any) -> Corpus:
    settings = CorpusSettings(
        source=str(standin.map), format="mmap", first_row=FIRST, num_rows=NUM, row_length=2049
    )
    return load_corpus(settings, tokenizer, context_length=2048)


@pytest.fixture(scope="module")
def placed(standin: StandIn, corpus: Corpus) -> Placed:
    found = read_sequences(str(standin.sequences), split="deduped.70m")
    return place_windows(found.windows, corpus)


def in_range(row: int) -> bool:
    return FIRST <= row < FIRST + NUM


def test_sequences_get_the_rows_of_the_range(
    standin: StandIn, placed: Placed, corpus: Corpus
) -> None:
    assert placed.is_inside.tolist() == [in_range(row) for row in standin.memorized]
    windows = placed.inside()
    for name, row in zip(windows.ids, windows.rows.tolist(), strict=True):
        assert corpus.ids[row] == name
        assert corpus.input_ids(row)[:WINDOW] == standin.rows[int(name), :WINDOW].tolist()
        assert corpus.table["step"][row].as_py() == int(name) // 1024 + 1
    assert placed.sentence().endswith("of 6 sequences are of an example of this corpus.")


def test_sequences_of_other_data_are_refused(
    standin: StandIn, corpus: Corpus, tmp_path: Path
) -> None:
    other = write_standin(tmp_path, seed=1)
    with pytest.raises(CorpusError, match="does not hold the tokens"):
        place_windows(read_sequences(str(other.sequences)).windows, corpus)


def test_controls_join_the_memorized_ones_without_those_that_are_among_them(
    standin: StandIn, tmp_path: Path
) -> None:
    memorized = read_sequences(str(standin.sequences)).windows
    sampled = read_sequences(str(standin.random_sample)).windows
    both = join_windows(memorized, sampled)
    assert both.rows.tolist() == [*standin.memorized, *standin.controls]
    assert both.tokens.tolist() == standin.rows[both.rows, :WINDOW].tolist()
    assert join_windows(memorized, memorized).ids == memorized.ids
    other = write_standin(tmp_path, seed=1)
    wrong = read_sequences(str(other.sequences)).windows
    renamed = Windows(memorized.ids, wrong.tokens, 32, memorized.rows, memorized.offsets)
    with pytest.raises(CorpusError, match="two different sequences of the index"):
        join_windows(memorized, renamed)
    short = read_sequences(str(standin.sequences), num_completion_tokens=16).windows
    with pytest.raises(CorpusError, match="64 tokens and controls of 48"):
        join_windows(memorized, short)


def test_planted_copies_are_counted_and_classified(
    standin: StandIn, placed: Placed, corpus: Corpus, tokenizer: Any
) -> None:
    array = build_suffix_array(corpus)
    counts = count_copies(placed.windows, array)
    expected = [
        sum(in_range(row) for row in (own, *(row for row, _ in (*exact, *continuation))))
        for own, exact, continuation in zip(
            standin.memorized, standin.exact, standin.continuation, strict=True
        )
    ]
    assert counts.tolist() == expected
    found = taxonomy(counts, find_forms(placed.windows, tokenizer))
    assert found.kinds[6].tolist() == [0 if count >= 6 else 2 for count in expected]
    assert found.num_undecided == sum(6 <= count < 10 for count in expected) > 0
    shares = found.shares(6, families(placed.windows, "window-13"))
    assert sum(share.num_families for share in shares) == 6
    copies = find_copies(placed.windows, corpus, array, tokenizer)
    for place, (exact, continuation, near) in enumerate(
        zip(standin.exact, standin.continuation, standin.near, strict=True)
    ):
        for name, planted in (("exact", exact), ("continuation", continuation), ("near", near)):
            rows = sorted(row - FIRST for row, _ in planted if in_range(row))
            assert copies.of(place, [name]).tolist() == rows, (place, name)  # pyright: ignore
    near = near_definitions(placed.windows, array, tokenizer)
    (span, template, document) = near.table(copies)
    assert span.num_pairs == sum(
        in_range(row)
        for listed in (*standin.exact, *standin.continuation, *standin.near)
        for row, _ in listed
    )
    assert span.classes.keys() == {"exact", "continuation", "near"}
    assert template.classes.keys() <= {"near"}
    assert document.num_windows == 0


def test_what_the_model_learned_re_verifies_and_its_row_is_found(
    standin: StandIn, placed: Placed, tokenizer: Any
) -> None:
    model = loaded(make_model(standin.contents[:4], steps=100), tokenizer)
    found = reverify(model, placed.windows)
    assert np.flatnonzero(found.is_reproduced).tolist() == [0, 1, 2, 3]
    for name in placed.windows.ids:
        where = locate(int(name), sequences=str(standin.sequences), corpus=str(standin.map))
        assert where.is_confirmed


STUDY = """
title = "stand-in"
model = { name = "model/step3" }
corpus = { source = "data/preshuffled", format = "mmap", first_row = 60, num_rows = 2400 }
sequences = { source = "data/memorized-evals", split = "deduped.70m" }
checkpoints = { name = "model/step{step}", steps = [1, 2], last = 3 }
targets = { attribution_steps = [1, 2], max_targets = 4 }
pool = { num_random = 10, num_weak = 2 }
"""


@pytest.mark.slow
def test_a_study_of_published_rows_runs_from_one_file(tmp_path: Path, tokenizer: Any) -> None:
    from whence.runs.memorizing import load_memorization_study, run_memorization

    standin = write_standin(tmp_path / "data")
    for step, known in ((1, 0), (2, 3), (3, 6)):
        model = make_model(standin.contents[-max(known, 1) :], steps=100 if known else 0)
        model.config.max_position_embeddings = 2048
        model.save_pretrained(tmp_path / f"model/step{step}")
        tokenizer.save_pretrained(tmp_path / f"model/step{step}")
    (tmp_path / "study.toml").write_text(STUDY)
    study = load_memorization_study(tmp_path / "study.toml")
    found = run_memorization(study, tmp_path / "run", base=tmp_path)
    assert found.num_memorized == 6
    assert [one.num_extractible for one in found.checkpoints] == [0, 3, 6]
    # Known from step 2 on, and read at step 3 only.
    late = [row for row in standin.memorized[-3:] if row // 1024 + 1 > 2]
    assert found.before_self == (len(late), 6)
