"""What must hold of nano's last 24 steps, each of their documents in or out: A5 and A6.

The bank of 96 retrainings is made here, in 40 seconds of a core; WHENCE_BANK names a directory to
keep it in. Numbers in comments are those of the prototype of the design, over a whole training.
"""

import os
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from whence import testbed
from whence.behaviors import make_query
from whence.gradients import streamed_products
from whence.methods import MethodInputs, Products, score
from whence.models import coverage
from whence.records import LoadedModel, Scores
from whence.settings import AttributionSettings, IndexSettings
from whence.statistics import estimate_of, p_value
from whence.testbed import RetrainingSettings, initial_model, retrained_model
from whence.testbed.checkpoints import loaded
from whence.validation.bank import Bank, BankSettings, load_bank, make_bank, own_groups
from whence.validation.families import families
from whence.validation.lds import (
    Predicted,
    lds,
    lds_difference,
    no_skill_p_values,
    predict,
    predict_additively,
    predict_at_random,
)
from whence.validation.retraining import place_of, starting_state

WINDOW = RetrainingSettings(size="nano", since=464)
BANK = BankSettings(retraining=WINDOW, unit="document", num_masks=96, num_second=0)
FAMILIES = families(testbed.behaviors("nano"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = os.environ.get("WHENCE_BANK")
    return Path(folder) if folder else tmp_path_factory.mktemp("bank")


@pytest.fixture(scope="module")
def bank(place: Path) -> Bank:
    assert make_bank(BANK, place).num_left == 0
    return load_bank(BANK, place)


def scored(model: LoadedModel) -> dict[str, Scores]:
    corpus = testbed.corpus("nano")
    queries = tuple(
        make_query(b, model.tokenizer, contrast=False, context_length=model.context_length)
        for b in testbed.behaviors("nano")
    )
    products = streamed_products(
        model,
        corpus,
        queries,
        modules=tuple(coverage(model, modules="*").modules),
        token_batch_size=IndexSettings().token_batch_size,
    )
    given = MethodInputs(queries, corpus, model, {Products(): products}, AttributionSettings())
    names = ("gradient_cosine", "gradient_dot", "bm25", "random", "length")
    return {name: score(name, given) for name in names}


@pytest.fixture(scope="module")
def scores(bank: Bank, place: Path) -> dict[str, Scores]:
    assert bank.num_runs == 96
    # Nothing is dropped, so that this is the model of the uninterrupted training.
    start = starting_state(WINDOW, place_of(WINDOW, place))
    trained = scored(retrained_model(WINDOW, dropped=(), start=start))
    untrained = scored(loaded("nano", initial_model("nano"), step=0))
    return {**trained, "untrained": untrained["gradient_cosine"]}


@pytest.fixture(scope="module")
def own(bank: Bank):
    return own_groups(bank, testbed.gold("nano"))


@pytest.fixture(scope="module")
def removed(bank: Bank, own, scores) -> dict[str, Predicted]:
    return {m: predict(s, bank, own=own, own_removed=True) for m, s in scores.items()}


def test_the_bank_has_every_document_of_the_window_and_outcomes_that_vary(bank: Bank):
    assert tuple(bank.groups) == testbed.window_ids(WINDOW)
    assert bank.included.shape == (96, len(bank.groups))
    assert (bank.log_probs_nats.std(axis=0) > 0).all()


@pytest.mark.parametrize("method", ["gradient_cosine", "gradient_dot"])
def test_a5_gradients_know_more_than_where_the_copies_are(removed, method: str):
    """Prototype: own-removed LDS of gradient cosine .27, BM25 -.09."""
    difference = lds_difference(removed[method], removed["bm25"], families=FAMILIES)
    found, interval = p_value(difference), estimate_of(difference).interval
    assert found is not None
    assert found < 0.001
    assert interval is not None
    assert interval.low > 0.2
    assert no_skill_p_values(removed[method], [removed[method].query_ids]) == [1 / 200]


def test_a5_gradients_predict_at_least_as_well_as_a_linear_model_of_half_of_the_masks(
    bank: Bank, own, removed
):
    additive = predict_additively(bank.query_ids, bank, own=own, own_removed=True)
    ceiling, found = lds(additive).value, lds(removed["gradient_cosine"]).value
    assert ceiling is not None
    assert found is not None
    assert found > ceiling > 0.4


def test_a5_what_knows_nothing_predicts_nothing(bank: Bank, own, scores, removed):
    """The mean of many draws is near zero, one draw's interval holds it, and lengths are counts."""
    for own_removed in (False, True):
        chance = predict_at_random(bank.query_ids, bank, own=own, own_removed=own_removed)
        assert abs(lds(chance).value or 0.0) < 0.03
        one = lds(
            predict(scores["random"], bank, own=own, own_removed=own_removed), families=FAMILIES
        )
        assert one.interval is not None
        assert one.interval.low < 0 < one.interval.high
    assert lds(removed["length"]) == (None, None, 0)
    searched = lds(removed["bm25"], families=FAMILIES).interval
    assert searched is not None
    assert searched.low < 0 < searched.high


def test_a6_training_is_what_makes_gradients_predict(removed):
    """Prototype: own-removed LDS .03 on random weights, .27 on trained ones."""
    untrained, trained = (lds(removed[m]).value for m in ("untrained", "gradient_cosine"))
    assert untrained is not None
    assert trained is not None
    assert trained > 4 * untrained
    difference = lds_difference(removed["gradient_cosine"], removed["untrained"], families=FAMILIES)
    found = p_value(difference)
    assert found is not None
    assert found < 0.001


def test_a6_scores_of_the_untrained_model_are_those_of_another_question(scores):
    """Within the window, the two models' gradients rank documents differently."""
    rows = testbed.corpus("nano").rows(list(testbed.window_ids(WINDOW)))
    pairs = zip(
        scores["untrained"].values[:, rows], scores["gradient_cosine"].values[:, rows], strict=True
    )
    correlations = [float(spearmanr(a, b)[0]) for a, b in pairs]
    assert sum(correlations) / len(correlations) < 0.9
