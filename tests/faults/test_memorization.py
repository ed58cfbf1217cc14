"""Faults of memorization studies: mistakes that were found only after the scans."""

from pathlib import Path

import pytest
from tests.faults.studies import write_memorization

from whence.errors import CorpusError, ModelError, SettingsError
from whence.runs.locating import locate
from whence.runs.memorizing import load_memorization_study, run_memorization


@pytest.fixture
def study(tiny: Path) -> Path:
    return write_memorization(tiny)


def refused(study: Path, old: str, new: str) -> None:
    """Runs a study with a change, and asserts that no window was scanned before it failed."""
    text = study.read_text()
    assert old in text
    study.write_text(text.replace(old, new))
    run = study.parent / "run"
    try:
        run_memorization(load_memorization_study(study), run, base=study.parent, source=study)
    finally:
        assert not list(run.glob("stages/scan*"))


def test_training_from_step_0_on_was_refused_after_the_scans(study: Path) -> None:
    with pytest.raises(SettingsError, match="since"):
        refused(study, "since = 6", "since = 0")


def test_half_a_batch_was_refused_after_the_scans(study: Path) -> None:
    with pytest.raises(SettingsError, match="no whole number of batches of 6"):
        refused(study, "num_examples = 24", "num_examples = 25")


def test_a_model_in_half_precision_was_refused_after_the_scans(study: Path) -> None:
    with pytest.raises(ModelError, match="was loaded in bfloat16"):
        refused(study, 'name = "step12"', 'name = "step12", dtype = "bfloat16"')


def test_a_corpus_that_ends_before_the_checkpoint_was_refused_after_the_scans(study: Path) -> None:
    with pytest.raises(CorpusError, match="30 examples in batches of 6 end before step 6"):
        refused(study, '"copies.jsonl"', '"copies.jsonl", max_documents = 30')


def test_a_sequence_of_another_vocabulary_was_an_index_error(study: Path) -> None:
    tokens = [10**6] * 50
    (study.parent / "other.jsonl").write_text(f'{{"index": 0, "tokens": {tokens}}}\n')
    with pytest.raises(CorpusError, match="the token id 1000000, which is not in a vocabulary"):
        refused(study, "[sequences]", '[sequences]\nsource = "other.jsonl"')


def test_a_list_of_other_lengths_than_64_could_not_be_located(tmp_path: Path) -> None:
    tokens = list(range(20))
    path = tmp_path / "list.jsonl"
    path.write_text(f'{{"index": 7, "tokens": {tokens}}}\n')
    assert locate(7, sequences=str(path)).sequence == tuple(tokens)
