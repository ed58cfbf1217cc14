"""Attention of our own is PyTorch's, forward and back, and takes its place only where it may."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from whence.gradients.passes import attention
from whence.gradients.passes.attention import attention_in_bfloat16, causal_attention
from whence.gradients.passes.batches import pad
from whence.gradients.passes.capture import frozen
from whence.gradients.passes.loss import backward_pass

CPU = torch.device("cpu")


def _operands(length, *, dtype=torch.float64, heads=3):
    generator = torch.Generator().manual_seed(length)
    shape = (2, heads, length, 8)
    return tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for _ in range(3)
    )


def _with_gradients(function, operands):
    found = function(*operands)
    signal = torch.linspace(-1, 1, found.numel(), dtype=found.dtype).view_as(found)
    return found.detach(), *torch.autograd.grad(found, operands, signal)


@pytest.mark.parametrize("length", [1, 2, 127, 128, 129, 300])
@pytest.mark.parametrize("limit", [0, 2**40])
@pytest.mark.parametrize("scale", [None, 0.2])
def test_values_and_gradients_are_pytorchs(length, limit, scale, monkeypatch):
    monkeypatch.setattr(attention, "MAX_KEPT_BYTES", limit)
    operands = _operands(length)
    ours = _with_gradients(lambda q, k, v: causal_attention(q, k, v, scale=scale), operands)
    theirs = _with_gradients(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale),
        operands,
    )
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_in_bfloat16_it_is_as_exact_as_pytorchs():
    exact = _with_gradients(causal_attention, _operands(300))
    rounded = _operands(300, dtype=torch.bfloat16)
    ours = _with_gradients(causal_attention, rounded)
    theirs = _with_gradients(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), rounded
    )
    for truth, found, other in zip(exact, ours, theirs, strict=True):
        assert (found - truth).norm() < 1.5 * (other - truth).norm()


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"is_causal": True, "dropout_p": 1e-9},
        {"attn_mask": torch.ones(5, 5, dtype=torch.bool).tril()},
    ],
    ids=["not causal", "dropout", "a mask"],
)
def test_other_attention_is_left_to_pytorch(how, monkeypatch):
    monkeypatch.setattr(attention, "causal_attention", None)
    operands = _operands(5, dtype=torch.bfloat16)
    with attention_in_bfloat16(CPU, torch.bfloat16):
        found = F.scaled_dot_product_attention(operands[0], operands[1], operands[2], **how)
    assert found.shape == operands[0].shape


def test_fewer_heads_of_keys_are_left_to_pytorch(monkeypatch):
    monkeypatch.setattr(attention, "causal_attention", None)
    query = _operands(5, dtype=torch.bfloat16, heads=4)[0]
    _, key, value = _operands(5, dtype=torch.bfloat16, heads=2)
    with attention_in_bfloat16(CPU, torch.bfloat16):
        found = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    assert found.shape == query.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_pass_in_bfloat16_takes_it_and_one_in_float32_does_not(lab, dtype, monkeypatch):
    model = lab.tiny("neox")
    model.model.to(dtype)
    seen, ours = [], attention.causal_attention

    def watched(*operands, scale):
        seen.append(operands[0].shape)
        return ours(*operands, scale=scale)

    monkeypatch.setattr(attention, "causal_attention", watched)
    with frozen(model):
        losses = backward_pass(model)(pad(lab.random_sequences([9, 4, 7])))
    assert losses.isfinite().all()
    assert bool(seen) == (dtype == torch.bfloat16)
