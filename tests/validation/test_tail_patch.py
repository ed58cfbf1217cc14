"""One step, measured before and after, against a slow copy; and every bit put back."""

import copy
import math

import numpy as np
import pytest
import torch

from whence.errors import CorpusError, ModelError
from whence.validation.matching import matched_rows
from whence.validation.tail_patch import Request, StepSettings, log_odds, patching, tail_patch

SGD = StepSettings(optimizer="sgd", learning_rate=0.3)
BOTH = ("copied", "other")


def bits(network: torch.nn.Module) -> dict[str, bytes]:
    return {name: p.detach().numpy().tobytes() for name, p in network.named_parameters()}


def log_prob(network, query) -> float:
    term = query.terms[0]
    ids = torch.tensor([term.input_ids])
    with torch.no_grad():
        found = network(input_ids=ids).logits[0, :-1].log_softmax(-1)
    return float(found.gather(1, ids[0, 1:, None])[term.num_prompt_tokens - 1 :].sum())


def step_slowly(network, examples, *, lr: float):
    """Plain gradient descent on the mean loss per target, one example at a time."""
    network = copy.deepcopy(network).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    targets = sum(len(ids) - 1 for ids in examples)
    for ids in examples:
        row = torch.tensor([ids])
        logp = network(input_ids=row).logits[0, :-1].log_softmax(-1)
        (-logp.gather(1, row[0, 1:, None]).sum() / targets).backward()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.sub_(lr * parameter.grad)
    return network


@pytest.mark.parametrize("rows", [(0,), (9,), (0, 9, 20)])
def test_agrees_with_a_slow_step(model, corpus, queries, sequences, rows):
    found = tail_patch(model, corpus, queries, [Request("g", rows, BOTH)], steps=(SGD,))
    slow = step_slowly(model.model, [sequences[r] for r in rows], lr=0.3)
    for patch, query in zip(found, queries, strict=True):
        before, after = log_prob(model.model, query), log_prob(slow, query)
        assert patch.query_id == query.id
        assert patch.log_prob_before_nats == pytest.approx(before, abs=1e-4)
        assert patch.log_prob_change_nats == pytest.approx(after - before, abs=1e-4)
        assert patch.probability_change == pytest.approx(
            math.exp(after) - math.exp(before), abs=1e-5
        )
        odds = [lp - math.log(1 - math.exp(lp)) for lp in (before, after)]
        assert patch.log_odds_change_nats == pytest.approx(odds[1] - odds[0], abs=1e-4)


def test_the_first_step_of_a_fresh_adamw_moves_by_the_learning_rate(model):
    before = {k: p.detach().clone() for k, p in model.model.named_parameters()}
    with patching(model):
        from whence.validation import tail_patch as room

        room._take_gradient(model, [[3, 4, 5, 6, 7]])
        room._optimizer(list(model.model.parameters()), StepSettings(learning_rate=1e-3)).step()
        moved = {k: (p.detach() - before[k]).abs().max() for k, p in model.model.named_parameters()}
        assert max(moved.values()) == pytest.approx(1e-3, rel=1e-2)


def test_a_step_with_the_run_s_own_second_moments_is_the_formula_by_hand(model, corpus, queries):
    generator = torch.Generator().manual_seed(0)
    moments = {
        name: torch.rand(p.shape, generator=generator) * 1e-4
        for name, p in model.model.named_parameters()
    }
    left_out = next(iter(moments))
    del moments[left_out]
    step = StepSettings(optimizer="own-moments", learning_rate=1e-2)
    found = tail_patch(
        model, corpus, queries, [Request("g", (0,), BOTH)], steps=[step], moments=moments
    )
    network = copy.deepcopy(model.model).eval()
    row = torch.tensor([corpus.input_ids(0)])
    logp = network(input_ids=row).logits[0, :-1].log_softmax(-1)
    (-logp.gather(1, row[0, 1:, None]).mean()).backward()
    with torch.no_grad():
        for name, p in network.named_parameters():
            if name != left_out:
                root = (0.95 * moments[name] + 0.05 * p.grad**2).sqrt()
                p.sub_(1e-2 * p.grad / (root + 1e-8))
    for patch, query in zip(found, queries, strict=True):
        before, after = log_prob(model.model, query), log_prob(network, query)
        assert patch.log_prob_change_nats == pytest.approx(after - before, abs=1e-4)
    with pytest.raises(ModelError, match="own second moments needs those"):
        tail_patch(model, corpus, queries, [Request("g", (0,), BOTH)], steps=[step])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weights_come_back_to_the_bit(model, corpus, queries, optimizer):
    network = model.model
    first = next(network.parameters())
    first.requires_grad_(False)
    network.train()
    before, gradients = bits(network), [p.grad for p in network.parameters()]
    settings = [StepSettings(optimizer=optimizer, learning_rate=lr) for lr in (1e-4, 1e-1)]
    found = tail_patch(model, corpus, queries, [Request("g", (0, 1), BOTH)], steps=settings)
    assert bits(network) == before
    assert not first.requires_grad
    assert network.training
    after = [p.grad for p in network.parameters()]
    assert all(a is b for a, b in zip(gradients, after, strict=True))
    assert len({patch.log_prob_change_nats for patch in found}) == 4
    first.requires_grad_(True)
    network.eval()


