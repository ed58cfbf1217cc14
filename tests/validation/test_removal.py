"""What is removed, against which controls, and what the loss does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from whence import testbed
from whence.behaviors.query import make_queries
from whence.records import Scores
from whence.testbed import RetrainingSettings, retrained_model
from whence.validation import Subject
from whence.validation.bank import BankSettings, make_bank
from whence.validation.measures import removal_measures
from whence.validation.outcomes import Outcome, Retraining
from whence.validation.removal import (
    NUM_RANDOM,
    NUM_RANDOM_OF_WINDOW,
    QUERIES,
    loss_differences,
    plan_removals,
    plan_window_removals,
)

CORPUS = testbed.corpus("nano")
ASKED = ("fact/capital-france", "toxic/roast-1")


def scores_of(method: str, seed: int) -> Scores:
    values = np.random.default_rng(seed).normal(size=(2, len(CORPUS))).astype(np.float32)
    return Scores(method, ASKED, CORPUS.ids, values)


PLAN = plan_removals(
    [scores_of(m, i) for i, m in enumerate(("random", "bm25", "gradient_cosine"))],
    CORPUS,
    query_ids=(*ASKED, "fact/unknown"),
)


def test_what_is_removed_is_what_the_method_names_first():
    assert PLAN.num_removed == 20  # One per cent of 1,950.
    assert PLAN.methods == ("gradient_cosine", "bm25")
    assert PLAN.query_ids == ASKED
    scores = scores_of("bm25", 1)
    best = np.argsort(-scores.values[1])[:20]
    assert PLAN.of_method["bm25", ASKED[1]].dropped == {CORPUS.ids[i] for i in best}
    assert len(PLAN.runs) == 1 + NUM_RANDOM + 4


def test_controls_are_others_of_the_same_subsets_and_lengths():
    removed = set().union(*(run.dropped for run in PLAN.of_method.values()))
    subset = dict(zip(CORPUS.ids, CORPUS.table.column("subset").to_pylist(), strict=True))
    length = dict(zip(CORPUS.ids, CORPUS.lengths.tolist(), strict=True))
    drawn = [i for run in PLAN.random for i in run.dropped]
    assert all(len(run.dropped) == 20 for run in PLAN.random)
    assert len(set(PLAN.random)) == NUM_RANDOM
    assert not removed & set(drawn)
    for name in set(subset.values()):
        shares = [np.mean([subset[i] == name for i in ids]) for ids in (sorted(removed), drawn)]
        assert shares[0] == pytest.approx(shares[1], abs=0.08)
    means = [np.mean([length[i] for i in ids]) for ids in (sorted(removed), drawn)]
    assert means[0] == pytest.approx(means[1], rel=0.1)


def test_of_a_window_its_own_examples_are_removed_and_controls_are_any_of_them():
    window = CORPUS.ids[100:586]
    scores = [scores_of(m, i) for i, m in enumerate(("bm25", "gradient_cosine"))]
    plan = plan_window_removals(scores, CORPUS, window)
    assert plan.num_removed == 5  # One per cent of 486.
    values = scores[0].values[0, 100:586]
    best = {window[i] for i in np.argsort(-values)[:5]}
    assert plan.of_method["bm25", ASKED[0]].dropped == best
    assert len(plan.random) == NUM_RANDOM_OF_WINDOW
    assert all(len(run.dropped) == 5 and run.dropped <= set(window) for run in plan.random)
    # What methods name is drawn as often as anything else.
    named = set().union(*(run.dropped for run in plan.of_method.values()))
    drawn = [i for run in plan.random for i in run.dropped]
    share = sum(i in named for i in drawn) / len(drawn)
    assert share == pytest.approx(len(named) / len(window), abs=0.03)


def test_of_a_window_every_method_is_removed_but_random():
    names = ("bm25", "gradient_cosine", "gradient_dot", "embedding", "ekfac", "random")
    scores = [scores_of(m, i) for i, m in enumerate(names)]
    window = CORPUS.ids[100:586]
    assert plan_window_removals(scores, CORPUS, window).methods == names[:-1]
    assert len(plan_removals(scores, CORPUS, query_ids=ASKED).methods) == 4


def test_of_a_window_the_loss_rises_as_it_does_when_all_steps_are_trained_again(tmp_path: Path):
    """The oracle trains from the first step without one example, and reads each token's loss."""
    toy, whole = (RetrainingSettings(size="nano", since=n, stop_after=4) for n in (2, None))
    window = testbed.window_ids(toy)
    behaviors = [b for b in testbed.behaviors("nano") if b.id in ASKED]
    model = retrained_model(whole, dropped=())
    queries = make_queries(
        behaviors, model.tokenizer, contrast=False, context_length=model.context_length
    )
    scores = tuple(scores_of(m, i) for i, m in enumerate(("bm25", "ekfac")))
    plan = plan_window_removals(scores, CORPUS, window)
    bank = BankSettings(retraining=toy, unit="document", num_masks=2, num_second=0)
    make_bank(bank, tmp_path, removals=plan)
    found = removal_measures(
        Subject("run", scores, CORPUS, tuple(behaviors), testbed="nano", step=4, queries=queries),
        [tmp_path],
    )
    (measure,) = [one for one in found.measures if one.name == "QLD per token, steps 3-4"]

    def losses(network: nn.Module) -> np.ndarray:
        means = []
        for query in queries:
            (term,) = query.terms
            with torch.no_grad():
                logits = network(torch.tensor([term.input_ids])).logits[0].double()
            answer = range(term.num_prompt_tokens, len(term.input_ids))
            means.append(
                np.mean([-logits[t - 1].log_softmax(0)[term.input_ids[t]].item() for t in answer])
            )
        return np.array(means)

    base = losses(model.model)
    rise = {i: losses(retrained_model(whole, dropped=[i]).model) - base for i in window}
    rows = CORPUS.rows(list(window))
    for one in scores:
        for row, query in enumerate(queries):
            best = max(rows, key=lambda place: one.values[row, place])
            oracle = rise[CORPUS.ids[best]][row]
            assert measure.values[one.method][query.id] == pytest.approx(oracle, abs=1e-5)
    drawn = np.mean([rise[i] for run in plan.random for i in run.dropped], axis=0)
    for row, query in enumerate(queries):
        assert measure.controls[query.id] == pytest.approx(drawn[row], abs=1e-5)
    assert np.abs(list(rise.values())).max() > 1e-3


