"""The damped inverse of the exact Gauss-Newton matrix, by conjugate gradients.

The Gauss-Newton matrix of an example's summed loss is H = Σ_t J_tᵀ (diag p_t − p_t p_tᵀ) J_t, with
J_t the derivative of the logits at position t and p_t the model's probabilities; it is the expected
second moment of gradients whose labels the model draws. Its product with a vector takes three
passes and no matrix, and conjugate gradients solve

    (E[H] + damping) x = gradient

to any accuracy. What lies between two layers counts here, unlike in EK-FAC. Each product goes over
the whole corpus once for every vector: it is for small models, or for a sample (`ekfac_cg`).

Source: Hestenes and Stiefel, J. Res. NBS 49 (1952); Schraudolph, "Fast Curvature Matrix-Vector
Products for Second-Order Gradient Descent", Neural Computation 14 (2002).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from whence.errors import GradientError
from whence.gradients.passes.batches import (
    IGNORED,
    affordable_tokens,
    check_fits,
    model_device,
    pad,
)
from whence.gradients.passes.capture import layer, without_weight_gradients
from whence.models.forward import batches_by_length, company, logits
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

Vectors = Mapping[str, "Float[Tensor, 'queries weights']"]


class Solution(NamedTuple):
    """What was found: vectors, the largest residual relative to its gradient, and iterations."""

    vectors: "dict[str, Float[Tensor, 'queries weights']]"
    residual: float
    num_iterations: int


def solve(
    model: LoadedModel,
    corpus: Corpus,
    gradients: "Vectors",
    *,
    damping: Mapping[str, float],
    token_batch_size: int,
    tolerance: float = 1e-3,
    max_iterations: int = 100,
    precondition: "Callable[[Vectors], Vectors] | None" = None,
    must_converge: bool = True,
    progress: Progress = SILENT,
) -> Solution:
    """Multiplies gradients with the inverse of the damped Gauss-Newton matrix.

    Args:
        model: The model, whose state is restored afterwards.
        corpus: The examples, over which the curvature is the mean.
        gradients: Right sides, flat rows of outputs × inputs for each layer.
        damping: What is added to the diagonal, for each layer.
        token_batch_size: The most tokens in a batch, padding included.
        tolerance: The residual, relative to the gradient, at which a solution is good.
        max_iterations: The most products.
        precondition: A guess at the inverse, such as EK-FAC's, which saves iterations and does not
            change the solution.
        must_converge: Raise where the tolerance is not reached; otherwise the caller reads the
            residual.
        progress: Reports progress.

    Raises:
        GradientError: The tolerance was not reached, and it had to be.

    Cost:
        One forward and two backward passes and 2 · queries more per iteration; small models only.
    """
    import torch

    check_fits(model, corpus)
    names = list(gradients)
    right = torch.cat([gradients[name] for name in names], dim=1)
    sizes = [gradients[name].shape[1] for name in names]
    shift = torch.cat([right.new_full((n,), damping[m]) for m, n in zip(names, sizes, strict=True)])

    def split(rows: "Tensor") -> "dict[str, Tensor]":
        return dict(zip(names, rows.split(sizes, dim=1), strict=True))

    def guess(rows: "Tensor") -> "Tensor":
        if precondition is None:
            return rows
        found = precondition(split(rows))
        return torch.cat([found[name] for name in names], dim=1)

    found, residual = torch.zeros_like(right), right.clone()
    scale = right.norm(dim=1)
    direction = ahead = guess(residual)
    power = (residual * ahead).sum(1)
    error = float("inf")
    with progress.task("Conjugate gradients", total=max_iterations, unit="products") as task:
        for iteration in range(1, max_iterations + 1):
            product = gauss_newton(
                model, corpus, split(direction), token_batch_size=token_batch_size
            )
            curved = torch.cat([product[name] for name in names], dim=1) + shift * direction
            # A query that is solved has no direction left.
            step = _ratio(power, (direction * curved).sum(1))[:, None]
            found += step * direction
            residual -= step * curved
            error = float(_ratio(residual.norm(dim=1), scale).max())
            task.advance()
            if error <= tolerance or (iteration == max_iterations and not must_converge):
                return Solution(split(found), error, iteration)
            ahead = guess(residual)
            before, power = power, (residual * ahead).sum(1)
            direction = ahead + _ratio(power, before)[:, None] * direction
    raise GradientError(
        f"Conjugate gradients left a residual of {error:.2g} after {max_iterations} products, and "
        f"{tolerance:g} was asked for.",
        "Raise `damping`, or allow more products.",
    )


def gauss_newton(
    model: LoadedModel, corpus: Corpus, vectors: "Vectors", *, token_batch_size: int
) -> "dict[str, Tensor]":
    """Multiplies vectors with the Gauss-Newton matrix of the mean example's summed loss.

    The product J v is the derivative of u ↦ ⟨Jᵀ u, v⟩, so that only reverse passes are needed.
    """
    import torch

    device = model_device(model)
    num_examples = int((corpus.lengths >= 2).sum())
    batches = batches_by_length(
        corpus.lengths,
        token_batch_size=affordable_tokens(model, token_batch_size),
        company=company(model),
    )
    with _weights(model, list(vectors)) as weights:
        turned = {name: _turn(model, name, rows) for name, rows in vectors.items()}
        found = {name: torch.zeros_like(rows) for name, rows in turned.items()}
        for rows in batches:
            sequences = [corpus.input_ids(int(row)) for row in rows]
            batch = pad(sequences, context_length=model.context_length)
            counted = (batch.labels[:, 1:] != IGNORED).to(device)
            found_logits = logits(model.model, batch.input_ids.to(device))[:, : counted.shape[1]]
            probabilities = found_logits.detach().softmax(-1) * counted[..., None]
            probe = torch.zeros_like(found_logits, requires_grad=True)
            pulled = torch.autograd.grad(found_logits, weights, probe, create_graph=True)
            for query in range(len(next(iter(turned.values())))):
                asked = [turned[name][query] for name in vectors]
                (pushed,) = torch.autograd.grad(pulled, probe, asked, retain_graph=True)
                bent = probabilities * pushed
                bent = bent - probabilities * bent.sum(-1, keepdim=True)
                parts = torch.autograd.grad(found_logits, weights, bent, retain_graph=True)
                for name, part in zip(vectors, parts, strict=True):
                    found[name][query] += part / num_examples
    return {name: _turn(model, name, rows, back=True) for name, rows in found.items()}


def _ratio(above: "Tensor", below: "Tensor") -> "Tensor":
    """Divides; zero where there is nothing below, as for a query that is solved exactly."""
    import torch

    return torch.where(below != 0, above / below, 0)


@contextmanager
def _weights(model: LoadedModel, names: Sequence[str]) -> "Iterator[list[Tensor]]":
    """Opens the attributed weights, alone, for passes that can be differentiated twice."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with without_weight_gradients(model), sdpa_kernel(SDPBackend.MATH):
        yield [layer(model, name).get_parameter("weight").requires_grad_() for name in names]


def _turn(model: LoadedModel, name: str, rows: "Tensor", *, back: bool = False) -> "Tensor":
    """Turns flat rows of outputs × inputs into the weight's own shape, or back."""
    from transformers.pytorch_utils import Conv1D

    part = layer(model, name)
    shape = part.get_parameter("weight").shape
    if not isinstance(part, Conv1D):
        return rows.flatten(1) if back else rows.unflatten(1, shape)
    if back:
        return rows.mT.flatten(1)
    return rows.unflatten(1, (shape[1], shape[0])).mT.contiguous()
