"""Adam's second moments: stored, or estimated from gradients.

Adam divides by the root of v, a running mean of the squared gradient of a training batch. From N
sequences' own gradients with mean ḡ and variance s², the expected square of the mean over a batch
of B sequences is, weight by weight,

    v̂ = max(ḡ² − s²/N, 0) + s²/B,

whereas the mean square of single sequences' gradients would be too large by up to a factor of B.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from whence.errors import CorpusError
from whence.models.network import evaluation_mode, logits
from whence.records import LoadedModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Factored(NamedTuple):
    """Adafactor's second moments of a weight as it is stored: its rows' and its columns' means.

    They stand for v = row ⊗ column / mean(row).
    """

    row: "Float[Tensor, ' rows']"
    column: "Float[Tensor, ' columns']"

    @property
    def shape(self) -> tuple[int, int]:
        """The weight's shape."""
        return len(self.row), len(self.column)

    def root(self) -> "Factored":
        """The factors of √v."""
        row = self.row.double().sqrt()
        return Factored(row, self.column.double().sqrt() * row.mean() / row.square().mean().sqrt())


SecondMoments = Mapping[str, "Tensor | Factored"]
"""By the name of the model's parameter: v in its shape, or Adafactor's factors."""


def estimate_second_moments(
    model: LoadedModel,
    sequences: Sequence[Sequence[int]],
    *,
    batch_size: int,
    max_gradient_norm: float | None = 1.0,
) -> "dict[str, Tensor]":
    """Estimates Adam's second moments at a checkpoint from the gradients of some sequences.

    The loss of a sequence is the mean over its tokens, as in training, in nats.

    Args:
        model: The model, whose state is restored afterwards.
        sequences: Token ids of at least two tokens each, drawn as training drew them; 256 are good.
        batch_size: Sequences per optimizer step in training.
        max_gradient_norm: Where training clipped its gradients; None where it did not. The norm of
            a batch's gradient is not known, so its root mean square, over all weights, is used.

    Returns:
        By parameter name, in the weights' shapes, float32, ≥ 0, in nats² per squared unit of
        weight. Exactly 0 for a weight that no sequence uses.

    Raises:
        CorpusError: There are fewer than two sequences.

    Cost:
        One forward and backward pass per sequence; memory for three copies of the parameters.

    Source:
        Eichin et al., appendix A.2. Unlike there the clipping is that of the whole batch, which is
        what training clips, and not of each sequence.
    """
    import torch

    if len(sequences) < 2:
        raise CorpusError(
            f"Second moments cannot be estimated from {len(sequences)} sequences.",
            "Give at least two; a few hundred are better.",
        )
    parameters = dict(model.model.named_parameters())
    device = next(iter(parameters.values())).device
    means = {n: torch.zeros(p.shape, device=device) for n, p in parameters.items()}
    squares = {n: torch.zeros(p.shape, device=device) for n, p in parameters.items()}
    with evaluation_mode(model.model):
        for count, sequence in enumerate(sequences, start=1):
            found = _gradients(model, list(parameters.values()), sequence)
            for name, gradient in zip(parameters, found, strict=True):
                # Welford's update: the sum of squares alone would cancel where the mean is large.
                change = gradient.float() - means[name]
                means[name] += change / count
                squares[name] += change * (gradient.float() - means[name])
    num = len(sequences)
    moments = {}
    for name, mean in means.items():
        variance = squares[name] / (num - 1)
        moments[name] = (mean.square() - variance / num).clamp(min=0) + variance / batch_size
    if max_gradient_norm is None:
        return moments
    norm = sum(float(v.double().sum()) for v in moments.values()) ** 0.5
    factor = min(1.0, max_gradient_norm / norm) ** 2 if norm else 1.0
    return {name: values * factor for name, values in moments.items()}


def _gradients(
    model: LoadedModel, parameters: "list[Tensor]", sequence: Sequence[int]
) -> "tuple[Tensor, ...]":
    """Takes one sequence's gradients, whatever `requires_grad` says, and puts it back."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    needed = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        ids = torch.tensor([list(sequence)], device=parameters[0].device)
        # A last token beyond the context is only a target: a table of positions has no row for it.
        inputs = ids[:, : model.context_length]
        with torch.enable_grad():
            found = logits(model.model, inputs)[0, : ids.shape[1] - 1]
            exact = torch.promote_types(found.dtype, torch.float32)
            loss = F.cross_entropy(found.to(exact), ids[0, 1:])
        return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    finally:
        for parameter, value in zip(parameters, needed, strict=True):
            parameter.requires_grad_(value)
