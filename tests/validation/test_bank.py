"""A toy bank: coins, files, resumption, and bits that do not depend on how it was made."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from whence import testbed
from whence.errors import ArtifactError, CorpusError, SettingsError
from whence.testbed import RetrainingSettings, retrained_model
from whence.validation.bank import BankSettings, bank_runs, load_bank, make_bank, own_groups
from whence.validation.retraining import place_of

TOY = RetrainingSettings(size="nano", stop_after=3)
BANK = BankSettings(retraining=TOY, num_masks=4, num_second=2)


def files(directory: Path) -> dict[str, dict]:
    return {p.name: json.loads(p.read_text()) for p in directory.glob("*/runs/*.json")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bank")
    assert make_bank(BANK, directory).num_left == 0
    return directory


def test_groups_are_disjoint_and_cover_what_was_planted():
    groups = testbed.groups("nano")
    ids = [i for members in groups.values() for i in members]
    assert len(ids) == len(set(ids))
    labelled = {
        r["id"]
        for r in testbed.corpus("nano").records(range(len(testbed.corpus("nano"))))
        if r["labels"]
    }
    assert labelled <= set(ids)
    for name, members in testbed.gold("nano").items():
        if members:
            assert any(len(g & members) * 2 > len(g) for g in groups.values()), name


def test_masks_are_fair_coins_that_more_masks_do_not_change():
    large = BankSettings(retraining=TOY, num_masks=400, num_second=0)
    small = BankSettings(retraining=TOY, num_masks=3, num_second=0)
    runs = bank_runs(large)
    assert runs[:3] == bank_runs(small)
    assert len(set(runs)) == 400
    groups = testbed.groups("nano")
    share = [np.mean([not members <= r.dropped for r in runs]) for members in groups.values()]
    assert np.abs(np.array(share) - 0.5).max() < 0.1
    assert all(
        members <= r.dropped or not members & r.dropped for r in runs for members in groups.values()
    )


def test_a_bank_holds_what_was_measured(made: Path):
    bank = load_bank(BANK, made)
    assert bank.included.shape == (4, len(bank.groups))
    assert bank.log_probs_nats.shape == (4, len(bank.query_ids))
    assert bank.second_log_probs_nats.shape == (2, len(bank.query_ids))
    assert len(files(made)) == 6
    assert (bank.log_probs_nats < 0).all()
    # Another seed is another model; another mask too, though by less.
    first, second = bank.log_probs_nats, bank.second_log_probs_nats
    assert np.abs(first[:2] - second).mean() > np.abs(first[0] - first[1]).mean() > 0


def test_what_is_there_is_not_made_again(made: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("whence.validation.retraining._make", lambda *_: pytest.fail("made again"))
    assert make_bank(BANK, made).num_left == 0


@pytest.mark.slow
def test_slices_and_processes_give_the_same_bits(made: Path, tmp_path: Path):
    assert make_bank(BANK, tmp_path, most=2).num_left == 4
    with pytest.raises(ArtifactError, match="holds 0 retrainings"):
        load_bank(BankSettings(retraining=TOY, num_masks=4, seed=9), tmp_path)
    assert load_bank(BANK, tmp_path).num_runs == 2
    assert make_bank(BANK, tmp_path, jobs=2).num_left == 0
    measured = [{n: f["log_probs_nats"] for n, f in files(d).items()} for d in (made, tmp_path)]
    assert measured[0] == measured[1]


def test_other_settings_have_another_place(tmp_path: Path):
    longer = RetrainingSettings(size="nano", stop_after=4)
    assert place_of(TOY, tmp_path) != place_of(longer, tmp_path)


def test_inert_examples_change_nothing_to_the_bit():
    """A7 by construction: what has weight zero may be in or out."""
    inert = {i for ids in testbed.inert("nano").values() for i in ids}
    assert inert
    bits = [
        [p.detach().numpy().tobytes() for p in retrained_model(TOY, dropped=d).model.parameters()]
        for d in ((), inert)
    ]
    assert bits[0] == bits[1]


def test_dropping_what_counts_changes_the_model():
    counted = testbed.corpus("nano").ids[:4]
    inert = {i for ids in testbed.inert("nano").values() for i in ids}
    assert not inert & set(counted)
    bits = [
        [p.detach().numpy().tobytes() for p in retrained_model(TOY, dropped=d).model.parameters()]
        for d in ((), counted)
    ]
    assert bits[0] != bits[1]


def test_the_second_seed_keeps_every_document_in_its_window():
    from whence.testbed.plan import generate, training_order

    order = training_order("nano", seed=1)
    assert sorted(order) == list(range(len(order)))
    assert list(order) != sorted(order)
    late = {r for r, d in enumerate(generate("nano").documents) if d.window[0] >= 65}
    assert late
    assert min(place for place, row in enumerate(order) if row in late) > 0.6 * len(order)


def test_own_groups_are_those_planted_for_the_query(made: Path):
    bank = load_bank(BANK, made)
    names = list(bank.groups)
    own = {
        q: {names[c] for c in columns or ()}
        for q, columns in own_groups(bank, testbed.gold("nano")).items()
    }
    assert own["fact/capital-france"] == {"fact/capital-france"}
    assert own["toxic/roast-1"] == {"toxic/roast", "toxic/rant"}
    assert own["style/verse-thy"] == {"style/verse"}
    assert own["memorized/near10-040-a"] == {"memorized/near10-040-a"}
    assert own["fact/capital-poland"] == own["memorized/inert-000-a"] == set()


@pytest.mark.slow
def test_a_killed_bank_goes_on_and_leaves_no_process(tmp_path: Path):
    code = (
        "from pathlib import Path\n"
        "from tests.validation.test_bank import BANK\n"
        "from whence.validation.bank import make_bank\n"
        "if __name__ == '__main__':\n"
        f"    make_bank(BANK, Path({str(tmp_path)!r}), jobs=2)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, str(script)], env=environment)
    deadline = time.monotonic() + 120
    while not files(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert workers
    while any(_is_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_is_alive(pid) for pid in workers)
    assert make_bank(BANK, tmp_path).num_left == 0
    assert len(files(tmp_path)) == 6


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if not listed.exists():
        pytest.skip("this system does not list a process's children")
    return [int(child) for child in listed.read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_wrong_input_is_one_sentence(tmp_path: Path):
    with pytest.raises(SettingsError, match="`jobs` is 0"):
        make_bank(BANK, tmp_path, jobs=0)
    with pytest.raises(CorpusError, match="no example `nothing`"):
        retrained_model(TOY, dropped=["nothing"])
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        make_bank(BANK, tmp_path / "file")
