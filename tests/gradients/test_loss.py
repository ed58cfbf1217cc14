"""The loss without logits is the loss, and so is its gradient."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from whence.gradients.passes import loss
from whence.gradients.passes.batches import pad
from whence.gradients.passes.capture import frozen
from whence.gradients.passes.loss import backward_pass, cross_entropy, output_layer, plain_pass


def _case(vocabulary=97, *, dtype=torch.float64, scale=1.0, bias=False):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(23, 12, generator=generator, dtype=dtype) * scale
    words = torch.randn(vocabulary, 12, generator=generator, dtype=dtype) * scale
    shift = torch.randn(vocabulary, generator=generator, dtype=dtype) if bias else None
    return hidden, torch.randint(0, vocabulary, (23,), generator=generator), words, shift


def _by_autograd(hidden, targets, words, bias):
    hidden = hidden.clone().requires_grad_()
    losses = F.cross_entropy(F.linear(hidden, words, bias), targets, reduction="none")
    losses.sum().backward()
    return losses.detach(), hidden.grad


@pytest.mark.parametrize("block", [(1, 1), (5, 7), (23, 97), (100, 1000), None])
@pytest.mark.parametrize("bias", [False, True])
def test_blocks_of_any_size_give_autograds_numbers(block, bias):
    case = _case(bias=bias)
    losses, gradients = cross_entropy(*case, block=block)
    expected = _by_autograd(*case)
    torch.testing.assert_close(losses, expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients, expected[1], rtol=1e-12, atol=1e-12)


def _in_float32(*, scale=1.0):
    hidden, targets, words, _ = _case(vocabulary=3001, scale=scale)
    return hidden.float(), targets, words.float(), None


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_attention_of_states_to_words_is_the_same_loss(scale):
    case = _in_float32(scale=scale)
    losses, gradients = cross_entropy(*case)
    blocks = cross_entropy(*case, block=(8, 10))
    hidden, targets, words, _ = case
    expected = _by_autograd(hidden.double(), targets, words.double(), None)
    for found in ((losses, gradients), blocks):
        torch.testing.assert_close(found[0].double(), expected[0], rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(found[1].double(), expected[1], rtol=1e-4, atol=1e-4 * scale)
    assert not torch.equal(gradients, blocks[1]), "two ways of summing round differently"


def test_attention_hides_no_logit_that_is_not_a_number():
    hidden, targets, words, _ = _in_float32()
    hidden[3, 5] = float("nan")
    losses, gradients = cross_entropy(hidden, targets, words)
    bad = torch.arange(len(hidden)) == 3
    assert torch.equal(losses.isnan(), bad)
    assert torch.equal(gradients.isnan().any(dim=1), bad)
    words[700, 5] = float("nan")
    losses, gradients = cross_entropy(*_in_float32()[:2], words)
    assert losses.isnan().all()
    assert gradients.isnan().any(dim=1).all()


def test_no_labelled_position_is_no_loss():
    hidden, targets, words, _ = _in_float32()
    losses, gradients = cross_entropy(hidden[:0], targets[:0], words)
    assert losses.shape == (0,)
    assert gradients.shape == (0, 12)


def test_logits_far_beyond_the_range_of_exp_stay_finite():
    case = _case(scale=20.0, dtype=torch.float32)
    assert (case[0] @ case[2].T).max() > 2000
    losses, gradients = cross_entropy(*case, block=(8, 10))
    expected = _by_autograd(*case)
    torch.testing.assert_close(losses, expected[0], rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(gradients, expected[1], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_words_far_more_likely_than_those_looked_at_first_are_summed_again(
    bias, dtype, monkeypatch
):
    monkeypatch.setattr(loss, "SAMPLED_WORDS", 2)
    hidden, targets, words, shift = _case(scale=6.0, dtype=torch.float32, bias=bias)
    words = words.to(dtype)
    logits = hidden.to(dtype).float() @ words.float().T
    beyond = logits.amax(dim=1) - logits.gather(1, targets[:, None]).squeeze(1) > 100
    assert 3 < beyond.sum() < len(beyond), "some tokens are and some are not"
    losses, gradients = cross_entropy(hidden, targets, words, shift, block=(8, 10))
    expected = _by_autograd(hidden.to(dtype).float(), targets, words.float(), shift)
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(losses, expected[0], rtol=tolerance, atol=tolerance)
    assert expected[1] is not None
    cosines = F.cosine_similarity(gradients, expected[1])
    assert cosines[expected[0] > 1].min() > 1 - tolerance
    once = loss._part(hidden, targets, words, shift, num_words=10, is_sampled=True)
    assert not once[1].isfinite().all(), "the second sum was needed"


def test_nothing_is_summed_again_where_nothing_is_far(monkeypatch):
    calls, part = [], loss._part

    def counted(*operands, **how):
        calls.append(how["is_sampled"])
        return part(*operands, **how)

    monkeypatch.setattr(loss, "_part", counted)
    cross_entropy(*_case(), block=(8, 10))
    assert calls == [True, True, True]


def test_float16_loses_no_words_that_are_not_likely():
    generator = torch.Generator().manual_seed(0)
    hidden, words = (torch.randn(n, 16, generator=generator) * 0.3 for n in (20, 5000))
    hidden, words = (torch.cat([part, torch.ones(len(part), 1)], 1) for part in (hidden, words))
    hidden[:, -1], words[0, -1] = 12.0, 2.0
    targets = torch.zeros(20, dtype=torch.long)
    losses, _ = cross_entropy(hidden, targets, words.half())
    expected, _ = _by_autograd(hidden, targets, words, None)
    torch.testing.assert_close(losses, expected, rtol=2e-2, atol=1e-3)


def test_a_logit_that_is_not_a_number_is_not_hidden():
    hidden, targets, words, _ = _case()
    words[3] = float("nan")
    losses, gradients = cross_entropy(hidden, targets, words, block=(8, 10))
    assert losses.isnan().all()
    assert gradients.isnan().any(dim=1).all()


def test_bfloat16_words_are_close():
    hidden, targets, words, _ = _case(dtype=torch.float32)
    _, exact = cross_entropy(hidden, targets, words)
    _, rounded = cross_entropy(hidden, targets, words.bfloat16())
    cosine = F.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0)
    assert 0.999 < cosine < 0.9999999


def test_the_pass_without_logits_is_taken_where_it_can_be(lab, family):
    model = lab.tiny(family)
    with frozen(model):
        assert output_layer(model) is not None


def test_a_model_that_does_more_than_multiply_keeps_its_own_pass(lab):
    model = lab.tiny("neox")
    forward = model.model.forward

    def capped(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits = output.logits.tanh()
        return output

    model.model.forward = capped
    batch = pad(lab.random_sequences([9, 4, 7]))
    with frozen(model):
        assert output_layer(model) is None
        found = backward_pass(model)(batch)
        torch.testing.assert_close(found, plain_pass(model, batch))


def test_both_passes_agree_and_weights_scale_the_gradient_only(lab, family):
    model = lab.tiny(family)
    batch = pad(lab.random_sequences([9, 4, 7]), num_unlabelled=[3, 0, 7])
    weights = torch.tensor([2.0, -1.0, 0.5])
    seen = []

    def watch(_module, _inputs, output):
        output.register_hook(seen.append)

    with frozen(model):
        run = backward_pass(model)
        handle = model.model.get_input_embeddings().register_forward_hook(watch)
        losses = [run(batch, weights=weights), plain_pass(model, batch, weights)]
        handle.remove()
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*seen, rtol=1e-4, atol=1e-5)
    assert losses[0][2] == 0
