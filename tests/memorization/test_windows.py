"""Windows are cut where they say, and copies are counted as a plain loop counts them."""

import numpy as np
import pytest

from whence.errors import SettingsError
from whence.memorization import first_windows
from whence.memorization.copies import CLASSES, Copies
from whence.testbed import corpus


def test_a_window_is_the_start_of_its_example() -> None:
    examples = corpus("nano")
    windows = first_windows(examples, num_prompt_tokens=8, num_completion_tokens=4)
    long = [row for row, n in enumerate(examples.lengths) if n >= 12]
    assert windows.rows.tolist() == long
    assert windows.num_completion_tokens == 4
    for place in (0, len(windows) // 2, len(windows) - 1):
        ids = examples.input_ids(int(windows.rows[place]))
        assert windows.tokens[place].tolist() == ids[:12]
        assert windows.continuations[place].tolist() == ids[8:12]


def test_an_example_ends_at_its_end_of_text() -> None:
    examples = corpus("nano")
    stop = examples.input_ids(0)[10]
    windows = first_windows(
        examples, num_prompt_tokens=8, num_completion_tokens=4, end_of_text=stop
    )
    assert not (windows.tokens == stop).any()
    assert len(windows)


def test_a_window_without_a_continuation_is_refused() -> None:
    with pytest.raises(SettingsError, match="no prompt or no continuation"):
        first_windows(corpus("nano"), num_completion_tokens=0)


def test_copies_are_counted_as_a_loop_counts_them() -> None:
    rng = np.random.default_rng(0)
    order = np.sort(rng.integers(0, 7, 60))
    copies = Copies(
        8,
        order,
        rng.integers(0, 50, 60),
        rng.integers(0, len(CLASSES), 60),
        rng.random(60),
        rng.integers(-1, 20, 60),
    )
    limit = rng.integers(0, 20, 8)
    wanted = ("exact", "near")
    plain = [
        sum(
            w == window and CLASSES[c] in wanted and 0 <= s <= limit[window]
            for w, c, s in zip(copies.windows, copies.classes, copies.steps, strict=True)
        )
        for window in range(8)
    ]
    assert copies.count(wanted, seen_by=limit).tolist() == plain
    listed = [len(copies.of(w, wanted, seen_by=int(limit[w]))) for w in range(8)]
    assert listed == plain
    assert copies.count(CLASSES).sum() == 60
