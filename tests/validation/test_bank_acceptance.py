"""What must hold of nano's bank of whole trainings, once it has been made: A4 to A7.

Over a whole training no method is shown to know more than where the copies are; see
test_window_acceptance for where one is.

Needs `whence bank DIR --size nano` (seven minutes of two cores) and WHENCE_BANK=DIR, which
`make test-slow` sees to.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from whence import testbed
from whence.behaviors import make_query
from whence.gradients import streamed_products
from whence.methods import MethodInputs, Products, score
from whence.models import coverage
from whence.records import Scores
from whence.settings import AttributionSettings, IndexSettings
from whence.statistics import estimate_of
from whence.testbed import RetrainingSettings
from whence.validation.bank import Bank, BankSettings, load_bank, own_groups
from whence.validation.effects import group_effects, phantom_effects, significant_share
from whence.validation.families import families
from whence.validation.lds import (
    Predicted,
    lds,
    lds_difference,
    noise_ceiling,
    predict,
    predict_at_random,
)

pytestmark = pytest.mark.slow

FAMILIES = families(testbed.behaviors("nano"))


@pytest.fixture(scope="module")
def bank(bank_folder: Path) -> Bank:
    found = load_bank(BankSettings(retraining=RetrainingSettings(size="nano")), bank_folder)
    if found.num_runs < 64:
        pytest.skip(f"the bank holds {found.num_runs} of 64 masks")
    return found


@pytest.fixture(scope="module")
def own(bank: Bank):
    return own_groups(bank, testbed.gold("nano"))


def scored(step: int | None, cache: Path) -> dict[str, Scores]:
    model = testbed.load_checkpoint("nano", step=step, cache=cache)
    corpus = testbed.corpus("nano")
    queries = tuple(
        make_query(b, model.tokenizer, contrast=False, context_length=model.context_length)
        for b in testbed.behaviors("nano")
    )
    settings = AttributionSettings()
    products = streamed_products(
        model,
        corpus,
        queries,
        modules=tuple(coverage(model, modules="*").modules),
        token_batch_size=IndexSettings().token_batch_size,
    )
    given = MethodInputs(queries, corpus, model, {Products(): products}, settings)
    return {name: score(name, given) for name in ("gradient_cosine", "bm25", "random")}


@pytest.fixture(scope="module")
def scores(bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scores]:
    cache = tmp_path_factory.mktemp("nano")
    return {
        **scored(None, cache),
        "gradient_cosine_initial": scored(0, cache)["gradient_cosine"],
    }


@pytest.fixture(scope="module")
def predictions(bank, own, scores) -> dict[tuple[str, bool], Predicted]:
    return {
        (name, removed): predict(one, bank, own=own, own_removed=removed)
        for name, one in scores.items()
        for removed in (False, True)
    }


def test_a4_groups_that_do_not_exist_are_significant_at_the_nominal_rate(bank: Bank):
    share = significant_share(phantom_effects(bank, num=2000).z)
    assert share is not None
    assert 0.03 <= share <= 0.08


def test_a7_zero_weight_decoys_have_no_effect_on_what_they_pretend_to_support(bank: Bank):
    effects = group_effects(bank.included, bank.log_probs_nats)
    inert = testbed.inert("nano")
    checked = 0
    for column, (name, members) in enumerate(bank.groups.items()):
        if not name.startswith("inert:"):
            continue
        for row, query_id in enumerate(bank.query_ids):
            if inert[query_id] & members:
                assert abs(effects.z[row, column]) <= 2, (name, query_id)
                checked += 1
    assert checked >= 3


def test_own_groups_have_large_effects(bank: Bank, own):
    """Prototype: facts 2.4 to 4.4 nats, exact copies 1.5 to 5.6, errors of .02 to .10."""
    effects = group_effects(bank.included, bank.log_probs_nats)
    names = list(bank.groups)
    for row, query_id in enumerate(bank.query_ids):
        for column in own[query_id] or ():
            if query_id.startswith("fact/") and len(bank.groups[names[column]]) >= 60:
                assert effects.z[row, column] > 3, query_id


@pytest.mark.parametrize("removed", [False, True])
def test_a5_random_scores_predict_nothing(bank: Bank, own, removed: bool):
    """The mean of 50 draws is near zero, and nearly all of their intervals hold it."""
    chance = predict_at_random(bank.query_ids, bank, own=own, own_removed=removed)
    assert abs(lds(chance).value or 0.0) < 0.02
    held = 0
    for draw in (chance.predicted, *chance.further):
        interval = lds(replace(chance, predicted=draw, further=()), families=FAMILIES).interval
        assert interval is not None
        held += interval.low <= 0 <= interval.high
    assert held >= 43


def test_a5_gradients_predict_more_than_chance(predictions):
    """Prototype: group LDS of gradient cosine .65; ours .66."""
    plain = lds_difference(
        predictions["gradient_cosine", False], predictions["random", False], families=FAMILIES
    )
    interval = estimate_of(plain).interval
    assert interval is not None
    assert interval.low > 0


def test_a6_without_training_the_own_groups_are_all_that_is_predicted(predictions):
    """Prototype: plain LDS .63 and own-removed .03 [-.06, .12] on random weights."""
    plain = lds(predictions["gradient_cosine_initial", False])
    removed = lds(predictions["gradient_cosine_initial", True])
    assert plain.value is not None
    assert removed.value is not None
    assert removed.value < plain.value / 2


def test_two_seeds_agree(bank: Bank, own):
    """Prototype: .85, and .50 without the own groups."""
    ceiling = noise_ceiling(bank, own=own)
    assert ceiling.reliability.value is not None
    assert ceiling.reliability_own_removed.value is not None
    assert ceiling.reliability.value > ceiling.reliability_own_removed.value > 0
    assert np.isfinite(ceiling.reliability.value)
