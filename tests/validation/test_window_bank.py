"""Banks of windows: exact resumption, masks of the window alone, and one file per retraining."""

import json
import time
from pathlib import Path

import pytest

from whence import testbed
from whence.errors import CorpusError, SettingsError
from whence.runs.validating import make_retrainings
from whence.testbed import RetrainingSettings, kept_state, retrained_model, window, window_ids
from whence.validation.bank import (
    BankSettings,
    bank_runs,
    find_banks,
    load_bank,
    make_bank,
    note_masks,
    units,
)
from whence.validation.retraining import make_place, place_of

# Of nano's training, whose batches have four examples.
TOY = RetrainingSettings(size="nano", since=2, stop_after=4)
BANK = BankSettings(retraining=TOY, unit="document", num_masks=4, num_second=0)


def bits(model) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in model.model.parameters()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bank")
    assert make_bank(BANK, directory) == (4, 0)
    return directory


def test_resuming_without_a_mask_equals_the_uninterrupted_run_to_the_bit(tmp_path: Path):
    whole = RetrainingSettings(size="nano", stop_after=4)
    uninterrupted = bits(retrained_model(whole, dropped=()))
    start = kept_state(TOY, tmp_path / "state")
    assert bits(retrained_model(TOY, dropped=(), start=start)) == uninterrupted
    assert bits(retrained_model(TOY, dropped=())) == uninterrupted
    # Both moments and the step matter: without any of them the bits are others.
    blank = {key: value * 0 for key, value in start.first_moments.items()}
    for part in ("first_moments", "second_moments"):
        changed = type(start)(**{**vars(start), part: blank})
        assert bits(retrained_model(TOY, dropped=(), start=changed)) != uninterrupted


def test_a_window_masks_as_a_whole_training_without_the_same_examples(tmp_path: Path):
    """The oracle trains all steps again, dropping the same examples."""
    dropped = set(window_ids(TOY)[1:5])
    slow = retrained_model(RetrainingSettings(size="nano", stop_after=4), dropped=dropped)
    start = kept_state(TOY, tmp_path / "state")
    assert bits(retrained_model(TOY, dropped=dropped, start=start)) == bits(slow)


def test_a_window_holds_the_examples_of_its_steps_and_no_others():
    corpus = testbed.corpus("nano")
    steps = dict(zip(corpus.ids, corpus.table.column("step").to_pylist(), strict=True))
    assert {i for i in corpus.ids if steps[i] in (3, 4)} == set(window_ids(TOY))
    last = RetrainingSettings(size="nano", since=480)
    assert {i for i in corpus.ids if steps[i] > 480} == set(window_ids(last))
    assert window(last) == (480, testbed.last_step("nano"))


def test_units_are_documents_or_the_window_s_share_of_groups():
    assert units(BANK) == {i: frozenset({i}) for i in window_ids(TOY)}
    last = RetrainingSettings(size="nano", since=464)
    shares = units(BankSettings(retraining=last, unit="group"))
    whole = testbed.groups("nano")
    inside = set(window_ids(last))
    assert shares == {n: ids & inside for n, ids in whole.items() if ids & inside}
    dropped = bank_runs(BankSettings(retraining=last, unit="group", num_masks=8, num_second=0))
    assert all(run.dropped <= inside for run in dropped)


def test_a_window_s_bank_holds_masks_outcomes_and_what_was_kept(made: Path):
    bank = load_bank(BANK, made)
    assert tuple(bank.groups) == window_ids(TOY)
    assert bank.included.shape == (4, 8)
    assert bank.second_log_probs_nats.shape == (0, len(bank.query_ids))
    corpus = testbed.corpus("nano")
    lengths = corpus.lengths[corpus.rows(list(window_ids(TOY)))]
    assert bank.counts.tolist() == [[1, length] for length in lengths]


def test_what_is_there_is_not_made_again_and_slices_add_up(made: Path, tmp_path: Path):
    assert make_bank(BANK, tmp_path, most=3) == (4, 1)
    assert make_bank(BANK, tmp_path) == (4, 0)
    outcomes = [
        {p.name: json.loads(p.read_text())["log_probs_nats"] for p in d.glob("*/runs/*.json")}
        for d in (made, tmp_path)
    ]
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) == 4
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.json")}
    time.sleep(0.01)
    make_bank(BANK, tmp_path)
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.json")}
    assert {p for p in before if before[p] != after[p]} <= set(tmp_path.glob("*/setup.json"))


@pytest.mark.slow
def test_processes_change_no_bit(made: Path, tmp_path: Path):
    make_bank(BANK, tmp_path, jobs=2)
    first, second = (load_bank(BANK, d).log_probs_nats for d in (made, tmp_path))
    assert (first == second).all()


def test_a_directory_s_windows_are_found_and_the_whole_bank_is_not_among_them(tmp_path: Path):
    def make_up(retraining: RetrainingSettings, unit, num_masks: int) -> BankSettings:
        settings = BankSettings(retraining=retraining, unit=unit, num_masks=num_masks, num_second=0)
        place = place_of(retraining, tmp_path)
        make_place(retraining, place)
        note_masks(place, unit, num_masks)
        return settings

    whole = make_up(RetrainingSettings(size="nano"), "group", 64)
    late = make_up(RetrainingSettings(size="nano", since=464), "document", 96)
    fewer = make_up(RetrainingSettings(size="nano", since=464), "document", 12)
    groups = make_up(RetrainingSettings(size="nano", since=464), "group", 80)
    early = make_up(TOY, "document", 4)
    longer = make_up(RetrainingSettings(size="nano", since=0), "document", 9)
    assert find_banks("nano", tmp_path) == (late, groups, longer, early)
    assert whole not in find_banks("nano", tmp_path)
    assert fewer not in find_banks("nano", tmp_path)
    assert find_banks("mini", tmp_path) == ()


def test_a_window_s_name_does_not_change_that_of_a_whole_training():
    """Banks that were made before windows existed keep their names."""
    inputs = testbed.retraining_inputs(RetrainingSettings(size="nano"))
    assert "since" not in inputs
    assert testbed.retraining_inputs(TOY)["since"] == 2


def test_the_command_s_window_defaults_to_documents_and_no_second_seed(tmp_path: Path):
    made = make_retrainings(tmp_path, size="nano", num_masks=2, since=2, until=3)
    assert made == (2, 0)
    (found,) = find_banks("nano", tmp_path)
    assert (found.unit, found.num_second) == ("document", 0)


def test_wrong_windows_are_one_sentence(tmp_path: Path):
    end = testbed.last_step("nano")
    for since, until in ((end, None), (9, 9), (None, end + 1)):
        with pytest.raises(SettingsError, match=f"no window .* has {end} steps"):
            make_retrainings(tmp_path, size="nano", num_masks=2, since=since, until=until)
    with pytest.raises(SettingsError, match="cannot have a second seed"):
        make_retrainings(tmp_path, size="nano", num_masks=2, num_second=1, since=2)
    with pytest.raises(SettingsError, match="cannot be resumed with seed 1"):
        retrained_model(TOY, dropped=(), seed=1)
    outside = testbed.corpus("nano").ids[0]
    with pytest.raises(CorpusError, match=f"`{outside}` is not among the examples of steps 3 to 4"):
        retrained_model(TOY, dropped=[outside])
