"""Measures by retraining: which banks are read, which scores count, and what is not defined."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from whence import testbed
from whence.artifacts import write_json
from whence.records import Query, Scores, Term
from whence.testbed import RetrainingSettings
from whence.validation import Subject, Truth
from whence.validation.above_null import above_null_measure
from whence.validation.bank import BankSettings, make_bank
from whence.validation.measures import (
    mean_of_draws,
    planted_measures,
    removal_measures,
    retraining_measures,
)
from whence.validation.outcomes import Outcome, write_outcome
from whence.validation.own_text import own_by_text
from whence.validation.removal import plan_window_removals
from whence.validation.retraining import place_of

LATE = RetrainingSettings(size="nano", since=484)
EARLY = RetrainingSettings(size="nano", since=2, stop_after=4)
WHOLE = RetrainingSettings(size="nano")


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Outcomes to which each document of the window, or each group, adds a number of its own."""
    worth = {i: float(n % 7) - 3 for n, i in enumerate(testbed.corpus("nano").ids)}

    def make_up(settings, place, run):
        from whence.validation.outcomes import outcome_path as _path

        outcome = -sum(worth[i] for i in sorted(run.dropped))
        log_probs = {b.id: outcome for b in testbed.behaviors("nano")}
        write_json(_path(place, run), {"seconds": 1.0, "log_probs_nats": log_probs})

    monkeypatch.setattr("whence.validation.retraining._make", make_up)
    monkeypatch.setattr("whence.validation.retraining.starting_state", lambda *_: None)
    for retraining, unit in ((LATE, "document"), (EARLY, "document"), (WHOLE, "group")):
        make_bank(
            BankSettings(retraining=retraining, unit=unit, num_masks=24, num_second=0), tmp_path
        )
    return tmp_path


def subject(values: np.ndarray | None = None, *, step: int = 488) -> Subject:
    corpus, behaviors = testbed.corpus("nano"), testbed.behaviors("nano")[:8]
    if values is None:
        row = [float(n % 7) - 3 for n in range(len(corpus))]
        values = np.tile(np.array(row, dtype=np.float32), (8, 1))
    drawn = np.random.default_rng(0).normal(size=values.shape).astype(np.float32)
    ids, examples = tuple(b.id for b in behaviors), tuple(corpus.ids)
    scores = (Scores("truth", ids, examples, values), Scores("random", ids, examples, drawn))
    truth = Truth(testbed.gold("nano"), testbed.decoys("nano"), testbed.inert("nano"))
    return Subject("key", scores, corpus, behaviors, truth, testbed="nano", step=step)


def measured(given: Subject, bank: Path):
    found = retraining_measures(given, [bank], num_masks=24, num_second=0)
    return {one.name: one for one in found.measures}, found


def test_every_bank_of_a_directory_is_a_column_and_a_point_of_the_curve(bank: Path):
    by_name, found = measured(subject(), bank)
    assert list(by_name) == [
        "LDS", "own-removed LDS", "LDS, steps 485-488", "own-removed LDS, steps 485-488",
        "LDS, steps 3-4", "own-removed LDS, steps 3-4",
    ]  # fmt: skip
    assert [(w.since, w.until, w.unit, w.masks) for w in found.windows] == [
        (484, 488, "document", 24), (0, 488, "group", 24),
    ]  # fmt: skip
    assert found.windows[0].share == pytest.approx(4 / 488)
    assert found.windows[0].num_units == len(testbed.window_ids(LATE))


def test_scores_of_the_truth_predict_and_random_ones_do_not(bank: Path):
    by_name, found = measured(subject(), bank)
    ids = subject().scores[0].query_ids
    for name in ("LDS, steps 485-488", "own-removed LDS, steps 485-488"):
        value = by_name[name].estimate("truth", ids).value
        assert value is not None
        assert value > 0.8
        assert by_name[name].no_skill("truth", [ids]) == [pytest.approx(1 / 200)]
        assert abs(by_name[name].control(ids).value or 1.0) < 0.1
        assert by_name[name].estimate("random", ids) == by_name[name].control(ids)
    ceiling = found.windows[0].additive_ceiling.value
    assert ceiling is not None
    assert ceiling > 0.1


def test_only_scores_within_the_window_count(bank: Path):
    given = subject()
    inside = testbed.corpus("nano").rows(list(testbed.window_ids(LATE)))
    values = given.scores[0].values.copy()
    values[:, [row for row in range(values.shape[1]) if row not in set(inside)]] = 1e3
    changed = subject(values)
    name, ids = "own-removed LDS, steps 485-488", given.scores[0].query_ids
    found = [measured(one, bank)[0] for one in (given, changed)]
    assert found[0][name].estimate("truth", ids) == found[1][name].estimate("truth", ids)
    assert found[0]["LDS"].estimate("truth", ids) != found[1]["LDS"].estimate("truth", ids)


def test_a_window_is_measured_by_scores_of_the_checkpoint_at_its_end(bank: Path):
    late, early = "LDS, steps 485-488", "LDS, steps 3-4"
    of_the_end, _ = measured(subject(), bank)
    assert of_the_end[late].undefined is None
    assert "after step 4," in (of_the_end[early].undefined or "")
    assert "revision `step4`" in (of_the_end[early].undefined or "")
    of_a_checkpoint, found = measured(subject(step=4), bank)
    assert of_a_checkpoint[early].undefined is None
    assert "after step 488," in (of_a_checkpoint[late].undefined or "")
    assert found.windows[0].until == 4


