"""A scan agrees with decoding, resumes with the same numbers, and onsets follow their rules."""

from pathlib import Path

import numpy as np
import pytest

from whence.behaviors.generate import greedy_continuations
from whence.corpus.duplicates.clusters import clusters, linked
from whence.errors import CorpusError, SettingsError
from whence.memorization import first_windows
from whence.memorization.families import families
from whence.memorization.onset import DEFINITIONS, agreement, flow, onset
from whence.memorization.scan import Scan, scan, scan_stage
from whence.memorization.windows import Windows
from whence.records import LoadedModel
from whence.testbed import corpus, load_checkpoint


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_checkpoint("nano")


@pytest.fixture(scope="module")
def windows() -> Windows:
    found = first_windows(corpus("nano"), num_prompt_tokens=16, num_completion_tokens=16)
    return found.select(range(0, len(found), 6))


def test_a_window_is_extractible_exactly_where_greedy_decoding_reproduces_it(
    model: LoadedModel, windows: Windows
) -> None:
    found = scan(model, windows, step=488)
    prompts = [tuple(ids[:16]) for ids in windows.tokens.tolist()]
    decoded = greedy_continuations(model, prompts, num_tokens=16)
    said = [one.token_ids for one in decoded]
    expected = [list(s) == c for s, c in zip(said, windows.continuations.tolist(), strict=True)]
    assert found.is_extractible.tolist() == expected
    assert any(expected)
    assert not all(expected)
    first = [
        next((i for i, (a, b) in enumerate(zip(s, c, strict=False)) if a != b), len(s))
        for s, c in zip(said, windows.continuations.tolist(), strict=True)
    ]
    assert found.first_error.tolist() == first


def test_a_scan_that_was_cut_short_ends_with_the_same_numbers(
    model: LoadedModel, windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import whence.memorization.scan as module

    monkeypatch.setattr(module, "_BLOCK_WINDOWS", 32)
    whole = scan(model, windows, step=1)
    real, calls = module.token_log_probs, []

    def failing(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(module, "token_log_probs", failing)
    with pytest.raises(KeyboardInterrupt):
        scan(model, windows, step=1, work=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    resumed = scan(model, windows, step=1, work=tmp_path)
    assert len(calls) == 3 + -(-len(windows) // 32) - 2
    assert (resumed.is_right == whole.is_right).all()
    assert (resumed.log_probs_nats == whole.log_probs_nats).all()


def test_a_stage_gives_back_what_was_scanned(
    model: LoadedModel, windows: Windows, tmp_path: Path
) -> None:
    stage = scan_stage(model.fingerprint, lambda: model, windows, step=7)
    stage.make_in(tmp_path / "scan")
    found, fresh = stage.read(tmp_path / "scan"), scan(model, windows, step=7)
    assert (found.is_right == fresh.is_right).all()
    assert (found.log_probs_nats == fresh.log_probs_nats).all()
    other = scan_stage(model.fingerprint, lambda: model, windows.select([0, 1]), step=7)
    assert other.key != stage.key


def test_nothing_to_scan_is_refused(model: LoadedModel) -> None:
    nothing = first_windows(corpus("nano"), num_prompt_tokens=5000)
    with pytest.raises(CorpusError, match="long enough"):
        scan_stage(model.fingerprint, lambda: model, nothing, step=0)


def _scans(patterns: list[str]) -> list[Scan]:
    """Scans of one token each: a letter per checkpoint and window, `x` for extractible."""
    made = []
    for place in range(len(patterns[0])):
        right = np.array([[p[place] == "x"] * 5 for p in patterns])
        # `o` has four of five tokens right.
        right |= np.array([[p[place] == "o"] * 4 + [False] for p in patterns])
        made.append(Scan(10 * place, right, -right.astype(np.float32)))
    return made


def test_onsets_follow_their_rules() -> None:
    scans = _scans(["...xx", ".x.xx", ".x...", "oo..x", "xxxxx", "....."])
    by = {name: onset(scans, name).by.tolist() for name in DEFINITIONS}
    assert by["stable"] == [30, 30, -1, 40, 0, -1]
    assert by["first"] == [30, 10, 10, 40, 0, -1]
    assert by["twice"] == [30, 30, -1, -1, 0, -1]
    assert by["tokens"] == [30, 10, 10, 0, 0, -1]
    assert onset(scans, "stable").after.tolist() == [20, 20, -1, 30, -1, -1]
    assert agreement(onset(scans, "stable"), onset(scans, "stable")) == 1.0


def test_every_window_is_counted_once_in_the_flow() -> None:
    scans = _scans(["...xx", ".x.xx", ".x...", "oo..x", "xxxxx", "....."])
    found = flow(scans)
    assert [one.num_extractible for one in found] == [1, 3, 1, 3, 4]
    assert [one.new for one in found] == [1, 2, 0, 2, 1]
    assert [one.again for one in found] == [0, 0, 0, 1, 0]
    assert [one.forgotten for one in found] == [0, 0, 2, 0, 0]
    for one in found:
        assert one.new + one.kept == one.num_extractible


def test_steps_that_do_not_ascend_are_refused() -> None:
    scans = _scans(["xx"])
    with pytest.raises(SettingsError, match="do not ascend"):
        onset(scans[::-1], "first")
    with pytest.raises(SettingsError, match="do not ascend"):
        flow([])


def _jaccard(a: list[int], b: list[int]) -> float:
    one, two = ({tuple(x[i : i + 5]) for i in range(len(x) - 4)} for x in (a, b))
    return len(one & two) / len(one | two)


def test_families_are_those_of_a_plain_comparison_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 1000, (6, 32))
    rows = []
    for number in range(40):
        row = base[number % 6].copy()
        row[rng.choice(32, int(rng.integers(0, 9)), replace=False)] = rng.integers(0, 1000)
        rows.append(row)
    tokens = np.array(rows, dtype=np.int32)
    places = np.arange(40)
    windows = Windows(tuple(map(str, places)), tokens, 16, places, places * 0)
    pairs = [(i, j) for i in range(40) for j in range(i)]

    def run(a: list[int], b: list[int]) -> bool:
        return any(
            a[i : i + 13] == b[j : j + 13] for i in range(len(a) - 12) for j in range(len(b) - 12)
        )

    lists = tokens.tolist()
    for rule, holds in {
        "jaccard-30": lambda i, j: _jaccard(lists[i], lists[j]) >= 0.3,
        "jaccard-80": lambda i, j: _jaccard(lists[i], lists[j]) >= 0.8,
        "window-13": lambda i, j: run(lists[i], lists[j]),
        "continuation-13": lambda i, j: run(lists[i][16:], lists[j][16:]),
    }.items():
        near = [pair for pair in pairs if holds(*pair)]
        expected = clusters(np.array(near, dtype=np.int32).reshape(-1, 2), 40)
        assert families(windows, rule).tolist() == expected.tolist()  # pyright: ignore[reportArgumentType]


def test_a_chain_of_keys_is_one_family() -> None:
    assert linked([{1}, {2}, {1, 3}, {3, 4}, {5}, {4}]).tolist() == [0, 1, 0, 0, 4, 0]
