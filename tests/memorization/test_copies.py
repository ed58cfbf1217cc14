"""Copies of a window are those that the relations of a run name."""

from pathlib import Path

import numpy as np

from whence.corpus.duplicates import build_suffix_array
from whence.evidence.ties import Relater
from whence.memorization import first_windows
from whence.memorization.copies import CLASSES, copies_stage, find_copies
from whence.records import Behavior
from whence.testbed import corpus, load_checkpoint


def test_copies_are_the_copies_among_a_runs_relations(tmp_path: Path) -> None:
    examples, tokenizer = corpus("nano"), load_checkpoint("nano", step=0).tokenizer
    labels = examples.table.column("labels").to_pylist()
    planted = [row for row, own in enumerate(labels) if any("memorized/" in x for x in own)]
    windows = first_windows(examples)
    chosen = [p for p in range(len(windows)) if windows.rows[p] in planted[::12]]
    windows = windows.select(chosen)
    found = find_copies(windows, examples, build_suffix_array(examples), tokenizer)
    queries = windows.queries(tokenizer)
    behaviors = [
        Behavior(
            id=query.id,
            kind="memorized",
            prompt="-",
            completion=query.text,
            example=query.id,
        )
        for query in queries
    ]
    relater = Relater(examples, behaviors, queries)
    rows = [*planted, *range(0, len(examples), 7)]
    rows = sorted(set(rows))
    seen = set()
    for place, window_id in enumerate(windows.ids):
        own = {
            int(row): CLASSES[kind]
            for window, row, kind in zip(found.windows, found.rows, found.classes, strict=True)
            if window == place
        }
        for tie in relater.ties(window_id, rows):
            row = examples.rows([tie.example_id])[0]
            expected = tie.relation if tie.relation in CLASSES else None
            assert own.get(row) == expected, (window_id, tie)
            seen.add(expected)
    assert {"self", "exact", "near", None} <= seen

    stage = copies_stage(
        windows, examples, "key", lambda: build_suffix_array(examples), lambda: tokenizer
    )
    stage.make_in(tmp_path / "copies")
    read = stage.read(tmp_path / "copies")
    for name in ("windows", "rows", "classes", "similarity", "steps"):
        assert np.array_equal(getattr(read, name), getattr(found, name))
    steps = examples.table.column("step").to_pylist()
    assert [steps[row] for row in found.rows.tolist()] == found.steps.tolist()
    assert (np.diff(found.windows) >= 0).all()


def test_no_window_has_no_copy() -> None:
    examples, tokenizer = corpus("nano"), load_checkpoint("nano", step=0).tokenizer
    windows = first_windows(examples).select([])
    found = find_copies(windows, examples, build_suffix_array(examples), tokenizer)
    assert found.num_windows == 0
    assert found.count(("exact",)).tolist() == []
