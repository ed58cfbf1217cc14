"""What must hold of every method and every figure on the testbed: A1 to A10.

Numbers in comments are those of the prototype that the design rests on: a smaller model in another
miniature world. A4, A7 to A10 and whatever a random order reaches are invariants; of the rest, only
sign and order are asserted.
"""

import copy

import numpy as np
import pytest
import torch

from whence import testbed
from whence.behaviors import make_query
from whence.behaviors.measure import measure_own
from whence.evidence import opponents, proponents
from whence.gradients import streamed_products
from whence.methods import MethodInputs, Products, score
from whence.models import coverage
from whence.records import Corpus, LoadedModel, Query, Scores
from whence.settings import AttributionSettings, IndexSettings
from whence.validation.proponent_steps import RANDOM_EXAMPLES, step_on_proponents
from whence.validation.retrieval import retrieval
from whence.validation.tail_patch import Request, StepSettings, tail_patch

pytestmark = pytest.mark.slow

METHODS = ("gradient_cosine", "gradient_dot", "bm25", "random")
ASKED = (
    "fact/capital-france",
    "fact/symbol-gold",
    "fact/symbol-iron",
    "stereotype/nurse",
    "memorized/exact-048-a",
    "memorized/exact-032-a",
    "memorized/rehearsed-060-a",
    "toxic/roast-1",
    "style/verse-hark",
)


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return testbed.load_checkpoint("nano", cache=tmp_path_factory.mktemp("nano"))


@pytest.fixture(scope="module")
def queries(nano: LoadedModel) -> list[Query]:
    known = {b.id: b for b in testbed.behaviors("nano")}
    return [
        make_query(known[i], nano.tokenizer, contrast=False, context_length=nano.context_length)
        for i in ASKED
    ]


def scored(model: LoadedModel, queries: list[Query], corpus: Corpus) -> dict[str, Scores]:
    settings = AttributionSettings()
    products = streamed_products(
        model,
        corpus,
        queries,
        modules=tuple(coverage(model, modules="*").modules),
        token_batch_size=IndexSettings().token_batch_size,
    )
    given = MethodInputs(tuple(queries), corpus, model, {Products(): products}, settings)
    return {name: score(name, given) for name in METHODS}


@pytest.fixture(scope="module")
def scores(nano: LoadedModel, queries: list[Query]) -> dict[str, Scores]:
    return scored(nano, queries, testbed.corpus("nano"))


def precision(scores: Scores, kind: str) -> float:
    found = retrieval(scores, testbed.gold("nano"))
    values = [r.average_precision for r in found if r.query_id.startswith(kind)]
    return float(np.mean([v for v in values if v is not None]))


def test_a1_planted_copies_are_found_and_a_random_order_reaches_chance(scores):
    """Prototype: gradient cosine .9 and more, sequences .97; random .007."""
    assert precision(scores["gradient_cosine"], "memorized") > 0.9
    for kind in ("fact", "memorized", "stereotype"):
        assert precision(scores["gradient_cosine"], kind) > 5 * precision(scores["random"], kind)
    for found in retrieval(scores["random"], testbed.gold("nano")):
        assert found.chance is not None
        assert found.average_precision == pytest.approx(found.chance, abs=0.05)


@pytest.fixture(scope="module")
def stepped(nano, queries, scores):
    return step_on_proponents(
        nano,
        testbed.corpus("nano"),
        queries,
        [scores[m] for m in METHODS],
        k=3,
        copies=testbed.groups("nano"),
        excluded=testbed.gold("nano"),
        steps=(StepSettings(learning_rate=1e-4),),
    )


def change(stepped, method: str, group: str = "each") -> dict[str, float]:
    return {
        r.query_id: r.log_prob_change_nats
        for r in stepped
        if (r.method, r.group) == (method, group)
    }


def test_a2_steps_on_proponents_help_and_on_random_examples_hardly(stepped):
    """Prototype: gradient cosine +.63, BM25 +.61, random +.006, at its own rate."""
    best, chance = change(stepped, "gradient_cosine"), change(stepped, RANDOM_EXAMPLES)
    assert set(best) == set(chance) == set(ASKED)
    assert np.mean(list(best.values())) > 0
    assert sum(best[q] > chance[q] for q in ASKED) >= len(ASKED) - 1
    drawn = change(stepped, "random")
    assert abs(np.mean(list(drawn.values()))) < np.mean(list(best.values())) / 2