def test_of_equal_banks_in_two_directories_the_first_counts(bank: Path, tmp_path: Path):
    found = retraining_measures(subject(), [bank, bank], num_masks=24, num_second=0)
    assert len({one.name for one in found.measures}) == len(found.measures)


def test_without_a_testbed_or_a_bank_there_is_a_reason(bank: Path):
    for given, banks in ((replace(subject(), testbed=None), [bank]), (subject(), [])):
        found = retraining_measures(given, banks, num_masks=24, num_second=0)
        assert [one.undefined is None for one in found.measures] == [False, False]
        assert found.windows == ()


def test_random_orders_retrieve_what_chance_gives_and_are_dealt_anew_in_each_world():
    given = subject()
    assert given.truth is not None
    found = mean_of_draws(given, given.truth)
    for one in found:
        if one.average_precision is not None:
            assert one.average_precision == pytest.approx(one.chance, abs=0.02)
    table = given.corpus.table
    other = replace(given, corpus=replace(given.corpus, table=table.slice(0, len(table) - 1)))
    assert mean_of_draws(other, given.truth) != found
    assert mean_of_draws(given, given.truth) == found
    by_name = {one.name: one for one in planted_measures(given)}
    shown = by_name["planted AP"].values["random"]
    assert shown == {q.query_id: q.average_precision for q in found if q.average_precision}


def test_what_is_a_query_s_own_shares_thirteen_tokens_in_a_row():
    corpus = testbed.corpus("nano")
    ids = corpus.input_ids(7)[:20]
    asked = (
        Query("long", (Term(tuple(ids), 5, 1.0),), ""),
        Query("short", (Term(tuple(ids[:4]), 2, 1.0),), ""),
        Query("none", (Term((1, 1, 1, 1, 1), 2, 1.0),), ""),
    )
    found = own_by_text(asked, corpus, corpus.ids[:300])
    for query, size in zip(asked, (13, 4, 5), strict=True):
        text = query.terms[0].input_ids
        runs = [text[i : i + size] for i in range(len(text) - size + 1)]
        oracle = set()
        for row in range(300):
            words = tuple(corpus.input_ids(row))
            if any(words[i : i + size] in runs for i in range(len(words))):
                oracle.add(corpus.ids[row])
        assert found[query.id] == oracle
    assert corpus.ids[7] in found["long"]
    assert not found["none"]


def test_removals_of_a_window_are_read_per_token(bank: Path):
    given = subject()
    queries = tuple(
        Query(q, (Term((3, 4, 5, 6, 7), 1, 1.0),), "") for q in given.scores[0].query_ids
    )
    given = replace(given, queries=queries, scores=(replace(given.scores[0], method="bm25"),))
    plan = plan_window_removals(given.scores, given.corpus, testbed.window_ids(LATE))
    assert not removal_measures(given, [bank]).windows
    worth = {i: float(n % 7) - 3 for n, i in enumerate(testbed.corpus("nano").ids)}
    for run in plan.runs:
        outcome = -sum(worth[i] for i in sorted(run.dropped))
        log_probs = {b.id: outcome for b in testbed.behaviors("nano")}
        write_outcome(place_of(LATE, bank), run, Outcome(log_probs, 1.0))
    found = removal_measures(given, [bank])
    (about,) = found.windows
    assert (about.label, about.num_random) == ("steps 485-488", 100)
    (measure,) = [m for m in found.measures if m.name == "QLD per token, steps 485-488"]
    (dropped,) = {run.dropped for run in plan.of_method.values()}
    rise = sum(worth[i] for i in dropped)
    assert set(measure.values["bm25"].values()) == {rise / 4}


def test_the_first_proponent_is_judged_by_the_run_s_null_queries():
    given = subject()
    rng = np.random.default_rng(0)
    shape = given.scores[0].values.shape
    nulls = rng.normal(size=(60, shape[1])).astype(np.float32)
    strong = rng.normal(size=shape).astype(np.float32)
    strong[:, 5] = 50
    scores = (
        replace(given.scores[0], method="strong", values=strong, null_values=nulls),
        replace(given.scores[0], method="chance", values=nulls[:8] * 0.5, null_values=nulls),
    )
    queries = tuple(
        Query(q, (Term((3, 4, 5, 6, 7), 1, 1.0),), "") for q in given.scores[0].query_ids
    )
    known = replace(
        given,
        scores=scores,
        queries=queries,
        nulls=tuple(replace(queries[0], id=f"null/{i}") for i in range(60)),
    )
    found = above_null_measure(known)
    assert set(found.values["strong"].values()) == {1.0}
    assert set(found.values["chance"].values()) == {0.0}
    assert set(found.controls.values()) == {0.05}
    assert "no null queries" in (above_null_measure(given).undefined or "")
    few = replace(known, scores=tuple(replace(one, null_values=nulls[:2]) for one in scores))
    few = replace(few, nulls=known.nulls[:2])
    assert "the run's 2 null queries are too few" in (above_null_measure(few).undefined or "")