def outcomes(own: float, chance: list[float]) -> dict[Retraining, Outcome | None]:
    def outcome(rise: float) -> Outcome:
        return Outcome(dict.fromkeys(ASKED, -2.0 - rise), 1.0)

    found = {PLAN.everything: outcome(0.0)}
    found |= {run: outcome(c) for run, c in zip(PLAN.random, chance, strict=True)}
    return found | {run: outcome(own) for run in PLAN.of_method.values()}


def test_the_loss_rises_by_what_the_log_probability_falls_and_p_counts_controls():
    found = {d.method: d for d in loss_differences(PLAN, outcomes(0.5, [0.1] * 18 + [0.6]))}
    bm25 = found["bm25"]
    assert bm25.per_query_nats == pytest.approx(dict.fromkeys(ASKED, 0.5))
    assert bm25.random_nats == pytest.approx(dict.fromkeys(ASKED, (1.8 + 0.6) / 19))
    assert bm25.p_values == pytest.approx(dict.fromkeys(ASKED, 2 / 20))
    assert bm25.num_beyond_random == 0
    beyond = loss_differences(PLAN, outcomes(0.7, [0.1] * 18 + [0.6]))[0]
    assert beyond.p_values == pytest.approx(dict.fromkeys(ASKED, 1 / 20))
    assert beyond.num_beyond_random == 2


def test_without_all_controls_nothing_is_said():
    found = outcomes(0.5, [0.1] * 19)
    found[PLAN.random[3]] = None
    assert loss_differences(PLAN, found) == ()
    found = outcomes(0.5, [0.1] * 19)
    del found[PLAN.of_method["bm25", ASKED[0]]]
    named = {d.method: d for d in loss_differences(PLAN, found)}
    assert set(named["bm25"].per_query_nats) == {ASKED[1]}


def test_a_method_that_names_too_few_removes_nothing():
    scores = scores_of("bm25", 1)
    values = np.zeros_like(scores.values)
    values[:, :19] = 1
    plan = plan_removals([replace(scores, values=values)], CORPUS, query_ids=ASKED)
    assert not plan.of_method
    assert not plan.random


def test_the_queries_named_in_advance_exist():
    known = {b.id for b in testbed.behaviors("nano")}
    assert len(QUERIES["nano"]) == 8
    assert set(QUERIES["nano"]) <= known
