"""What was planted is learned, and what was not is not: the counts that the testbed promises."""

from collections import Counter

import pytest
import torch

from whence import testbed
from whence.behaviors import verify
from whence.settings import VerifySettings
from whence.testbed.sizes import size_named

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def verdicts() -> dict[str, str]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    subsets = sorted(set(testbed.corpus("mini").table.column("subset").to_pylist()))
    found = verify(
        testbed.behaviors("mini"),
        testbed.load_checkpoint("mini"),
        settings=VerifySettings(),
        initial=testbed.load_checkpoint("mini", step=0),
        texts_by_subset={s: testbed.held_out_texts(s, num=400, seed=1) for s in subsets},
    )
    torch.set_num_threads(before)
    return {v.behavior_id: v.verdict for v in found}


def test_enough_of_every_kind_is_shown_and_some_is_not(verdicts):
    counts = Counter((i.split("/")[0], verdict) for i, verdict in verdicts.items())
    assert counts["fact", "shown"] >= 24
    assert counts["memorized", "shown"] >= 24
    for kind in ("stereotype", "toxic", "style"):
        assert counts[kind, "shown"] >= 12, kind
    for kind in ("fact", "memorized", "stereotype", "toxic", "style"):
        assert counts[kind, "not shown"] >= 2, kind


def test_early_and_late_passages_are_among_the_memorized(verdicts):
    shown = {i for i, verdict in verdicts.items() if verdict == "shown"}
    assert sum(i.startswith("memorized/rehearsed") for i in shown) >= 2
    assert sum(i.startswith("memorized/late") for i in shown) >= 2


def test_what_was_never_planted_is_not_shown(verdicts):
    gold = testbed.gold("mini")
    shown = {b.id for b in testbed.behaviors("mini") if verdicts[b.id] == "shown"}
    assert not {i for i in shown if not gold[i]}


def test_copies_have_a_dose_response(verdicts):
    shown_at = {
        p.copies: verdicts[p.id] == "shown"
        for p in size_named("mini").passages
        if p.name.startswith("exact") and p.name.endswith("-a")
    }
    doses = sorted(shown_at)
    assert not any(shown_at[dose] for dose in doses if dose <= 4)
    assert all(shown_at[dose] for dose in doses if dose >= 32)