def nats_per_token(model: LoadedModel, size: str, names: list[str]) -> list[float]:
    known = {b.id: b for b in testbed.behaviors(size)}
    found = measure_own(model, [known[name] for name in names])
    return [m.log_prob_nats / len(m.log_probs_nats) for m in found]


def test_a3_more_copies_are_remembered_better(nano):
    """Prototype, nats per token: 16 copies -4.96, 32 -3.33, 48 -1.76, 64 -1.25, 96 -0.60."""
    names = [f"memorized/exact-{copies:03d}-a" for copies in (1, 16, 32, 48)]
    means = nats_per_token(nano, "nano", names)
    assert means == sorted(means)
    assert means[-1] - means[0] > 1


def test_a3_near_copies_teach_less_the_more_of_them_is_replaced():
    """Prototype: a near copy is worth .77, .41, .22 exact ones; ours `benchmarks/worlds.py`."""
    mini = testbed.load_checkpoint("mini")
    means = [
        np.mean(
            nats_per_token(mini, "mini", [f"memorized/near{share}-048-{mark}" for mark in "ab"])
        )
        for share in (5, 10, 30, 50)
    ]
    assert means == sorted(means, reverse=True)


def test_a9_two_implementations_of_the_same_scores_agree(nano, queries, scores):
    """Hooks against autograd, one example at a time and without padding, to 1e-4 relative."""
    corpus = testbed.corpus("nano")
    rows = [0, 1, 17, 500, 1000, 1949]
    modules = tuple(coverage(nano, modules="*").modules)
    network = copy.deepcopy(nano.model)
    weights = [network.base_model.get_submodule(m).weight for m in modules]

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)]).double()

    def loss(ids: tuple[int, ...], first: int) -> torch.Tensor:
        row = torch.tensor([ids])
        logp = network(input_ids=row).logits[0, :-1].log_softmax(-1)
        return -logp.gather(1, row[0, 1:, None])[first - 1 :].sum()

    for weight in weights:
        weight.requires_grad_(True)
    asked = [gradient(loss(q.terms[0].input_ids, q.terms[0].num_prompt_tokens)) for q in queries]
    given = [gradient(loss(tuple(corpus.input_ids(r)), 1)) for r in rows]
    slow = torch.stack([torch.stack([a @ g for g in given]) for a in asked]).numpy()
    scale = np.array([[float(a.norm() * g.norm()) for g in given] for a in asked])
    fast = scores["gradient_dot"].values[:, rows]
    assert np.abs(fast - slow).max() <= 1e-4 * scale.max()
    assert (np.abs(fast - slow) <= 1e-4 * scale).all()
    cosines = scores["gradient_cosine"].values[:, rows]
    np.testing.assert_allclose(cosines, slow / scale, atol=1e-4)


@pytest.mark.parametrize("method", ["gradient_cosine", "gradient_dot"])
def test_a10_one_small_step_on_the_top_proponent_lowers_the_query_s_loss(
    nano, queries, scores, method
):
    requests = [
        Request(q.id, (int(proponents(scores[method], row, k=1)[0]),), (q.id,))
        for row, q in enumerate(queries)
    ]
    small = StepSettings(optimizer="sgd", learning_rate=1e-2)
    found = tail_patch(nano, testbed.corpus("nano"), queries, requests, steps=(small,))
    assert {p.query_id for p in found} == set(ASKED)
    assert all(p.log_prob_change_nats > 0 for p in found)


def test_a10_and_on_the_top_opponent_raises_it(nano, queries, scores):
    dots = scores["gradient_dot"]
    requests = [
        Request(q.id, (int(opponents(dots, row, k=1)[0]),), (q.id,))
        for row, q in enumerate(queries)
        if np.nanmin(dots.values[row]) < 0
    ]
    small = StepSettings(optimizer="sgd", learning_rate=1e-2)
    found = tail_patch(nano, testbed.corpus("nano"), queries, requests, steps=(small,))
    assert found
    assert all(p.log_prob_change_nats < 0 for p in found)


def test_a6_an_untrained_model_finds_copies_too(queries, scores):
    """Prototype: AP 1.00 on sequences, untrained, which is why AP alone is no evidence."""
    untrained = scored(
        testbed.load_checkpoint("nano", step=0),
        [q for q in queries if q.id.startswith("memorized")],
        testbed.corpus("nano"),
    )
    found = precision(untrained["gradient_cosine"], "memorized")
    assert found > 5 * precision(scores["random"], "memorized")