def test_weights_come_back_when_the_step_fails(model, corpus, queries):
    before = bits(model.model)
    huge = StepSettings(optimizer="sgd", learning_rate=1e38)
    with pytest.raises(ModelError, match="not finite"):
        tail_patch(model, corpus, queries, [Request("g", (0,), BOTH)], steps=[huge])
    assert bits(model.model) == before


def test_each_patch_starts_from_the_same_weights(model, corpus, queries):
    alone = tail_patch(model, corpus, queries, [Request("b", (9,), BOTH)], steps=(SGD,))
    among = [Request("a", (0,), BOTH), Request("b", (9,), BOTH), Request("c", (0, 1), BOTH)]
    found = tail_patch(model, corpus, queries, among, steps=(SGD,))
    assert [p.group for p in found] == ["a", "a", "b", "b", "c", "c"]
    assert found[2:4] == alone


def test_a_step_on_the_copy_helps_its_query_more_than_random_ones(model, corpus, queries):
    requests = [Request(str(r), (r,), ("copied",)) for r in (0, *range(10, 40))]
    small = StepSettings(optimizer="sgd", learning_rate=0.01)
    own, *others = tail_patch(model, corpus, queries, requests, steps=(small,))
    assert own.log_prob_change_nats > 0
    assert own.log_prob_change_nats > max(p.log_prob_change_nats for p in others)


def test_several_queries_share_a_step_and_only_the_named_are_measured(model, corpus, queries):
    found = tail_patch(model, corpus, queries, [Request("g", (0,), ("other",))], steps=(SGD, SGD))
    assert [(p.query_id, p.settings) for p in found] == [("other", SGD), ("other", SGD)]


def test_a_group_without_a_target_is_refused(model, corpus, queries):
    with pytest.raises(CorpusError, match="no token to predict"):
        tail_patch(model, corpus, queries, [Request("g", (44,), BOTH)])


def test_log_odds_of_a_certainty_are_undefined():
    assert math.isnan(log_odds(0.0))
    assert log_odds(math.log(0.5)) == pytest.approx(0)
    assert log_odds(-1e-9) == pytest.approx(math.log(1e9), rel=1e-6)


def test_controls_have_the_subset_and_about_the_length_of_what_they_stand_for(corpus):
    import pyarrow as pa

    names = ["a" if i % 3 else "b" for i in range(len(corpus))]
    table = corpus.table.set_column(3, "subset", pa.array(names))
    mixed = type(corpus)(name="mixed", description="", table=table)
    rows = (1, 3)
    found = matched_rows(mixed, rows, num=8, rng=np.random.default_rng(0), excluded=(2,))
    assert len(set(found)) == 8
    assert not set(found) & {1, 2, 3, 44}
    for turn, row in enumerate(found):
        like = rows[turn % 2]
        same = [r for r in range(44) if names[r] == names[like]]
        distance = sorted(abs(mixed.lengths[r] - mixed.lengths[like]) for r in same)
        assert names[row] == names[like]
        assert abs(mixed.lengths[row] - mixed.lengths[like]) <= distance[min(17, len(same) - 1)]


def test_too_few_controls_are_an_error(corpus):
    with pytest.raises(CorpusError, match="100 random controls"):
        matched_rows(corpus, (0,), num=100, rng=np.random.default_rng(0))
